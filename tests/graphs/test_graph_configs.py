"""The files of conf/graph build sound graphs."""

from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from spacecast.core.errors import UserError
from spacecast.core.graph import MeshGraph
from spacecast.graphs.validation import validate

CONF = Path(__file__).resolve().parents[2] / "conf" / "graph"


@pytest.mark.parametrize("name", ["simple", "multiscale", "hierarchical", "reference"])
def test_configuration_builds(name, plane):
    builder = instantiate(OmegaConf.load(CONF / f"{name}.yaml"))
    grid = plane(90, 60)
    graph = builder.build(grid)
    assert isinstance(graph, MeshGraph)
    assert graph.hierarchical == (name == "hierarchical")
    validate(graph, grid)


@pytest.mark.parametrize("name", ["simple", "multiscale", "hierarchical"])
def test_no_radius_is_the_radius_that_reaches_no_further_node(name, plane):
    """On planes with a mesh spacing of 3 the next node is 2/3 away: edges as with 0.6, the former default."""
    config, grid = OmegaConf.load(CONF / f"{name}.yaml"), plane(90, 60)
    graph, other = instantiate(config).build(grid), instantiate(config, grid_to_mesh_radius=0.6).build(grid)
    for edges, same in zip(graph.edge_sets().values(), other.edge_sets().values(), strict=True):
        torch.testing.assert_close(edges.senders, same.senders, rtol=0, atol=0)
        torch.testing.assert_close(edges.receivers, same.receivers, rtol=0, atol=0)
        torch.testing.assert_close(edges.features, same.features, rtol=0, atol=0)
    assert graph.grid_to_mesh.num_edges == grid.num_nodes
    assert instantiate(config, grid_to_mesh_radius=0.67).build(grid).grid_to_mesh.num_edges > grid.num_nodes


@pytest.mark.parametrize("name", ["reference_multiscale", "reference_hierarchical"])
def test_published_layouts_need_a_plane_with_room_for_two_levels(name, plane):
    config = OmegaConf.merge(OmegaConf.load(CONF / "reference.yaml"), OmegaConf.load(CONF / f"{name}.yaml"))
    del config["defaults"]
    with pytest.raises(UserError, match="have room for 1"):
        instantiate(config).build(plane(90, 60))
    assert instantiate(config, coarsening=3).build(plane(90, 60)).hierarchical == (name == "reference_hierarchical")


def test_stored_needs_a_path(reference_dir, reference_grid):
    config = OmegaConf.load(CONF / "stored.yaml")
    config.path = str(reference_dir / "data" / "graph" / "simple")
    validate(instantiate(config).build(reference_grid), reference_grid)
