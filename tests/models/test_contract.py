"""What holds for every model of conf/model, on every graph it is defined on, with every option."""

import copy
import dataclasses
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from spacecast.core.errors import UserError
from spacecast.core.graph import EdgeSet, MeshGraph, MeshLevel
from spacecast.core.grid import Grid
from spacecast.core.protocols import LatentStepModel, StepModel, noise_of
from spacecast.core.spec import FeatureSpec

NAMES = sorted(path.stem for path in (Path(__file__).resolve().parents[2] / "conf" / "model").glob("*.yaml"))
FLAT_ONLY = {"graphcast", "keisler"}
LAWS = {"magnetic": "potential", "electric": "ideal", "state_law": "project", "smooth": "without_previous"}
OPTIONS = {
    "graph_unet": [
        {"predict_std": True},
        {"inputs": "tendencies", "previous_leads": 0},
        {"inputs": "stencil", "trend": 0.5},
        {"execution": "edges"},
        {"levels": 1, "blocks": 1},
        {"levels": 2, "blocks": 0},
        {"lower": {"rho": -1000.0}, "upper": {"T": 1000.0}},
        {"magnetic": "potential", "electric": "ideal", "smooth": "always"},
        {"noise": {"global": 3, "local": 2}},
        {"noise": {"local": 2}, "execution": "edges"},
    ],
    "grid_unet": [
        {"inputs": "tendencies", "previous_leads": 0},
        {"magnetic": "potential", "predict_std": True},
        {"noise": {"global": 3, "local": 2}},
    ],
    "graph_fm": [
        {"predict_std": True},
        {"inputs": "increments", "trend": 0.5},
        {"inputs": "stencil"},
        {"inputs": "tendencies"},
        {"previous_leads": 0},
        {"previous_leads": 2, "predict_std": True},
        {"vertical": "interaction", "aggregation": "mean", "hidden_layers": 2},
        {"processor_layers": 1},
        {"grid_blocks": 1},
        {"grid_blocks": 1, "noise": {"global": 2, "local": 1}},
        {"lower": {"rho": -1000.0}, "upper": {"T": 1000.0}},
        {"noise": {"global": 3, "local": 2}},
        LAWS,
    ],
    "graph_efm": [
        {"predict_std": True},
        {"inputs": "increments", "trend": 0.5},
        {"inputs": "stencil"},
        {"inputs": "tendencies"},
        {"previous_leads": 0},
        {"previous_leads": 2, "predict_std": True},
        {"prior": "constant", "hidden_layers": 2},
        {"prior_distribution": "diagonal", "prior_layers": 0, "encoder_layers": 2},
        {"processor_layers": 0, "prior_layers": 0, "encoder_layers": 0},
        {"scale_increments": False},
        {"grid_blocks": 1},
        {"lower": {"rho": -1000.0}, "upper": {"T": 1000.0}},
        {**LAWS, "predict_std": True},
    ],
}
CASES = [
    pytest.param(name, levels, options, id=f"{name}-{levels}-{','.join(options) or 'default'}")
    for name in NAMES
    for levels in ([1] if name in FLAT_ONLY else [1, 2])
    for options in [{}, *OPTIONS.get(name, [])]
]
PLAIN = [case for case in CASES if not case.values[2]]
TRAINABLE = [case for case in CASES if case.values[0] != "persistence"]


@pytest.fixture(scope="module")
def graphs(tiny_graph, tiny_hierarchy):
    return {1: tiny_graph, 2: tiny_hierarchy}


def forecast(model, previous, state, target, forcing):
    """Deterministic: latent variables are replaced by their means."""
    prepared = model.prepare()
    if not isinstance(model, LatentStepModel):
        return model.step(previous, state, forcing, prepared)
    latent, _ = model.posterior(previous, state, target, forcing, prepared)
    other, _ = model.prior(previous, state, forcing, prepared)
    return model.decode(latent + other, previous, state, forcing, prepared)


def outputs(result):
    """Everything that a model predicts, in one tensor."""
    return result.state if result.std is None else torch.cat([result.state, result.std], dim=-1)


@pytest.mark.parametrize(("name", "levels", "options"), CASES)
def test_shapes_protocol_and_positive_std(name, levels, options, build_model, draw_states, tiny_spec, graphs):
    model = build_model(name, tiny_spec, graphs[levels], **options)
    previous, state, _, forcing = draw_states(tiny_spec)
    assert isinstance(model, StepModel)
    result = model.step(previous, state, forcing, model.prepare())
    assert result.state.shape == state.shape
    assert torch.isfinite(result.state).all()
    assert (result.std is not None) == bool(options.get("predict_std"))
    if result.std is not None:
        assert result.std.shape == state.shape
        assert (result.std > 0).all()


