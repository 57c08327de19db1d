"""Memory and time of spacecast-forecast: the same for any number of members and steps.

Usage: python scripts/bench/forecast.py RUN [statistics=only ...]

Each forecast is a process of its own, whose peak memory the system tells.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SMALL, LARGE = (5, 30), (50, 300)  # members, steps


def forecast(run: Path, members: int, steps: int, words: list[str]) -> tuple[float, float, float, int, float]:
    """Peak memory [MiB], seconds, those of a processor, number of files and their size [MiB] of one forecast."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "forecast.zarr"
        command = [sys.executable, "-m", "spacecast.app.forecast", f"checkpoint={run}", f"output={output}"]
        command += [f"members={members}", f"steps={steps}", "boundary=persist", "start=1", *words]
        begin = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - begin
        if status:
            raise SystemExit(f"{' '.join(command)} ended with status {status}")
        files = [file for file in output.rglob("*") if file.is_file()]
        busy, size = usage.ru_utime + usage.ru_stime, sum(file.stat().st_size for file in files)
        return usage.ru_maxrss / 1024, seconds, busy, len(files), size / 2**20


def main() -> None:
    """Compare a large forecast with a small one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a trained ensemble model")
    parser.add_argument("words", nargs="*", help="further words of the command, such as statistics=only")
    arguments = parser.parse_args()
    print("members  steps   MiB  seconds  CPU seconds  files  MiB on disk")
    found = {}
    for members, steps in (SMALL, LARGE):
        found[members, steps] = forecast(arguments.run, members, steps, arguments.words)
        memory, seconds, busy, files, size = found[members, steps]
        line = f"{members:7}  {steps:5}  {memory:4.0f}  {seconds:7.1f}  {busy:11.1f}  {files:5}  {size:11.0f}"
        print(line, flush=True)
    few, many = found[SMALL], found[LARGE]
    work = LARGE[0] * LARGE[1] - SMALL[0] * SMALL[1]
    seconds, busy = (1000 * (many[number] - few[number]) / work for number in (1, 2))
    print(f"peak memory x {many[0] / few[0]:.2f}; {seconds:.1f} ms per step of a member, {busy:.1f} ms of a processor")


if __name__ == "__main__":
    main()
