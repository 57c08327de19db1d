"""The latent variable of Graph-EFM."""

import pytest
import torch

from spacecast.core.errors import UserError
from spacecast.models.graph_efm import distinct_items


@pytest.fixture(params=[1, 2], ids=["flat", "hierarchical"])
def graph(request, tiny_graph, tiny_hierarchy):
    return tiny_graph if request.param == 1 else tiny_hierarchy


def test_latent_lives_on_the_coarsest_level(build_model, draw_states, tiny_spec, graph):
    model = build_model("graph_efm", tiny_spec, graph, latent_dim=5)
    previous, state, target, forcing = draw_states(tiny_spec)
    prepared = model.prepare()
    shape = (2, graph.levels[-1].num_nodes, 5)
    for mean, std in (
        model.prior(previous, state, forcing, prepared),
        model.posterior(previous, state, target, forcing, prepared),
    ):
        assert mean.shape == std.shape == shape
        assert (std > 0).all()


def test_step_is_the_decoded_sample_of_the_prior(build_model, draw_states, tiny_spec, graph):
    model = build_model("graph_efm", tiny_spec, graph, prior_distribution="diagonal")
    previous, state, _, forcing = draw_states(tiny_spec)
    prepared = model.prepare()
    torch.manual_seed(3)
    step = model.step(previous, state, forcing, prepared).state
    mean, std = model.prior(previous, state, forcing, prepared)
    torch.manual_seed(3)
    latent = mean + std * torch.randn(mean.shape)
    torch.testing.assert_close(step, model.decode(latent, previous, state, forcing, prepared).state)


@pytest.mark.parametrize("observed", [0.0, 0.5])
def test_noise_comes_from_whoever_is_asked_for_it(observed, build_model, draw_states, tiny_spec, tiny_graph):
    """The latent variable first, then the noise of observations; the global generator is left alone."""
    model = build_model("graph_efm", tiny_spec, tiny_graph, observation_noise=observed, lower=None)
    previous, state, _, forcing = draw_states(tiny_spec)
    prepared, before, asked = model.prepare(), torch.get_rng_state(), []

    def draw(like):
        asked.append(like.shape)
        return torch.full_like(like, 2.0)

    found = model.step(previous, state, forcing, prepared, draw=draw).state
    assert torch.equal(before, torch.get_rng_state())
    mean, std = model.prior(previous, state, forcing, prepared)
    assert asked == [mean.shape, state.shape][: 2 if observed else 1]
    decoded = model.decode(mean + 2 * std, previous, state, forcing, prepared).state
    torch.testing.assert_close(found, decoded + 2 * observed * model.update.diff_std)


def test_members_differ_and_samples_are_reparameterised(build_model, draw_states, tiny_spec, graph):
    model = build_model("graph_efm", tiny_spec, graph, prior="learned")
    previous, state, _, forcing = draw_states(tiny_spec, batch=1)
    members = model.step(*(each.expand(4, -1, -1) for each in (previous, state, forcing)), model.prepare()).state
    assert members.std(dim=0).max() > 1e-4
    members.square().sum().backward()
    gradient = model.prior_encoder.output[-1].weight.grad
    assert gradient is not None
    assert gradient.abs().max() > 0


@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (1.0, 0.5)])
def test_constant_prior(build_model, draw_states, tiny_spec, graph, mean, std):
    model = build_model("graph_efm", tiny_spec, graph, prior="constant", prior_mean=mean, prior_std=std)
    assert not any("prior" in name for name, _ in model.named_parameters())
    previous, state, _, forcing = draw_states(tiny_spec)
    found = model.prior(previous, state, forcing, model.prepare())
    assert (found[0] == mean).all()
    assert (found[1] == std).all()


def test_posterior_sees_the_target_and_prior_does_not(build_model, draw_states, tiny_spec, graph):
    model = build_model("graph_efm", tiny_spec, graph, prior="learned")
    previous, state, target, forcing = draw_states(tiny_spec)
    prepared = model.prepare()
    one, _ = model.posterior(previous, state, target, forcing, prepared)
    two, _ = model.posterior(previous, state, target + 1, forcing, prepared)
    assert (one - two).abs().max() > 1e-4