@pytest.mark.parametrize(("name", "levels", "options"), TRAINABLE)
def test_a_finite_gradient_reaches_every_parameter(name, levels, options, build_model, draw_states, tiny_spec, graphs):
    model = build_model(name, tiny_spec, graphs[levels], **options)
    previous, state, target, forcing = draw_states(tiny_spec)
    if getattr(model, "previous_leads", None):
        previous[0] = state[0]  # an item without a previous state
    outputs(forecast(model, previous, state, target, forcing)).square().sum().backward()
    for parameter, value in model.named_parameters():
        assert value.grad is not None, f"{parameter} is not used"
        assert torch.isfinite(value.grad).all(), parameter
        assert value.grad.abs().max() > 0, f"{parameter} has no effect"


@pytest.mark.parametrize(("name", "levels", "options"), CASES)
def test_a_batch_is_its_samples_one_by_one(name, levels, options, build_model, draw_states, tiny_spec, graphs):
    model = build_model(name, tiny_spec, graphs[levels], **options).double()
    inputs = [each.double() for each in draw_states(tiny_spec, batch=3)]
    together = outputs(forecast(model, *inputs))
    alone = [outputs(forecast(model, *(each[b : b + 1] for each in inputs))) for b in range(3)]
    torch.testing.assert_close(together, torch.cat(alone))


def shuffled(graph: MeshGraph) -> MeshGraph:
    """The same edges in another order."""
    generator = torch.Generator().manual_seed(5)

    def edges(old: EdgeSet) -> EdgeSet:
        order = torch.randperm(old.num_edges, generator=generator)
        tensors = (old.senders[order], old.receivers[order], old.features[order])
        return EdgeSet(*tensors, old.num_senders, old.num_receivers)

    return dataclasses.replace(
        graph,
        levels=tuple(MeshLevel(level.positions, level.features, edges(level.edges)) for level in graph.levels),
        grid_to_mesh=edges(graph.grid_to_mesh),
        mesh_to_grid=edges(graph.mesh_to_grid),
        up=tuple(map(edges, graph.up)),
        down=tuple(map(edges, graph.down)),
    )


def renumbered(graph: MeshGraph) -> MeshGraph:
    """The same finest mesh with its nodes in another order."""
    new = torch.randperm(graph.levels[0].num_nodes, generator=torch.Generator().manual_seed(6))  # old number to new
    old = torch.argsort(new)

    def edges(each: EdgeSet, sender: bool, receiver: bool) -> EdgeSet:
        return dataclasses.replace(
            each,
            senders=new[each.senders] if sender else each.senders,
            receivers=new[each.receivers] if receiver else each.receivers,
        )

    finest = graph.levels[0]
    level = MeshLevel(finest.positions[old], finest.features[old], edges(finest.edges, True, True))
    return dataclasses.replace(
        graph,
        levels=(level, *graph.levels[1:]),
        grid_to_mesh=edges(graph.grid_to_mesh, False, True),
        mesh_to_grid=edges(graph.mesh_to_grid, True, False),
        up=tuple(edges(each, number == 0, False) for number, each in enumerate(graph.up)),
        down=tuple(edges(each, False, number == 0) for number, each in enumerate(graph.down)),
    )


@pytest.mark.parametrize("change", [shuffled, renumbered])
@pytest.mark.parametrize(("name", "levels", "options"), PLAIN)
def test_order_of_edges_and_nodes_is_of_no_account(
    name, levels, options, change, build_model, draw_states, tiny_spec, graphs
):
    model = build_model(name, tiny_spec, graphs[levels], **options).double()
    other = build_model(name, tiny_spec, change(graphs[levels]), **options).double()
    inputs = [each.double() for each in draw_states(tiny_spec)]
    torch.testing.assert_close(outputs(forecast(other, *inputs)), outputs(forecast(model, *inputs)))


@pytest.mark.parametrize(("name", "levels", "options"), CASES)
def test_state_dict_holds_parameters_and_the_amplitude_of_noise_and_restores_the_model(
    name, levels, options, build_model, draw_states, tiny_spec, graphs, tmp_path
):
    model = build_model(name, tiny_spec, graphs[levels], **options)
    noise = {"noise.amplitude"} if noise_of(model) is not None else set()
    assert model.state_dict().keys() == dict(model.named_parameters()).keys() | noise
    torch.save(model.state_dict(), tmp_path / "model.pt")
    other = build_model(name, tiny_spec, graphs[levels], **options)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.normal_()
    other.load_state_dict(torch.load(tmp_path / "model.pt", weights_only=True))
    inputs = draw_states(tiny_spec)
    with torch.no_grad():
        assert torch.equal(outputs(forecast(model, *inputs)), outputs(forecast(other, *inputs)))
        assert torch.equal(outputs(forecast(model, *inputs)), outputs(forecast(copy.deepcopy(model), *inputs)))


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_model_and_sample(name, build_model, draw_states, tiny_spec, tiny_graph):
    previous, state, _, forcing = draw_states(tiny_spec)
    results = []
    for _ in range(2):
        model = build_model(name, tiny_spec, tiny_graph)
        torch.manual_seed(zlib.crc32(b"sample"))
        results.append(model.step(previous, state, forcing, model.prepare()).state)
    assert torch.equal(*results)


