"""How much memory a training step takes, said before it is taken: every tensor of the step, without any of its numbers.

The step runs on tensors that have shapes and types but no memory (`FakeTensorMode` of torch), and a `Ledger` adds up
what they would take. What kernels use within themselves, and what the allocator keeps in reserve, is not seen.
"""

import copy
import gc
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException as NeedsNumbers
from torch._subclasses.fake_tensor import (
    DynamicOutputShapeException,
    FakeTensorMode,
    UnsupportedOperatorException,
    unset_fake_temporarily,
)
from torch.optim import Optimizer
from torch.utils._python_dispatch import TorchDispatchMode

from spacecast.core.protocols import Objective, StepModel
from spacecast.core.types import Batch, Stage
from spacecast.training.precision import HALVES, HalfModel

MIXED = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
LOOK, DETACH = torch.ops.aten._local_scalar_dense.default, torch.ops.aten.detach.default


class PlanError(Exception):
    """The step cannot be planned: what it does depends on numbers, which are not there."""


class Planned(FakeTensorMode):
    """Makes tensors without memory.

    Attributes:
        stands_for: type of the device that the step will be taken on; the tensors themselves say `cpu`.
    """

    def __init__(self, device: str) -> None:
        super().__init__(allow_non_fake_inputs=True)
        self.stands_for = device


class Ledger(TorchDispatchMode):
    """Counts what is done while it is on: calls of torch's kernels by name, bytes that come and bytes that go.

    Attributes:
        calls: how often each kernel was called.
        allocated: bytes of all tensors that were made.
        live: bytes of those that are still there.
        peak: most that were there at a time since `mark`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()
        self.allocated = self.live = self.peak = 0
        self._known: dict[int, int] = {}  # bytes by address of the storage object

    def mark(self) -> None:
        """Forget the peak so far."""
        self.peak = self.live

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Do it, and note what it has made. Whether any of some values is true is answered by yes, the costlier way."""
        if func in (LOOK, DETACH) and args[0].dtype == torch.bool:
            if hasattr(args[0], "fake_mode"):
                return True if func is LOOK else func(*args)
            with unset_fake_temporarily():  # what decides is looked at, as an array for instance
                return func(*args)
        given = {id(tensor.untyped_storage()) for tensor in _tensors([*args, *(kwargs or {}).values()])}
        made = func(*args, **(kwargs or {}))
        self.calls[str(func.overloadpacket).removeprefix("aten.")] += 1
        for tensor in _tensors([made]):
            storage = tensor.untyped_storage()
            if id(storage) not in self._known and id(storage) not in given:
                self._add(storage)
        return made

    def _add(self, storage: torch.UntypedStorage) -> None:
        """Note a new piece of memory until it goes."""
        size, key = storage.nbytes(), id(storage)
        self._known[key] = size
        self.allocated += size
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._drop, key)

    def _drop(self, key: int) -> None:
        """A piece of memory has gone."""
        self.live -= self._known.pop(key)


