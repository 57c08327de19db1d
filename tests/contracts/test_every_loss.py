"""What holds for every loss of conf/loss."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from spacecast.core.errors import UserError
from spacecast.core.grid import Grid
from spacecast.core.types import Batch, Stage, StepOutput
from spacecast.models.encode_process_decode import EncodeProcessDecode
from spacecast.models.graph_efm import GraphEFM

STEPS = 2


class Known(nn.Module):
    """A model whose forecast is known: a given state for each lead. Its latent variable says nothing."""

    def __init__(self, forecasts):
        super().__init__()
        self.forecasts, self.calls = forecasts, 0

    def prepare(self):
        self.calls = 0

    def step(self, previous, state, forcing, prepared):
        lead = self.calls % STEPS
        self.calls += 1
        return StepOutput(self.forecasts[:, lead].repeat(len(state) // len(self.forecasts), 1, 1), None)

    def prior(self, previous, state, forcing, prepared):
        return state.new_zeros(len(state), 1, 1), state.new_ones(len(state), 1, 1)

    def posterior(self, previous, state, target, forcing, prepared):
        return self.prior(previous, state, forcing, prepared)

    def decode(self, latent, previous, state, forcing, prepared):
        return self.step(previous, state, forcing, prepared)


class Drift(Known):
    """Adds the same to every state."""

    def __init__(self, by=0.1):
        super().__init__(None)
        self.by = by

    def step(self, previous, state, forcing, prepared):
        return StepOutput(state + self.by, None)


class Plain(nn.Module):
    """A model without a latent variable."""

    def prepare(self):
        return None

    def step(self, previous, state, forcing, prepared):
        return StepOutput(state, None)


def needs_chance(objective, batch) -> bool:
    """Whether a loss is only for models that draw, or that have a latent variable, which it then says."""
    try:
        objective(Plain(), batch, Stage())
    except UserError as error:
        return "latent variable" in str(error) or "model that draws" in str(error)
    return False


def windows(spec, batch=1, leads=STEPS) -> Batch:
    """Standardised states that move by as much as the data do in a step."""
    generator = torch.Generator().manual_seed(1)
    size = torch.as_tensor(spec.increment_statistics[1])
    shape = batch, 2 + leads, spec.num_nodes, len(spec.state)
    states = torch.randn(shape[0], 1, *shape[2:], generator=generator)
    states = states + (size * torch.randn(shape, generator=generator)).cumsum(dim=1)
    forcing = torch.zeros(batch, leads, spec.num_nodes, 0)
    return Batch(states[:, :2], states[:, 2:], forcing, torch.zeros(batch, 2, dtype=torch.long))


@pytest.fixture
def build(loss_member, composed):
    """The loss without the noise on the states that a training begins with."""
    return composed(f"loss={loss_member}", "loss.input_noise=0").loss.build()


@pytest.fixture
def objective(build, tiny_spec):
    return build(tiny_spec)


def total(objective, model, batch) -> float:
    return float(objective(model, batch, Stage(rollout_steps=STEPS)).total)


def twice(spec):
    """The same data on a grid of twice as many cells: two copies beside each other."""
    grid = spec.grid
    x = grid.coordinates["x"]
    longer = {"x": x[0] + grid.spacing[0] * np.arange(2 * len(x)), "z": grid.coordinates["z"]}
    return replace(
        spec,
        grid=Grid(longer, np.concatenate([grid.valid, grid.valid])),
        static_values=np.concatenate([spec.static_values] * 2),
        boundary=np.concatenate([spec.boundary] * 2),
    )


def test_loss_and_terms_are_finite_scalars_of_order_one(objective, loss_member, tiny_spec):
    """For an error of the size of one step."""
    result = objective(Drift(0.0), windows(tiny_spec), Stage(rollout_steps=STEPS))
    assert result.terms
    for value in (result.total, *result.terms.values()):
        assert value.shape == ()
        assert torch.isfinite(value)
    assert 1e-2 < abs(float(result.total)) < 1e2


def test_the_truth_costs_least(objective, loss_member, tiny_spec):
    batch = windows(tiny_spec)
    best = total(objective, Known(batch.target), batch)
    generator = torch.Generator().manual_seed(2)
    noise = torch.as_tensor(tiny_spec.increment_statistics[1]) * torch.randn(batch.target.shape, generator=generator)
    worse = [total(objective, Known(batch.target + factor * noise), batch) for factor in (0.1, 0.3, 1, 3)]
    assert best < worse[0]
    assert worse == sorted(worse)
    for sign in (1, -1):
        assert total(objective, Known(batch.target + sign * 0.1), batch) > best


def test_an_error_of_pure_size_costs_nothing_at_the_truth(objective, loss_member, tiny_spec):
    """All but scores of a predicted or fixed standard deviation, which has a cost of its own."""
    batch = windows(tiny_spec)
    best = total(objective, Known(batch.target), batch)
    if loss_member in ("nll", "crps_gauss"):
        assert best != 0
    else:
        assert best == 0


def test_a_batch_is_the_mean_of_its_windows_in_any_order(objective, loss_member, tiny_spec):
    batch = windows(tiny_spec, batch=3)
    whole = total(objective, Drift(), batch)
    backwards = Batch(*(part.flip(0) for part in batch))
    assert total(objective, Drift(), backwards) == pytest.approx(whole, rel=1e-5)
    parts = [total(objective, Drift(), Batch(*(part[i : i + 1] for part in batch))) for i in range(3)]
    assert np.mean(parts) == pytest.approx(whole, rel=1e-5)


def test_twice_as_many_nodes_leave_its_size(objective, build, loss_member, tiny_spec):
    larger = build(twice(tiny_spec))
    batch = windows(tiny_spec)
    tiled = batch._replace(
        initial=torch.cat([batch.initial] * 2, dim=2),
        target=torch.cat([batch.target] * 2, dim=2),
        forcing=torch.cat([batch.forcing] * 2, dim=2),
    )
    assert total(larger, Drift(), tiled) == pytest.approx(total(objective, Drift(), batch), rel=1e-5)


def test_the_boundary_and_later_leads_are_of_no_account(objective, loss_member, tiny_spec):
    batch = windows(tiny_spec)
    expected = total(objective, Drift(), batch)
    target = batch.target.clone()
    target[:, :, tiny_spec.boundary] += 7
    later = torch.full_like(target[:, :1], 9.0)
    other = batch._replace(target=torch.cat([target, later], dim=1), forcing=batch.forcing.repeat(1, 2, 1, 1))
    assert total(objective, Drift(), other) == pytest.approx(expected, rel=1e-6)


def test_a_finite_gradient_reaches_all_that_shapes_the_forecast(objective, loss_member, tiny_spec, tiny_graph):
    """Of a plain model, or of one with a latent variable where the loss asks for that."""
    batch = windows(tiny_spec, batch=2)
    sizes = {"hidden_dim": 8, "processor_layers": 1}
    torch.manual_seed(0)
    kind = GraphEFM if needs_chance(objective, batch) else EncodeProcessDecode
    model = kind(tiny_spec, tiny_graph, **sizes)
    result = objective(model, batch, Stage(rollout_steps=STEPS))
    states = model.step(batch.initial[:, 0], batch.initial[:, 1], batch.forcing[:, 0], model.prepare()).state
    states.square().sum().backward()
    shaping = {name for name, value in model.named_parameters() if value.grad is not None}
    model.zero_grad(set_to_none=True)
    result.total.backward()
    reached = {name: value.grad for name, value in model.named_parameters() if value.grad is not None}
    assert shaping <= reached.keys()
    for name, gradient in reached.items():
        assert torch.isfinite(gradient).all(), name
        assert gradient.abs().max() > 0, name


def test_the_same_again(objective, loss_member, tiny_spec, tiny_graph):
    """Chance comes from torch's generator alone."""
    batch, results = windows(tiny_spec), []
    for _ in range(2):
        torch.manual_seed(5)
        results.append(total(objective, Drift(), batch))
    assert results[0] == results[1]
