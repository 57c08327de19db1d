"""Errors that a user can act on."""

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """Bad input of a user: one line that says what was wrong, what was found and what to do.

    Commands print the line without a traceback and end with exit code 2.
    """


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the end of an error sentence: the nearest valid name, or the list of valid ones."""
    options = [str(option) for option in known]
    close = difflib.get_close_matches(str(name), options, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"valid: {', '.join(options)}" if options else "there is none to choose from"


class UnknownKeyError(UserError):
    """A key that nothing takes.

    Args:
        key: with dots.
        valid: the keys that may stand there.
        taker: what does not take it, for messages.

    """

    def __init__(self, key: str, valid: Iterable[str], taker: str = "") -> None:
        self.key, self.valid, self.taker = key, tuple(valid), taker
        super().__init__(f"unknown key {key!r}; {nearest(key, self.valid)}")
