"""What is known on the grid, embedded."""

import pytest
import torch

from spacecast.core.errors import UserError
from spacecast.nn.grid_embedder import GridEmbedder

KINDS = {"states": 2, "increments": 2, "stencil": 6}


def columns_by_hand(spec, inputs, previous, state):
    """Inputs of the first layer without forcing, (node, column)."""
    scale = torch.as_tensor(spec.increment_statistics[1])
    if inputs == "states":
        return torch.cat([state, previous], dim=-1)
    sides = [(state[torch.as_tensor(side)] - state) / scale for side in spec.grid.neighbours]
    return torch.cat([state, (state - previous) / scale, *(sides if inputs == "stencil" else [])], dim=-1)


@pytest.mark.parametrize("inputs", KINDS)
def test_it_is_the_mlp_of_all_columns_side_by_side(tiny_spec, inputs):
    torch.manual_seed(0)
    embedder = GridEmbedder(tiny_spec, 5, inputs=inputs)
    assert embedder.num_varying == KINDS[inputs] * len(tiny_spec.state)
    previous, state = torch.randn(2, 3, tiny_spec.num_nodes, len(tiny_spec.state))
    found = embedder(previous, state, torch.zeros(3, tiny_spec.num_nodes, 0), embedder.prepare())
    static = torch.as_tensor(tiny_spec.static_standardized)
    pairs = zip(previous, state, strict=True)
    by_hand = [torch.cat([columns_by_hand(tiny_spec, inputs, *pair), static], dim=-1) for pair in pairs]
    torch.testing.assert_close(found, embedder.mlp(torch.cat(by_hand)), rtol=1e-4, atol=1e-5)


def test_a_node_without_a_neighbour_has_no_difference_to_it(tiny_spec):
    embedder = GridEmbedder(tiny_spec, 5, inputs="stencil")
    state = torch.ones(1, tiny_spec.num_nodes, len(tiny_spec.state))
    with torch.no_grad():
        embedder.mlp[0].weight.zero_()
        embedder.mlp[0].weight[:, 2 * len(tiny_spec.state) : embedder.num_varying] = 1
        flat = embedder(state, state, state[..., :0], embedder.prepare())
    assert torch.equal(flat, flat[:1].expand_as(flat))


def test_unknown_inputs(tiny_spec):
    with pytest.raises(UserError, match="did you mean 'stencil'"):
        GridEmbedder(tiny_spec, 5, inputs="stensil")
