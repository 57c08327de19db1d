"""The objective of latent-variable models on a model whose answers are known in closed form."""

import math

import pytest
import torch

from spacecast.core.errors import UserError
from spacecast.core.types import Batch, Stage, StepOutput
from spacecast.models.graph_efm import GraphEFM
from spacecast.models.persistence import Persistence
from spacecast.objectives.elbo import ElboObjective
from spacecast.objectives.forecast import ForecastObjective

STEPS = 3


@pytest.fixture
def batch(tiny_spec) -> Batch:
    generator = torch.Generator().manual_seed(3)
    initial = torch.randn(2, 2, tiny_spec.num_nodes, 12, generator=generator)
    target = torch.randn(2, STEPS, tiny_spec.num_nodes, 12, generator=generator)
    return Batch(initial, target, torch.zeros(2, STEPS, tiny_spec.num_nodes, 0), torch.zeros(2, 2, dtype=torch.long))


class Shift(torch.nn.Module):
    """X_{t+1} = X_t + `size` * Z with one Z for all: N(0, 1) in the prior, N(0.5, 0.25^2) in the posterior."""

    def __init__(self, size):
        super().__init__()
        self.size = size

    def prepare(self):
        return None

    def step(self, previous, state, forcing, prepared):
        return self.decode(torch.randn(len(state), 1, 1), previous, state, forcing, prepared)

    def prior(self, previous, state, forcing, prepared):
        return torch.zeros(len(state), 1, 1), torch.ones(len(state), 1, 1)

    def posterior(self, previous, state, target, forcing, prepared):
        return torch.full((len(state), 1, 1), 0.5), torch.full((len(state), 1, 1), 0.25)

    def decode(self, latent, previous, state, forcing, prepared):
        return StepOutput(state + self.size * latent, None)


KL = 0.5 * (0.25**2 + 0.5**2 - 1 - math.log(0.25**2))  # of the two distributions of `Shift`


def test_kl_is_per_value_of_the_grid_and_per_step(tiny_spec, batch):
    _, terms = ElboObjective(tiny_spec)(Shift(1.0), batch, Stage(rollout_steps=STEPS))
    values = int(tiny_spec.interior.sum()) * 12
    assert float(terms["kl"]) == pytest.approx(KL / values, rel=1e-5)
    _, terms = ElboObjective(tiny_spec, reduction="reference")(Shift(1.0), batch, Stage(rollout_steps=STEPS))
    assert float(terms["kl"]) == pytest.approx(KL * STEPS, rel=1e-5)


def test_without_latent_influence_it_is_the_loss_of_a_deterministic_model(tiny_spec, tiny_graph, batch):
    stage = Stage(rollout_steps=STEPS)
    _, terms = ElboObjective(tiny_spec, div_weight=1.0, variable_weights={"rho": 3})(Shift(0.0), batch, stage)
    plain = ForecastObjective(tiny_spec, div_weight=1.0, variable_weights={"rho": 3})
    _, expected = plain(Persistence(tiny_spec, tiny_graph), batch, stage)
    torch.testing.assert_close(terms["reconstruction"], expected["loss"])
    torch.testing.assert_close(terms["div"], expected["div"])


def test_crps_of_members_in_closed_form(tiny_spec, batch):
    """Members that differ by one Z: the fair score of N(0, 1) at 0 on average, in units of the increments."""
    scale = torch.as_tensor(tiny_spec.increment_statistics[1])
    batch = batch._replace(initial=torch.zeros_like(batch.initial), target=torch.zeros_like(batch.target))
    torch.manual_seed(0)
    objective = ElboObjective(tiny_spec, reconstruction_weight=0, kl_weight=0, crps_weight=1.0, members=300)
    total, terms = objective(Shift(scale), batch, Stage())
    assert set(terms) == {"crps"}
    assert float(total) == pytest.approx((math.sqrt(2) - 1) / math.sqrt(math.pi), rel=0.15)


def test_total_is_the_weighted_sum_and_follows_the_stage(tiny_spec, batch):
    objective = ElboObjective(
        tiny_spec, reconstruction_weight=2.0, kl_weight=3.0, crps_weight=5.0, div_weight=7.0, members=3
    )
    total, terms = objective(Shift(1.0), batch, Stage(kl=0.5, crps=0.25, div=0.125))
    weights = {"reconstruction": 2.0, "kl": 1.5, "crps": 1.25, "div": 0.875}
    assert set(terms) == set(weights)
    torch.testing.assert_close(total, sum(weights[name] * term for name, term in terms.items()))
    assert set(objective(Shift(1.0), batch, Stage(kl=0, crps=0, div=0)).terms) == {"reconstruction"}


