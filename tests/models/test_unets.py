"""U-Nets on cells: what they do beyond what holds for every model."""

import dataclasses

import numpy as np
import pytest
import torch

from spacecast.core.errors import UserError
from spacecast.graphs.builders import MeshGraphBuilder
from spacecast.nn.directional import DirectionalOperator


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


SIGNS = dict.fromkeys(("Bx", "By", "Ez", "vz"), -1.0)
"""Of components under a mirror of z: B is an axial vector, E and v are polar ones."""


def mirrored_weights(model, inputs, static, outputs):
    """Turn the weights of a U-Net into those of the mirrored one, in place."""
    network = model.network
    with torch.no_grad():
        network.embedder.weight.mul_(inputs[:, None, None])
        network.static_embedder.weight.mul_(static[:, None, None])
        for module in model.modules():
            if isinstance(module, DirectionalOperator):
                module.weight.copy_(module.weight.flip(-1))
        for down, up in zip(network.unet.down, network.unet.up, strict=True):
            down.weight.copy_(down.weight.unflatten(1, (2, 2, -1)).flip(2).flatten(1))
            for parameter in up.parameters():
                parameter.copy_(parameter.unflatten(0, (2, 2, -1)).flip(1).flatten(0, 2))
        for parameter in network.output[-1].parameters():
            parameter.mul_(outputs.view(-1, *[1] * (parameter.ndim - 1)))


@pytest.fixture
def mirror_spec(tiny_spec):
    """Statistics that do not change under a mirror of z; the grid and its hole do not either."""
    sign = np.array([SIGNS.get(name, 1.0) for name in tiny_spec.state.names])
    state = dataclasses.replace(tiny_spec.state, mean=np.where(sign < 0, 0, tiny_spec.state.mean))
    return dataclasses.replace(tiny_spec, state=state, diff_mean=np.where(sign < 0, 0, tiny_spec.diff_mean))


@pytest.mark.parametrize(
    "options", [{}, {"execution": "edges"}, {"magnetic": "potential", "electric": "ideal"}], ids=str
)
def test_a_mirrored_plane_has_the_mirrored_forecast_by_mirrored_weights(
    build_model, draw_states, mirror_spec, tiny_graph, options
):
    """Earth's north and south change places: components have signs, directions of weights and places are swapped."""
    grid, names = mirror_spec.grid, mirror_spec.state.names
    field = grid.to_field(np.arange(grid.num_nodes, dtype=np.float64), fill=-1)
    node = torch.as_tensor(grid.to_nodes(field[:, ::-1]).astype(np.int64))
    sign = torch.tensor([SIGNS.get(name, 1.0) for name in names]).double()
    ours = ["By", *names[6:], "A"] if options.get("magnetic") else names
    outputs = torch.tensor([SIGNS.get(name, 1.0) for name in ours]).double()
    sizes = {"levels": 3, "previous_leads": None}
    model, other = (build_model("graph_unet", mirror_spec, tiny_graph, **sizes, **options).double() for _ in range(2))
    mirrored_weights(other, sign.repeat(2), torch.tensor([1.0, -1.0, 1.0, 1.0]).double(), outputs)
    previous, state, _, forcing = (part.double() for part in draw_states(mirror_spec))
    expected = model.step(previous, state, forcing, model.prepare()).state[:, node] * sign
    found = other.step(previous[:, node] * sign, state[:, node] * sign, forcing, other.prepare()).state
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)
    assert (found - state[:, node] * sign).abs().max() > 1e-2


@pytest.mark.parametrize("layout", ["simple", "multiscale", "hierarchical"])
def test_both_executions_forecast_the_same_on_every_layout(build_model, draw_states, tiny_spec, layout):
    levels = 1 if layout == "simple" else 2
    graph = MeshGraphBuilder(layout=layout, mesh_spacing=2, levels=levels).build(tiny_spec.grid)
    inputs = [part.double() for part in draw_states(tiny_spec)]
    results = []
    for execution in ("dense", "edges"):
        model = build_model("graph_unet", tiny_spec, graph, execution=execution).double()
        results.append(model.step(inputs[0], inputs[1], inputs[3], model.prepare()).state)
    torch.testing.assert_close(*results, rtol=1e-10, atol=1e-10)


def test_convolutions_are_the_same_network_where_there_is_no_hole(build_model, draw_states, tiny_spec, graph_factory):
    """And another one around a hole."""
    for valid, same in ((np.ones(tiny_spec.grid.shape, dtype=bool), True), (tiny_spec.grid.valid, False)):
        grid = dataclasses.replace(tiny_spec.grid, valid=valid)
        static = np.column_stack([grid.positions, grid.radius]).astype(np.float32)
        boundary = np.zeros(grid.num_nodes, dtype=bool)
        spec = dataclasses.replace(tiny_spec, grid=grid, static_values=static, boundary=boundary)
        graph = graph_factory(grid, 1)
        models = [build_model(name, spec, graph) for name in ("graph_unet", "grid_unet")]
        models[1].load_state_dict(models[0].state_dict())
        previous, state, _, forcing = draw_states(spec)
        one, other = (model.step(previous, state, forcing, model.prepare()).state for model in models)
        assert torch.equal(one, other) == same