def _tensors(values: Iterable[Any]) -> Iterable[Tensor]:
    """Tensors in arguments or results, in lists and dictionaries too."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)
        elif isinstance(value, dict):
            yield from _tensors(value.values())


@dataclass(frozen=True)
class MemoryPlan:
    """Bytes of a training step by part; they are there at the same time, at worst.

    weights: parameters, and graph, static features and the like.
    optimizer: what the optimiser keeps, averages of the weights, and gradients where they wait for other devices.
    data: the batch.
    activations: what the forward pass leaves for the backward pass.
    workspace: the most that comes on top of all this, gradients included.
    """

    weights: int
    optimizer: int
    data: int
    activations: int
    workspace: int

    @property
    def total(self) -> int:
        """The most that a step needs."""
        return self.weights + self.optimizer + self.data + self.activations + self.workspace

    @property
    def needed(self) -> int:
        """What a step needs on top of the weights, which are there already."""
        return self.total - self.weights

    def lines(self) -> list[str]:
        """A line for each part and their sum, in GB."""
        parts = [*vars(self).items(), ("together", self.total)]
        return [f"{name:12} {size / 1e9:8.2f} GB" for name, size in parts]


def plan_step(
    model: nn.Module,
    objective: nn.Module,
    make_optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
    batch: Batch,
    stage: Stage,
    *,
    precision: str = "32-true",
    device: str = "cpu",
    averaged: bool = False,
    several_devices: bool = False,
) -> MemoryPlan:
    """The memory of a training step. Neither model nor objective are touched, and nothing of their size is made.

    Args:
        model: a step model.
        objective: what is minimised.
        make_optimizer: builds the optimiser from parameters.
        batch: of the sizes in question, in physical units; what is in it does not matter.
        stage: of the schedule, the one that takes most.
        precision: of the trainer.
        device: `cpu` or `cuda`, for what mixed precision does there.
        averaged: an average of the weights is kept.
        several_devices: gradients are collected to be exchanged.

    Raises:
        PlanError: the step looks at numbers, or uses an operation of which no shapes are known.

    """
    fake = Planned(device)
    model, objective = _converted(model, objective, precision)
    weights = unique_bytes([*model.parameters(), *_buffers(model, objective)])
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    extra = sum(weight.numel() * weight.element_size() for weight in trained) * (averaged + several_devices)
    step_model, loss, held = _without_memory(fake, model, objective)
    try:
        with fake:
            optimizer = make_optimizer(weight for weight in step_model.parameters() if weight.requires_grad)
            ledger, batch = Ledger(), Batch(*(torch.empty_like(field) for field in batch))
            with ledger:
                _step(step_model, loss, optimizer, batch, stage, autocast(precision, device), ledger)
                optimizer.zero_grad()
                gc.collect()  # what torch has noted of operations that it saw for the first time
                kept = ledger.live
                ledger.mark()
                activations = _step(step_model, loss, optimizer, batch, stage, autocast(precision, device), ledger)
    except (NeedsNumbers, DynamicOutputShapeException, UnsupportedOperatorException) as error:
        raise PlanError(" ".join(str(error).split())) from error
    finally:
        held.clear()
    return MemoryPlan(
        weights=weights,
        optimizer=extra + unique_bytes(_tensors(optimizer.state.values())),
        data=sum(field.numel() * field.element_size() for field in batch),
        activations=activations - kept,
        workspace=ledger.peak - activations,
    )


def _step(
    model: StepModel | nn.Module,
    objective: Objective | nn.Module,
    optimizer: Optimizer,
    batch: Batch,
    stage: Stage,
    precise: AbstractContextManager[Any],
    ledger: Ledger,
) -> int:
    """An optimiser step; returns the bytes that are there between forward and backward pass."""
    precision = next((weight.dtype for weight in model.parameters()), torch.float32)  # type: ignore[union-attr]
    with precise:
        fields = {name: (getattr(batch, name) + 0).to(precision) for name in ("initial", "target", "forcing")}
        standardized = batch._replace(**fields)
        total, terms = objective(model, standardized, stage)  # type: ignore[arg-type]
        del standardized, fields, terms
    between = ledger.live
    if total.requires_grad:
        total.backward()
        del total
        optimizer.step()
    return between


def autocast(precision: str, device: str) -> AbstractContextManager[Any]:
    """Mixed precision as the trainer has it, or nothing."""
    half = MIXED.get(precision)
    return nullcontext() if half is None else torch.autocast(device, dtype=half)


def unique_bytes(tensors: Iterable[Tensor]) -> int:
    """Bytes of some tensors, shared memory once."""
    storages = {id(tensor.untyped_storage()): tensor.untyped_storage().nbytes() for tensor in tensors}
    return sum(storages.values())


def _buffers(*modules: nn.Module) -> list[Tensor]:
    """Their buffers."""
    return [buffer for module in modules for buffer in module.buffers()]


def _without_memory(
    fake: FakeTensorMode, model: nn.Module, objective: nn.Module
) -> tuple[nn.Module, nn.Module, list[Tensor]]:
    """Copies whose weights and buffers have no memory.

    Buffers of bools, which decide what is done, are there, and what stands for them in operations is the third: torch
    makes it anew where nobody holds it, and stumbles over the views of the first.
    """
    known: dict[int, Any] = {}
    for weight in (*model.parameters(), *objective.parameters()):
        known[id(weight)] = nn.Parameter(fake.from_tensor(weight.detach()), requires_grad=weight.requires_grad)
    held: list[Tensor] = []
    for buffer in _buffers(model, objective):
        decides = buffer.dtype == torch.bool
        known[id(buffer)] = buffer.clone() if decides else fake.from_tensor(buffer)
        held += [fake.from_tensor(known[id(buffer)])] if decides else []
    step_model, loss = copy.deepcopy((model, objective), known)
    return step_model, loss, held


def _converted(model: nn.Module, objective: nn.Module, precision: str) -> tuple[nn.Module, nn.Module]:
    """Both as the trainer casts them: themselves, or copies."""
    if precision not in {*HALVES, "64-true"}:
        return model, objective
    holder = nn.ModuleDict(copy.deepcopy({"model": model, "objective": objective}))
    if precision in HALVES:
        HalfModel(precision).convert_module(holder)
    else:
        holder.double()
    return holder["model"], holder["objective"]
