"""Cost of the simulation: CPU time per step of each preset, per cell and relative to the smallest grid.

Run with OMP_NUM_THREADS=1. Ratios are reliable on a busy machine, times are not; the best of several rounds counts.
"""

import argparse
import time

from spacecast.simulation import PRESETS
from spacecast.simulation.magnetosphere import spin_up


def milliseconds_per_step(name: str, rounds: int, steps: int) -> float:
    """Best CPU time of a step [ms] after a short spin-up."""
    solver = spin_up(PRESETS[name].override(spinup_coarse=120.0, spinup_fine=10.0))
    best = float("inf")
    for _ in range(rounds):
        start = time.process_time()
        for _ in range(steps):
            solver.step()
        best = min(best, (time.process_time() - start) / steps * 1e3)
    return best


def main() -> None:
    """Print one line per preset."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("presets", nargs="*", default=list(PRESETS), help=f"of {', '.join(PRESETS)}")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--steps", type=int, default=20)
    arguments = parser.parse_args()
    print(f"{'preset':8}{'grid':>11}{'ms/step':>9}{'ratio':>7}{'ns/cell':>9}")
    reference = None
    for name in arguments.presets:
        preset = PRESETS[name]
        cost = milliseconds_per_step(name, arguments.rounds, arguments.steps)
        reference = reference or cost
        grid = f"{preset.nx} x {preset.nz}"
        per_cell = cost * 1e6 / (preset.nx * preset.nz)
        print(f"{name:8}{grid:>11}{cost:9.2f}{cost / reference:7.2f}{per_cell:9.0f}")


if __name__ == "__main__":
    main()
