"""What a picture of the mesh shows is what the model passes messages on."""

import numpy as np
import pytest
from untrained import write_untrained

from spacecast.app.loading import load
from spacecast.app.plotted import graph_of
from spacecast.nn.cells import level_positions

pytestmark = pytest.mark.slow


@pytest.fixture
def small_data(small: list[str]) -> list[str]:
    """Those words of `small` that say nothing of the model."""
    return [word for word in small if not word.startswith("model")]


def test_of_a_model_on_a_mesh_it_is_the_mesh(untrained):
    assert graph_of(untrained / "fm", None).content_hash == load(untrained / "fm", device="cpu").graph.content_hash


def test_of_a_model_on_cells_it_is_the_levels_of_cells(small_data, tmp_path):
    write_untrained(tmp_path / "unet", [*small_data, "model=graph_unet"])
    grid = load(tmp_path / "unet", device="cpu").spec.grid
    shown = graph_of(tmp_path / "unet", None)
    for level, at in zip(shown.levels, level_positions(grid, 3), strict=True):
        np.testing.assert_allclose(level.positions, at)


def test_of_a_model_that_passes_no_messages_there_is_none(small_data, tmp_path):
    write_untrained(tmp_path / "persistence", [*small_data, "model=persistence"])
    assert graph_of(tmp_path / "persistence", None) is None
