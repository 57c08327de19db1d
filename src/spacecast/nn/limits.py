"""How far values are beyond their limits."""

from collections.abc import Iterable, Sequence

from torch import Tensor

Limits = Sequence[tuple[Tensor, Tensor]]
"""Least and largest value of each variable, (batch, node) or (node,) each."""


def excess_over(limits: Limits, values: Iterable[Tensor]) -> list[Tensor] | None:
    """What each value has beyond its limits, 0 within, (batch, node) each; None where a look tells that nothing has.

    Only on a processor there is a look: elsewhere it would be to wait for the device.
    """
    excess = [value - value.clamp(*limit) for value, limit in zip(values, limits, strict=True)]
    if excess[0].device.type == "cpu" and not any(bool(each.any()) for each in excess):
        return None
    return excess