def test_until_the_ensemble_score_comes_in_training_is_deterministic(tiny_spec, tiny_graph, batch):
    """The latent variable of `Shift` has the mean 0, so that its forecast is persistence."""
    settings = {"reconstruction_weight": 0, "kl_weight": 0, "crps_weight": 1.0, "mean_weight": 1.0}
    objective, stage = ElboObjective(tiny_spec, **settings), Stage(rollout_steps=STEPS, crps=0)
    total, terms = objective(Shift(3.0), batch, stage)
    expected = ForecastObjective(tiny_spec, loss="wmse")(Persistence(tiny_spec, tiny_graph), batch, stage)
    assert set(terms) == {"mean"}
    torch.testing.assert_close(total, expected.total)
    assert set(objective(Shift(0.0), batch, Stage(rollout_steps=STEPS)).terms) == {"crps", "mean"}


def test_boundary_follows_the_truth(tiny_spec, batch):
    """A boundary far off the truth costs nothing, for its forecast is never used."""

    class Wild(Shift):
        def decode(self, latent, previous, state, forcing, prepared):
            boundary = torch.as_tensor(tiny_spec.boundary)[:, None]
            return StepOutput(torch.where(boundary, 1e6, state), None)

    objective = ElboObjective(tiny_spec, crps_weight=1.0, div_weight=1.0)
    stage = Stage(rollout_steps=STEPS)
    for name, term in objective(Wild(0.0), batch, stage).terms.items():
        torch.testing.assert_close(term, objective(Shift(0.0), batch, stage).terms[name], msg=name)


@pytest.mark.parametrize("predict_std", [False, True])
def test_forgetting_activations_changes_nothing(tiny_spec, tiny_graph, batch, predict_std):
    torch.manual_seed(0)
    model = GraphEFM(tiny_spec, tiny_graph, hidden_dim=8, latent_dim=2, processor_layers=1, predict_std=predict_std)
    results = []
    for recompute in (False, True):
        model.zero_grad()
        loss = "nll" if predict_std else "wmse"
        objective = ElboObjective(tiny_spec, loss=loss, crps_weight=1.0, div_weight=1.0, recompute=recompute)
        torch.manual_seed(5)
        total, _ = objective(model, batch, Stage(rollout_steps=2))
        total.backward()
        results.append([total.detach(), *(each.grad.clone() for each in model.parameters() if each.grad is not None)])
    assert len(results[0]) == 1 + len(list(model.parameters()))
    torch.testing.assert_close(results[0], results[1])


def test_training_lowers_the_bound_and_spreads_the_ensemble(tiny_spec, tiny_graph):
    """Truth that is one of two, by chance: the fair score is at its least when the members are too."""
    torch.manual_seed(0)
    scale = torch.as_tensor(tiny_spec.increment_statistics[1])
    model = GraphEFM(tiny_spec, tiny_graph, hidden_dim=16, latent_dim=2, processor_layers=1, prior="constant")
    objective = ElboObjective(tiny_spec, reconstruction_weight=0, kl_weight=0, crps_weight=1.0, members=4)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    initial = torch.zeros(16, 2, tiny_spec.num_nodes, 12)
    nothing = torch.zeros(16, 1, tiny_spec.num_nodes, 0)
    losses = []
    for _ in range(120):
        sign = torch.where(torch.rand(16, 1, 1, 1) > 0.5, 1.0, -1.0)
        batch = Batch(initial, (sign * scale).expand(16, 1, tiny_spec.num_nodes, 12), nothing, nothing)
        total, _ = objective(model, batch, Stage())
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        losses.append(float(total.detach()))
    assert losses[0] > 0.9
    assert sum(losses[-10:]) / 10 < 0.65  # 1 for the best single forecast, 0.5 for the true distribution


def test_wrong_settings_are_refused(tiny_spec, tiny_graph, batch):
    with pytest.raises(UserError, match="needs a model with a latent variable"):
        ElboObjective(tiny_spec)(Persistence(tiny_spec, tiny_graph), batch, Stage())
    with pytest.raises(UserError, match="members is 1"):
        ElboObjective(tiny_spec, members=1)
    with pytest.raises(UserError, match="unknown CRPS estimator"):
        ElboObjective(tiny_spec, estimator="biased")
    with pytest.raises(UserError, match="unknown CRPS estimator 'ecdf'"):
        ElboObjective(tiny_spec, estimator="ecdf")
    with pytest.raises(UserError, match="unknown reduction 'sum'"):
        ElboObjective(tiny_spec, reduction="sum")
    with pytest.raises(UserError, match="every weight of the loss is 0"):
        ElboObjective(tiny_spec, reconstruction_weight=0, crps_weight=1)(Shift(1.0), batch, Stage(kl=0, crps=0))
