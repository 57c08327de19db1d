"""Two processes, each with a part of the grid, compute what one computes: forecasts, loss and gradients."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))

from shards_at_work import STEPS, Case, made, worked

from spacecast.core.types import Batch

SIZE = 2
CLOSE = {"rtol": 1e-10, "atol": 1e-12}
CASES = {
    "flat": (1, {}, "wmse", "fast"),
    "flat, recomputed": (1, {"aggregation": "mean", "trend": 0.5}, "huber", "lean"),
    "flat, tendencies": (1, {"inputs": "tendencies", "electric": "ideal", "previous_leads": 0}, "wmse", "fast"),
    "flat, states": (1, {"inputs": "states", "vertical": "interaction", "predict_std": True}, "nll", "balanced"),
    "hierarchical": (2, {}, "wmse", "fast"),
    "three levels": (3, {"vertical": "interaction", "inputs": "increments"}, "mae", "lean"),
}


@pytest.fixture(scope="module")
def computed(tiny_grid, tiny_spec, graph_factory, tmp_path_factory):
    """Each case by one process, and by two."""
    folder = tmp_path_factory.mktemp("shards")
    torch.manual_seed(0)
    shape = tiny_spec.num_nodes, len(tiny_spec.state)
    fields = torch.randn(2, 2, *shape), torch.randn(2, STEPS, *shape), torch.zeros(2, STEPS, shape[0], 0)
    batch = Batch(*(field.double() for field in fields), torch.zeros(2, 2, dtype=torch.int64))
    cases = {
        name: Case(tiny_spec, graph_factory(tiny_grid, levels), options, loss, memory, batch)
        for name, (levels, options, loss, memory) in CASES.items()
    }
    torch.save(cases, folder / "cases")
    command = [sys.executable, str(Path(__file__).parent / "shards_at_work.py"), str(folder)]
    processes = [subprocess.Popen([*command, str(rank), str(SIZE)]) for rank in range(SIZE)]
    whole = {name: worked(*made(case, case.spec, case.graph), batch, case.spec) for name, case in cases.items()}
    try:
        assert [process.wait() for process in processes] == [0] * SIZE
    finally:
        for process in processes:
            process.kill()
    parts = [torch.load(folder / f"part_{rank}", weights_only=True) for rank in range(SIZE)]
    return {name: (whole[name], [part[name] for part in parts]) for name in cases}


@pytest.mark.parametrize("name", CASES)
def test_forecasts_of_the_parts_are_that_of_the_whole(name, computed):
    whole, parts = computed[name]
    torch.testing.assert_close(torch.cat([part["states"] for part in parts], dim=2), whole["states"], **CLOSE)


@pytest.mark.parametrize("name", CASES)
def test_each_process_has_the_loss_of_the_whole(name, computed):
    whole, parts = computed[name]
    for part in parts:
        torch.testing.assert_close(part["loss"], whole["loss"], **CLOSE)
        torch.testing.assert_close(part["terms"], whole["terms"], **CLOSE)


@pytest.mark.parametrize("name", CASES)
def test_gradients_averaged_over_processes_are_those_of_the_whole(name, computed):
    whole, parts = computed[name]
    assert any(gradient.abs().max() > 1e-3 for gradient in whole["gradients"].values())
    for part in parts:
        torch.testing.assert_close(part["gradients"], whole["gradients"], **CLOSE)
