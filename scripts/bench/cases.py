"""The cases of the suite. Each makes, before the clock starts, the action that is measured and what its floor is."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import machine
import numpy as np
import subject as subjects
import torch
from machine import Measured

MEMBERS = 5  # of an ensemble that go through the model at a time
SPAWN = """
import json, resource, subprocess, sys
code = subprocess.call(sys.argv[1:], stdout=subprocess.DEVNULL)
usage = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([usage.ru_utime + usage.ru_stime, usage.ru_maxrss]))
sys.exit(code)
"""
Size = tuple[int, int]
Result = dict[str, Any]


class Case(NamedTuple):
    """One case.

    what: in the table.
    measure: (size, width, work folder, repetitions) to seconds, memory, floor.
    widths: whether it depends on the hidden size.
    sizes: whether it depends on the grid.
    """

    what: str
    measure: Callable[[Size, int | None, Path, int], Result]
    widths: bool = True
    sizes: bool = True


def action(make: Callable[..., tuple[Callable[[], Any], float | None]]) -> Callable[..., Result]:
    """A case of an action in this process; where its floor is no number it is counted by doing it once more."""

    def measured(size: Size, width: int | None, work: Path, repetitions: int) -> Result:
        from spacecast.process.memory import keep_memory

        keep_memory()
        act, least = make(size, width, work)
        found, peaks = machine.measure(act, repetitions), machine.measured_peaks()
        bound = machine.floor_of(act, peaks) if least is None else {"floor": least / peaks.bandwidth, "bytes": least}
        return {**found._asdict(), **bound}

    return measured


def step(
    model: str, steps: int, *words: str, precision: str = "32-true"
) -> Callable[..., tuple[Callable[[], Any], None]]:
    """An optimiser step."""

    def make(size: Size, width: int | None, _: Path) -> tuple[Callable[[], Any], None]:
        from spacecast.training.memory_plan import autocast

        made = subjects.training_step(subjects.subject(model, size, width, words), steps)

        def act() -> None:
            with autocast(precision, "cpu"):
                made()

        return act, None

    return make


def rollout(model: str, steps: int, members: int) -> Callable[..., tuple[Callable[[], Any], None]]:
    """A roll-out without gradients, the members of an ensemble a few at a time as commands do."""

    def make(size: Size, width: int | None, _: Path) -> tuple[Callable[[], Any], None]:
        from spacecast.forecast.rollout import iterate, repeat_members

        made = subjects.subject(model, size, width)
        batch = subjects.random_batch(made.spec, steps)

        def act() -> None:
            with torch.inference_mode():
                prepared = made.model.prepare()  # type: ignore[operator]
                for first in range(0, members, MEMBERS):
                    many = repeat_members(batch, min(MEMBERS, members - first), axis=1)
                    for _ in iterate(made.model, many, steps, prepared=prepared):  # type: ignore[arg-type]
                        pass

        return act, None

    return make


def graph(name: str) -> Callable[..., tuple[Callable[[], Any], float]]:
    """A graph of the published recipe, built and written to a file; its floor is writing it once."""

    def make(size: Size, _: int | None, work: Path) -> tuple[Callable[[], Any], float]:
        from spacecast.graphs.cache import load_or_build

        grid = subjects.plane(*size)
        words = [*subjects.COMMON, f"graph={name}", f"graph.coarsening={subjects.coarsening(size)}"]
        builder = subjects.configured(words).graph.build()
        made, folder = builder.build(grid), work / "graphs" / str(os.getpid())

        def act() -> None:
            shutil.rmtree(folder, ignore_errors=True)
            load_or_build(builder, grid, folder)

        tensors = [part for edges in made.edge_sets().values() for part in (edges.senders, edges.features)]
        return act, float(sum(tensor.numel() * tensor.element_size() for tensor in tensors))

    return make


def window(cache_gb: float) -> Callable[..., tuple[Callable[[], Any], float]]:
    """A window of 2 + 4 frames in random order from prepared zarr; its floor is copying it once."""

    def make(size: Size, _: int | None, work: Path) -> tuple[Callable[[], Any], float]:
        from spacecast.data.datastore import RunDatastore
        from spacecast.data.windows import WindowDataset

        folder = work / f"{size[0]}x{size[1]}"
        subjects.write_data(folder, size)
        windows = WindowDataset(RunDatastore(folder, statistics="stored", cache_gb=cache_gb), ["1"], "train", 4)
        order = endless(len(windows))
        if cache_gb:
            for number in range(len(windows)):
                windows[number]
        size_of = sum(field.numel() * field.element_size() for field in windows[0])
        return lambda: windows[next(order)], 2.0 * size_of

    return make


def endless(count: int) -> Iterator[int]:
    """Numbers below a count in random orders, one after the other."""
    generator = np.random.default_rng(0)
    while True:
        yield from generator.permutation(count).tolist()


def command(module: str, *words: str) -> Callable[[Size, int | None, Path, int], Result]:
    """A command on a model with random weights; its floor is that of the steps that it takes."""

    def measured(size: Size, width: int | None, work: Path, repetitions: int) -> Result:
        run, units = written_run(size, width, work), 16
        made, peaks = subjects.subject("default", size, width), machine.measured_peaks()
        batch = subjects.random_batch(made.spec, 1)

        def one() -> None:
            with torch.inference_mode():
                made.model.step(batch.initial[:, 0], batch.initial[:, 1], batch.forcing[:, 0], prepared)  # type: ignore[operator]

        with torch.inference_mode():
            prepared = made.model.prepare()  # type: ignore[operator]
        bound = machine.floor_of(one, peaks)
        output = work / f"out_{os.getpid()}"
        line = [sys.executable, "-m", module, f"checkpoint={run}", *(word.format(output=output) for word in words)]
        spent = [child(line) for _ in range(max(repetitions, 1))]
        base = child([sys.executable, "-c", f"import {module}, torch, xarray, pytorch_lightning"])
        seconds = sorted(each[0] for each in spent)
        shutil.rmtree(output, ignore_errors=True)
        memory = max(each[1] for each in spent) - base[1]
        found = Measured(seconds[0], seconds[len(seconds) // 2], memory)
        return {**found._asdict(), "floor": units * bound["floor"], "flops": units * bound["flops"]}

    return measured


def written_run(size: Size, width: int | None, work: Path) -> Path:
    """A checkpoint of the default model with random weights, on data that are there; made once."""
    from spacecast.app.assemble import build_model, open_graph, open_prepared
    from spacecast.app.auto import settled
    from spacecast.app.train import COMMAND
    from spacecast.checkpoint.content import describe
    from spacecast.checkpoint.files import write_whole
    from spacecast.config.command import Inputs
    from spacecast.config.complete import checked
    from spacecast.config.compose import compose, conf_dir
    from spacecast.config.schema import Train, typed

    folder, run = work / f"{size[0]}x{size[1]}", work / f"run_{size[0]}x{size[1]}_{width}"
    if (run / "checkpoints" / "best.ckpt").exists():
        return run
    subjects.write_data(folder, size)
    words = [
        "datastore=vlasiator", f"datastore.root={folder}", "logger=none", "trainer=cpu", f"paths.run_dir={run}",
        f"paths.data_dir={work}", *([] if width is None else [f"model.hidden_dim={width}"]),
    ]  # fmt: skip
    plain = checked(COMMAND, compose("train", words, conf_dir()), {})
    datastore = open_prepared(typed(plain, Train).datastore)
    inputs = settled(Inputs.of(plain, Train), datastore)
    made = open_graph(inputs.config.graph, datastore.spec.grid, work)
    model = build_model(inputs.config.model, 1, datastore.spec, made)
    weights = {f"model.{name}": value for name, value in model.state_dict().items()}
    content = {"state_dict": weights, "spacecast": describe(inputs.plain, datastore.spec, made)}
    write_whole(content, run / "checkpoints" / "best.ckpt")
    return run


def child(line: list[str]) -> tuple[float, int]:
    """CPU seconds and most bytes of a process.

    A small process starts it, for the system counts the size of who starts a process as its own.
    """
    done = subprocess.run([sys.executable, "-I", "-S", "-c", SPAWN, *line], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(line)} ended with status {done.returncode}:\n{done.stderr}")
    seconds, memory = json.loads(done.stdout)
    return seconds, memory * (1 if sys.platform == "darwin" else 1024)


def start_up(_: Size, __: int | None, ___: Path, repetitions: int) -> Result:
    """`--help`; its floor is a bare Python."""
    lines = {"help": ["-m", "spacecast.app.train", "--help"], "bare": ["-c", "pass"]}
    spent = {name: [child([sys.executable, *line]) for _ in range(repetitions + 1)] for name, line in lines.items()}
    seconds = sorted(each[0] for each in spent["help"])
    memory = max(each[1] for each in spent["help"]) - max(each[1] for each in spent["bare"])
    found = Measured(seconds[0], seconds[len(seconds) // 2], memory)
    return {**found._asdict(), "floor": min(each[0] for each in spent["bare"])}


def simulation(_: Size, __: int | None, ___: Path, repetitions: int) -> Result:
    """Ten steps of the simulated magnetosphere, preset demo; its floor is reading and writing its state once a step."""
    from spacecast.simulation import PRESETS
    from spacecast.simulation.magnetosphere import spin_up

    preset = PRESETS["demo"]
    solver = spin_up(preset.override(spinup_coarse=120.0, spinup_fine=10.0))
    found = machine.measure(lambda: [solver.step() for _ in range(10)], repetitions)
    moved = 10.0 * 2 * 8 * 8 * preset.nx * preset.nz  # eight variables in double precision
    return {**found._asdict(), "floor": moved / machine.measured_peaks().bandwidth, "bytes": moved}


EVALUATE = (
    "evaluation.split=test", "evaluation.windows=2", "evaluation.steps=8", "evaluation.examples=0", "logger=none",
    "trainer=cpu", "paths.run_dir={output}",
)  # fmt: skip
FORECAST = ("steps=16", "start=2", "boundary=persist", "trainer=cpu", "output={output}.zarr", "overwrite=true")

CASES: dict[str, Case] = {
    "start-up": Case("`spacecast-train --help`", start_up, widths=False, sizes=False),
    "graph": Case("graph, published recipe, written to a file", action(graph("reference")), widths=False),
    "graph-hierarchical": Case(
        "hierarchical graph, written to a file", action(graph("reference_hierarchical")), widths=False
    ),
    "window": Case("window of 2 + 4 frames from prepared zarr", action(window(0.0)), widths=False),
    "window-cached": Case("window of 2 + 4 frames, decoded before", action(window(8.0)), widths=False),
    "step-default": Case("training step, default model, roll-out of 1", action(step("default", 1))),
    "step-default-2": Case("training step, default model, roll-out of 2", action(step("default", 2))),
    "step-flat-1": Case("training step, flat Graph-FM, roll-out of 1", action(step("flat", 1))),
    "step-flat": Case("training step, flat Graph-FM, roll-out of 4", action(step("flat", 4))),
    "step-flat-bf16": Case(
        "training step, flat Graph-FM, roll-out of 4, bf16-mixed", action(step("flat", 4, precision="bf16-mixed"))
    ),
    "step-flat-recompute": Case(
        "training step, flat Graph-FM, roll-out of 4, recomputing each step",
        action(step("flat", 4, "loss.recompute=true")),
    ),
    "step-hierarchical": Case("training step, hierarchical Graph-FM, roll-out of 4", action(step("hierarchical", 4))),
    "step-efm": Case("training step, Graph-EFM, KL + CRPS + div B, roll-out of 4", action(step("efm", 4))),
    "rollout": Case("roll-out of 4 steps, flat Graph-FM", action(rollout("flat", 4, 1))),
    "ensemble": Case("ensemble of 10 members x 10 steps, Graph-EFM", action(rollout("efm", 10, 10))),
    "evaluate": Case("`spacecast-evaluate`, 2 initial times x 8 steps", command("spacecast.app.evaluate", *EVALUATE)),
    "forecast": Case("`spacecast-forecast`, 16 steps", command("spacecast.app.forecast", *FORECAST)),
    "simulation": Case("simulation, 10 steps of preset demo", simulation, widths=False, sizes=False),
}
