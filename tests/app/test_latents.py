"""The latent variable, found again from the files of a run: of data with a forcing, by what the examples hold of it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from spacecast.app.latents import STEPS, latents_of
from spacecast.checkpoint.content import describe
from spacecast.checkpoint.files import write_whole
from spacecast.core.spec import DataSpec, FeatureSpec
from spacecast.forecast.writer import ForecastWriter
from spacecast.graphs.builders import MeshGraphBuilder
from spacecast.models.graph_efm import GraphEFM

MEAN, STD = np.array([2.0, -1.0]), np.array([3.0, 0.5])
SIZES = {"hidden_dim": 4, "latent_dim": 3, "processor_layers": 1}
GRAPH = {"layout": "simple", "mesh_spacing": 2}


@pytest.fixture
def forced(tiny_spec) -> DataSpec:
    """Data with two columns of forcing."""
    return replace(tiny_spec, forcing=FeatureSpec(("n[0]", "n[+1]"), ("1/cm3", "1/cm3"), MEAN, STD))


@pytest.fixture
def checkpoint(forced, tmp_path) -> Path:
    """A model of such data that is not trained."""
    graph = MeshGraphBuilder(**GRAPH).build(forced.grid)
    parts = {"model": (GraphEFM, SIZES), "graph": (MeshGraphBuilder, GRAPH)}
    config = {name: {"_target_": f"{kind.__module__}.{kind.__name__}"} | sizes for name, (kind, sizes) in parts.items()}
    config["model"]["_partial_"] = True
    weights = GraphEFM(forced, graph, **SIZES).state_dict()
    content = {"state_dict": {f"model.{name}": value for name, value in weights.items()}}
    write_whole(content | {"spacecast": describe(config, forced, graph)}, tmp_path / "checkpoints" / "best.ckpt")
    return tmp_path


def write_examples(path: Path, spec: DataSpec, *, columns: bool) -> np.ndarray:
    """One forecast; the forcing of its steps, (lead, node, column)."""
    rng = np.random.default_rng(3)
    forcing = rng.normal(size=(STEPS, spec.num_nodes, 2))
    stored = spec if columns else replace(spec, forcing=FeatureSpec.empty())
    with ForecastWriter(path, stored, np.array([np.datetime64("2000-01-01T00:10:00")]), STEPS) as writer:
        for lead in range(STEPS):
            state = spec.state.mean + spec.state.std * rng.normal(size=(spec.num_nodes, len(spec.state)))
            writer.write(0, lead, state[None], state, forcing[lead])
    return forcing


def test_prior_and_posterior_are_given_the_forcing_of_their_step(forced, checkpoint, monkeypatch) -> None:
    given = write_examples(checkpoint / "examples.zarr", forced, columns=True)
    seen = []
    for name in ("prior", "posterior"):
        method = getattr(GraphEFM, name)
        place = {"prior": 2, "posterior": 3}[name]

        def kept(model, *inputs, method=method, place=place):
            seen.append(inputs[place].numpy())
            return method(model, *inputs)

        monkeypatch.setattr(GraphEFM, name, kept)
    found = latents_of(checkpoint, None, checkpoint / "examples.zarr")
    assert found.prior.shape == found.posterior.shape == (2, len(found.positions), 3)
    assert np.isfinite(found.posterior).all()
    for each in seen:
        np.testing.assert_allclose(each[0], (given[STEPS - 1] - MEAN) / STD, rtol=1e-5, atol=1e-6)
    assert len(seen) == 2


def test_examples_that_lack_the_forcing_have_no_latents(forced, checkpoint) -> None:
    write_examples(checkpoint / "examples.zarr", forced, columns=False)
    assert latents_of(checkpoint, None, checkpoint / "examples.zarr") is None
