"""A list of modules that knows what it holds."""

from collections.abc import Iterator
from typing import Generic, TypeVar, cast

from torch import nn

M = TypeVar("M", bound=nn.Module)


class Stack(nn.ModuleList, Generic[M]):
    """`nn.ModuleList` with the type of its members."""

    def __getitem__(self, key: int) -> M:  # type: ignore[override]
        return cast(M, super().__getitem__(key))

    def __iter__(self) -> Iterator[M]:
        return cast(Iterator[M], super().__iter__())
