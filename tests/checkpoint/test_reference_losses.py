"""One training step of the reference: loss, its terms and the norm of the gradient."""

import dataclasses

import numpy as np
import pytest
import torch

from spacecast.checkpoint.reference import map_hyper_parameters, map_state_dict
from spacecast.core.types import Stage
from spacecast.objectives.divergence_penalty import DivergencePenalty
from spacecast.objectives.elbo import ElboObjective
from spacecast.objectives.forecast import ForecastObjective

FM = ["graphcast_simple", "graphcast_simple_std", "graphcast_multiscale_mean_interaction", "graph_fm_hierarchical"]
EFM = ["graph_efm_simple", "graph_efm_constant_prior", "graph_efm_multiscale_latent", "graph_efm_hierarchical"]
WEIGHTS = dict.fromkeys(("Bx", "By", "Ex", "Ez", "vx", "vy", "vz", "P", "T"), 1.0) | {"Bz": 2, "Ey": 0.5, "rho": 2}


@pytest.fixture
def step(reference_dir, reference_spec, reference_graph, reference_batch, build_reference):
    """Loss, terms and gradient norm of our model beside the numbers of one file."""

    def run(name, make_objective, arguments=None, run_number=2, **limits):
        arrays = np.load(reference_dir / "tensors" / f"{name}.npz")
        flags = arguments or {key[4:]: arrays[key].item() for key in arrays.files if key.startswith("arg/")}
        state_dict = {key[3:]: torch.as_tensor(arrays[key]) for key in arrays.files if key.startswith("sd/")}
        kind, keywords = map_hyper_parameters(flags, num_states=12, **limits)
        spec, graph = reference_spec(run_number), reference_graph(flags["graph"])
        model = build_reference(kind, spec, graph, keywords, map_state_dict(kind, state_dict))
        total, terms = make_objective(spec, flags)(model, reference_batch, Stage(rollout_steps=3))
        total.backward()
        total = total.detach()
        norm = torch.stack([each.grad.norm() for each in model.parameters() if each.grad is not None]).norm()
        expected = {key: arrays[key].item() for key in arrays.files if key.startswith("log/") or arrays[key].ndim == 0}
        return float(total), {key: float(term.detach()) for key, term in terms.items()}, float(norm), expected

    return run


@pytest.mark.parametrize("name", FM)
def test_deterministic_models(name, step):
    def objective(spec, flags):
        return ForecastObjective(spec, loss=flags.get("loss", "wmse"), div_weight=10.0, reduction="reference")

    total, terms, norm, expected = step(name, objective)
    assert total == pytest.approx(expected["loss"], rel=1e-5)
    assert terms["loss"] == pytest.approx(expected["log/train_loss"], rel=1e-5)
    assert terms["div"] == pytest.approx(expected["log/div_loss"], rel=1e-5)
    assert norm == pytest.approx(expected["grad_norm"], rel=1e-4)


def test_variable_weights(step):
    def objective(spec, flags):
        return ForecastObjective(spec, variable_weights=WEIGHTS, reduction="reference")

    total, _, _, expected = step(
        "graphcast_clamped_weighted",
        objective,
        arguments={"model": "graphcast", "graph": "simple", "hidden_dim": 16, "processor_layers": 2},
        run_number=1,
        lower={"rho": 0.0, "P": 0.0, "vz": -60.0},
        upper={"vz": 90.0, "By": 100.0},
    )
    assert total == pytest.approx(expected["loss"], rel=1e-5)


@pytest.mark.parametrize("name", EFM)
def test_latent_models(name, step, monkeypatch):
    """Every sample is replaced by the mean of its distribution, as in the file."""
    monkeypatch.setattr(torch, "randn_like", torch.zeros_like)

    def objective(spec, flags):
        return ElboObjective(spec, crps_weight=1.0, div_weight=10.0, reduction="reference")

    total, terms, norm, expected = step(name, objective)
    assert total == pytest.approx(expected["loss"], rel=1e-5)
    assert -terms["reconstruction"] == pytest.approx(expected["log/elbo_likelihood"], rel=1e-5)
    assert terms["kl"] == pytest.approx(expected["log/elbo_kl"], rel=1e-5)
    assert terms["crps"] == pytest.approx(expected["log/crps_loss"], rel=1e-5)
    assert terms["div"] == pytest.approx(expected["log/div_loss"], rel=1e-5)
    assert norm == pytest.approx(expected["grad_norm"], rel=1e-4)


def test_divergence_of_a_random_field(reference_dir, reference_spec):
    """A field on all cells, as if there were no Earth."""
    arrays = np.load(reference_dir / "tensors" / "divergence.npz")
    spec = reference_spec()
    everywhere = dataclasses.replace(spec, grid=dataclasses.replace(spec.grid, valid=np.ones(spec.grid.shape, bool)))
    penalty = DivergencePenalty(everywhere, reduction="reference")
    for field, expected in zip(torch.as_tensor(arrays["field"]), arrays["squared"], strict=True):
        states = torch.zeros(len(field), 12)
        states[:, 0], states[:, 2] = field.unbind(-1)
        assert float(penalty(states)) == pytest.approx(float(expected), rel=1e-5)
