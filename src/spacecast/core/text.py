"""Words for messages."""

import shlex


def several(number: int, noun: str) -> str:
    """A number with its noun, in the plural unless it is one: `1 run`, `3 runs`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def as_typed(*words: object) -> str:
    """A command, or a part of one, as a shell reads it: words with blanks and the like are quoted."""
    return shlex.join(map(str, words))
