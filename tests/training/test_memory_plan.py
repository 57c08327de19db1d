"""The memory of a training step by arithmetic, against a step that is taken, and of the published configuration."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from spacecast.core.grid import Grid
from spacecast.core.spec import DataSpec, FeatureSpec
from spacecast.core.types import Batch, LossTerms, Stage, StepOutput
from spacecast.graphs.reference import ReferenceGraph
from spacecast.models.encode_process_decode import EncodeProcessDecode
from spacecast.models.graph_efm import GraphEFM
from spacecast.models.graph_unet import GraphUNet
from spacecast.nn import native
from spacecast.objectives.elbo import ElboObjective
from spacecast.objectives.forecast import ForecastObjective
from spacecast.training.memory_plan import Ledger, PlanError, autocast, plan_step

ADAMW = partial(torch.optim.AdamW, lr=1e-3, fused=True)


def batch_of(spec, size: int, steps: int) -> Batch:
    shape = (spec.num_nodes, len(spec.state))
    forcing = torch.empty(size, steps, spec.num_nodes, 0)
    return Batch(torch.randn(size, 2, *shape), torch.randn(size, steps, *shape), forcing, torch.zeros(size, 2).long())


def measured_peak(model, objective, batch, stage, precision) -> int:
    """Most bytes that torch's allocator holds at a time during the second step, on top of what was there before."""
    optimizer = ADAMW(model.parameters())

    def step():
        with autocast(precision, "cpu"):
            again = Batch(*((field + 0).float() for field in batch[:3]), batch.window)
            total = objective(model, again, stage).total
            del again
        total.backward()
        del total
        optimizer.step()

    step()
    optimizer.zero_grad()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        step()
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    live = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        live += event.nbytes()
        peak = max(peak, live)
    return peak


CASES = {
    "flat": (EncodeProcessDecode, ForecastObjective, 1, {}),
    "hierarchical": (EncodeProcessDecode, ForecastObjective, 2, {}),
    "recomputing": (EncodeProcessDecode, partial(ForecastObjective, recompute=True), 1, {}),
    "latent": (GraphEFM, ElboObjective, 1, {}),
    "cells": (GraphUNet, ForecastObjective, 1, {"levels": 2, "magnetic": "potential", "electric": "ideal"}),
}


@pytest.mark.parametrize(("case", "precision"), [*((case, "32-true") for case in CASES), ("flat", "bf16-mixed")])
def test_the_plan_is_what_a_step_takes(tiny_spec, tiny_grid, graph_factory, case, precision):
    """To a few percent, and but for what the kernels of convolutions use inside: their weights, reordered."""
    kind, loss, levels, options = CASES[case]
    model = kind(tiny_spec, graph_factory(tiny_grid, levels), hidden_dim=32, **options)
    objective, batch, stage = loss(tiny_spec), batch_of(tiny_spec, 2, 2), Stage(rollout_steps=2)
    before = [weight.clone() for weight in model.parameters()]
    plan = plan_step(model, objective, ADAMW, batch, stage, precision=precision)
    assert all(torch.equal(one, other) for one, other in zip(before, model.parameters(), strict=True))
    found = measured_peak(model, objective, batch, stage, precision)
    within = sum(weight.numel() * weight.element_size() for weight in model.parameters()) if case == "cells" else 0
    planned = plan.activations + plan.workspace
    assert 0.95 * planned < found < 1.05 * planned + within


def test_kernels_are_planned_for_where_they_will_compute(tiny_spec, tiny_grid, graph_factory, monkeypatch):
    """They keep nothing of the inside of a network; those of a GPU are torch's, whatever this machine has."""
    model = EncodeProcessDecode(tiny_spec, graph_factory(tiny_grid, 1), hidden_dim=32)
    objective, batch, stage = ForecastObjective(tiny_spec), batch_of(tiny_spec, 2, 2), Stage(rollout_steps=2)
    plan = partial(plan_step, model, objective, ADAMW, batch, stage)
    here, there = plan(), plan(device="cuda")
    monkeypatch.setenv("SPACECAST_KERNELS", "off")
    plain = plan()
    assert plain == there
    if native.library(torch.float32) is not None:
        assert here.activations < 0.6 * plain.activations


@pytest.mark.parametrize("case", ["flat", "latent"])
def test_gradients_of_each_thread_are_planned(tiny_spec, tiny_grid, graph_factory, case, monkeypatch):
    monkeypatch.setattr(native, "FEWEST", 20)
    torch.set_num_threads(3)
    kind, loss, levels, options = CASES[case]
    model = kind(tiny_spec, graph_factory(tiny_grid, levels), hidden_dim=32, **options)
    objective, batch, stage = loss(tiny_spec), batch_of(tiny_spec, 2, 2), Stage(rollout_steps=2)
    plan = plan_step(model, objective, ADAMW, batch, stage)
    found = measured_peak(model, objective, batch, stage, "32-true")
    assert found == pytest.approx(plan.activations + plan.workspace, rel=0.01)


