"""The files of conf/graph build sound graphs."""

from pathlib import Path

import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

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


def test_stored_needs_a_path(reference_dir, reference_grid):
    config = OmegaConf.load(CONF / "stored.yaml")
    config.path = str(reference_dir / "data" / "graph" / "simple")
    validate(instantiate(config).build(reference_grid), reference_grid)
