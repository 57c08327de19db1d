"""Small files of the form of the published scores and example forecasts."""

from pathlib import Path

import numpy as np
import xarray as xr

from spacecast.core.grid import Grid

UNITS = {
    **dict.fromkeys(("Bx", "By", "Bz"), "nT"), **dict.fromkeys(("Ex", "Ey", "Ez"), "mV/m"),
    **dict.fromkeys(("vx", "vy", "vz"), "km/s"), "rho": "1/cm3", "P": "nPa", "T": "MK",
}  # fmt: skip
NAMES = tuple(UNITS)
ENSEMBLE = ("rmse", "ens_rmse", "crps_ens", "spsk_ratio", "spread", "mae", "div_b")
SINGLE = ("rmse", "mae", "div_b")


def table(model: str, kind: str, rows: int = 3) -> np.ndarray:
    """Values that no other table has, (lead, variable); div B has one column."""
    columns = 1 if kind == "div_b" else len(NAMES)
    level = 1 + sum(map(ord, model + kind)) % 97 / 10
    return level + np.arange(rows)[:, None] + np.arange(columns) / 100


def write_model(folder: Path, model: str, kinds: tuple[str, ...], rows: int = 3) -> Path:
    """The tables of a model."""
    place = folder / model
    place.mkdir(parents=True, exist_ok=True)
    for kind in kinds:
        np.savetxt(place / f"test_{kind}.csv", table(model, kind, rows), delimiter=",")
    return place


def example_fields(grid: Grid, leads: int, seed: int) -> np.ndarray:
    """(time, variable, x, z), NaN inside Earth."""
    rng = np.random.default_rng(seed)
    fields = rng.normal(size=(leads, len(NAMES), *grid.shape)) + np.arange(len(NAMES))[:, None, None]
    fields[:, 9:] = np.exp(fields[:, 9:] / 10)
    return np.where(grid.valid, fields, np.nan)


def make_example(grid: Grid, leads: int = 4, *, ensemble: bool = True, seed: int = 0) -> xr.Dataset:
    """An example: target, and ens_mean and ens_std or prediction."""
    kinds = {"target": 0, **({"ens_mean": 1, "ens_std": 2} if ensemble else {"prediction": 3})}
    axes = ("time", "state_feature", "x", "z")
    fields = {kind: (axes, example_fields(grid, leads, seed + number)) for kind, number in kinds.items()}
    if ensemble:
        fields["ens_std"] = axes, np.abs(fields["ens_std"][1])
    start = np.datetime64("2000-01-01T00:10:01", "ns")
    times = start + np.arange(leads) * np.timedelta64(10**9, "ns")
    return xr.Dataset(fields, {"time": times, "state_feature": list(NAMES), **grid.coordinates})


def write_example(data: xr.Dataset, folder: Path) -> Path:
    """`example_1.zarr` in a folder."""
    path = folder / "example_1.zarr"
    folder.mkdir(parents=True, exist_ok=True)
    data.to_zarr(path, mode="w", zarr_format=2)
    return path
