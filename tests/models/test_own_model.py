"""A model of one's own takes one Python file and one YAML file, and may be made of torch_geometric operators."""

from pathlib import Path

import pytest
import torch
import yaml

from spacecast.core.protocols import StepModel
from spacecast.core.types import Batch, Stage
from spacecast.objectives.forecast import ForecastObjective

FOLDER = Path(__file__).parent / "own"


@pytest.fixture(params=[1, 2], ids=["flat", "hierarchical"])
def model(request, tiny_spec, tiny_graph, tiny_hierarchy, monkeypatch):
    """As the commands build it."""
    from hydra.utils import instantiate

    monkeypatch.syspath_prepend(FOLDER)
    torch.manual_seed(0)
    build = instantiate(yaml.safe_load((FOLDER / "model" / "attention.yaml").read_text()))
    return build(spec=tiny_spec, graph=tiny_graph if request.param == 1 else tiny_hierarchy)


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


def test_weights_round_trip(model, tiny_spec, tmp_path):
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    model.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
