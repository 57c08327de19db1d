"""Roll-outs and distributions of the reference, to within rounding."""

import numpy as np
import pytest
import torch

from spacecast.checkpoint.reference import map_data, map_hyper_parameters, map_loss, map_state_dict
from spacecast.core.errors import UserError
from spacecast.forecast.rollout import rollout

FILES = [
    "graphcast_simple",
    "graphcast_simple_std",
    "graphcast_multiscale_mean_interaction",
    "graph_fm_hierarchical",
    "graph_efm_simple",
    "graph_efm_constant_prior",
    "graph_efm_multiscale_latent",
    "graph_efm_hierarchical",
]
CLAMPED = {  # the configuration that the file was made with
    "arguments": {"model": "graphcast", "graph": "simple", "hidden_dim": 16, "processor_layers": 2},
    "lower": {"rho": 0.0, "P": 0.0, "vz": -60.0},
    "upper": {"vz": 90.0, "By": 100.0},
}


def difference(found, expected):
    """Largest difference over the largest value."""
    expected = torch.as_tensor(expected)
    return float((found - expected).abs().max() / expected.abs().max())


def load(path):
    """Arguments, parameters and results of one file."""
    arrays = np.load(path)
    arguments = {name[4:]: arrays[name].item() for name in arrays.files if name.startswith("arg/")}
    state_dict = {name[3:]: torch.as_tensor(arrays[name]) for name in arrays.files if name.startswith("sd/")}
    return arguments, state_dict, {name: arrays[name] for name in arrays.files if "/" not in name}


@pytest.mark.parametrize("name", FILES)
@torch.no_grad()
def test_rollouts_and_distributions(
    name, reference_dir, reference_spec, reference_graph, reference_batch, build_reference, means_only
):
    arguments, state_dict, expected = load(reference_dir / "tensors" / f"{name}.npz")
    kind, keywords = map_hyper_parameters(arguments, num_states=12)
    graph = reference_graph(arguments["graph"])
    model = build_reference(kind, reference_spec(), graph, keywords, map_state_dict(kind, state_dict))
    efm = kind == "graph_efm"
    forecast = rollout(means_only(model) if efm else model, reference_batch, 3)
    assert difference(forecast.states, expected["pred"]) < 1e-5
    increments = np.diff(expected["pred"], axis=1, prepend=reference_batch.initial[:, 1:].numpy())
    assert np.abs(forecast.states.numpy() - expected["pred"]).max() < 1e-4 * np.abs(increments).max()
    if expected["std"].ndim > 1:
        assert difference(forecast.std, expected["std"]) < 1e-5
    if efm:
        prepared, forcing = model.prepare(), reference_batch.forcing[:, 0]
        previous, state = reference_batch.initial.unbind(1)
        found = {
            "prior": model.prior(previous, state, forcing, prepared),
            "posterior": model.posterior(previous, state, reference_batch.target[:, 0], forcing, prepared),
        }
        for which, (mean, std) in found.items():
            assert difference(mean, expected[f"{which}_mean"]) < 1e-5
            assert difference(std, expected[f"{which}_std"]) < 1e-5


@torch.no_grad()
def test_clamped_rollout(reference_dir, reference_spec, reference_graph, reference_batch, build_reference):
    _, state_dict, expected = load(reference_dir / "tensors" / "graphcast_clamped_weighted.npz")
    kind, keywords = map_hyper_parameters(
        CLAMPED["arguments"], num_states=12, lower=CLAMPED["lower"], upper=CLAMPED["upper"]
    )
    graph = reference_graph("simple")
    model = build_reference(kind, reference_spec(1), graph, keywords, map_state_dict(kind, state_dict))
    found = rollout(model, reference_batch, 3).states
    assert difference(found, expected["pred"]) < 1e-5


def test_diagonal_constant_prior_has_the_spread_of_its_constants():
    """The reference fills mean and raw deviation with ones; softplus(1) + 1e-4 follows."""
    _, keywords = map_hyper_parameters(
        {"model": "graph_efm", "learn_prior": 0, "prior_dist": "diagonal"}, num_states=12
    )
    assert keywords["prior_mean"] == 1.0
    expected = 1e-4 + torch.nn.functional.softplus(torch.ones((), dtype=torch.float64))
    assert keywords["prior_std"] == pytest.approx(float(expected), rel=1e-12)


def test_observation_noise_is_that_of_the_fixed_deviations():
    flags = {"model": "graph_efm", "sample_obs_noise": 1}
    assert map_hyper_parameters(flags, num_states=12)[1]["observation_noise"] == pytest.approx(12**0.5)
    flags["output_std"] = True
    assert map_hyper_parameters(flags, num_states=12)[1]["observation_noise"] == 1.0
    flags["output_std"] = False
    with pytest.raises(UserError, match="observation noise of unlike size"):
        map_hyper_parameters(flags, num_states=2, weights={"Bx": 1.0, "Bz": 2.0})


def test_unknown_models_and_parameters_are_named():
    with pytest.raises(UserError, match="model 'hilam', which is not read here"):
        map_hyper_parameters({"model": "hilam"}, num_states=12)
    with pytest.raises(UserError, match="'graph_fmm' that is read here; did you mean 'graph_fm'"):
        map_state_dict("graph_fmm", {})
    with pytest.raises(UserError, match=r"'nonsense\.0\.weight' belongs to no known model"):
        map_state_dict("graphcast", {"nonsense.0.weight": torch.zeros(1)})
    with pytest.raises(UserError, match="lacks the grid embedders"):
        map_state_dict("graph_efm", {})


def test_what_it_was_trained_to_minimise_and_on_which_forcing():
    flags = {"model": "graph_efm", "kl_beta": 0.5, "crps_weight": 1e6, "div_weight": 1e7, "num_past_forcing_steps": 2}
    section = map_loss(flags | {"grad_checkpointing": True}, {"Bx": 2.0})
    assert section["_target_"].endswith("ElboObjective")
    assert (section["kl_weight"], section["crps_weight"], section["div_weight"]) == (0.5, 1e6, 1e7)
    assert (section["reduction"], section["recompute"]) == ("reference", True)
    assert section["variable_weights"] == {"Bx": 2.0}
    assert map_data(flags) == {"statistics": "stored", "forcing_past": 2, "forcing_future": 0}
    plain = map_loss({"model": "graph_fm", "loss": "nll"})
    assert plain["_target_"].endswith("ForecastObjective")
    assert plain["loss"] == "nll"
    assert "kl_weight" not in plain
