"""Time, memory and floor of everything that takes time, and how often longer the published reference takes.

    python scripts/bench/run.py                                    # a few cases on small planes, minutes
    python scripts/bench/run.py --cases step-flat rollout --sizes 240x160 --widths 32 64 256
    python scripts/bench/run.py --full --reference DIR --doc docs/speed.md     # hours

Each measurement is a process of its own. With --reference, a checkout of fmihpc/spacecast, its side follows ours, and
so on in turn. Times are CPU seconds of one thread: what else the machine does changes them less than it changes clocks.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import machine
import report
from cases import CASES, Result, Size

SIZES = ("60x40", "120x80", "240x160", "480x320", "1006x671")
WIDTHS = (32, 64, 256)
QUICK = {"sizes": ("60x40", "120x80"), "widths": (64,)}


def size_of(word: str) -> Size:
    """`240x160` as two numbers."""
    try:
        nx, nz = map(int, word.split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{word!r} is no size such as 240x160") from None
    return nx, nz


def parsed(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES), metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--sizes", nargs="+", type=size_of, metavar="NXxNZ", help=f"cells; all: {' '.join(SIZES)}")
    parser.add_argument("--widths", nargs="+", type=int, metavar="N", help="hidden sizes; --full: 32 64 256")
    parser.add_argument("--full", action="store_true", help="all sizes and widths")
    parser.add_argument("--rounds", type=int, default=1, help="processes on each side")
    parser.add_argument("--repetitions", type=int, default=2, help="in each process, after a first time")
    parser.add_argument("--reference", type=Path, help="a checkout of fmihpc/spacecast")
    parser.add_argument("--work", type=Path, help="folder for data and graphs, kept; a temporary one otherwise")
    parser.add_argument("--json", type=Path, help="where to write all that was measured, default bench.json")
    parser.add_argument("--add", action="store_true", help="to what the file holds")
    parser.add_argument("--doc", type=Path, help="a page whose table between the markers is to be written anew")
    parser.add_argument("--one", help=argparse.SUPPRESS)  # a process of the suite
    options = parser.parse_args(words)
    everything = {"sizes": [size_of(size) for size in SIZES], "widths": list(WIDTHS)}
    quick = {"sizes": [size_of(size) for size in QUICK["sizes"]], "widths": list(QUICK["widths"])}
    for key, value in (everything if options.full else quick).items():
        if getattr(options, key) is None:
            setattr(options, key, value)
    return options


def one(task: dict[str, Any]) -> Result:
    """A measurement, in the process at hand."""
    import torch

    torch.set_num_threads(1)
    size, work = tuple(task["size"]), Path(task["work"])
    if task["reference"] is None:
        return CASES[task["case"]].measure(size, task["width"], work, task["repetitions"])  # type: ignore[arg-type]
    import reference

    checkout = Path(task["reference"])
    return reference.measure(task["case"], size, task["width"], work, task["repetitions"], checkout)  # type: ignore[arg-type]


def in_process(task: dict[str, Any]) -> Result:
    """A measurement in a fresh process; one that fails, for want of memory say, is a result too."""
    with tempfile.NamedTemporaryFile(suffix=".json") as answer:
        line = [sys.executable, __file__, "--one", json.dumps(task | {"answer": answer.name})]
        environment = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "MPLBACKEND": "Agg"}
        done = subprocess.run(line, env=os.environ | environment, capture_output=True, text=True, check=False)
        if done.returncode:
            told = done.stderr.strip().splitlines() or [f"ended with status {done.returncode}"]
            return {"failed": told[-1]}
        result: Result = json.loads(Path(answer.name).read_text())
        return result


def measured(options: argparse.Namespace, case: str, size: Size, width: int | None, work: Path) -> Result:
    """Both sides of a case, in turn; the best of the rounds."""
    from reference import WORK

    with_reference = options.reference is not None and case in WORK
    sides: dict[str, list[Result]] = {"ours": [], "reference": []}
    for _ in range(options.rounds):
        for side in sides:
            if side == "ours" or with_reference:
                checkout = str(options.reference.resolve()) if side == "reference" else None
                task = {"case": case, "size": size, "width": width, "work": str(work), "reference": checkout}
                sides[side].append(in_process(task | {"repetitions": options.repetitions}))
    row: Result = {"case": case, "size": f"{size[0]}x{size[1]}", "width": width}
    for side, found in sides.items():
        good = [each for each in found if "failed" not in each]
        if good:
            row[side] = min(good, key=lambda each: each["seconds"])
            row[f"{side}_rounds"] = [each["seconds"] for each in good]
        elif found:
            row[side] = found[0]
    return row


def run(options: argparse.Namespace, work: Path, path: Path) -> list[Result]:
    """All rows, each printed and written to the file as soon as it is there."""
    rows: list[Result] = json.loads(path.read_text())["rows"] if options.add and path.is_file() else []
    for name in options.cases:
        case = CASES[name]
        for size in options.sizes if case.sizes else options.sizes[:1]:
            for width in options.widths if case.widths else [None]:
                row = measured(options, name, size, width, work)
                same = {key: row[key] for key in ("case", "size", "width")}
                rows = [other for other in rows if not same.items() <= other.items()] + [row]
                print(report.line(row), flush=True)
                path.write_text(json.dumps({"machine": machine.description(), "rows": rows}, indent=1) + "\n")
    return rows


def main() -> None:
    """Measure, print and write."""
    options = parsed()
    if options.one:
        task = json.loads(options.one)
        Path(task["answer"]).write_text(json.dumps(one(task)))
        return
    path = options.json or Path("bench.json")
    print(report.HEAD, flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        rows = run(options, options.work or Path(temporary), path)
    if options.doc:
        report.write_between_markers(options.doc, rows, machine.description())


if __name__ == "__main__":
    main()
