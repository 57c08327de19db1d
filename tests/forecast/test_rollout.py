import pytest
import torch

from spacecast.core.types import Batch, StepOutput
from spacecast.forecast.rollout import iterate, rollout
from spacecast.models.encode_process_decode import EncodeProcessDecode
from spacecast.models.persistence import Persistence


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