class Looks(nn.Module):
    """A model that goes another way where a value is large."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(12))

    def prepare(self) -> None:
        pass

    def step(self, previous, state, forcing, prepared):
        return StepOutput(state * self.weight if float(state.max()) > 3 else state, None)


def test_a_step_that_looks_at_numbers_is_not_planned(tiny_spec):
    with pytest.raises(PlanError):
        plan_step(Looks(), ForecastObjective(tiny_spec), ADAMW, batch_of(tiny_spec, 1, 1), Stage())


def test_weights_and_optimiser_are_counted_by_hand(tiny_spec):
    """AdamW keeps two numbers per weight and the number of its steps; averages and waiting gradients are one each."""
    class Scale(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1000))
            self.fixed = nn.Parameter(torch.ones(500), requires_grad=False)

    def objective(model, batch, stage):
        total = (model.weight * 2).sum()
        return LossTerms(total, {})

    loss = nn.Module()
    loss.forward = objective
    plan = partial(plan_step, Scale(), loss, ADAMW, batch_of(tiny_spec, 1, 1), Stage())
    alone, more = plan(), plan(averaged=True, several_devices=True)
    assert alone.weights == 6000
    assert alone.optimizer == 2 * 4000 + 4
    assert more.optimizer == alone.optimizer + 2 * 4000
    assert plan(precision="64-true").weights == 12000
    assert plan(precision="bf16-true").weights == 3000


def test_the_ledger_counts_what_comes_and_goes():
    with Ledger() as ledger:
        kept = torch.ones(1000)
        passing = kept * 2
        kept.add_(passing)
        view = kept[:10]
        del passing
    assert (ledger.allocated, ledger.peak, ledger.live) == (8000, 8000, 4000)
    assert ledger.calls["mul"] == ledger.calls["ones"] == 1
    assert view.shape == (10,)
    del kept, view
    assert ledger.live == 0


@pytest.fixture(scope="module")
def published():
    """The published plane, 1006 x 671 cells of 600 km, and its Graph-FM on the simple graph: 12 layers of 256."""
    x, z = 94.7 / 1006 * (np.arange(1006) - 644.8), 94.7 / 1006 * (np.arange(671) - 335.0)
    grid = Grid({"x": x, "z": z}, np.hypot(x[:, None], z[None, :]) >= 3.8)
    names = ("Bx", "By", "Bz", "Ex", "Ey", "Ez", "vx", "vy", "vz", "rho", "P", "T")
    static = np.column_stack([grid.positions, grid.radius]).astype(np.float32)
    spec = DataSpec(
        grid=grid, state=FeatureSpec(names, ("1",) * 12, np.zeros(12), np.ones(12)),
        static=FeatureSpec(("x", "z", "r"), ("R_E",) * 3, static.mean(axis=0), static.std(axis=0)),
        forcing=FeatureSpec.empty(), diff_mean=np.zeros(12), diff_std=np.ones(12), static_values=static,
        boundary=np.zeros(grid.num_nodes, dtype=bool), step_seconds=1.0,
    )  # fmt: skip
    graph = ReferenceGraph("simple").build(grid)
    sizes = {"hidden_dim": 256, "decode_dim": 128, "processor_layers": 12}
    return spec, EncodeProcessDecode(spec, graph, **sizes, inputs="states", lower=None)


@pytest.mark.slow
def test_the_published_configuration_fits_a_gpu_of_24_gb(published):
    """Half precision, each step of the roll-out computed again: what a step needs hardly grows with their number."""
    spec, model = published
    state = spec.num_nodes * 12 * 4
    assert spec.num_nodes == pytest.approx(669_902, abs=100)
    weights = sum(weight.numel() for weight in model.parameters())
    assert weights == 6_648_076

    def plan(steps):
        shape = (spec.num_nodes, 12)
        fields = torch.empty(1, 2, *shape), torch.empty(1, steps, *shape), torch.empty(1, steps, spec.num_nodes, 0)
        loss = ForecastObjective(spec, div_weight=10.0, reduction="reference", recompute=True)
        batch, stage = Batch(*fields, torch.zeros(1, 2)), Stage(rollout_steps=steps)
        return plan_step(model, loss, ADAMW, batch, stage, precision="bf16-mixed")

    one, four = plan(1), plan(4)
    assert four.optimizer == 2 * 4 * weights + 4 * len(list(model.parameters()))
    assert four.data == 6 * state + 8
    assert four.weights > 4 * weights + 2 * 8 * (669_902 + 2_009_706 + 122_422)  # senders and receivers
    assert 3 * state < four.activations - one.activations < 3 * 10 * state
    assert one.total < four.total < 24e9
