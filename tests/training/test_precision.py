"""Gradients are limited, and data survive, in every precision."""

from dataclasses import replace
from functools import partial

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.precision import MixedPrecision
from torch.utils.data import DataLoader

from spacecast.core.errors import UserError
from spacecast.core.spec import FeatureSpec
from spacecast.core.types import Batch
from spacecast.forecast.standardize import Standardizer
from spacecast.models.encode_process_decode import EncodeProcessDecode
from spacecast.models.graph_unet import GraphUNet
from spacecast.objectives.forecast import ForecastObjective
from spacecast.training.module import ForecastModule
from spacecast.training.precision import HALVES, best_precision, check_precision
from spacecast.training.schedule import ConstantSchedule
from spacecast.training.trainer import make_trainer

NETWORK = {"hidden_dim": 8, "processor_layers": 1, "inputs": "states", "lower": None}


def windows(spec, count: int) -> list[Batch]:
    """Noise in physical units."""
    torch.manual_seed(1)
    states = Standardizer(spec).state_to_physical(torch.randn(count, 3, spec.num_nodes, len(spec.state)))
    forcing = torch.zeros(1, spec.num_nodes, 0)
    return [Batch(each[:2], each[2:], forcing, torch.tensor([0, number])) for number, each in enumerate(states)]


def trained(spec, graph, folder, *, model=None, optimizer=None, clip=1e-3, steps=2, **trainer) -> ForecastModule:
    """A module after some steps."""
    torch.manual_seed(0)
    model = model or EncodeProcessDecode(spec, graph, **NETWORK)
    optimizer = optimizer or partial(torch.optim.SGD, lr=1.0, fused=True)
    module = ForecastModule(model, ForecastObjective(spec), ConstantSchedule(1), optimizer, spec, validation_steps=1)
    loader = DataLoader(windows(spec, steps), batch_size=1)
    keywords = {"accelerator": "cpu", "max_epochs": 1, "gradient_clip_val": clip, "limit_val_batches": 0, **trainer}
    make_trainer(partial(pl.Trainer, **keywords), folder, None, []).fit(module, loader)
    return module


def travelled(module, spec, graph) -> torch.Tensor:
    """How far the weights have come from where they began."""
    torch.manual_seed(0)
    before = EncodeProcessDecode(spec, graph, **NETWORK)
    pairs = zip(module.model.parameters(), before.parameters(), strict=True)
    return torch.cat([(now.detach() - then.detach()).flatten() for now, then in pairs])


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "64-true"])
@pytest.mark.parametrize("fused", [True, False])
def test_a_step_of_gradient_descent_is_as_long_as_the_limit(precision, fused, tiny_spec, tiny_graph, tmp_path):
    optimizer = partial(torch.optim.SGD, lr=1.0, fused=fused)
    module = trained(tiny_spec, tiny_graph, tmp_path, steps=1, precision=precision, optimizer=optimizer)
    assert float(travelled(module, tiny_spec, tiny_graph).norm()) == pytest.approx(1e-3, rel=1e-3)


def test_no_entry_of_a_gradient_exceeds_a_limit_by_value(tiny_spec, tiny_graph, tmp_path):
    limit = {"clip": 1e-5, "gradient_clip_algorithm": "value", "precision": "bf16-mixed"}
    module = trained(tiny_spec, tiny_graph, tmp_path, steps=1, **limit)
    assert float(travelled(module, tiny_spec, tiny_graph).abs().max()) == pytest.approx(1e-5, rel=1e-2)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("algorithm", ["norm", "value"])
def test_scaled_gradients_are_limited_as_if_they_were_not(fused, algorithm, tiny_spec, tiny_graph, tmp_path):
    """The scaler of 16-mixed, which Lightning has on a GPU only, around a processor's autocast."""
    plugin = MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=2.0**10))
    options = {"optimizer": partial(torch.optim.SGD, lr=1.0, fused=fused), "gradient_clip_algorithm": algorithm}
    module = trained(tiny_spec, tiny_graph, tmp_path, steps=1, plugins=[plugin], clip=1e-4, **options)
    steps = travelled(module, tiny_spec, tiny_graph)
    longest = steps.norm() if algorithm == "norm" else steps.abs().max()
    assert float(longest) == pytest.approx(1e-4, rel=1e-2)


