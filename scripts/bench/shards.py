"""Memory of a training step when the nodes of a sample are shared by several processes (`trainer.shards`).

    python scripts/bench/shards.py [--size 1006x671] [--width 64] [--shards 1 2] [--planned 4 8] [--steps 1]

Each number of `--shards` is measured: so many processes on this machine, which exchange halos by gloo, take an
optimiser step; what counts is the largest size of a process over that before the step, of the process with most. All
numbers of `--planned`, too, are computed by `training.memory_plan`, from shapes alone.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import machine
import subject as subjects
import torch
from run import size_of
from torch import distributed

from spacecast.app.assemble import build_model
from spacecast.core.shards import ShardGroup
from spacecast.core.types import Stage
from spacecast.graphs.partition import part_of
from spacecast.objectives.shard import ShardObjective
from spacecast.training.memory import set_memory
from spacecast.training.memory_plan import plan_step

WORDS = ("loss.div_weight=0",)  # the divergence of B needs the whole plane
HEAD = """\
| shards | grid nodes | mesh nodes | rows of halos | by arithmetic [GiB] | measured [GiB] | CPU seconds |
|---|---|---|---|---|---|---|"""
MODELS = ("flat", "hierarchical")


def share(options: argparse.Namespace, rank: int, size: int) -> tuple[subjects.Subject, dict[str, int]]:
    """The part of one process, with its numbers of nodes and rows."""
    hidden = [f"model.hidden_dim={options.width}", f"graph.coarsening={subjects.coarsening(options.size)}"]
    config = subjects.configured([*subjects.MODELS[options.model], *WORDS, *hidden])
    spec = subjects.spec_of(subjects.plane(*options.size))
    graph = config.graph.build().build(spec.grid)
    if size > 1:
        spec, graph = part_of(spec, graph, ShardGroup(rank, size))
    model = build_model(config.model, config.seed, spec, graph)
    set_memory(model, options.memory)
    objective = config.loss.build()(spec)
    halos = [edges.halo.size for edges in graph.edge_sets().values() if edges.halo is not None]
    if spec.part is not None:
        objective, halos = ShardObjective(objective, spec.part), [*halos, spec.part.halo.size]
    counts = {"grid": spec.num_nodes, "mesh": sum(level.num_nodes for level in graph.levels), "halo": sum(halos)}
    return subjects.Subject(config, spec, graph, model, objective, config.optimizer.build()), counts


def measured(options: argparse.Namespace, rank: int, size: int, meeting: Path) -> dict[str, Any]:
    """What an optimiser step takes in this process while the others take theirs."""
    torch.set_num_threads(1)
    made, counts = share(options, rank, size)
    if size > 1:
        distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=size)
    found = machine.measure(subjects.training_step(made, options.steps), 0)
    return {**counts, "memory": found.memory, "seconds": found.seconds}


@contextmanager
def alone() -> Iterator[None]:
    """Nobody to exchange anything with: shapes are right, and numbers are not there."""
    with patch.object(distributed, "all_to_all_single"), patch.object(distributed, "all_reduce"):
        yield


def planned(options: argparse.Namespace, size: int) -> dict[str, int]:
    """What the process with most takes, by arithmetic: the batch, the step, and gradients that are to be exchanged."""
    found: list[dict[str, int]] = []
    for rank in {0, size // 2}:  # at the edge, and within
        made, counts = share(options, rank, size)
        batch, stage = subjects.random_batch(made.spec, options.steps), Stage(rollout_steps=options.steps)
        with alone():
            plan = plan_step(made.model, made.objective, made.make_optimizer, batch, stage)
        found.append({**counts, "plan": plan.activations + plan.workspace})
    return {key: max(each[key] for each in found) for key in found[0]}


def processes(words: Sequence[str], size: int) -> list[dict[str, Any]]:
    """What all processes of a number of shards have measured."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, *words, "--meeting", f"{folder}/meeting"]
        each = [[*command, "--one", f"{rank}/{size}"] for rank in range(size)]
        running = [subprocess.Popen(one, stdout=subprocess.PIPE, text=True) for one in each]
        answers = [process.communicate()[0] for process in running]
    if any(process.returncode for process in running):
        sys.exit(f"shards={size}: a process has failed")
    return [json.loads(answer.splitlines()[-1]) for answer in answers]


def line(size: int, plan: dict[str, int], found: list[dict[str, Any]]) -> str:
    """A row of the table."""
    cells = [str(size), *(f"{plan[key]:,}" for key in ("grid", "mesh", "halo")), f"{plan['plan'] / 2**30:.2f}"]
    most = {key: max(each[key] for each in found) for key in ("memory", "seconds")} if found else {}
    cells += [f"{most['memory'] / 2**30:.2f}", f"{most['seconds']:.1f}"] if most else ["", ""]
    return f"| {' | '.join(cells)} |"


def main(words: Sequence[str]) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=MODELS, default="flat", help="with 4 processor layers")
    parser.add_argument("--size", type=size_of, default=(1006, 671), metavar="NXxNZ", help="cells")
    parser.add_argument("--width", type=int, default=64, help="hidden size")
    parser.add_argument("--steps", type=int, default=1, help="of the roll-out")
    parser.add_argument("--memory", choices=("fast", "balanced", "lean"), default="fast", help="see trainer.memory")
    parser.add_argument("--shards", nargs="*", type=int, default=[1, 2], metavar="N", help="measured")
    parser.add_argument("--planned", nargs="*", type=int, default=[4, 8], metavar="N", help="by arithmetic alone")
    parser.add_argument("--one", help=argparse.SUPPRESS)  # a process of several
    parser.add_argument("--meeting", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(words)
    if options.one:
        rank, size = map(int, options.one.split("/"))
        print(json.dumps(measured(options, rank, size, options.meeting)))
        return
    print(HEAD)
    for size in (*options.shards, *options.planned):
        found = processes(words, size) if size in options.shards else []
        print(line(size, planned(options, size), found), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
