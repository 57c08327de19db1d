import numpy as np
import pytest
import torch

from spacecast.core.errors import UserError
from spacecast.core.types import Batch, Stage
from spacecast.forecast.standardize import Standardizer
from spacecast.models.persistence import Persistence
from spacecast.objectives.forecast import ForecastObjective


@pytest.fixture
def batch(tiny_spec) -> Batch:
    generator = torch.Generator().manual_seed(3)
    initial = torch.randn(2, 2, tiny_spec.num_nodes, 12, generator=generator)
    target = torch.randn(2, 4, tiny_spec.num_nodes, 12, generator=generator)
    return Batch(initial, target, torch.zeros(2, 4, tiny_spec.num_nodes, 0), torch.zeros(2, 2, dtype=torch.long))


def brute_force(spec, batch, steps, weights) -> float:
    scale = spec.diff_std / spec.state.std
    total, count = 0.0, 0
    for b in range(2):
        for lead in range(steps):
            for node in np.flatnonzero(spec.interior):
                error = (batch.initial[b, 1, node] - batch.target[b, lead, node]).numpy() / scale
                total += float((weights * error**2).sum())
                count += 12
    return total / count


@pytest.mark.parametrize("steps", [1, 3])
def test_loss_is_the_mean_over_interior_nodes_variables_and_steps(tiny_spec, tiny_graph, batch, steps):
    weights = np.ones(12)
    weights[tiny_spec.state.index("rho")] = 3
    objective = ForecastObjective(tiny_spec, variable_weights={"rho": 3})
    total, terms = objective(Persistence(tiny_spec, tiny_graph), batch, Stage(rollout_steps=steps))
    assert float(total) == pytest.approx(brute_force(tiny_spec, batch, steps, weights), rel=1e-5)
    assert set(terms) == {"loss"}


def test_persistence_of_data_that_move_by_one_increment_costs_one(tiny_spec, tiny_graph, batch):
    step = torch.as_tensor(tiny_spec.increment_statistics[1])
    sign = torch.where(torch.rand(batch.target[:, :1].shape) > 0.5, 1.0, -1.0)
    moved = batch._replace(target=batch.initial[:, 1:] + sign * step)
    total, _ = ForecastObjective(tiny_spec)(Persistence(tiny_spec, tiny_graph), moved, Stage())
    assert float(total) == pytest.approx(1.0, rel=1e-4)


def test_divergence_is_physical_and_waits_for_its_stage(tiny_spec, tiny_graph, batch):
    """A field that is free of divergence in nT costs nothing, however unlike the deviations of Bx and Bz are."""
    x, z = (torch.as_tensor(tiny_spec.grid.positions[:, axis], dtype=torch.float32) for axis in (0, 1))
    physical = torch.zeros(2, tiny_spec.num_nodes, 12)
    physical[..., 0], physical[..., 2] = 3 * x + 2 * z, -3 * z + x
    free = batch._replace(initial=batch.initial.clone())
    free.initial[:, 1] = Standardizer(tiny_spec).state(physical)
    free.target[:, :, tiny_spec.boundary] = free.initial[:, 1:, tiny_spec.boundary]
    objective = ForecastObjective(tiny_spec, div_weight=2.0)
    model = Persistence(tiny_spec, tiny_graph)
    _, terms = objective(model, free, Stage(div=1.0))
    assert float(terms["div"]) < 1e-6
    total, terms = objective(model, batch, Stage(div=0.5))
    assert float(terms["div"]) > 1e-2
    torch.testing.assert_close(total, terms["loss"] + 2.0 * 0.5 * terms["div"])
    assert "div" not in objective(model, batch, Stage(div=0.0)).terms


def test_unknown_names_are_refused(tiny_spec):
    with pytest.raises(UserError, match="did you mean 'wmse'"):
        ForecastObjective(tiny_spec, loss="wmsee")
    with pytest.raises(UserError, match="no variable 'rhoo'"):
        ForecastObjective(tiny_spec, variable_weights={"rhoo": 1})


def test_standardizer_round_trip_and_statistics(tiny_spec):
    physical = torch.randn(3, 5, 12) * 100
    scaler = Standardizer(tiny_spec)
    torch.testing.assert_close(scaler.state_to_physical(scaler.state(physical)), physical)
    mean = torch.as_tensor(tiny_spec.state.mean)
    torch.testing.assert_close(scaler.state(mean), torch.zeros(12))
    assert not scaler.state_dict()
