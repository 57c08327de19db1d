"""`trainer.shards`: one sample on several processes, each with a part of the nodes of the grid and of the mesh."""

import logging
from typing import TYPE_CHECKING

from spacecast.app.assemble import Parts, build_model
from spacecast.config.schema import Train
from spacecast.core.errors import UserError
from spacecast.core.protocols import whole_grid_of
from spacecast.core.shards import ShardGroup
from spacecast.graphs.partition import part_of
from spacecast.process.logs import information_muted

if TYPE_CHECKING:
    from spacecast.training.module import ForecastModule

log = logging.getLogger(__name__)

INSTEAD = {"model": "model=graph_fm, graphcast or keisler", "loss": "loss=wmse or another one of single forecasts"}
OFF = {
    "model.magnetic": "free", "model.state_law": "free", "model.smooth": "none", "model.guard": "null",
    "model.noise": "null", "model.previous_leads": "null", "model.grid_blocks": "0",
    "loss.div_weight": "0", "loss.input_noise": "0",
}  # fmt: skip
"""Values of options with which a part of the grid is enough."""


def check_shards(config: Train, parts: Parts, epochs: int) -> None:
    """Refuse what cannot be computed part by part.

    Raises:
        UserError: model, loss or schedule need the whole grid in one process, there is nothing to forecast in some
            part, or it is a dry run.

    """
    shards = config.trainer.shards
    if shards == 1:
        return
    asked = f"trainer.shards={shards}"
    if config.dry_run:
        raise UserError(f"{asked}: a dry run takes its steps in one process; leave trainer.shards out of it")
    held = []
    for key, part in (("model", parts.model), ("loss", parts.module.objective)):
        options = whole_grid_of(part)
        if options is None:
            instead = INSTEAD[key]
            raise UserError(f"{asked}: {type(part).__name__} needs the whole grid in one process; take {instead}")
        held += [f"{key}.{option}" for option in options]
    if held:
        names = [option.split("=")[0] for option in held]
        without = " ".join(f"{name}={OFF[name]}" for name in names if name in OFF) or "other options"
        found, verb = ", ".join(held), "need" if held[1:] else "needs"
        raise UserError(f"{asked}: {found} {verb} the whole grid in one process; train with {without}")
    if any(parts.schedule.at(epoch).own_states for epoch in range(epochs)):
        raise UserError(f"{asked}: a schedule with own states keeps whole ones in each process; take another schedule")
    part_of(parts.spec, parts.graph, ShardGroup(0, shards))


def own_module(config: Train, parts: Parts, rank: int) -> "ForecastModule":
    """The module that this process trains: the whole one, or that of its part of the grid, with the same weights.

    Args:
        config: of the training.
        parts: of the whole grid; its data are told the part.
        rank: of this process among all.

    """
    from spacecast.objectives.shard import ShardObjective
    from spacecast.training.memory import set_memory
    from spacecast.training.module import ForecastModule

    shards = config.trainer.shards
    if shards == 1:
        return parts.module
    group = ShardGroup(rank % shards, shards)
    spec, graph = part_of(parts.spec, parts.graph, group)
    with information_muted():
        model = build_model(config.model, config.seed, spec, graph)
    model.load_state_dict(parts.model.state_dict())
    set_memory(model, config.trainer.memory)
    assert spec.part is not None
    objective = ShardObjective(config.loss.build()(spec), spec.part)
    parts.data.part = spec.part
    mesh = " + ".join(str(level.num_nodes) for level in graph.levels)
    halos = sum(edges.halo.size for edges in graph.edge_sets().values() if edges.halo is not None)
    sizes = (group.rank + 1, shards, spec.num_nodes, parts.spec.num_nodes, mesh, halos)
    log.info("shard %d of %d: %d of %d grid nodes, %s mesh nodes, halos of %d rows", *sizes)
    whole, leads = parts.module, config.data.val_steps
    return ForecastModule(model, objective, whole.schedule, whole.make_optimizer, spec, validation_steps=leads)