def test_observation_noise_has_the_size_of_the_increments(build_model, draw_states, tiny_spec, tiny_graph):
    quiet = build_model("graph_efm", tiny_spec, tiny_graph, lower=None)
    noisy = build_model("graph_efm", tiny_spec, tiny_graph, observation_noise=0.5, lower=None)
    previous, state, _, forcing = draw_states(tiny_spec, batch=20)
    differences = []
    for model in (quiet, noisy):
        torch.manual_seed(1)
        differences.append(model.step(previous, state, forcing, model.prepare()).state)
    noise = (differences[1] - differences[0]).std(dim=(0, 1))
    torch.testing.assert_close(noise, 0.5 * torch.as_tensor(tiny_spec.increment_statistics[1]), rtol=0.1, atol=0)


def test_observation_noise_keeps_to_the_limits(build_model, draw_states, tiny_spec, tiny_graph):
    limits = {"lower": {"rho": 0.0, "T": 0.0}, "upper": {"T": 50.0, "By": 3.0}}
    model = build_model("graph_efm", tiny_spec, tiny_graph, observation_noise=1000.0, **limits)
    previous, state, _, forcing = draw_states(tiny_spec)
    found = model.step(previous, state, forcing, model.prepare()).state.detach()
    physical = found * torch.as_tensor(tiny_spec.state.std) + torch.as_tensor(tiny_spec.state.mean)
    rho, temperature, by, bx = (physical[..., tiny_spec.state.index(name)] for name in ("rho", "T", "By", "Bx"))
    assert float(rho.min()) >= 0
    assert 0 <= float(temperature.min()) < float(temperature.max()) <= 50
    assert float(by.max()) <= 3
    assert float(bx.min()) < -1000


def test_unknown_priors_are_refused(build_model, tiny_spec, tiny_graph):
    with pytest.raises(UserError, match="unknown prior 'learnt'; did you mean 'learned'"):
        build_model("graph_efm", tiny_spec, tiny_graph, prior="learnt")
    with pytest.raises(UserError, match="unknown distribution 'diag'"):
        build_model("graph_efm", tiny_spec, tiny_graph, prior="learned", prior_distribution="diag")
    with pytest.raises(UserError, match="prior_std is 0: it must be positive"):
        build_model("graph_efm", tiny_spec, tiny_graph, prior="constant", prior_std=0)


def test_observation_noise_that_would_break_a_law_is_refused(build_model, tiny_spec, tiny_graph):
    with pytest.raises(UserError, match=r"noise=0\.5 would break model\.electric=ideal; set it to 0"):
        build_model("graph_efm", tiny_spec, tiny_graph, observation_noise=0.5, electric="ideal")
    build_model("graph_efm", tiny_spec, tiny_graph, observation_noise=0.5, smooth="always")


def expanded(fields, members):
    """The fields of one window for so many members, in the memory of one."""
    return [field.expand(members, *field.shape[1:]) for field in fields]


def test_items_that_share_their_memory_are_one(draw_states, tiny_spec):
    """Unless one of the fields does not; a field without numbers has no say."""
    previous, state, _, forcing = draw_states(tiny_spec, batch=1)
    alike, empty = expanded([previous, state], 4), forcing.new_zeros(4, forcing.shape[1], 0)
    assert [len(each) for each in distinct_items(*alike, empty)] == [1, 1, 1]
    assert [len(each) for each in distinct_items(alike[0], alike[1].clone(), empty)] == [4, 4, 4]


@pytest.mark.parametrize("blocks", [0, 1])
@pytest.mark.parametrize("prior", ["learned", "constant"])
def test_members_of_one_window_are_those_of_copies(prior, blocks, build_model, draw_states, tiny_spec, graph):
    """States and gradients, whether the members share their memory, and so what knows no noise, or not."""
    model = build_model("graph_efm", tiny_spec, graph, prior=prior, grid_blocks=blocks).double()
    previous, state, _, forcing = (field.double() for field in draw_states(tiny_spec, batch=1))
    found = []
    for copy in (False, True):
        fields = [field.clone() if copy else field for field in expanded([previous, state, forcing], 3)]
        torch.manual_seed(5)
        states = model.step(*fields, model.prepare()).state
        gradients = torch.autograd.grad(states.square().mean(), list(model.parameters()), allow_unused=True)
        found.append([states, *(each for each in gradients if each is not None)])
    assert not torch.equal(found[0][0][0], found[0][0][1])
    torch.testing.assert_close(found[0], found[1], rtol=1e-10, atol=1e-12)
