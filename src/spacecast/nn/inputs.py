"""What a model is given of the plasma on each node, apart from static features."""

from dataclasses import replace
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from spacecast.core.errors import UserError, nearest
from spacecast.core.spec import DataSpec
from spacecast.nn.tendencies import Tendencies

InputKind = Literal["states", "increments", "stencil", "tendencies", "auto"]
"""`auto` is a word of configurations, see `app.auto`; whatever computes refuses it."""


class GridInputs(nn.Module):
    """X_{t+1} where known, X_t, X_{t-1}, forcing, and what follows from X_t, side by side; no weights.

    Args:
        spec: facts of the data; where they are of a part of a grid, neighbours that other processes own are fetched.
        inputs: `states` takes the states as they are; `increments` takes (X_t - X_{t-1}) / diff_std instead of X_{t-1}
            and (X_{t+1} - X_t) / diff_std instead of X_{t+1}: the same information in numbers of order one. `stencil`
            adds the differences of X_t to its neighbouring cells (four on the plane) over diff_std: fluxes and
            gradients, which a mesh that is coarser than the grid does not carry. `tendencies` adds to all of these what
            the equations of ideal magnetohydrodynamics make of X_t, see `nn.tendencies`.
        previous_leads: of how many leads of a roll-out X_{t-1} is an input; None: of all of them, 0: of none, so that
            there are no columns for it. Where there are and it may be absent, the last column says whether it is given:
            1, or 0 where `previous_given` says no.
        with_next: there is X_{t+1}.
        neighbours: `tendencies` holds the differences to neighbouring cells; False for models that see these anyway.

    Attributes:
        channels: how many numbers per node.

    Raises:
        UserError: for unknown inputs, or where the data have not what `tendencies` needs.
    """

    diff_std: Tensor
    neighbours: Tensor
    order: Tensor | None

    def __init__(
        self,
        spec: DataSpec,
        inputs: InputKind = "states",
        *,
        previous_leads: int | None = None,
        with_next: bool = False,
        neighbours: bool = True,
    ) -> None:
        super().__init__()
        if inputs == "auto":
            raise undecided("inputs", InputKind)
        if inputs not in get_args(InputKind):
            raise UserError(f"unknown inputs {inputs!r}; {nearest(inputs, get_args(InputKind))}")
        self.inputs, self.previous_leads = inputs, check_previous_leads(previous_leads)
        self.part = spec.part
        self.register_buffer("order", None if spec.part is None else spec.part.order, persistent=False)
        wide = spec if spec.part is None else replace(spec, grid=spec.part.wide)
        self.tendencies = Tendencies(wide) if inputs == "tendencies" else None
        self.beside = inputs == "stencil" or (inputs == "tendencies" and neighbours)
        self.register_buffer("diff_std", torch.as_tensor(spec.increment_statistics[1]), persistent=False)
        if self.beside:
            sides = torch.as_tensor(wide.grid.neighbours)
            own = sides if spec.part is None else sides[:, slice(*spec.part.own)].contiguous()
            self.register_buffer("neighbours", own, persistent=False)
        states = 1 + with_next + (previous_leads != 0) + (len(spec.grid.neighbours) if self.beside else 0)
        self.channels = states * len(spec.state) + len(spec.forcing) + bool(previous_leads)
        if self.tendencies is not None:
            self.channels += self.tendencies.channels

    def forward(self, previous: Tensor, state: Tensor, forcing: Tensor, following: Tensor | None = None) -> Tensor:
        """(batch, node, variable) each to (batch, node, channel); `following` is X_{t+1}."""
        columns = [state]
        if following is not None:
            columns.insert(0, following if self.inputs == "states" else (following - state) / self.diff_std)
        if self.previous_leads != 0:
            columns.append(previous if self.inputs == "states" else (state - previous) / self.diff_std)
        columns.append(forcing)
        wide = self._wide(state)
        if self.beside:
            columns += [(wide.index_select(1, side) - state) / self.diff_std for side in self.neighbours]
        if self.tendencies is not None:
            rates = self.tendencies(wide)
            columns.append(rates if self.part is None else rates[:, slice(*self.part.own)])
        if self.previous_leads:
            given = previous_given(previous, state).to(state.dtype)
            columns.append(given[:, None, None].expand(-1, state.shape[1], 1))
        return torch.cat(columns, dim=-1)

    def _wide(self, state: Tensor) -> Tensor:
        """States of all nodes that differences need: the own ones and, of a part of a grid, their neighbours."""
        if self.part is None or self.order is None or not (self.beside or self.tendencies is not None):
            return state
        return self.part.halo.to(state.device).extended(state).index_select(1, self.order)


def undecided(key: str, kind: Any) -> UserError:
    """The error of `auto` that was handed to a model, which does not see the data.

    Args:
        key: of the model.
        kind: what it may be, a `Literal`, or numbers.
    """
    words = [word for word in get_args(kind) if isinstance(word, str) and word != "auto"] or ["a number", "null"]
    return UserError(
        f"model.{key}=auto is decided by commands, from the data, before they build a model: "
        f"give {', '.join(words[:-1])} or {words[-1]}, or what spacecast.app.auto.decided makes of the section"
    )


def check_previous_leads(leads: int | None) -> int | None:
    """The number of leads, once it is one.

    Raises:
        UserError: it is below 0.
    """
    if leads is not None and leads < 0:
        raise UserError(f"previous_leads is {leads}: give a number of leads, 0 or more, or null for all")
    return leads


def previous_given(previous: Tensor, state: Tensor) -> Tensor:
    """Whether there is a state before the present one: where there is none, X_{t-1} equals X_t everywhere.

    Args:
        previous, state: X_{t-1} and X_t, shape (batch, node, state).

    Returns:
        Boolean, shape (batch,).

    """
    return (previous != state).flatten(1).any(dim=1)


def by_previous(given: Tensor, one: Tensor, alone: Tensor) -> Tensor:
    """`one` for the items of a batch with a previous state and `alone` for those without; nothing waits for a device.

    Args:
        given: of `previous_given`, shape (batch,).
        one, alone: shape (batch, ...).

    """
    return torch.where(given.view(-1, *[1] * (one.ndim - 1)), one, alone)


def output_of(one: nn.Module, alone: nn.Module | None, hidden: Tensor, given: Tensor | None) -> Tensor:
    """What a model puts out by one network, or by another one for the items of a batch without a previous state.

    Both are computed, so that nothing waits for a device and every weight has a gradient in every process.

    Args:
        one: network for steps with a previous state.
        alone: for those without; None: `one` does for all.
        hidden: vectors of nodes, shape (batch * node, hidden).
        given: of `previous_given`, shape (batch,); None: there is one for all.

    Returns:
        Shape (batch * node, output).

    """
    output: Tensor = one(hidden)
    if alone is None or given is None:
        return output
    pair = (each.unflatten(0, (len(given), -1)) for each in (output, alone(hidden)))
    return by_previous(given, *pair).flatten(0, 1)
