"""What must hold on a GPU as on a processor; `make test-gpu` runs it where there is one.

SPACECAST_TEST_ACCELERATOR=cpu runs it on the processor, which tries the tests themselves.
"""

import csv
import os
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from test_survival import assert_same_end, run_and_interrupt, words_of  # noqa: F401

from spacecast.checkpoint.content import load_checkpoint

ACCELERATOR = os.environ.get("SPACECAST_TEST_ACCELERATOR", "gpu")
MODELS = {
    "graph_unet": ("model=graph_unet", "model.levels=2"),
    "graph_fm": (),
    "graph_efm": ("model=graph_efm", "model.latent_dim=4", "model.decode_dim=8", "evaluation=deterministic"),
    "noise": ("model.noise={global: 3, local: 2}", "loss=ensemble_crps"),
}

pytestmark = [pytest.mark.gpu, pytest.mark.slow]


@pytest.fixture(autouse=True)
def _gpu():
    if ACCELERATOR == "gpu" and not torch.cuda.is_available():
        pytest.skip("PyTorch sees no GPU")


@pytest.fixture
def train(run, small, workplace):
    """train("name", words) -> the losses of its steps."""

    def start(name: str, *words: str, accelerator: str = ACCELERATOR) -> list[float]:
        foreign = ["model.processor_layers=1"] if "model=graph_unet" in words else []
        kept = [word for word in small if word not in ("trainer=cpu", "logger=none", *foreign)]
        typed = [f"trainer.accelerator={accelerator}", "trainer.precision=32-true", "trainer.log_every_n_steps=1"]
        result = run("spacecast-train", *kept, *typed, "logger=csv", f"paths.run_dir={name}", *words)
        assert result.code == 0, result.err
        with (workplace / name / "metrics.csv").open() as file:
            return [float(row["train/loss"]) for row in csv.DictReader(file) if row.get("train/loss")]

    return start


def scores(folder: Path) -> np.ndarray:
    return xr.load_dataset(folder / "scores.nc")["rmse"].values


@pytest.mark.parametrize("model", ["graph_unet", "graph_fm"])
def test_a_training_is_that_of_a_processor(train, workplace, model):
    words = (*MODELS[model], "loss.input_noise=0")  # which a device draws in its own way
    here, there = train("here", *words), train("there", *words, accelerator="cpu")
    assert len(here) == len(there) >= 2
    np.testing.assert_allclose(here, there, rtol=5e-3)
    np.testing.assert_allclose(scores(workplace / "here"), scores(workplace / "there"), rtol=2e-2)


@pytest.mark.parametrize("model", MODELS)
def test_bf16_trains_as_single_precision_does(train, model):
    single, half = train("single", *MODELS[model]), train("half", *MODELS[model], "trainer.precision=bf16-mixed")
    assert np.isfinite(half).all()
    if model in ("graph_unet", "graph_fm"):  # the others draw, and not the same in other precision
        np.testing.assert_allclose(half, single, rtol=0.1)


def test_what_is_computed_again_is_the_same(train):
    np.testing.assert_allclose(train("again", "loss.recompute=true"), train("kept"), rtol=1e-5)


def test_packed_frames_are_the_decoded_ones(train):
    packed, decoded = train("packed", "data.cache=packed"), train("decoded", "data.cache=memory")
    assert packed == pytest.approx(decoded, rel=1e-5)


@pytest.mark.parametrize("model", ["graph_fm", "own_states", "noise"])
def test_a_killed_training_goes_on_bit_for_bit(run_and_interrupt, small, model):  # noqa: F811
    device = [f"trainer.accelerator={ACCELERATOR}", "trainer.deterministic=true", "trainer.precision=32-true"]
    whole, killed = (words_of(small, model, f"gpu_{model}_{name}") + device for name in ("whole", "killed"))
    result = run_and_interrupt(whole, direct=True)
    assert result["code"] == 0, result["log"]
    for step, event in ((5, "stepped 5"), (17, "in place")):
        result = run_and_interrupt(killed, [([f"batch {step}", event], "SIGKILL")], direct=True)
        assert result["code"] == -9, result["log"]
    result = run_and_interrupt(killed, direct=True)
    assert result["code"] == 0, result["log"]
    assert_same_end(result["folder"], f"gpu_{model}_whole", f"gpu_{model}_killed")


@pytest.mark.parametrize("run_name", ["fm", "efm"])
def test_members_in_chunks_are_the_members_of_a_processor(run, untrained, workplace, run_name):
    """Their random numbers follow from seed, initial time, member and lead, not from the device."""
    for name, device, chunk in (("whole", "cpu", 3), ("chunks", ACCELERATOR, 2), ("single", ACCELERATOR, 1)):
        words = [f"checkpoint={untrained / run_name}", "steps=2", f"output={name}.zarr", f"member_chunk={chunk}"]
        words += [f"members={3 if run_name == 'efm' else 1}", f"trainer.accelerator={device}"]
        result = run("spacecast-forecast", *words)
        assert result.code == 0, result.err
    whole, *others = (xr.open_zarr(workplace / f"{name}.zarr").load() for name in ("whole", "chunks", "single"))
    for other in others:
        for name, field in whole.data_vars.items():
            if field.dtype.kind == "f":
                scale = float(np.nanstd(field)) or 1.0
                np.testing.assert_allclose(other[name].values / scale, field.values / scale, atol=1e-3)


def test_two_devices_train_as_one(run_and_interrupt, small):  # noqa: F811
    if ACCELERATOR == "gpu" and torch.cuda.device_count() < 2:
        pytest.skip("there is one GPU")
    words = [*words_of(small, "graph_fm", "gpu_one"), "loss.input_noise=0", "trainer.global_batch=4"]
    words += [f"trainer.accelerator={ACCELERATOR}", "trainer.precision=32-true", "trainer.max_epochs=2"]
    one = run_and_interrupt(words, direct=True)
    two = run_and_interrupt([*words, "trainer.devices=2", "paths.run_dir=gpu_two"], direct=True)
    assert (one["code"], two["codes"]) == (0, [0, 0]), two["log"]
    first, second = (
        load_checkpoint(one["folder"] / name / "checkpoints" / "last.ckpt") for name in ("gpu_one", "gpu_two")
    )
    for name, weight in first["state_dict"].items():
        torch.testing.assert_close(second["state_dict"][name], weight, rtol=1e-3, atol=1e-4)
