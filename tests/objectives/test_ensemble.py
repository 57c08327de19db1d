"""The objective of models that draw, on models whose answers are known in closed form, and on those of conf/model."""

import math

import pytest
import torch
from torch import nn

from spacecast.core.errors import UserError
from spacecast.core.types import Batch, Stage, StepOutput
from spacecast.formulas.ensemble import crps_ensemble, mean_squared_error_of_mean
from spacecast.models.encode_process_decode import EncodeProcessDecode
from spacecast.models.graph_efm import GraphEFM
from spacecast.models.persistence import Persistence
from spacecast.objectives.elbo import ElboObjective
from spacecast.objectives.ensemble import EnsembleObjective
from spacecast.objectives.forecast import ForecastObjective

STEPS = 2


class Walk(nn.Module):
    """X_{t+1} = X_t + size * one standard normal number for the whole plane, kept in `drawn`."""

    def __init__(self, size):
        super().__init__()
        self.size, self.drawn = size, []

    def prepare(self):
        return None

    def step(self, previous, state, forcing, prepared, draw=torch.randn_like):
        self.drawn.append(draw(state.new_zeros(len(state), 1, 1)))
        return StepOutput(state + self.size * self.drawn[-1], None)


@pytest.fixture
def batch(tiny_spec) -> Batch:
    generator = torch.Generator().manual_seed(3)
    initial = torch.randn(2, 2, tiny_spec.num_nodes, 12, generator=generator)
    target = torch.randn(2, STEPS, tiny_spec.num_nodes, 12, generator=generator)
    return Batch(initial, target, torch.zeros(2, STEPS, tiny_spec.num_nodes, 0), torch.zeros(2, 2, dtype=torch.long))


