"""A training step by operation, with torch's profiler: which kernels take the time, and how often each is called.

python scripts/bench/profile_step.py [--model default] [--size 90x60] [--width N] [--steps 1] [--rows 25]
"""

import argparse

import subject as subjects
import torch
from run import size_of
from torch.profiler import ProfilerActivity, profile

from spacecast.process.memory import keep_memory


def profiled(model: str, size: tuple[int, int], width: int | None, steps: int, rows: int) -> str:
    """The table of kernels by their own time, after two steps that do not count."""
    step = subjects.training_step(subjects.subject(model, size, width), steps)
    step()
    step()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        step()
    averages = profiler.key_averages()
    total = sum(event.self_cpu_time_total for event in averages)
    lines = ["| kernel | calls | own time [ms] | share | own memory [MiB] |", "|---|---|---|---|---|"]
    for event in sorted(averages, key=lambda event: -event.self_cpu_time_total)[:rows]:
        share, memory = event.self_cpu_time_total / total, event.self_cpu_memory_usage / 2**20
        time = event.self_cpu_time_total / 1e3
        lines.append(f"| {event.key} | {event.count} | {time:.2f} | {share:.1%} | {memory:.1f} |")
    calls = sum(event.count for event in averages if event.key.startswith("aten::"))
    return "\n".join([*lines, "", f"{calls} calls of kernels, {total / 1e3:.0f} ms in all"])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=subjects.MODELS, default="default")
    parser.add_argument("--size", type=size_of, default=(90, 60), metavar="NXxNZ", help="cells, default 90x60")
    parser.add_argument("--width", type=int, help="hidden size; default: that of the configuration")
    parser.add_argument("--steps", type=int, default=1, help="of the roll-out")
    parser.add_argument("--rows", type=int, default=25, help="kernels that are listed")
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_memory()
    print(profiled(options.model, options.size, options.width, options.steps, options.rows))


if __name__ == "__main__":
    main()
