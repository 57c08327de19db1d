"""Dotted names of modules and of what is in them."""

import re
from collections.abc import Iterable

DOTTED = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")
"""A dotted name."""


def within(name: str, modules: Iterable[str]) -> bool:
    """Whether a dotted name is one of some modules, or lies below one: `a.b` lies below `a`, `ab` does not."""
    return any(name == module or name.startswith(f"{module}.") for module in modules)
