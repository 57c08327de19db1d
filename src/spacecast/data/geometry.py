"""The plane of a prepared run, and where its cells lie in grid_index."""

import numpy as np
import xarray as xr

from spacecast.core.errors import UserError
from spacecast.core.grid import Grid
from spacecast.core.units import check_length


def read_grid(dataset: xr.Dataset, label: str) -> tuple[Grid, np.ndarray]:
    """The plane, and the grid_index of each node: cells are placed by their x and z, whatever the stacking order is."""
    for name in ("x", "z"):
        if name not in dataset or dataset[name].dims != ("grid_index",):
            raise UserError(
                f"{label}: coordinate {name!r} of grid_index is missing; stack grid_index from dims [x, "
                "z] and prepare again"
            )
        if not np.isfinite(dataset[name].values).all():
            raise UserError(f"{label}: coordinate {name!r} of grid_index is not finite; prepare again")
        check_length(str(dataset[name].attrs.get("units", "")), f"{label}: coordinate {name!r} of grid_index")
    x, i = np.unique(dataset["x"].values.astype(np.float64), return_inverse=True)
    z, j = np.unique(dataset["z"].values.astype(np.float64), return_inverse=True)
    if max(np.ptp(x), np.ptp(z)) > 1e4:
        raise UserError(
            f"{label}: the plane spans {np.ptp(x):g} x {np.ptp(z):g}, coordinates must be in R_E; "
            "divide metres by 6.371e6"
        )
    cells = i * z.size + j
    if np.unique(cells).size != cells.size:
        raise UserError(f"{label}: two values of grid_index share one position; x and z do not describe a plane")
    features = [str(name) for name in dataset["mask_feature"].values]
    feature = features.index("mask") if "mask" in features else 0
    mask = dataset["mask"].transpose("mask_feature", "grid_index").values[feature]
    if not np.isin(mask, (0, 1)).all():
        raise UserError(f"{label}: mask holds {np.unique(mask)[:4]}, expected 1 = space, 0 = inside Earth")
    space = mask == 1
    if space.mean() < 0.5:
        raise UserError(
            f"{label}: mask leaves {int(space.sum())} of {space.size} cells, it is probably inverted; "
            "expected 1 = space, 0 = inside Earth"
        )
    valid = np.zeros((x.size, z.size), dtype=bool)
    valid.ravel()[cells[space]] = True
    place = np.full(valid.size, -1)
    place[cells] = np.arange(cells.size)
    try:
        grid = Grid({"x": x, "z": z}, valid)
    except UserError as error:
        raise UserError(f"{label}: {error}") from error
    return grid, place[grid.cells]
