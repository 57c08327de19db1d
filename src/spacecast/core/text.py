"""Words for messages."""

import shlex


def several(number: int, noun: str) -> str:
    """A number with its noun, in the plural unless it is one: `1 run`, `3 runs`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def as_typed(*words: object) -> str:
    """A command, or a part of one, as a shell reads it: words with blanks and the like are quoted."""
    return shlex.join(map(str, words))


def shown(text: str) -> str:
    """Text out of a file in a message: short, and without signs that move the cursor of a terminal."""
    short = text if len(text) <= 100 else f"{text[:100]}..."
    return short if short.isprintable() else ascii(short)
