"""Words for messages."""


def several(number: int, noun: str) -> str:
    """A number with its noun, in the plural unless it is one: `1 run`, `3 runs`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
