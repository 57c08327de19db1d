"""Training steps and roll-outs on a GPU: time by its clock, most memory, in single precision and bf16.

    python scripts/bench/gpu.py [--sizes 240x160 1006x671] [--widths 64 256] [--doc docs/speed.md]

`make bench-gpu` runs it. Where PyTorch sees no GPU it says so in one line, and ends with code 3.
"""

import argparse
import gc
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import NamedTuple, get_args

import report
import subject as subjects
import torch
from run import size_of

from spacecast.core.types import Batch, Stage
from spacecast.process.arithmetic import exact_single_precision
from spacecast.training.memory import Memory, set_memory

NO_GPU = 3  # exit code
PRECISIONS = ("32-true", "bf16-mixed")
MODELS = {"default": 1, "flat": 4, "hierarchical": 4, "efm": 4}
"""Steps of the roll-out of each model of `subject.MODELS`."""
PUBLISHED = ("model.processor_layers=12", "model.decode_dim=128")
"""What the published Graph-FM has besides a hidden size of 256."""
BEGIN, END = "<!-- table: scripts/bench/gpu.py -->", "<!-- end of table of the GPU -->"
HEAD = """\
| model | cells | hidden | precision | `trainer.memory` | training step [ms] | memory [GB] | forecast step [ms] |
|---|---|---|---|---|---|---|---|"""


class Case(NamedTuple):
    """What is measured.

    Args:
        model: one of `MODELS`.
        size: cells along x and z.
        width: hidden size; None: that of the configuration.
        precision: one of `PRECISIONS`.
        memory: of the trainer.
        words: further ones of spacecast-train.

    """

    model: str
    size: tuple[int, int]
    width: int | None
    precision: str
    memory: Memory = "fast"
    words: tuple[str, ...] = ()


class Row(NamedTuple):
    """What a model takes.

    Args:
        training: milliseconds of an optimiser step.
        memory: most bytes during it, weights and optimiser included.
        forecast: milliseconds of a step without gradients, as forecasts take it.

    """

    training: float
    memory: int
    forecast: float


def timed(work: Callable[[], object], device: torch.device, repetitions: int) -> float:
    """Median of milliseconds after two first times."""
    found = []
    for _ in range(repetitions + 2):
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        start = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        found.append(1e3 * (time.perf_counter() - start))
    return statistics.median(found[2:])


def in_precision(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """As Lightning computes in it."""
    return torch.autocast(device.type, dtype=torch.bfloat16) if precision == "bf16-mixed" else nullcontext()


def measured(case: Case, device: torch.device, repetitions: int = 10) -> Row:
    """A case with batches of one window.

    Args:
        case: model, size, precision.
        device: where.
        repetitions: of each measurement.

    """
    exact_single_precision()
    made, steps = subjects.subject(case.model, case.size, case.width, case.words), MODELS[case.model]
    set_memory(made.model, case.memory)
    network, objective = made.model.to(device), made.objective.to(device)
    batch = Batch(*(each.to(device) for each in subjects.random_batch(made.spec, steps)))
    optimizer = made.make_optimizer(network.parameters())

    def train() -> None:
        optimizer.zero_grad(set_to_none=True)
        with in_precision(case.precision, device):
            total = objective(network, batch, Stage(rollout_steps=steps)).total
        total.backward()
        optimizer.step()

    def forecast() -> None:
        with torch.inference_mode(), in_precision(case.precision, device):
            network.step(*batch.initial.unbind(1), batch.forcing[:, 0], prepared)  # type: ignore[operator]

    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    training = timed(train, device, repetitions)
    memory = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0
    network.eval()
    with torch.inference_mode(), in_precision(case.precision, device):
        prepared = network.prepare()  # type: ignore[operator]
    return Row(training, memory, timed(forecast, device, repetitions))


def line(case: Case, device: torch.device) -> str:
    """A row of the table; one that does not fit into memory says so."""
    layers = ", 12 layers" if case.words else ""
    cells = [case.model + layers, f"{case.size[0]} x {case.size[1]}", str(case.width), case.precision, case.memory]
    try:
        row = measured(case, device)
        cells += [f"{row.training:.1f}", f"{row.memory / 1e9:.2f}", f"{row.forecast:.1f}"]
    except torch.OutOfMemoryError:
        cells += ["", "more than there is", ""]
    gc.collect()
    torch.cuda.empty_cache()
    return f"| {' | '.join(cells)} |"


def cases(sizes: Sequence[tuple[int, int]], widths: Sequence[int]) -> list[Case]:
    """All models in both precisions, and the published configuration on its plane with each `trainer.memory`."""
    own = subjects.configured(subjects.MODELS["default"]).model.content["hidden_dim"]
    found = [
        Case(model, size, width, precision)
        for size in sizes
        for model in MODELS
        for width in ([own] if model == "default" else widths)
        for precision in PRECISIONS
    ]
    if (1006, 671) in sizes:
        found += [Case("flat", (1006, 671), 256, "bf16-mixed", memory, PUBLISHED) for memory in get_args(Memory)]
    return found


def main(words: Sequence[str] | None = None) -> None:
    """Measure, print, and put the table into a page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sizes = [(240, 160), (1006, 671)]
    parser.add_argument("--sizes", nargs="+", type=size_of, default=sizes, metavar="NXxNZ", help="cells")
    parser.add_argument("--widths", nargs="+", type=int, default=[64, 256], metavar="N", help="of the mesh models")
    parser.add_argument("--doc", type=Path, help=f"a page with the lines {BEGIN} and {END}")
    parser.add_argument("--ask", metavar="WHO", help="only say whether there is a GPU: code 0, or a line and code 3")
    options = parser.parse_args(words)
    if not torch.cuda.is_available():
        print(f"{options.ask or 'bench-gpu'} skipped: PyTorch {torch.__version__} sees no GPU")
        sys.exit(NO_GPU)
    if options.ask:
        return
    page = None if options.doc is None else report.around(options.doc, BEGIN, END)
    device, rows = torch.device("cuda"), []
    print(HEAD)
    for case in cases(options.sizes, options.widths):
        rows.append(line(case, device))
        print(rows[-1], flush=True)
    if page is not None:
        about = f"{torch.cuda.get_device_name(device)}, PyTorch {torch.__version__}"
        options.doc.write_text("\n".join([f"{page[0]}{HEAD}", *rows, "", about, page[1]]))


if __name__ == "__main__":
    main()
