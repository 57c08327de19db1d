"""From a section of the configuration to the object that it describes."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from spacecast.config.binding import DIRECTIVES
from spacecast.config.targets import locate


def build(section: Any) -> Any:
    """What a section describes: an object, or with `_partial_` a function that still takes the facts of the data.

    Hydra's `instantiate` on plain values, which stay as they are: text that looks like an interpolation is text. What
    comes out of a file has been through `trust.Trust.check` before.

    Args:
        section: `_target_` and its keywords, `_args_`, `_partial_`, `_recursive_`; sections within it are built first.

    """
    if isinstance(section, (list, tuple)):
        return [build(entry) for entry in section]
    if not isinstance(section, Mapping):
        return section
    inside = build if section.get("_recursive_", True) else lambda value: value
    if "_target_" not in section:
        return {key: inside(value) for key, value in section.items()}
    target = locate(section["_target_"], "")
    keywords = {key: inside(value) for key, value in section.items() if key not in DIRECTIVES}
    positional = [inside(value) for value in section.get("_args_", ())]
    return partial(target, *positional, **keywords) if section.get("_partial_") else target(*positional, **keywords)
