"""What each of two processes does in tests/core/test_shards.py: steps of models on its part of a grid.

Arguments: folder, number of this process, number of all. The folder holds `cases`; what comes out goes to `part_N`.
"""

import sys
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import distributed, nn

from spacecast.core.graph import MeshGraph
from spacecast.core.shards import ShardGroup
from spacecast.core.spec import DataSpec
from spacecast.core.types import Batch, Stage
from spacecast.forecast.rollout import rollout
from spacecast.graphs.partition import part_of
from spacecast.models.encode_process_decode import EncodeProcessDecode
from spacecast.objectives.forecast import ForecastObjective
from spacecast.objectives.shard import ShardObjective
from spacecast.training.memory import Memory, set_memory

STEPS = 3


class Case(NamedTuple):
    """A model, its loss, and the step that is taken."""

    spec: DataSpec
    graph: MeshGraph
    options: dict[str, Any]
    loss: str
    memory: Memory
    batch: Batch


def made(case: Case, spec: DataSpec, graph: MeshGraph) -> tuple[nn.Module, nn.Module]:
    """Model and objective in double precision, the weights a function of the seed."""
    torch.manual_seed(0)
    model = EncodeProcessDecode(spec, graph, hidden_dim=8, **case.options).double()
    set_memory(model, case.memory)
    return model, ForecastObjective(spec, loss=case.loss)


def worked(model: nn.Module, objective: nn.Module, batch: Batch, spec: DataSpec) -> dict[str, Any]:
    """A roll-out without gradients, the loss, and the gradients of a training step."""
    boundary = torch.as_tensor(spec.boundary)
    with torch.no_grad():
        states = rollout(model, batch, STEPS, boundary=boundary).states
    loss = objective(model, batch, Stage(rollout_steps=STEPS))
    loss.total.backward()
    gradients = {name: weight.grad for name, weight in model.named_parameters()}
    terms = {name: term.detach() for name, term in loss.terms.items()}
    return {"states": states, "loss": loss.total.detach(), "terms": terms, "gradients": gradients}


def main(folder: Path, rank: int, size: int) -> None:
    """Compute the own part of each case."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder / 'meeting'}", rank=rank, world_size=size)
    group, results = ShardGroup(rank, size), {}
    group.join()
    for name, case in torch.load(folder / "cases", weights_only=False).items():
        spec, graph = part_of(case.spec, case.graph, group)
        model, objective = made(case, spec, graph)
        assert spec.part is not None
        batch = Batch(*map(spec.part.cut, case.batch[:3]), case.batch.window)
        results[name] = worked(model, ShardObjective(objective, spec.part), batch, spec)
        for gradient in results[name]["gradients"].values():  # the mean, as data-parallel training takes it
            distributed.all_reduce(gradient)
            gradient /= size
    torch.save(results, folder / f"part_{rank}")
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
