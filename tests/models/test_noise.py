"""Models with noise: what they are without it, and what they draw."""

import pytest
import torch

from spacecast.core.protocols import draws
from spacecast.models.graph_efm import GraphEFM

NOISE = [{"global": 4}, {"local": 3}, {"global": 4, "local": 3}]
MODELS = [("graph_fm", 1), ("graph_fm", 2), ("graphcast", 1), ("graph_unet", 1), ("grid_unet", 1)]


@pytest.fixture(params=MODELS, ids=lambda case: f"{case[0]}-{case[1]}")
def make(request, build_model, tiny_spec, tiny_graph, tiny_hierarchy):
    """make(noise): a small model, always with the same random weights apart from those of the noise."""
    name, levels = request.param
    return lambda **options: build_model(name, tiny_spec, {1: tiny_graph, 2: tiny_hierarchy}[levels], **options)


def stirred(model):
    """The model with noise that matters."""
    with torch.no_grad():
        for weight in model.noise.parameters():
            weight.normal_(std=0.1)
    return model


@pytest.mark.parametrize("noise", NOISE)
def test_noise_that_begins_at_zero_changes_nothing(make, draw_states, tiny_spec, noise, monkeypatch):
    """Neither the other weights of a seed nor the forecast."""
    monkeypatch.setenv("SPACECAST_KERNELS", "off")  # a norm without a condition may be compiled, with one it is not
    plain, model = make(), make(noise=noise)
    assert (draws(plain), draws(model)) == (False, True)
    weights = model.state_dict()
    assert all(torch.equal(value, weights.pop(name)) for name, value in plain.state_dict().items())
    assert float(weights.pop("noise.amplitude")) == 1
    assert weights
    assert all(name.startswith("noise.") and not value.any() for name, value in weights.items())
    previous, state, _, forcing = draw_states(tiny_spec)
    expected = plain.step(previous, state, forcing, plain.prepare()).state
    assert torch.equal(model.step(previous, state, forcing, model.prepare()).state, expected)
    stirred(model)
    assert not torch.allclose(model.step(previous, state, forcing, model.prepare()).state, expected, atol=1e-3)
    still = model.step(previous, state, forcing, model.prepare(), draw=torch.zeros_like).state
    assert torch.equal(still, expected)


@pytest.mark.parametrize("noise", NOISE)
def test_members_differ_on_every_node_and_from_step_to_step(make, draw_states, tiny_spec, noise):
    model = stirred(make(noise=noise, lower=None))
    previous, state, _, forcing = (part[:1].expand(6, -1, -1) for part in draw_states(tiny_spec))
    torch.manual_seed(0)
    one, two = (model.step(previous, state, forcing, model.prepare()).state for _ in range(2))
    for sample in (one, two):
        assert sample.std(dim=0).amax(dim=-1).min() > 1e-5
    assert (one - two).abs().amax(dim=-1).min() > 1e-6


def test_local_noise_acts_where_it_is_and_global_noise_everywhere(make, draw_states, tiny_spec):
    """Changes of the forecast at both ends of the plane are one by global noise, nearly independent by local noise."""
    x = tiny_spec.grid.positions[:, 0]
    alike = {}
    for kind in ("global", "local"):
        model = stirred(make(noise={kind: 1}, lower=None))
        previous, state, _, forcing = (part[:1].expand(200, -1, -1) for part in draw_states(tiny_spec))
        torch.manual_seed(0)
        with torch.no_grad():
            change = model.step(previous, state, forcing, model.prepare()).state
        ends = [(change - change.mean(dim=0))[:, node, 0] for node in (x.argmin(), x.argmax())]
        alike[kind] = abs(float(torch.corrcoef(torch.stack(ends))[0, 1]))
    assert alike["global"] > 0.5
    assert alike["local"] < 0.5 * alike["global"]


@pytest.mark.parametrize("noise", NOISE)
def test_noise_acts_alike_on_cells_and_on_edges(build_model, draw_states, tiny_spec, tiny_graph, noise):
    dense, edges = (
        build_model("graph_unet", tiny_spec, tiny_graph, noise=noise, execution=execution).double()
        for execution in ("dense", "edges")
    )
    edges.load_state_dict(stirred(dense).state_dict())
    previous, state, _, forcing = (part.double() for part in draw_states(tiny_spec))
    results = []
    for model in (dense, edges):
        torch.manual_seed(0)
        results.append(model.step(previous, state, forcing, model.prepare()).state)
    torch.testing.assert_close(*results, rtol=1e-10, atol=1e-10)


def test_a_latent_variable_draws_and_a_learned_prior_is_a_function_of_the_state(tiny_spec, tiny_graph, draw_states):
    torch.manual_seed(0)
    model = GraphEFM(
        tiny_spec, tiny_graph, hidden_dim=8, latent_dim=3, processor_layers=1,
        prior="learned", prior_distribution="diagonal",
    )  # fmt: skip
    assert draws(model)
    previous, state, _, forcing = draw_states(tiny_spec)
    mean, std = model.prior(previous, state, forcing, model.prepare())
    assert not torch.allclose(mean[0], mean[1])
    assert not torch.allclose(std[0], std[1])
    still = model.step(previous, state, forcing, model.prepare(), draw=torch.zeros_like)
    torch.testing.assert_close(still, model.decode(mean, previous, state, forcing, model.prepare()))
