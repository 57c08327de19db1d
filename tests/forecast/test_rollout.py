from typing import NamedTuple

import pytest
import torch

from spacecast.core.types import Batch, StepOutput
from spacecast.forecast.rollout import iterate, repeat_members, rollout, split_members, stack
from spacecast.models.encode_process_decode import EncodeProcessDecode
from spacecast.models.persistence import Persistence
from spacecast.nn.inputs import previous_given


class Affine(torch.nn.Module):
    """x_{t+1} = a x_t + b x_{t-1}: its roll-out has a closed form."""

    def __init__(self, a: float, b: float) -> None:
        super().__init__()
        self.weights = torch.nn.Parameter(torch.tensor([a, b]))
        self.calls = 0

    def prepare(self):
        self.calls += 1
        return "static"

    def step(self, previous, state, forcing, prepared):
        assert prepared == "static"
        return StepOutput(self.weights[0] * state + self.weights[1] * previous, None)


def random_batch(nodes: int, steps: int = 3, size: int = 2, variables: int = 12) -> Batch:
    generator = torch.Generator().manual_seed(1)
    initial = torch.randn(size, 2, nodes, variables, generator=generator)
    target = torch.randn(size, steps, nodes, variables, generator=generator)
    return Batch(initial, target, torch.zeros(size, steps, nodes, 0), torch.zeros(size, 2, dtype=torch.long))


def test_states_follow_the_recursion_and_static_parts_are_made_once():
    model, batch = Affine(1.5, -0.25), random_batch(5)
    forecast = rollout(model, batch, 3)
    previous, state = batch.initial[:, 0], batch.initial[:, 1]
    for lead in range(3):
        previous, state = state, 1.5 * state - 0.25 * previous
        torch.testing.assert_close(forecast.states[:, lead], state)
    assert model.calls == 1


def test_boundary_carries_the_truth_into_the_next_step():
    model, batch = Affine(1.0, 1.0), random_batch(4)
    boundary = torch.tensor([True, False, False, True])
    states = rollout(model, batch, 3, boundary=boundary).states
    torch.testing.assert_close(states[:, :, boundary], batch.target[:, :, boundary])
    free = rollout(model, batch, 3).states
    torch.testing.assert_close(states[:, :, ~boundary], free[:, :, ~boundary])  # this model does not couple nodes


def test_recomputed_activations_give_the_same_gradients(tiny_spec, tiny_graph):
    torch.manual_seed(0)
    model = EncodeProcessDecode(tiny_spec, tiny_graph, hidden_dim=8, processor_layers=1)
    batch = random_batch(tiny_spec.num_nodes)
    gradients = []
    for recompute in (False, True):
        model.zero_grad()
        rollout(model, batch, 3, recompute=recompute).states.square().mean().backward()
        gradients.append([parameter.grad.clone() for parameter in model.parameters()])
    for plain, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, recomputed)


def test_iterate_is_lazy():
    model, batch = Affine(1.0, 0.0), random_batch(3)
    steps = iterate(model, batch, 1000)  # far more leads than the batch has
    torch.testing.assert_close(next(steps).state, batch.initial[:, 1])


@pytest.mark.parametrize("trend", [0.0, 1.0])
def test_persistence_and_linear_extrapolation(tiny_spec, tiny_graph, trend):
    batch = random_batch(tiny_spec.num_nodes)
    states = rollout(Persistence(tiny_spec, tiny_graph, trend=trend), batch, 3).states
    slope = batch.initial[:, 1] - batch.initial[:, 0]
    for lead in range(3):
        torch.testing.assert_close(states[:, lead], batch.initial[:, 1] + trend * (lead + 1) * slope)


class Watched(Affine):
    """Notes whether it was given a previous state."""

    def __init__(self, previous_leads: int | None) -> None:
        super().__init__(1.5, -0.25)
        self.previous_leads, self.given = previous_leads, []

    def step(self, previous, state, forcing, prepared):
        self.given.append(previous_given(previous, state).tolist())
        return super().step(previous, state, forcing, prepared)


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize(("leads", "first", "given"), [
    (None, 0, "yyyy"), (0, 0, "nnnn"), (1, 0, "ynnn"), (3, 0, "yyyn"), (3, 2, "ynnn"), (3, 7, "nnnn"), (9, 0, "yyyy"),
])  # fmt: skip
def test_a_model_is_given_a_previous_state_for_so_many_leads(recompute, leads, first, given):
    model, batch = Watched(leads), random_batch(5, steps=4)
    boundary = torch.tensor([True, False, False, False, False])
    with torch.set_grad_enabled(recompute):
        outputs = list(iterate(model, batch, 4, boundary=boundary, recompute=recompute, first_lead=first))
    assert model.given == [[letter == "y"] * 2 for letter in given]
    before, state = batch.initial.unbind(1)
    for lead, (letter, output) in enumerate(zip(given, outputs, strict=True)):
        new = 1.5 * state - 0.25 * (before if letter == "y" else state)
        before, state = state, torch.where(boundary[:, None], batch.target[:, lead], new)
        torch.testing.assert_close(output.state, state)


