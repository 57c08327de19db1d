"""A training step on a device: nothing in it waits for a value, nothing of it is made on the processor and moved.

The device is PyTorch's `meta`, which has shapes and no values, so that whatever looks at a value fails.
"""

import re
from functools import partial
from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import spacecast
from spacecast.core.types import Batch, Stage
from spacecast.training.own_states import OwnStatePool

PLACES = 3
NOISE = ("loss=ensemble_crps", "schedule=ensemble_rollout", "model.noise={global: 16, local: 8, every: 4}")
SUBJECTS = {
    "default": ("default", ()),
    "noise": ("default", NOISE),
    "grid_unet": ("default", ("model=grid_unet",)),
    "edges": ("default", ("model.execution=edges",)),
    "huber": ("default", ("loss=huber",)),
    "flat": ("flat", ()),
    "keisler": ("flat", ("model=keisler",)),
    "hierarchical": ("hierarchical", ()),
    "graph_efm": ("efm", ()),
}


class Elsewhere(TorchDispatchMode):
    """Notes the operations that make something that is not on the device."""

    def __init__(self, device: str) -> None:
        super().__init__()
        self.device, self.found = device, set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        if any(isinstance(each, torch.Tensor) and each.device.type != self.device for each in tree_leaves(made)):
            self.found.add(str(func))
        return made


def placed(bench, name, device):
    """A model, its objective, optimiser and batch of two steps on a device."""
    subjects = bench("subject")
    base, words = SUBJECTS[name]
    made = subjects.subject(base, (60, 40), None if base == "default" else 16, words)
    model, objective = made.model.to(device), made.objective.to(device)
    batch = Batch(*(each.to(device) for each in subjects.random_batch(made.spec, 2)))
    return model, objective, made.make_optimizer(model.parameters()), batch


@pytest.mark.parametrize("name", SUBJECTS)
def test_a_training_step_looks_at_no_value_and_makes_nothing_elsewhere(bench, name):
    model, objective, optimizer, batch = placed(bench, name, "meta")
    for group in optimizer.param_groups:
        group["fused"] = False  # there is no such kernel for this device
    with Elsewhere("meta") as elsewhere:
        objective(model, batch, Stage(rollout_steps=2)).total.backward()
        torch.nn.utils.clip_grad_norm_(list(model.parameters()), 1.0)
    optimizer.step()
    assert not elsewhere.found
    assert {parameter.grad.device.type for parameter in model.parameters()} == {"meta"}


def test_a_step_from_own_states_looks_at_no_value(bench):
    model, objective, _, batch = placed(bench, "default", "meta")
    pool, window = OwnStatePool(), [0, 0, 0, 0, 0]  # run, first frame, place, age, previous given
    batch = batch._replace(window=torch.tensor([window], device="meta"))
    with Elsewhere("meta") as elsewhere:
        for _ in range(2):
            entered = pool.enter(batch, PLACES, optional=True)
            objective(model, entered, Stage(), keep=partial(pool.keep, entered)).total.backward()
    assert elsewhere.found <= {"aten.empty.memory_format"}  # the windows of a new pool, before the first batch


REFUSED = r"\.(?:nan)?median\(dim|\.kthvalue\(|\.put_\(|torch\.(?:histc|cum\w+|(?:nan)?median)\("
"""What a GPU refuses where everything is to be deterministic (`torch.use_deterministic_algorithms`), forward."""


def test_nothing_is_used_that_a_gpu_refuses_in_a_deterministic_run():
    lines = [
        f"{path.name}: {line.strip()}"
        for path in Path(spacecast.__file__).parent.rglob("*.py")
        for line in path.read_text().splitlines()
        if re.search(REFUSED, line) and "`" not in line
    ]
    assert lines == []


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no GPU")
@pytest.mark.parametrize("name", SUBJECTS)
def test_a_training_step_waits_for_no_gpu(bench, name):
    model, objective, optimizer, batch = placed(bench, name, "cuda")
    for mode in ("default", "error"):  # the first step makes what later ones have
        torch.cuda.set_sync_debug_mode(mode)
        try:
            objective(model, batch, Stage(rollout_steps=2)).total.backward()
            optimizer.step()
        finally:
            torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_what_is_measured_on_a_gpu_is_measured_on_a_processor_alike(bench, precision):
    gpu = bench("gpu")
    row = gpu.measured(gpu.Case("default", (60, 40), None, precision), torch.device("cpu"), repetitions=1)
    assert row.training > 0
    assert row.forecast > 0


@pytest.mark.parametrize("words", [["--ask", "test-gpu"], []])
def test_where_there_is_no_gpu_a_line_says_so(bench, words, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit) as end:
        bench("gpu").main(words)
    assert end.value.code == 3
    [line] = capsys.readouterr().out.splitlines()
    assert "sees no GPU" in line
