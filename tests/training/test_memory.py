"""The same training in less memory, and without waiting for a device."""

import copy

import pytest
import torch

from spacecast.core.types import Batch, Stage
from spacecast.models.encode_process_decode import EncodeProcessDecode
from spacecast.models.graph_efm import GraphEFM
from spacecast.objectives.elbo import ElboObjective
from spacecast.objectives.ensemble import EnsembleObjective
from spacecast.objectives.forecast import ForecastObjective
from spacecast.training.memory import set_memory

STEPS, STAGE = 3, Stage(rollout_steps=3)


@pytest.fixture
def batch(tiny_spec):
    torch.manual_seed(1)
    shape = tiny_spec.num_nodes, len(tiny_spec.state)
    initial, target = torch.randn(2, 2, *shape), torch.randn(2, STEPS, *shape)
    return Batch(initial, target, torch.zeros(2, STEPS, shape[0], 0), torch.zeros(2, 2, dtype=torch.long))


def trained(kind, spec, graph, size=8):
    """A model, and what it is trained by: terms that are not computed in single precision always."""
    torch.manual_seed(0)
    if kind == "graph_efm":
        model = GraphEFM(spec, graph, hidden_dim=8, prior="learned", observation_noise=0.1)
        return model, ElboObjective(spec, crps_weight=1.0, kl_weight=0.0)
    noise = {"global": 2, "local": 1} if kind == "noise" else None
    model = EncodeProcessDecode(spec, graph, hidden_dim=size, processor_layers=2, noise=noise)
    if noise is None:
        return model, ForecastObjective(spec)
    for weight in model.noise.maps:
        torch.nn.init.normal_(weight, std=0.1)
    return model, EnsembleObjective(spec)


@pytest.mark.parametrize("kind", ["plain", "noise", "graph_efm"])
@pytest.mark.parametrize("levels", [1, 2])
def test_loss_and_gradients_are_the_same(kind, levels, tiny_spec, tiny_graph, tiny_hierarchy, batch):
    """Models that draw, too: a step that is computed again draws the same numbers."""
    model, objective = (each.double() for each in trained(kind, tiny_spec, (tiny_graph, tiny_hierarchy)[levels - 1]))
    batch = Batch(*(each.double() for each in batch[:3]), batch.window)
    found = {}
    for memory in ("fast", "balanced", "lean"):
        set_memory(model, memory)
        model.zero_grad()
        torch.manual_seed(7)
        total = objective(model, batch, STAGE).total
        total.backward()
        found[memory] = [total.detach(), torch.get_rng_state(), *(each.grad for each in model.parameters())]
    for memory in ("balanced", "lean"):
        for one, other in zip(found["fast"], found[memory], strict=True):
            torch.testing.assert_close(other, one, rtol=1e-10, atol=1e-10)


def kept(model, objective, batch):
    """Bytes that autograd holds between the two passes, each storage once, without weights and data."""
    sizes = {}

    def note(tensor):
        storage = tensor.untyped_storage()
        sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    own = {each.untyped_storage().data_ptr() for each in (*model.parameters(), *model.buffers(), *batch)}
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        total = objective(model, batch, STAGE).total
    assert total.requires_grad
    return sum(size for place, size in sizes.items() if place not in own)


def test_each_setting_keeps_less(tiny_spec, tiny_graph, batch, monkeypatch):
    monkeypatch.setenv("SPACECAST_KERNELS", "off")  # they keep nothing of the inside in any case
    model, objective = trained("plain", tiny_spec, tiny_graph, size=32)
    sizes = []
    for memory in ("fast", "balanced"):
        set_memory(model, memory)
        sizes.append(kept(model, objective, batch))
    assert sizes[1] < 0.5 * sizes[0]
    set_memory(model, "lean")
    assert model.recompute_steps
    model.recompute_steps = False  # what lean saves within a step
    assert kept(model, objective, batch) < 0.6 * sizes[0]


@pytest.mark.parametrize("memory", ["fast", "lean"])
@pytest.mark.parametrize("kind", ["plain", "noise", "graph_efm"])
def test_no_step_waits_for_a_device_or_makes_a_tensor_elsewhere(kind, memory, tiny_spec, tiny_hierarchy, batch):
    """On the device `meta`, where nothing has a value, both would fail."""
    model, objective = trained(kind, tiny_spec, tiny_hierarchy)
    model, objective = copy.deepcopy(model).to("meta"), objective.to("meta")
    set_memory(model, memory)
    objective(model, Batch(*(each.to("meta") for each in batch)), STAGE).total.backward()
    assert all(each.grad.device.type == "meta" for each in model.parameters())
