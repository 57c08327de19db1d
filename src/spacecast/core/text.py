"""Words for messages."""

import itertools
import shlex
from collections.abc import Iterable


def several(number: int, noun: str) -> str:
    """A number with its noun, in the plural unless it is one: `1 run`, `3 runs`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def as_words(value: str | Iterable[str]) -> list[str]:
    """One word or several, as a configuration has them."""
    return [value] if isinstance(value, str) else list(value)


def as_typed(*words: object) -> str:
    """A command, or a part of one, as a shell reads it: words with blanks and the like are quoted."""
    return shlex.join(map(str, words))


def shown(text: str) -> str:
    """Text out of a file in a message: short, and without signs that move the cursor of a terminal."""
    short = text if len(text) <= 100 else f"{text[:100]}..."
    return short if short.isprintable() else ascii(short)


def first_line(error: BaseException) -> str:
    """Type and first line of a foreign error."""
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0][:160]}" if text else type(error).__name__


def natural_key(text: str) -> list[tuple[int, int | str]]:
    """Sort key under which run 10 comes after run 9."""
    groups = ("".join(part) for _, part in itertools.groupby(text, str.isdigit))
    return [(0, int(group)) if group.isdigit() else (1, group) for group in groups]
