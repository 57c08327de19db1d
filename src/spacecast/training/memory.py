"""How much of a forward pass a training keeps for the backward pass."""

from typing import Literal

from torch import nn

Memory = Literal["fast", "balanced", "lean"]


def set_memory(model: nn.Module, memory: Memory) -> None:
    """Trade time for memory; the numbers stay the same.

    Args:
        model: to be trained.
        memory: `fast` keeps everything. `balanced` keeps the states of a roll-out and computes each step again in the
            backward pass, with the same random numbers (activation checkpointing, Chen et al. 2016), so that memory
            does not grow with the number of steps. `lean` also keeps nothing of the inside of multi-layer perceptrons,
            those of messages among them, of any model that has such (`nn.blockwise`).

    """
    setattr(model, "recompute_steps", memory != "fast")  # noqa: B010 - of any module, read by `forecast.rollout`
    for part in model.modules():
        if hasattr(part, "recompute"):
            setattr(part, "recompute", memory == "lean")  # noqa: B010 - see `nn.mlp.MLP`
