"""Names of files in a data folder, and the configurations of mllam-data-prep for raw runs."""

import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import yaml

from spacecast.core.errors import UserError
from spacecast.core.names import UNSEEN
from spacecast.core.text import natural_key
from spacecast.data.raw import left_out, open_raw, space_axes
from spacecast.data.sources import names_sources
from spacecast.data.splits import SPLITS, STATISTICS
from spacecast.storage.folder import require_folder, write_text
from spacecast.storage.times import check_times

HEADER = "# Written by spacecast-data, and again for a raw run of another time axis unless you delete this line.\n"
STYLE: dict[str, Any] = {"sort_keys": False, "width": 120}
FRACTIONS = (0.7, 0.15, 0.15)
"""Shares of the frames of a run for the splits, in time order."""
ORDER = ("Bx", "By", "Bz", "Ex", "Ey", "Ez", "vx", "vy", "vz", "rho", "P", "T", "x_coord", "y_coord", "z_coord", "r")
"""Order of the variables in the published data."""


def prepared_path(root: Path, run: int | str) -> Path:
    """The prepared store of a run: `vlasiator_run_<run>.zarr`, or `vlasiator_<run>.zarr` where only that exists."""
    return _choose(root, run, "zarr")


def config_path(root: Path, run: int | str) -> Path:
    """The mllam-data-prep configuration of a run, named like its prepared store."""
    return _choose(root, run, "yaml")


def _choose(root: Path, run: int | str, suffix: str) -> Path:
    """First existing name, else the usual one."""
    names = [f"vlasiator_run_{run}.{suffix}", f"vlasiator_{run}.{suffix}"]
    return next((root / name for name in names if (root / name).exists()), root / names[0])


def find_runs(root: Path, suffix: str = "zarr") -> tuple[str, ...]:
    """Names of the runs that have a prepared store (or, with suffix `yaml`, a configuration) in a folder."""
    names = []
    for path in root.glob(f"vlasiator_*.{suffix}"):
        match = re.fullmatch(r"vlasiator_(?:run_)?(.+)", path.stem)
        if match and match[1] != "config" and not match[1].startswith("config_"):
            names.append(match[1])
    return tuple(sorted(names, key=natural_key))


def find_raw_runs(root: Path) -> tuple[str, ...]:
    """Names of the raw runs `run_<name>.zarr` in a folder."""
    return tuple(sorted((path.stem.removeprefix("run_") for path in root.glob("run_*.zarr")), key=natural_key))


def write_configs(
    root: str | Path,
    runs: Sequence[int | str] | None = None,
    fractions: tuple[float, float, float] = FRACTIONS,
    *,
    overwrite: bool = False,
) -> list[Path]:
    """Write `vlasiator_run_<run>.yaml` for each raw run and `vlasiator_config.yaml`, laid out as the published data.

    Args:
        root: folder with `run_<run>.zarr` and `static.zarr`.
        runs: names of the runs; None takes all.
        fractions: shares of the frames for train, val and test, in time order.
        overwrite: replace configurations that exist. Otherwise those are kept unless they carry our first line and no
            longer fit the time axis of their raw run.

    Returns:
        The configurations of the runs. Paths in them are relative to `root`.

    """
    root = Path(root)
    require_folder(root, write=True)
    names = find_raw_runs(root) if runs is None else tuple(str(run) for run in runs)
    if not names:
        raise UserError(
            f"{root} holds no raw run run_<number>.zarr; run spacecast-data simulate or download, "
            "or choose another folder"
        )
    if len(fractions) != 3 or min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-6:
        raise UserError(
            f"split fractions {tuple(fractions)} must be three shares of train, val and test that add up to 1"
        )
    paths = []
    for name in names:
        path = root / f"vlasiator_run_{name}.yaml"
        if overwrite or not path.exists() or stale_config(root, name):
            write_text(path, HEADER + yaml.dump(_run_config(root, name, fractions), **STYLE, default_flow_style=None))
        paths.append(path)
    _write_summary(root)
    return paths


def _write_summary(root: Path) -> None:
    """Write vlasiator_config.yaml, which lists the runs to train on, unless somebody else wrote it."""
    path = root / "vlasiator_config.yaml"
    if path.exists() and not _is_ours(path):
        return
    runs = find_runs(root, "yaml")
    names = [config_path(root, name).name for name in runs if name != UNSEEN or len(runs) == 1]
    summary: dict[str, Any] = {"datastore": {"kind": "mdp", "config_path": names[0]}}
    if len(names) > 1:
        summary["additional_datastores"] = [{"kind": "mdp", "config_path": name} for name in names[1:]]
    summary["training"] = {"state_feature_weighting": {"__config_class__": "UniformFeatureWeighting"}}
    text = HEADER + yaml.dump(summary, **STYLE)
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        write_text(path, text)


def stale_config(root: Path, run: str) -> bool:
    """True when a raw run lacks the configuration that it is prepared with, or has one of ours for another time axis.

    A prepared store that does not say what it was made from, a download, needs none.
    """
    raw, path = root / f"run_{run}.zarr", config_path(root, run)
    if not raw.is_dir():
        return False
    if not path.exists():
        target = prepared_path(root, run)
        return not target.exists() or names_sources(target)
    try:
        span = yaml.safe_load(path.read_text(encoding="utf-8"))["output"]["coord_ranges"]["time"]
        return _is_ours(path) and span != _span(open_raw(raw, f"run {run}")["time"].values)
    except (OSError, KeyError, TypeError, UserError, UnicodeDecodeError, yaml.YAMLError):
        return False