@pytest.mark.parametrize(("name", "levels", "options"), PLAIN)
def test_weights_serve_another_grid_and_graph(
    name, levels, options, build_model, draw_states, tiny_spec, graphs, graph_factory
):
    """All parameters are shared between nodes, so a model is not tied to the grid it was trained on."""
    x, z = np.linspace(-20, 20, 15), np.linspace(-12, 12, 11)
    grid = Grid({"x": x, "z": z}, np.hypot(x[:, None], z[None, :]) > 5)
    spec = dataclasses.replace(
        tiny_spec,
        grid=grid,
        static_values=np.column_stack([grid.positions, grid.radius]).astype(np.float32),
        boundary=np.zeros(grid.num_nodes, dtype=bool),
    )
    other = build_model(name, spec, graph_factory(grid, levels), **options)
    before = outputs(forecast(other, *draw_states(spec)))
    trained = build_model(name, tiny_spec, graphs[levels], **options)
    with torch.no_grad():
        for weight in trained.parameters():
            weight.mul_(1.1)
    other.load_state_dict(trained.state_dict())
    result = outputs(forecast(other, *draw_states(spec)))
    assert torch.isfinite(result).all()
    assert torch.equal(result, before) == (name == "persistence")
    assert result.shape[1] == grid.num_nodes


@pytest.mark.parametrize("name", [name for name in NAMES if name != "persistence"])
def test_forcing_takes_part(name, build_model, draw_states, tiny_spec, tiny_graph):
    forcing = FeatureSpec(("wind", "density"), ("km/s", "1/cm3"), np.zeros(2), np.ones(2))
    spec = dataclasses.replace(tiny_spec, forcing=forcing)
    model = build_model(name, spec, tiny_graph)
    previous, state, target, forcing = draw_states(spec)
    with torch.no_grad():
        one = outputs(forecast(model, previous, state, target, forcing))
        two = outputs(forecast(model, previous, state, target, forcing + 1))
    assert (one - two).abs().max() > 1e-6


@pytest.mark.parametrize("name", ["graph_fm", "graph_efm"])
def test_first_guess_is_persistence_or_linear_extrapolation(name, build_model, draw_states, tiny_spec, tiny_graph):
    """A network that outputs zero and knows no mean increment."""
    spec = dataclasses.replace(tiny_spec, diff_mean=np.zeros_like(tiny_spec.diff_mean))
    for trend in (0.0, 1.0):
        model = build_model(name, spec, tiny_graph, trend=trend, lower=None)
        last = (model.output if name == "graph_fm" else model.decoder.output)[-1]
        torch.nn.init.zeros_(last.weight)
        torch.nn.init.zeros_(last.bias)
        previous, state, target, forcing = draw_states(spec)
        guess = forecast(model, previous, state, target, forcing).state
        torch.testing.assert_close(guess, state + trend * (state - previous))


@pytest.mark.parametrize("name", sorted(FLAT_ONLY))
def test_a_graph_of_the_wrong_kind_names_the_right_one(name, build_model, tiny_spec, tiny_hierarchy):
    with pytest.raises(UserError, match="flat graphs, found a hierarchical one: use graph=simple or graph=multiscale"):
        build_model(name, tiny_spec, tiny_hierarchy)


@pytest.mark.parametrize("name", ["graph_fm", "graph_efm"])
def test_wrong_graphs_and_options_are_refused(name, build_model, tiny_spec, tiny_graph, graph_factory):
    with pytest.raises(UserError, match="use graph=hierarchical"):
        build_model(name, tiny_spec, tiny_graph, accepts="hierarchical")
    with pytest.raises(UserError, match="unknown kind of graph 'flta'; did you mean 'flat'"):
        build_model(name, tiny_spec, tiny_graph, accepts="flta")
    with pytest.raises(UserError, match="unknown inputs 'increment'; did you mean 'increments'"):
        build_model(name, tiny_spec, tiny_graph, inputs="increment")
    x, z = np.linspace(-20, 20, 9), np.linspace(-12, 12, 9)
    grid = Grid({"x": x, "z": z}, np.hypot(x[:, None], z[None, :]) > 5)
    with pytest.raises(UserError, match=rf"built for {grid.num_nodes} grid nodes, the data have {tiny_spec.num_nodes}"):
        build_model(name, tiny_spec, graph_factory(grid, 1))


@pytest.mark.parametrize(("name", "levels", "options"), TRAINABLE)
def test_half_precision_is_close_and_trains(name, levels, options, build_model, draw_states, tiny_spec, graphs):
    model = build_model(name, tiny_spec, graphs[levels], **options)
    inputs = draw_states(tiny_spec)
    expected = outputs(forecast(model, *inputs))
    with torch.autocast("cpu", torch.bfloat16):
        found = outputs(forecast(model, *inputs))
        loss = found.float().square().mean()
    loss.backward()
    assert all(torch.isfinite(each.grad).all() for each in model.parameters())
    assert found.dtype == torch.float32 or options.get("predict_std")
    assert (found - expected).abs().max() < 0.1 * expected.abs().max()
