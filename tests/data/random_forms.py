"""One small run written in forms that hypothesis draws, by zarr itself, and what each form must lead to."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr
from data_fixtures import save
from hypothesis import strategies as st

FRAMES = 14
NAMES, UNITS = ("Bx", "vy", "rho"), ("nT", "km/s", "1/cm3")
X, Z = np.linspace(-10.0, 10.0, 6), np.linspace(-8.0, 8.0, 5)
SPACE = np.hypot(X[:, None], Z[None, :]) > 3
CELLS = SPACE.size
STEPS = (10.0, 0.25, 0.5, 0.1, 1 / 3, 60.0)
SPLITS = {"train": (0, 7), "val": (7, 10), "test": (10, FRAMES)}
TIME_UNITS = {"seconds": 1.0, "milliseconds": 1e-3, "minutes": 60.0, "hours": 3600.0, "days": 86400.0}
START = np.datetime64("2000-01-01", "ns")

METADATA = ("zarr.", ".zarr", ".zatt")

FAULTS = (
    "hole outside the mask",
    "chunk removed",
    "chunk cut",
    "gap in time",
    "time missing",
    "frames swapped",
    "calendar",
    "year 3000",
    "scale 0",
    "scale no number",
    "complex",
    "valid range",
    "kilometres",
    "mask of NaN",
)
"""Planted faults; every one must be named."""


def truth() -> np.ndarray:
    """Fields of shape (time, x, z, variable); vy is 0 in the first two frames, NaN inside Earth."""
    t, x, z = np.arange(FRAMES)[:, None, None], X[None, :, None], Z[None, None, :]
    phase = 0.2 * x + 0.3 * t
    fields = np.stack(
        [5 * np.sin(phase) + 0.1 * z, 30 * np.cos(phase + 0.2 * z) * (t > 1), 2 + np.sin(phase - 0.1 * z)], axis=-1
    )
    return np.where(SPACE[None, :, :, None], fields, np.nan)


@dataclass(frozen=True)
class Form:
    """How an array of numbers is stored."""

    zarr_format: int
    dtype: str
    packed: bool
    as_text: bool
    mark: str
    chunk: int
    shuffle: int


def forms() -> st.SearchStrategy[Form]:
    """Forms of the state."""
    return st.builds(
        Form,
        zarr_format=st.sampled_from((2, 3)),
        dtype=st.sampled_from(("f4", "f4", "f8", ">f4", ">f8", "f2", "i2", "u2", ">i2", "i4")),
        packed=st.booleans(),
        as_text=st.booleans(),
        mark=st.sampled_from(("fill", "_FillValue", "missing_value")),
        chunk=st.sampled_from((1, 3, FRAMES)),
        shuffle=st.integers(0, 10**6),
    )


def encoded(values: np.ndarray, form: Form) -> tuple[np.ndarray, dict[str, Any], Any, float]:
    """Stored numbers, attributes, fill value and the largest error of a value."""
    dtype, attrs = np.dtype(form.dtype), {}
    scale, offset, numbers = 1.0, 0.0, values
    if dtype.kind in "iu" or form.packed:
        low, high = np.nanmin(values), np.nanmax(values)
        wide = 60000.0 if dtype.kind in "iu" else 50.0
        offset, scale = (low if dtype.kind == "u" else (low + high) / 2), (high - low) / wide
        attrs = {"scale_factor": scale, "add_offset": offset}
        numbers = (values - offset) / scale
    mark: Any = np.nan
    if dtype.kind in "iu":
        mark = int(np.iinfo(dtype).max if dtype.kind == "u" else np.iinfo(dtype).min)
        stored = np.where(np.isnan(numbers), mark, np.rint(np.nan_to_num(numbers))).astype(dtype)
        error = scale
    else:
        mark = {"fill": np.nan, "_FillValue": -9999.0, "missing_value": 60000.0}[form.mark]
        stored = np.where(np.isnan(numbers), mark, numbers).astype(dtype)
        if not np.isnan(mark):
            mark = float(stored.dtype.type(mark))
        error = 2 * scale * np.nanmax(np.abs(numbers)) * np.finfo(stored.dtype).eps
    fill: Any = mark if form.mark == "fill" else 0
    if form.mark != "fill":
        attrs[form.mark] = mark
    if form.as_text:
        attrs = {key: str(value) for key, value in attrs.items()}
    return stored, attrs, fill, float(error + 1e-6 * np.nanmax(np.abs(values)))


def put(
    group: zarr.Group, name: str, values: np.ndarray, dims: tuple[str, ...], fill: Any, attrs: Any, chunks: Any
) -> None:
    """Write an array as a user of zarr alone does."""
    three = group.metadata.zarr_format == 3
    array = group.create_array(
        name,
        shape=values.shape,
        dtype=values.dtype,
        chunks=chunks,
        fill_value=fill,
        overwrite=True,
        attributes={**attrs, **({} if three else {"_ARRAY_DIMENSIONS": list(dims)})},
        **({"dimension_names": dims} if three else {}),
    )
    array[...] = values


@dataclass(frozen=True)
class Clock:
    """How the time axis is stored."""

    step: float
    unit: str
    dtype: str
    fill: int


def clocks() -> st.SearchStrategy[Clock]:
    """Time axes: integers where they are exact, else floats."""
    return st.builds(
        Clock,
        step=st.sampled_from(STEPS),
        unit=st.sampled_from(tuple(TIME_UNITS)),
        dtype=st.sampled_from(("i8", "f8", "f4", "i4")),
        fill=st.sampled_from((0, -1)),
    )


def dates(step: float) -> np.ndarray:
    """The true time axis."""
    return START + np.rint(np.arange(FRAMES) * step * 1e9).astype("timedelta64[ns]")


def stored_times(clock: Clock) -> tuple[np.ndarray, dict[str, str]]:
    """Numbers and CF units of the time axis, in floats where integers do not hold it."""
    numbers = np.arange(FRAMES) * clock.step / TIME_UNITS[clock.unit]
    dtype = clock.dtype
    if np.dtype(dtype).kind == "i" and np.abs(numbers - np.rint(numbers)).max() > 1e-9:
        dtype = "f8"
    return (np.rint(numbers) if np.dtype(dtype).kind == "i" else numbers).astype(dtype), {
        "units": f"{clock.unit} since 2000-01-01 00:00:00"
    }


def template(folder: Path, zarr_format: int, step: float) -> Path:
    """All of a prepared store that hypothesis leaves alone, written once."""
    path = folder / f"template-{zarr_format}-{step:.3f}.zarr"
    if not path.exists():
        bounds = [[str(dates(step)[a]), str(dates(step)[b - 1])] for a, b in SPLITS.values()]
        radius = np.hypot(X[:, None], Z[None, :]).ravel()
        features = {"state_feature": list(NAMES), "static_feature": ["r"], "mask_feature": ["mask"]}
        rest = xr.Dataset(
            {
                "static": (("static_feature", "grid_index"), radius[None]),
                "mask": (("mask_feature", "grid_index"), SPACE.ravel()[None].astype("f4")),
                "splits": (("split_name", "split_part"), bounds),
                "state_feature_units": ("state_feature", list(UNITS)),
            },
            {**features, "split_name": list(SPLITS), "split_part": ["start", "end"]},
        )
        save(rest, path, zarr_format)
        for file in path.glob(".zmetadata"):
            file.unlink()
        if zarr_format == 3:
            (path / "zarr.json").write_text('{"zarr_format": 3, "node_type": "group", "attributes": {}}')
    return path


def write_prepared(folder: Path, form: Form, clock: Clock, fault: str | None = None) -> float:
    """A prepared store of the run in a form, with a fault; returns the largest error of a value."""
    rng = np.random.default_rng(form.shuffle)
    path = folder / "vlasiator_run_1.zarr"
    shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(template(folder, form.zarr_format, clock.step), path)
    group = zarr.open_group(path, mode="r+", use_consolidated=False)
    cells = rng.permutation(CELLS)
    values = truth().reshape(FRAMES, CELLS, -1)
    if fault == "hole outside the mask":
        values[5, np.flatnonzero(SPACE.ravel())[3], 0] = np.nan
    stored, attrs, fill, error = encoded(values[:, cells], form)
    if fault == "complex":
        stored, attrs, fill = values[:, cells].astype("c8"), {}, 0
    attrs |= {"scale 0": {"scale_factor": 0.0}, "scale no number": {"scale_factor": "large"}}.get(fault or "", {})
    if fault == "valid range":
        stored, fill, attrs = values[:, cells].astype("f4"), np.nan, {"valid_max": 10.0}
    dims, order = ("time", "grid_index", "state_feature"), rng.permutation(3)
    sizes = (form.chunk, int(rng.choice([7, CELLS])), int(rng.choice([1, len(NAMES)])))
    put(
        group,
        "state",
        stored.transpose(order),
        tuple(dims[i] for i in order),
        fill,
        attrs,
        tuple(sizes[i] for i in order),
    )
    for name in ("static", "mask"):
        group[name][...] = group[name][...][:, cells]
    if fault == "mask of NaN":
        group["mask"][0, 4] = np.nan
    factor = 6371.0 if fault == "kilometres" else 1.0
    for name, line in (("x", np.repeat(X, Z.size)), ("z", np.tile(Z, X.size))):
        put(group, name, factor * line[cells], ("grid_index",), 0, {"units": "km" if factor > 1 else "R_E"}, (CELLS,))
    write_times(group, clock, fault)
    if fault in ("chunk removed", "chunk cut"):
        found = (file for file in (path / "state").rglob("*") if file.is_file() and file.name[:5] not in METADATA)
        files = sorted(found)
        chosen = files[int(rng.integers(len(files)))]
        whole = chosen.read_bytes()
        chosen.unlink()
        if fault == "chunk cut":
            chosen.write_bytes(whole[: len(whole) // 2])
    return error


def write_times(group: zarr.Group, clock: Clock, fault: str | None) -> None:
    """The time axis, with a fault."""
    numbers, attrs = stored_times(clock)
    if fault == "gap in time":
        numbers = np.concatenate([numbers[:6], numbers[6:] + numbers[1].astype(numbers.dtype)])
    if fault == "frames swapped":
        numbers = numbers[[0, 2, 1, *range(3, FRAMES)]]
    if fault == "time missing":
        attrs = {**attrs, "_FillValue": -5}
        numbers[4] = -5
    if fault == "calendar":
        attrs = {**attrs, "calendar": "noleap"}
    if fault == "year 3000":
        attrs = {"units": attrs["units"].replace("2000", "3000")}
    put(group, "time", numbers, ("time",), clock.fill, attrs, (FRAMES,))


def raw_dataset(form: Form, clock: Clock, folder: Path) -> float:
    """A raw run and static.zarr in a form: axes, direction and an axis of length 1 are drawn per variable."""
    rng = np.random.default_rng(form.shuffle)
    for name in ("run_1.zarr", "static.zarr"):
        shutil.rmtree(folder / name, ignore_errors=True)
    values, errors = truth(), []
    group = zarr.create_group(folder / "run_1.zarr", zarr_format=form.zarr_format)
    flip = [slice(None, None, int(rng.choice([-1, 1]))) for _ in range(2)]
    for number, name in enumerate(NAMES):
        stored, attrs, fill, error = encoded(values[..., number][:, flip[0], flip[1]], form)
        errors.append(error)
        dims, order = ("time", "x", "z"), rng.permutation(3)
        stored, dims = stored.transpose(order), tuple(dims[i] for i in order)
        if rng.random() < 0.3:
            stored, dims = stored[..., None], (*dims, "y")
        chunks = tuple({"time": form.chunk, "x": X.size, "z": int(rng.choice([2, Z.size]))}.get(d, 1) for d in dims)
        put(group, name, stored, dims, fill, {**attrs, "units": UNITS[number]}, chunks)
    kind = rng.choice(["f4", "f8"])
    for name, line, way in (("x", X, flip[0]), ("z", Z, flip[1])):
        put(group, name, line[way].astype(kind), (name,), 0, {"units": "R_E"}, line.shape)
    write_times(group, clock, None)
    static = zarr.create_group(folder / "static.zarr", zarr_format=form.zarr_format)
    for name, plane in (("r", np.hypot(X[:, None], Z[None, :])), ("mask", SPACE.astype(rng.choice(["f4", "i1", "?"])))):
        put(static, name, plane, ("x", "z"), 0, {}, plane.shape)
    for name, line in (("x", X), ("z", Z)):
        put(static, name, line, (name,), 0, {}, line.shape)
    return max(errors)
