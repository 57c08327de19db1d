"""Noise on initial states, and training without the state before."""

import pytest
import torch

from spacecast.core.types import Batch, LossTerms, Stage, StepOutput
from spacecast.objectives.elbo import ElboObjective
from spacecast.objectives.forecast import ForecastObjective
from spacecast.objectives.initial_states import InitialStates

WINDOWS = 400


class Model(torch.nn.Module):
    """Adds a number to the state; remembers what it was given."""

    def __init__(self, previous_leads=None) -> None:
        super().__init__()
        self.rise = torch.nn.Parameter(torch.tensor(1.0))
        self.previous_leads = previous_leads
        self.given = []

    def prepare(self):
        return None

    def step(self, previous, state, forcing, prepared):
        self.given.append((previous, state))
        return StepOutput(2 * state + self.rise, None)


@pytest.fixture
def batch(tiny_spec):
    torch.manual_seed(3)
    nodes, variables = tiny_spec.num_nodes, len(tiny_spec.state)
    states = torch.randn(WINDOWS, 4, nodes, variables)
    return Batch(states[:, :2], states[:, 2:], torch.zeros(WINDOWS, 2, nodes, 0), torch.zeros(WINDOWS, 2))


def test_noise_has_the_size_of_increments_on_both_states_and_none_on_driven_nodes(tiny_spec, batch):
    found = InitialStates(tiny_spec, noise=0.3)(Model(), batch)
    added = found.initial - batch.initial
    assert torch.all(added[:, :, ~torch.as_tensor(tiny_spec.interior)] == 0)
    inside = added[:, :, torch.as_tensor(tiny_spec.interior)] / torch.as_tensor(tiny_spec.increment_statistics[1])
    torch.testing.assert_close(inside.std(dim=(0, 2)), torch.full((2, inside.shape[-1]), 0.3), rtol=0.03, atol=0)
    both = torch.corrcoef(torch.stack([inside[:, 0].flatten(), inside[:, 1].flatten()]))
    assert abs(float(both[0, 1])) < 0.02
    assert found.target is batch.target


def test_without_noise_nothing_is_drawn_and_nothing_changes(tiny_spec, batch):
    before = torch.get_rng_state()
    assert torch.equal(InitialStates(tiny_spec)(Model(), batch).initial, batch.initial)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(("leads", "share"), [(None, 1.0), (0, 1.0), (3, 0.6)])
def test_the_state_before_is_left_out_at_random_for_models_that_can_do_without_it(tiny_spec, batch, leads, share):
    """The others never have it, or always; noise does not make a difference where there is none."""
    previous, state = InitialStates(tiny_spec, noise=0.3, previous_given=0.6)(Model(leads), batch).initial.unbind(1)
    given = (previous != state).flatten(1).any(dim=1)
    assert float(given.float().mean()) == pytest.approx(share, abs=0.1)
    assert torch.equal(previous[~given], state[~given])


def test_own_states_are_left_alone_and_have_the_state_before_as_it_was_decided(tiny_spec, batch):
    own = batch.initial.clone()
    own[:200, 1] += 1
    own[100:300, 0] = own[100:300, 1]
    three = batch._replace(initial=torch.cat([own, batch.initial[:, 1:]], dim=1))
    previous, state = InitialStates(tiny_spec, noise=0.3)(Model(3), three).initial.unbind(1)
    assert torch.equal(torch.stack([previous, state], dim=1)[:200], own[:200])
    assert not (state[200:] == own[200:, 1]).flatten(1).all(dim=1).any()
    given = (previous != state).flatten(1).any(dim=1)
    assert given.tolist() == [*[True] * 100, *[False] * 200, *[True] * 100]


def test_targets_are_held_against_the_forecast_from_noisy_states(tiny_spec, batch):
    model, objective = Model(), ForecastObjective(tiny_spec, input_noise=0.3)
    objective(model, batch, Stage())
    assert not torch.equal(model.given[0][1], batch.initial[:, 1])
    objective(model, batch, Stage())
    assert not torch.equal(model.given[0][1], model.given[1][1])


def gradient(objective, batch) -> float:
    model = Model()
    terms: LossTerms = objective(model, batch, Stage(rollout_steps=2))
    terms.total.backward()
    return float(model.rise.grad)


def test_without_gradients_through_states_each_step_is_one_by_itself(tiny_spec, batch):
    """x1 = 2 x + r, x2 = 2 x1 + r: d/dr of their squared errors, with dx2/dr = 3 or, pushed forward, 1."""
    whole, pushed = (gradient(ForecastObjective(tiny_spec, loss="mse", detach=each), batch) for each in (False, True))
    inside = batch._replace(**{n: getattr(batch, n)[:, :, tiny_spec.interior_nodes] for n in ("initial", "target")})
    first = 2 * inside.initial[:, 1] + 1
    errors = [(2 * (first - inside.target[:, 0])).mean(), (2 * (2 * first + 1 - inside.target[:, 1])).mean()]
    assert pushed == pytest.approx(float(errors[0] + errors[1]) / 2, rel=1e-4)
    assert whole == pytest.approx(float(errors[0] + 3 * errors[1]) / 2, rel=1e-4)


@pytest.mark.parametrize("kind", [ForecastObjective, ElboObjective])
def test_both_objectives_take_them(tiny_spec, kind):
    objective = kind(tiny_spec, input_noise=0.2, previous_given=0.5, detach=True)
    assert (objective.start.noise, objective.start.previous_given, objective.options["detach"]) == (0.2, 0.5, True)


def test_errors_of_forecasts_from_own_states_count_less_the_further_these_are_from_the_truth(tiny_spec, batch):
    """e^2 / (1 + 10 e0^2) for each window and variable, with e0 in one-step increments over forecast nodes."""
    objective, model = ForecastObjective(tiny_spec), Model()
    scale, inside = torch.as_tensor(tiny_spec.increment_statistics[1]), tiny_spec.interior_nodes
    error = torch.rand(WINDOWS, 1, scale.numel()).expand(-1, tiny_spec.num_nodes, -1)
    own = torch.stack([batch.initial[:, 0], batch.initial[:, 1] + error * scale, batch.initial[:, 1]], dim=1)
    kept = []
    loss = objective(model, batch._replace(initial=own), Stage(), keep=lambda *states: kept.append(states)).total
    squares = (((2 * own[:, 1] + 1 - batch.target[:, 0]) / scale).square() / (1 + 10 * error.square()))[:, inside]
    torch.testing.assert_close(loss, squares.mean(), rtol=1e-4, atol=0)
    [(state, forecast)] = kept
    assert torch.equal(state, own[:, 1])
    torch.testing.assert_close(forecast[:, inside], (2 * own[:, 1] + 1)[:, inside])
    assert torch.equal(forecast[:, ~tiny_spec.interior], batch.target[:, 0, ~tiny_spec.interior])