def read_config(path: Path, label: str) -> dict[str, Any]:
    """The YAML with its times as text; mllam-data-prep fails on the dates that YAML makes of unquoted ones."""
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
        config["output"]["variables"], [entry["path"] for entry in config["inputs"].values()]
    except (yaml.YAMLError, KeyError, TypeError, AttributeError, OSError, UnicodeDecodeError) as error:
        text = " ".join(str(error).split())[:160]
        raise UserError(
            f"{label}: {path} is no mllam-data-prep configuration ({type(error).__name__}: {text}); "
            "correct it or delete it"
        ) from error

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(entry) for key, entry in value.items()}
        if isinstance(value, list):
            return [plain(entry) for entry in value]
        return value.isoformat() if hasattr(value, "isoformat") else value

    result: dict[str, Any] = plain(config)
    return result


def find_raw(root: Path, path: str) -> Path | None:
    """Raw data of a YAML: beside it, by the same path above it, or from the working folder."""
    name = Path(path)
    places = [name] if name.is_absolute() else [root / name, root / name.name, root.parent / name, Path.cwd() / name]
    return next((place.resolve() for place in places if place.exists()), None)


def _is_ours(path: Path) -> bool:
    """True when a configuration carries our first line."""
    return path.read_text(encoding="utf-8", errors="replace").startswith(HEADER.splitlines()[0])


def _span(times: np.ndarray) -> dict[str, str]:
    """Range of a time axis, with its step where that is whole seconds."""
    seconds = check_times(times, "time axis")
    times = times.astype("datetime64[ns]")
    texts = _texts(times)
    step = {"step": f"PT{round(seconds)}S"} if seconds == round(seconds) else {}
    return {"start": texts[0], "end": texts[-1], **step}


def split_frames(
    frames: int, fractions: tuple[float, float, float] = FRACTIONS, label: str = "run"
) -> dict[str, tuple[int, int]]:
    """Frames [start, stop) of each split of a run of so many frames.

    Raises:
        UserError: a split would be empty; it starts with `label`.

    """
    edges = np.rint(np.cumsum([0.0, *fractions]) * frames).astype(int).tolist()
    if min(b - a for a, b in pairwise(edges)) < 1:
        raise UserError(f"{label}: {frames} frames are too few for the split fractions {tuple(fractions)}")
    return dict(zip(SPLITS, pairwise(edges), strict=True))


def _run_config(root: Path, run: str, fractions: tuple[float, float, float]) -> dict[str, Any]:
    """Configuration of one run from its raw variables and time axis."""
    label = f"run {run}"
    raw, static = open_raw(root / f"run_{run}.zarr", label), open_raw(root / "static.zarr", label)
    if "time" not in raw:
        raise UserError(f"{label}: raw data have no time axis; store frames along a dimension named time")
    check_times(raw["time"].values, f"{label}: run_{run}.zarr")
    times = raw["time"].values.astype("datetime64[ns]")
    axes = space_axes(map(str, raw.sizes))
    fields = _variables(raw, {"time", *axes})
    features = [name for name in _variables(static, set(axes)) if name != "mask"]
    if not fields:
        raise UserError(f"{label}: raw data hold no variable with the dimensions time, {', '.join(axes)}")
    if "mask" not in static:
        raise UserError(f"{label}: static.zarr has no variable mask; add it (1 = space, 0 = inside Earth)")
    texts, frames = _texts(times), split_frames(times.size, fractions, label)
    splits: dict[str, Any] = {name: {"start": texts[a], "end": texts[b - 1]} for name, (a, b) in frames.items()}
    splits["train"]["compute_statistics"] = {"ops": list(STATISTICS), "dims": ["grid_index", "time"]}
    return {
        "schema_version": "v0.5.0",
        "dataset_version": "v0.1.0",
        "output": {
            "variables": {
                "static": ["grid_index", "static_feature"],
                "state": ["time", "grid_index", "state_feature"],
                "mask": ["grid_index", "mask_feature"],
            },
            "coord_ranges": {"time": _span(times)},
            "chunking": {"time": 1},
            "splitting": {"dim": "time", "splits": splits},
        },
        "inputs": {
            "fields": _input(f"run_{run}.zarr", fields, "state", axes),
            "coordinates": _input("static.zarr", features, "static", axes),
            "mask": _input("static.zarr", ["mask"], "mask", axes),
        },
    }


def _variables(data: xr.Dataset, dims: set[str]) -> list[str]:
    """Variables with these dimensions, the usual ones in their usual order first (zarr keeps none)."""
    names = set(map(str, data.data_vars)) - set(left_out(data, dims))
    return [*(name for name in ORDER if name in names), *sorted(names - set(ORDER))]


def _input(path: str, variables: list[str], target: str, axes: Sequence[str]) -> dict[str, Any]:
    """One input of a configuration."""
    mapping: dict[str, Any] = {"time": {"method": "rename", "dim": "time"}} if target == "state" else {}
    mapping[f"{target}_feature"] = {"method": "stack_variables_by_var_name", "name_format": "{var_name}"}
    mapping["grid_index"] = {"method": "stack", "dims": list(axes)}
    dims = ["time", *axes] if target == "state" else list(axes)
    return {
        "path": path,
        "dims": dims,
        "variables": variables,
        "dim_mapping": mapping,
        "target_output_variable": target,
    }


def _texts(times: np.ndarray) -> list[str]:
    """ISO times: to the second where all times are whole seconds, else to the nanosecond.

    A bound without decimals means the whole second, and with it several frames of a cadence below a second.
    """
    whole = (times == times.astype("datetime64[s]")).all()
    return [str(time) for time in times.astype("datetime64[s]" if whole else "datetime64[ns]")]
