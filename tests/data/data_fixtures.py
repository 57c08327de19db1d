"""A small raw data set with closed-form fields, prepared once by the real mllam-data-prep."""

import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import yaml

from spacecast.data.configs import write_configs
from spacecast.data.prepare import prepare
from spacecast.formulas.physics import NKT

STATE = ("Bx", "By", "Bz", "Ex", "Ey", "Ez", "vx", "vy", "vz", "rho", "P", "T")
UNITS = dict(zip(STATE, ("nT",) * 3 + ("mV/m",) * 3 + ("km/s",) * 3 + ("1/cm3", "nPa", "MK"), strict=True))
FRAMES = 30
X, Z = np.linspace(-22.0, 22.0, 12), np.linspace(-16.0, 16.0, 9)
RADIUS = np.hypot(X[:, None], Z[None, :])
SPACE = RADIUS > 5.0


def fields(run: int) -> dict[str, np.ndarray]:
    """Twelve fields of shape (time, x, z): B from a potential, E = -v x B, P = n k T, NaN inside Earth."""
    t, x, z = np.arange(FRAMES)[:, None, None], X[None, :, None], Z[None, None, :]
    phase = 0.15 * x + 0.05 * run * t
    out = {
        "Bx": -4.0 * np.cos(0.1 * z) * np.sin(phase) + 0 * t,
        "By": 1.0 + 0.5 * np.sin(phase + 0.2 * z),
        "Bz": 6.0 * np.sin(0.1 * z) * np.cos(phase) - 3.0,
        "vx": -400.0 + 50 * np.cos(phase) + 0 * z,
        "vy": 20.0 * np.sin(phase + 0.1 * z),
        "vz": 30.0 * np.sin(0.2 * z + 0.1 * t) + 0 * x,
        "rho": run * (1.5 + np.sin(phase + 0.03 * z)),
        "T": 5.0 + np.cos(phase - 0.1 * z),
    }
    v, b = ([out[f"{f}{a}"] for a in "xyz"] for f in ("v", "B"))
    out["Ex"], out["Ey"], out["Ez"] = (-1e-3 * (v[i] * b[j] - v[j] * b[i]) for i, j in ((1, 2), (2, 0), (0, 1)))
    out["P"] = NKT * out["rho"] * out["T"]
    return {name: np.where(SPACE, np.broadcast_to(out[name], (FRAMES, X.size, Z.size)), np.nan) for name in STATE}


def write_raw(root: Path, run: int, zarr_format: int = 3, dims: tuple[str, ...] = ("time", "x", "z")) -> None:
    """A raw run in float64, in either format and order of axes."""
    coords = {"time": np.datetime64("2000-01-01", "ns") + np.arange(FRAMES) * np.timedelta64(10, "s"), "x": X, "z": Z}
    raw = xr.Dataset({n: (("time", "x", "z"), a, {"units": UNITS[n]}) for n, a in fields(run).items()}, coords)
    sizes = {"time": 10, "x": X.size, "z": Z.size}
    save(
        raw.transpose(*dims),
        root / f"run_{run}.zarr",
        zarr_format,
        {n: {"chunks": tuple(sizes[d] for d in dims)} for n in STATE},
    )


def write_static(root: Path) -> None:
    """Static features under names of their own, and the mask."""
    planes = {"sunward": X[:, None] + 0 * Z, "r": RADIUS, "north": 0 * X[:, None] + Z, "mask": SPACE}
    static = xr.Dataset(
        {n: (("x", "z"), a.astype(float), {"units": "R_E"}) for n, a in planes.items()}, {"x": X, "z": Z}
    )
    save(static, root / "static.zarr")


def save(dataset: xr.Dataset, path: Path, zarr_format: int = 3, encoding: dict | None = None) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset.to_zarr(path, mode="w", consolidated=True, zarr_format=zarr_format, encoding=encoding)


def rewrite(path: Path, change, zarr_format: int = 3) -> None:
    """Load a store, change it and write it again."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = xr.open_zarr(path, chunks=None).load().drop_encoding()
    changed = change(dataset)
    shutil.rmtree(path)
    save(
        changed.drop_vars(
            [n for n in changed.variables if n.startswith("mask__") or n.endswith(("long_name", "source_dataset"))]
        ),
        path,
        zarr_format,
    )


@pytest.fixture(scope="session")
def prepared_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three runs: raw format 2 with axes (time, z, x) as published, and format 3; run 3 is stacked [z, x]."""
    root = tmp_path_factory.mktemp("data")
    write_static(root)
    write_raw(root, 1, 2, ("time", "z", "x"))
    write_raw(root, 2)
    write_raw(root, 3)
    write_configs(root)
    path = root / "vlasiator_run_3.yaml"
    config = yaml.safe_load(path.read_text())
    for entry in config["inputs"].values():
        entry["dim_mapping"]["grid_index"]["dims"] = ["z", "x"]
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    prepare(root)
    return root


@pytest.fixture
def root(prepared_root: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage: prepared runs 1 and 2 only."""
    folder = tmp_path / "data"
    folder.mkdir()
    for run in (1, 2):
        shutil.copytree(prepared_root / f"vlasiator_run_{run}.zarr", folder / f"vlasiator_run_{run}.zarr")
    return folder


@pytest.fixture
def raw_root(prepared_root: Path, tmp_path: Path) -> Path:
    """A copy with everything, raw data included, file times kept."""
    return Path(shutil.copytree(prepared_root, tmp_path / "raw", copy_function=shutil.copy2))
