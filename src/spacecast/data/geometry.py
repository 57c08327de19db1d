"""The grid of a prepared run, and where its cells lie in grid_index."""

from collections.abc import Sequence

import numpy as np
import xarray as xr

from spacecast.core.errors import UserError
from spacecast.core.grid import Grid
from spacecast.core.units import check_length


def read_grid(dataset: xr.Dataset, label: str) -> tuple[Grid, np.ndarray]:
    """The grid, and the grid_index of each node: cells are placed by coordinates, whatever the stacking order is.

    The axes are x and z, and y where those two do not tell the cells apart.
    """
    axes = ["x", "z"]
    coordinates, cells = _placed(dataset, axes, label)
    if np.unique(cells).size != cells.size and "y" in dataset:
        axes = ["x", "y", "z"]
        coordinates, cells = _placed(dataset, axes, label)
    if np.unique(cells).size != cells.size:
        kind = "plane" if len(axes) == 2 else "grid"
        raise UserError(
            f"{label}: two values of grid_index share one position; {' and '.join(axes)} do not describe a {kind}"
        )
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
    valid = np.zeros([values.size for values in coordinates.values()], dtype=bool)
    valid.ravel()[cells[space]] = True
    place = np.full(valid.size, -1)
    place[cells] = np.arange(cells.size)
    try:
        grid = Grid(coordinates, valid)
    except UserError as error:
        raise UserError(f"{label}: {error}") from error
    return grid, place[grid.cells]


def _placed(dataset: xr.Dataset, axes: Sequence[str], label: str) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Cell centres along some axes, and the flat cell number of each grid_index, last axis fast."""
    coordinates: dict[str, np.ndarray] = {}
    numbers = []
    for name in axes:
        if name not in dataset or dataset[name].dims != ("grid_index",):
            raise UserError(
                f"{label}: coordinate {name!r} of grid_index is missing; stack grid_index from dims "
                f"[{', '.join(axes)}] and prepare again"
            )
        if not np.isfinite(dataset[name].values).all():
            raise UserError(f"{label}: coordinate {name!r} of grid_index is not finite; prepare again")
        check_length(str(dataset[name].attrs.get("units", "")), f"{label}: coordinate {name!r} of grid_index")
        coordinates[name], number = np.unique(dataset[name].values.astype(np.float64), return_inverse=True)
        numbers.append(number)
    spans = [float(np.ptp(values)) for values in coordinates.values()]
    if max(spans) > 1e4:
        raise UserError(
            f"{label}: the {'plane' if len(axes) == 2 else 'grid'} spans {' x '.join(f'{span:g}' for span in spans)}, "
            "coordinates must be in R_E; divide metres by 6.371e6"
        )
    return coordinates, np.ravel_multi_index(numbers, [values.size for values in coordinates.values()])


def describe_fault(values: np.ndarray, grid: Grid, names: Sequence[str], start: int) -> str:
    """The first value that is not finite, in words.

    Args:
        values: (frame, node, variable), with at least one.
        grid: where the nodes lie.
        names: of the variables.
        start: number of the first frame.

    """
    bad = ~np.isfinite(values)
    frame, node, variable = (int(number) for number in np.argwhere(bad)[0])
    position = zip(grid.axes, grid.positions[node], strict=True)
    place = ", ".join(f"{axis} = {at:g}" for axis, at in position)
    return (
        f"{names[variable]} is {values[frame, node, variable]} outside the mask in frame {start + frame}, first at "
        f"{place} R_E, {int(bad[frame, :, variable].sum())} of {values.shape[1]} nodes"
    )
