"""Names that several parts use; dotted ones: of modules and what is in them, of keys and their sections."""

import re
from collections.abc import Iterable, Sequence

UNSEEN = "unseen"
"""Name of the simulated run of another solar wind, which is there to be scored and never trained on."""
TRUTH, MEAN, SPREAD = "_truth", "_mean", "_spread"
"""Endings of the names of variables in files of forecasts; the forecast itself has none."""
DOTTED = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")
"""A dotted name."""
REGISTERED = "models:/"
"""How the address of a registered model begins."""


def within(name: str, owners: Iterable[str]) -> bool:
    """Whether a dotted name is one of some others, or lies below one: `a.b` lies below `a`, `ab` does not."""
    return any(name == owner or name.startswith(f"{owner}.") for owner in owners)


def typed_keys(words: Sequence[str]) -> list[str]:
    """Keys and groups that overrides name."""
    return [word.lstrip("+~").partition("=")[0] for word in words]
