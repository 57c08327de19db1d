"""The forcing of a step: that of some frames before and after it is handed over as well, folded into the variables."""

import re
from collections.abc import Sequence

import numpy as np

SHIFTED = re.compile(r"(.+)\[(0|[+-][1-9]\d*)\]")


def window_names(names: Sequence[str], past: int, future: int) -> tuple[str, ...]:
    """Names of forcing variables with their window, variable slow and time fast: n[-1], n[0], n[+1].

    Args:
        names: of the variables.
        past, future: steps before and after each step.

    """
    if past == future == 0:
        return tuple(names)
    shifts = range(-past, future + 1)
    return tuple(f"{name}[{shift:+d}]" if shift else f"{name}[0]" for name in names for shift in shifts)


def window_of(folded: Sequence[str]) -> tuple[tuple[str, ...], int, int]:
    """The inverse of `window_names`: variables, steps before and steps after; names of another form have no window."""
    parts = [match.groups() for name in folded if (match := SHIFTED.fullmatch(name))]
    names, shifts = tuple(dict.fromkeys(name for name, _ in parts)), [int(shift) for _, shift in parts]
    past, future = max(0, *(-shift for shift in shifts), 0), max(0, *shifts, 0)
    return (names, past, future) if window_names(names, past, future) == tuple(folded) else (tuple(folded), 0, 0)


def fold_window(frames: np.ndarray, past: int, future: int) -> np.ndarray:
    """Forcing of steps with their window, in the order of `window_names`.

    Args:
        frames: (past + frame + future, node, variable).
        past, future: steps before and after each step.

    Returns:
        Shape (frame, node, variable * (past + 1 + future)).

    """
    count = frames.shape[0] - past - future
    window = np.stack([frames[shift : shift + count] for shift in range(past + 1 + future)], axis=-1)
    return window.reshape(count, frames.shape[1], -1)