def test_terms_are_almost_fair_crps_and_unbiased_error_of_the_mean_in_increments(tiny_spec, batch):
    """Entry by entry from the members' own noise, averaged over all of them but the boundary."""
    scale = torch.as_tensor(tiny_spec.increment_statistics[1])
    model = Walk(scale)
    objective = EnsembleObjective(tiny_spec, crps_weight=3.0, mean_weight=0.25, members=2)
    total, terms = objective(model, batch, Stage(rollout_steps=STEPS, crps=0.5))
    noise = torch.stack([each.unflatten(0, (2, 2)) for each in model.drawn], dim=2).cumsum(dim=2)
    states = (batch.initial[None, :, 1:] + scale * noise)[..., tiny_spec.interior, :]
    truth = batch.target[..., tiny_spec.interior, :]
    error, distance = (states - truth).abs().mean(dim=0), (states[0] - states[1]).abs()
    crps = (error - 0.5 * (1 - 0.05 / 2) * distance) / scale  # Lang et al. 2024, equation 4
    torch.testing.assert_close(terms["crps"], crps.mean(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(crps * scale, crps_ensemble(states, truth, estimator="almost_fair"))
    squared = (states.mean(dim=0) - truth).square() - distance.square() / 4  # the variance of two is distance^2 / 2
    torch.testing.assert_close(terms["mean"], (squared / scale.square()).mean(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(squared, mean_squared_error_of_mean(states, truth), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(total, 1.5 * terms["crps"] + 0.25 * terms["mean"])


def test_forecasts_from_own_states_count_less_and_the_first_member_is_kept(tiny_spec, batch):
    """The error of the mean 1 / (1 + 10 e^2), the CRPS the root of it, with the error e of the state in increments."""
    scale, inside = torch.as_tensor(tiny_spec.increment_statistics[1]), tiny_spec.interior
    error, kept = torch.rand(2, 1, 12, generator=torch.Generator().manual_seed(1)), []
    state = batch.initial[:, 1] + error * scale
    own = batch._replace(initial=torch.stack([batch.initial[:, 0], state, batch.initial[:, 1]], dim=1))
    model = Walk(scale)
    terms = EnsembleObjective(tiny_spec)(model, own, Stage(), keep=lambda *states: kept.append(states)).terms
    members = (state + scale * model.drawn[0].unflatten(0, (2, 2)))[..., inside, :]
    truth, weight = batch.target[:, 0, inside], 1 / (1 + 10 * error.square())
    crps = weight.sqrt() * crps_ensemble(members, truth, estimator="almost_fair") / scale
    mean = weight * mean_squared_error_of_mean(members, truth) / scale.square()
    torch.testing.assert_close(terms["crps"], crps.mean(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(terms["mean"], mean.mean(), rtol=1e-4, atol=1e-5)
    assert torch.equal(kept[0][0], state)
    torch.testing.assert_close(kept[0][1][:, inside], members[0])


def test_squared_error_of_the_mean_is_without_bias(tiny_spec):
    """Members N(0, 1) and the truth 0.5, in increments: 0.25 on average, however few members there are."""
    scale = torch.as_tensor(tiny_spec.increment_statistics[1])
    shape = 3000, 1, tiny_spec.num_nodes, 12
    zero = torch.zeros(1).expand(3000, 2, tiny_spec.num_nodes, 12)
    nothing = torch.zeros(3000, 1, tiny_spec.num_nodes, 0)
    many = Batch(zero, (0.5 * scale).expand(shape), nothing, torch.zeros(3000, 2, dtype=torch.long))
    torch.manual_seed(0)
    terms = EnsembleObjective(tiny_spec)(Walk(scale), many, Stage()).terms
    assert float(terms["mean"]) == pytest.approx(0.25, abs=0.06)  # the plain squared error would be 0.75


def test_until_the_crps_comes_in_it_is_the_squared_error_of_the_forecast_without_noise(tiny_spec, tiny_graph, batch):
    stage = Stage(rollout_steps=STEPS, crps=0)
    model = Walk(1.0)
    state = torch.get_rng_state()
    total, terms = EnsembleObjective(tiny_spec)(model, batch, stage)
    assert torch.equal(state, torch.get_rng_state())
    assert set(terms) == {"mean"}
    assert [len(each) for each in model.drawn] == [2] * STEPS  # one member of each of two windows
    torch.testing.assert_close(total, ForecastObjective(tiny_spec)(Persistence(tiny_spec, tiny_graph), batch, stage)[0])


def test_it_is_the_ensemble_part_of_the_bound_of_a_latent_model(tiny_spec, tiny_graph, batch):
    torch.manual_seed(0)
    model = GraphEFM(tiny_spec, tiny_graph, hidden_dim=8, latent_dim=2, processor_layers=1, prior="learned")
    weights = {"crps_weight": 4.0, "mean_weight": 1.0, "div_weight": 0.1, "estimator": "fair", "members": 3}
    whole = ElboObjective(tiny_spec, reconstruction_weight=0, kl_weight=0, **weights)
    for crps in (0.0, 1.0):
        results = []
        for objective in (whole, EnsembleObjective(tiny_spec, **weights)):
            torch.manual_seed(1)
            results.append(objective(model, batch, Stage(rollout_steps=STEPS, crps=crps)))
        assert results[0].terms.keys() == results[1].terms.keys()
        assert torch.equal(results[0].total, results[1].total)


@pytest.mark.parametrize("noise", [{"global": 4}, {"local": 3}, {"global": 4, "local": 3}])
@pytest.mark.parametrize("levels", [1, 2])
def test_gradients_reach_the_noise_weights_once_there_are_members(
    tiny_spec, tiny_graph, tiny_hierarchy, batch, noise, levels
):
    graph = {1: tiny_graph, 2: tiny_hierarchy}[levels]
    torch.manual_seed(0)
    model = EncodeProcessDecode(tiny_spec, graph, hidden_dim=8, processor_layers=2, noise=noise)
    objective = EnsembleObjective(tiny_spec)
    objective(model, batch, Stage(rollout_steps=STEPS, crps=0)).total.backward()
    assert all(weight.grad is None for weight in model.noise.parameters())
    model.zero_grad()
    objective(model, batch, Stage(rollout_steps=STEPS)).total.backward()
    for name, weight in model.named_parameters():
        assert torch.isfinite(weight.grad).all(), name
        assert weight.grad.any(), name


def test_training_makes_members_of_a_deterministic_model(tiny_spec, tiny_graph):
    """Truth that is one of two, by chance: the fair score is at its least when the members are too."""
    torch.manual_seed(0)
    scale = torch.as_tensor(tiny_spec.increment_statistics[1])
    model = EncodeProcessDecode(tiny_spec, tiny_graph, hidden_dim=8, processor_layers=1, noise={"global": 2})
    objective = EnsembleObjective(tiny_spec, mean_weight=0, crps_weight=1.0, members=4)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    initial = torch.zeros(8, 2, tiny_spec.num_nodes, 12)
    nothing = torch.zeros(8, 1, tiny_spec.num_nodes, 0)
    losses = []
    for _ in range(100):
        sign = torch.where(torch.rand(8, 1, 1, 1) > 0.5, 1.0, -1.0)
        batch = Batch(initial, (sign * scale).expand(8, 1, tiny_spec.num_nodes, 12), nothing, nothing)
        total, _ = objective(model, batch, Stage())
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        losses.append(float(total.detach()))
    assert losses[0] > 0.9
    assert sum(losses[-10:]) / 10 < 0.7  # 1 for the best single forecast, 0.5 for the true distribution


def test_forgetting_activations_changes_nothing(tiny_spec, tiny_graph, batch):
    torch.manual_seed(0)
    noise = {"global": 3, "local": 2}
    model = EncodeProcessDecode(tiny_spec, tiny_graph, hidden_dim=8, processor_layers=1, noise=noise)
    with torch.no_grad():
        for weight in model.noise.parameters():
            weight.normal_(std=0.1)
    results = []
    for recompute in (False, True):
        model.zero_grad()
        torch.manual_seed(5)
        total, _ = EnsembleObjective(tiny_spec, recompute=recompute)(model, batch, Stage(rollout_steps=STEPS))
        total.backward()
        results.append([total.detach(), *(each.grad.clone() for each in model.parameters())])
    torch.testing.assert_close(results[0], results[1])


def test_crps_of_members_in_closed_form(tiny_spec):
    """Members and truth that differ by one Z each: the score of N(0, 1) at 0 on average, in units of the increments."""
    scale = torch.as_tensor(tiny_spec.increment_statistics[1])
    zero = torch.zeros(1, 1, tiny_spec.num_nodes, 12)
    batch = Batch(zero.repeat(1, 2, 1, 1), zero, zero[..., :0], torch.zeros(1, 2, dtype=torch.long))
    torch.manual_seed(0)
    terms = EnsembleObjective(tiny_spec, members=300)(Walk(scale), batch, Stage()).terms
    assert float(terms["crps"]) == pytest.approx((math.sqrt(2) - 1) / math.sqrt(math.pi), rel=0.15)


def test_wrong_settings_are_refused(tiny_spec, tiny_graph, batch):
    plain = EncodeProcessDecode(tiny_spec, tiny_graph, hidden_dim=8, processor_layers=1)
    for model in (plain, Persistence(tiny_spec, tiny_graph)):
        kind = type(model).__name__
        with pytest.raises(UserError, match=rf"needs a model that draws \(model.noise=.*, found {kind}, which"):
            EnsembleObjective(tiny_spec)(model, batch, Stage())
    with pytest.raises(UserError, match="members is 1"):
        EnsembleObjective(tiny_spec, members=1)
    with pytest.raises(UserError, match="unknown CRPS estimator 'ecdf'"):
        EnsembleObjective(tiny_spec, estimator="ecdf")
    with pytest.raises(UserError, match=r"crps_weight and loss\.mean_weight are both 0"):
        EnsembleObjective(tiny_spec, mean_weight=0, crps_weight=0)(Walk(1.0), batch, Stage())


def test_before_the_crps_the_squared_error_counts_whatever_the_weights(tiny_spec, batch):
    stage = Stage(crps=0)
    plain, without = (EnsembleObjective(tiny_spec, mean_weight=weight)(Walk(1.0), batch, stage) for weight in (1, 0))
    assert list(without.terms) == ["mean"]
    assert float(without.total) == float(plain.total) == float(without.terms["mean"])