def test_half_precision_spares_data_that_it_could_not_hold(tiny_spec, tiny_graph, tmp_path):
    """Of 1e9 and of 1e-12, in the precision of ten bits the variables would be infinite and zero."""
    factors = torch.logspace(-12, 9, len(tiny_spec.state)).numpy()
    state = tiny_spec.state
    wide = FeatureSpec(state.names, state.units, state.mean * factors, state.std * factors)
    increments = {"diff_mean": tiny_spec.diff_mean * factors, "diff_std": tiny_spec.diff_std * factors}
    scaled = replace(tiny_spec, state=wide, **increments)
    ends = [trained(spec, tiny_graph, tmp_path, precision="16-true").model for spec in (tiny_spec, scaled)]
    for one, other in zip(*(model.parameters() for model in ends), strict=True):
        assert one.dtype == torch.float16
        assert other.isfinite().all()
        torch.testing.assert_close(one, other, rtol=1e-2, atol=1e-2)


LAWS = {"inputs": "tendencies", "magnetic": "potential", "electric": "ideal", "state_law": "project", "lower": None}


@pytest.mark.parametrize("precision", HALVES)
@pytest.mark.parametrize("kind", [EncodeProcessDecode, GraphUNet])
def test_laws_of_physics_are_computed_in_single_precision(kind, precision, tiny_spec, tiny_graph, tmp_path):
    """In physical units, fields near Earth have squares that half precision cannot hold."""
    torch.manual_seed(0)
    model = kind(tiny_spec, tiny_graph, hidden_dim=8, **LAWS)
    kept = {name: value for name, value in model.named_buffers() if name.startswith("update.constraints.")}
    module = trained(tiny_spec, tiny_graph, tmp_path, precision=precision, model=model)
    assert {weight.dtype for weight in model.parameters()} == {HALVES[precision]}
    for name, value in kept.items():
        assert torch.equal(model.get_buffer(name), value)
    assert all(weight.isfinite().all() for weight in model.parameters())
    batch = module.standardized(Batch(*(part[None] for part in windows(tiny_spec, 1)[0])))
    near_earth = torch.full_like(batch.initial[:, 1], 60.0)
    with torch.no_grad():
        state = model.step(near_earth, near_earth, batch.forcing[:, 0], model.prepare()).state
        driven = torch.as_tensor(tiny_spec.boundary)
        state = model.drive(state, batch.target[:, 0], driven)
    assert (state.dtype, bool(state.isfinite().all())) == (HALVES[precision], True)


OPTIMIZERS = [
    getattr(torch.optim, name)
    for name in dir(torch.optim)
    if isinstance(getattr(torch.optim, name), type) and name not in ("Optimizer", "SparseAdam", "Muon")
]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimiser_of_torch_for_dense_vectors_takes_a_step(optimizer, tiny_spec, tiny_graph, tmp_path):
    module = trained(tiny_spec, tiny_graph, tmp_path, optimizer=optimizer, precision="bf16-mixed")
    steps = travelled(module, tiny_spec, tiny_graph)
    assert steps.isfinite().all()
    assert steps.any()


def test_foreign_precisions_are_refused_by_name():
    with pytest.raises(UserError, match="transformer-engine: there is no such precision here; valid: 32-true"):
        check_precision("transformer-engine")
    with pytest.raises(UserError, match="did you mean 'bf16-mixed'"):
        check_precision("bf16-mixd")


@pytest.mark.parametrize(
    ("accelerator", "tiles", "gpu", "wanted"),
    [
        ("cpu", True, False, "bf16-mixed"),
        ("auto", True, False, "bf16-mixed"),
        ("cpu", False, True, "32-true"),
        ("auto", False, True, "bf16-mixed"),
        ("auto", False, False, "32-true"),
        ("tpu", True, False, "32-true"),
    ],
)
def test_the_precision_of_a_machine_is_the_one_that_it_is_fast_at(accelerator, tiles, gpu, wanted, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": tiles})
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: not including_emulation)
    assert best_precision(accelerator) == wanted


def test_a_trainer_takes_what_the_machine_is_fast_at(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    build = partial(pl.Trainer, accelerator="cpu", precision="auto")
    assert make_trainer(build, tmp_path, None, []).precision == "32-true"
