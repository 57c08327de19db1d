"""Planes for the tests of graphs."""

from collections.abc import Callable

import numpy as np
import pytest

from spacecast.core.grid import Grid


@pytest.fixture(scope="session")
def plane() -> Callable[..., Grid]:
    """Makes a plane of cells of 1 R_E with a hole of a given radius, Earth off its centre."""

    def make(nx: int = 60, nz: int = 40, hole: float = 3.85, cell: float = 1.0) -> Grid:
        x = (np.arange(nx) - (nx - 1) * 0.6) * cell
        z = (np.arange(nz) - (nz - 1) / 2) * cell
        return Grid({"x": x, "z": z}, np.hypot(x[:, None], z[None, :]) >= hole)

    return make


@pytest.fixture(scope="session")
def reference_grid(reference_dir) -> Grid:
    """The plane of the reference results."""
    import xarray as xr

    with xr.open_zarr(reference_dir / "data" / "vlasiator_run_1.zarr") as data:
        x, z = np.unique(data.x.values), np.unique(data.z.values)
        valid = np.zeros((x.size, z.size), dtype=bool)
        valid[np.searchsorted(x, data.x.values), np.searchsorted(z, data.z.values)] = data["mask"].values.ravel() > 0
    return Grid({"x": x, "z": z}, valid)


@pytest.fixture(scope="session")
def real_grid() -> Grid:
    """The plane of the published data: 1006 x 671 cells of 600 km, where mesh counts are known."""
    cell = 600 / 6371
    x, z = -60.75 + cell * np.arange(1006), cell * (np.arange(671) - 335)
    return Grid({"x": x, "z": z}, np.hypot(x[:, None], z[None, :]) >= 3.8)
