"""U-Nets on cells: what they do beyond what holds for every model."""

import pytest
import torch

from spacecast.core.errors import UserError


def test_steps_without_a_previous_state_have_an_output_network_of_their_own(
    build_model, draw_states, tiny_spec, tiny_graph
):
    model = build_model("graph_unet", tiny_spec, tiny_graph, previous_leads=3)
    assert model.previous_leads == 3
    previous, state, _, forcing = draw_states(tiny_spec)
    previous[1] = state[1]
    prepared = model.prepare()
    before = model.step(previous, state, forcing, prepared).state
    with torch.no_grad():
        model.network.output_alone[-1].bias.add_(1)
    after = model.step(previous, state, forcing, prepared).state
    assert torch.equal(before[0], after[0])
    assert (before[1] != after[1]).any(dim=-1).all()
    with torch.no_grad():
        model.network.output[-1].bias.add_(1)
    last = model.step(previous, state, forcing, prepared).state
    assert torch.equal(after[1], last[1])
    assert (after[0] != last[0]).any(dim=-1).all()


def test_too_many_levels_for_the_grid_are_refused(build_model, tiny_spec, tiny_graph):
    with pytest.raises(UserError, match=r"model\.levels=4: a grid of 12 x 8 cells has at most 3"):
        build_model("graph_unet", tiny_spec, tiny_graph, levels=4)
    with pytest.raises(UserError, match="unknown execution 'edge'; did you mean 'edges'"):
        build_model("graph_unet", tiny_spec, tiny_graph, execution="edge")
