"""Operators on cells around a network on a mesh."""

from torch import Tensor, nn

from spacecast.core.grid import Grid
from spacecast.nn.cells import make_levels, rows_of
from spacecast.nn.directional import Blocks, Conditions, make_blocks, run_blocks


class GridBlocks(nn.Module):
    """Residual blocks on the cells before and after the mesh, and a way round it.

    A mesh is coarser than the grid, and what it sends back does not know the cell's own vector: fronts of one cell go
    by the blocks and round the mesh.

    Args:
        grid: of the data.
        count: blocks before the mesh, and as many after it.
        dim: size of the vectors before the mesh.
        decode_dim: size of the vectors after it.
    """

    def __init__(self, grid: Grid, count: int, dim: int, decode_dim: int) -> None:
        super().__init__()
        self.cells = make_levels(grid, 1)[0]
        self.blocks_before = make_blocks(count, dim, len(grid.axes))
        self.blocks_after = make_blocks(count, decode_dim, len(grid.axes))
        self.round = nn.Linear(dim, decode_dim)
        self.norms = 2 * count

    def before(self, grid: Tensor, batch: int, conditions: Conditions | None = None) -> Tensor:
        """Embedded grid, (batch * node, dim), to the same shape."""
        return self._run(self.blocks_before, grid.view(batch, -1, grid.shape[-1]), conditions)

    def after(self, grid: Tensor, skipped: Tensor, batch: int, conditions: Conditions | None = None) -> Tensor:
        """What came from the mesh, (batch * node, decode_dim), and what went into it, (batch * node, dim)."""
        return self._run(self.blocks_after, (grid + self.round(skipped)).view(batch, -1, grid.shape[-1]), conditions)

    def _run(self, blocks: Blocks, nodes: Tensor, conditions: Conditions | None) -> Tensor:
        """(batch, node, channel) through blocks, to (batch * node, channel); conditions are those of the nodes."""
        if conditions is not None:
            conditions = (each if each.shape[1] == 1 else rows_of(self.cells, each) for each in conditions)
        return self.cells.pick(run_blocks(blocks, self.cells.lay_out(nodes), self.cells, conditions)).flatten(0, 1)


def make_grid_blocks(grid: Grid, count: int, dim: int, decode_dim: int) -> GridBlocks | None:
    """Blocks around a mesh; None where there are to be none."""
    return GridBlocks(grid, count, dim, decode_dim) if count else None
