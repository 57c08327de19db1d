from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from spacecast.config.binding import check_target
from spacecast.config.trust import Trust
from spacecast.core.errors import UserError
from spacecast.core.types import Batch, Forecast, Stage
from spacecast.forecast.standardize import Standardizer
from spacecast.formulas.pointwise import wmse
from spacecast.models.persistence import Persistence
from spacecast.objectives.elbo import ElboObjective
from spacecast.objectives.ensemble import EnsembleObjective
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
    with pytest.raises(UserError, match="variable_weights=plsma: expected weights by variable name, or 'plasma'"):
        ForecastObjective(tiny_spec, variable_weights="plsma")


def test_the_weights_of_a_plasma_are_those_of_the_variables_that_there_are(tiny_spec):
    names = tuple("density" if name == "rho" else name for name in tiny_spec.state.names)
    foreign = replace(tiny_spec, state=replace(tiny_spec.state, names=names))
    for spec, weights in ((tiny_spec, {"Ey": 2, "rho": 3}), (foreign, {"Ey": 2})):
        chosen, named = (ForecastObjective(spec, variable_weights=each) for each in ("plasma", weights))
        assert torch.equal(chosen.interior.scale, named.interior.scale)


def cubed(forecast, truth, std, *, factor: float = 1.0):
    """A loss of a user's own."""
    return factor * ((forecast - truth) / std).abs() ** 3


@pytest.mark.parametrize("kind", [ForecastObjective, ElboObjective])
def test_a_loss_may_be_any_function_of_entries(tiny_spec, tiny_graph, batch, kind):
    named, own = (kind(tiny_spec, loss=loss, variable_weights={"rho": 3}).interior for loss in ("wmse", wmse))
    forecast = Forecast(batch.target + 0.1, None)
    assert torch.equal(named(forecast, batch.target), own(forecast, batch.target))
    ours = kind(tiny_spec, loss=partial(cubed, factor=2.0)).interior(forecast, batch.target)
    scale = torch.as_tensor(tiny_spec.increment_statistics[1])
    torch.testing.assert_close(ours, (2 * (0.1 / scale) ** 3).mean())


OBJECTIVE = {"_target_": "spacecast.objectives.forecast.ForecastObjective", "_partial_": True}
OWN = {"_target_": "spacecast.formulas.pointwise.wmse", "_partial_": True}


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        ("wmsee", r"loss.loss: expected 'mse' or .* or the _target_ of a function, found 'wmsee'; did you mean 'wmse'"),
        (3, "loss.loss: expected 'mse' or .*, found 3"),
        (OWN | {"delta": 1}, r"unknown key 'loss.loss.delta'"),
        ({"_target_": OWN["_target_"]}, "loss.loss: spacecast.formulas.pointwise.wmse needs forecast, truth, std"),
    ],
)
def test_what_is_no_loss_is_a_mistake_of_the_configuration(loss, message):
    check_target({**OBJECTIVE, "loss": OWN}, "loss", given=("spec",))
    with pytest.raises(UserError, match=message):
        check_target({**OBJECTIVE, "loss": loss}, "loss", given=("spec",))


def test_a_function_out_of_a_file_is_called_if_it_is_trusted_and_not_else():
    section = {"loss": {**OBJECTIVE, "loss": {"_target_": "mine.huber", "_partial_": True}}}
    known = {"loss": frozenset([OBJECTIVE["_target_"]])}
    with pytest.raises(UserError, match=r"loss.loss._target_='mine.huber' is not called.*trust=mine"):
        Trust(composed=known).check(section, "checkpoint x")
    Trust(words=("mine.huber",), composed=known).check(section, "checkpoint x")


def test_standardizer_round_trip_and_statistics(tiny_spec):
    physical = torch.randn(3, 5, 12) * 100
    scaler = Standardizer(tiny_spec)
    torch.testing.assert_close(scaler.state_to_physical(scaler.state(physical)), physical)
    mean = torch.as_tensor(tiny_spec.state.mean)
    torch.testing.assert_close(scaler.state(mean), torch.zeros(12))
    assert not scaler.state_dict()


@pytest.mark.parametrize("build", [ForecastObjective, EnsembleObjective, ElboObjective])
def test_every_tensor_of_an_objective_follows_it_to_its_device(build, tiny_spec):
    objective = build(tiny_spec).to("meta")
    inside = [part for part in objective.modules() for part in vars(part).values()]
    options = [value for part in inside if isinstance(part, dict) for value in part.values()]
    tensors = [value for value in options if isinstance(value, torch.Tensor)]
    assert {tensor.device.type for tensor in tensors} == {"meta"}
