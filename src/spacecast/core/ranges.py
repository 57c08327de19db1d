"""Which numbers a parameter takes, said in its annotation, against which a configuration is held."""

import math
from dataclasses import dataclass
from numbers import Integral
from typing import Annotated, cast

from spacecast.core.errors import UserError


@dataclass(frozen=True)
class Range:
    """Smallest and largest value that a number may have, for `Annotated[int, Range(1)]`.

    Args:
        least, most: both may be taken.
        beside: one value outside of them, with a meaning of its own.

    """

    least: float = -math.inf
    most: float = math.inf
    beside: float | None = None

    def __contains__(self, value: float) -> bool:
        return self.least <= value <= self.most or value == self.beside

    def __str__(self) -> str:
        return f"at least {self.least:g}" if self.most == math.inf else f"from {self.least:g} to {self.most:g}"


PositiveInt = Annotated[int, Range(1)]
NonNegativeInt = Annotated[int, Range(0)]
NonNegativeFloat = Annotated[float, Range(0)]
Share = Annotated[float, Range(0, 1)]


def whole(least: int | None = None, **numbers: object) -> list[int]:
    """Numbers, given by name, as plain ones.

    Args:
        least: none may be smaller.
        numbers: Python's or numpy's.

    Raises:
        UserError: one is not whole or too small, with its name.

    """
    for name, value in numbers.items():
        if not isinstance(value, Integral) or isinstance(value, bool):
            raise UserError(f"{name}={value!r}: must be a whole number")
        if least is not None and int(value) < least:
            raise UserError(f"{name}={value}: must be at least {least}")
    return [int(cast(Integral, value)) for value in numbers.values()]