def test_a_window_that_begins_without_a_previous_state_never_has_one():
    batch = random_batch(5, steps=3)
    batch.initial[1, 0] = batch.initial[1, 1]
    model = Watched(2)
    states = rollout(model, batch, 3).states
    assert model.given == [[True, False], [True, False], [False, False]]
    torch.testing.assert_close(states[1, 1], 1.25**2 * batch.initial[1, 1])
    plain = Watched(None)
    rollout(plain, batch, 3)
    assert plain.given == [[True, False], [True, True], [True, True]]


class Seen(NamedTuple):
    """What a step of one's own makes: more than a `StepOutput`."""

    state: torch.Tensor
    std: torch.Tensor | None
    seen: torch.Tensor


def half_way(model, previous, state, batch, lead, prepared):
    """A step that looks at the truth, as that of a posterior does."""
    truth = batch.target[:, lead]
    return Seen((model.step(previous, state, batch.forcing[:, lead], prepared).state + truth) / 2, None, truth.sum())


@pytest.mark.parametrize("recompute", [False, True])
def test_a_step_that_is_passed_in_goes_through_the_same_loop(recompute):
    model, batch = Affine(1.5, -0.25), random_batch(4)
    boundary = torch.tensor([True, False, False, False])
    outputs = list(iterate(model, batch, 3, step=half_way, boundary=boundary, recompute=recompute))
    previous, state = batch.initial[:, 0], batch.initial[:, 1]
    for lead, output in enumerate(outputs):
        new = (1.5 * state - 0.25 * previous + batch.target[:, lead]) / 2
        previous, state = state, torch.where(boundary[:, None], batch.target[:, lead], new)
        torch.testing.assert_close(output.state, state)
        assert output.seen == batch.target[:, lead].sum()
    torch.testing.assert_close(stack(outputs).states[:, 2], state)
    assert stack(outputs).std is None


def test_a_model_may_drive_nodes_in_its_own_way():
    """What it makes of the other nodes is the forecast, and the next step starts from it."""

    class Driven(Affine):
        def drive(self, state, truth, driven):
            return torch.where(driven[:, None], truth, 2 * state)

    model, batch = Driven(1.5, -0.25), random_batch(4)
    boundary = torch.tensor([True, False, False, False])
    assert torch.equal(rollout(model, batch, 3).states, rollout(Affine(1.5, -0.25), batch, 3).states)
    previous, state = batch.initial[:, 0], batch.initial[:, 1]
    for lead, output in enumerate(iterate(model, batch, 3, boundary=boundary)):
        new = 2 * (1.5 * state - 0.25 * previous)
        previous, state = state, torch.where(boundary[:, None], batch.target[:, lead], new)
        torch.testing.assert_close(output.state, state)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize(("windows", "members"), [(1, 1), (1, 4), (3, 1), (3, 4)])
def test_members_of_a_window_are_its_copies_and_come_apart_again(axis, windows, members):
    batch = random_batch(5, size=windows)
    many = repeat_members(batch, members, axis)
    for field, copies in zip(batch, many, strict=True):
        assert len(copies) == windows * members
        assert torch.equal(split_members(copies, members, axis), torch.stack([field] * members, dim=axis))
        assert windows > 1 or copies.data_ptr() == field.data_ptr()


def test_the_axis_decides_which_copies_follow_each_other():
    numbers = random_batch(1)._replace(window=torch.tensor([[0, 7], [0, 8]]))
    assert repeat_members(numbers, 2, axis=0).window[:, 1].tolist() == [7, 8, 7, 8]
    assert repeat_members(numbers, 2, axis=1).window[:, 1].tolist() == [7, 7, 8, 8]
