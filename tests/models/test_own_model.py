"""A model of one's own takes one Python file and one YAML file, and may be made of torch_geometric operators."""

from pathlib import Path

import pytest
import torch
import yaml

from spacecast.config.build import build
from spacecast.core.protocols import StepModel
from spacecast.core.types import Batch, Stage
from spacecast.objectives.forecast import ForecastObjective

FOLDER = Path(__file__).parent / "own"


@pytest.fixture(params=[1, 2], ids=["flat", "hierarchical"])
def make(request, tiny_spec, tiny_graph, tiny_hierarchy, monkeypatch):
    """Makes the model as the commands do."""
    monkeypatch.syspath_prepend(FOLDER)

    def make(seed):
        torch.manual_seed(seed)
        section = yaml.safe_load((FOLDER / "model" / "attention.yaml").read_text())
        return build(section)(spec=tiny_spec, graph=tiny_graph if request.param == 1 else tiny_hierarchy)

    return make


@pytest.fixture
def model(make):
    return make(seed=0)


def test_it_learns_where_persistence_cannot(model, tiny_spec):
    """States that rise on the day side and fall on the night side: persistence scores 1."""
    assert isinstance(model, StepModel)
    torch.manual_seed(1)
    scale = torch.as_tensor(tiny_spec.increment_statistics[1])
    objective = ForecastObjective(tiny_spec)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    rise = torch.as_tensor(tiny_spec.grid.positions[:, :1]).sign().float() * scale
    nothing = torch.zeros(2, 1, tiny_spec.num_nodes, 0)
    losses = []
    for _ in range(60):
        initial = torch.randn(2, 2, tiny_spec.num_nodes, 12)
        total, _ = objective(model, Batch(initial, initial[:, 1:] + rise, nothing, nothing), Stage())
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        losses.append(float(total.detach()))
    assert sum(losses[-10:]) / 10 < 0.5 < losses[0]
    assert all(torch.isfinite(each.grad).all() for each in model.parameters() if each.grad is not None)


def test_weights_round_trip(model, make, tiny_spec, tmp_path):
    """Into another model of the same form, which then forecasts the same."""
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    other = make(seed=1)
    states = torch.randn(2, 2, tiny_spec.num_nodes, 12, generator=torch.Generator().manual_seed(2))
    inputs = states[:, 0], states[:, 1], torch.zeros(2, tiny_spec.num_nodes, 0)

    def forecast(one):
        with torch.no_grad():
            return one.step(*inputs, one.prepare()).state

    assert not torch.equal(forecast(other), forecast(model))
    other.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    assert torch.equal(forecast(other), forecast(model))
