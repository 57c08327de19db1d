"""Training on the model's own states: the schedule of it, and the pool of what the model made of the windows before."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from spacecast.core.ranges import NonNegativeFloat, PositiveInt, Share
from spacecast.core.types import Batch, OwnStates, Stage
from spacecast.training.schedule import ConstantSchedule, switch_epochs

OWN_STATES = "own_states"  # entry of a checkpoint, one of each process
LIMIT = 10.0  # times the largest true value: beyond it a forecast has exploded


class OwnStatesSchedule:
    """Roll-outs from true states, then also from states of the model's own, at a learning rate that falls as a cosine.

    In the second part a pool holds states that the model has made: each step takes some, goes on from them, is held
    against the truth, and puts the new ones back (push-forward; Brandstetter et al. 2022, section 3.1, at the cost of
    single steps). So the model learns to forecast from states as they are late in a roll-out.

    Args:
        epochs: length of the run.
        pool_from: where the second part begins, as an epoch or as a share of the run; with the nearest whole epoch.
        pool_size: states that are kept.
        max_age: a state is given up, and its place begins anew with a true one, after a log-uniform number of steps up
            to this one, or at the end of its run.
        fresh: share of the windows that begin with true states.
        previous_share: share of the states for which a model with `previous_leads` has the state before for the first 1
            to 3 leads.
        crps_from: where ensembles come in (`loss=ensemble_crps`), as an epoch or as a share of the run; before, single
            forecasts without noise.
        rollout_steps: steps of the training roll-out.
        final_lr_factor: share of the learning rate that is left at the last epoch.
        warmup: the learning rate rises linearly for so many epochs, or such a share of the run.
    """

    def __init__(
        self,
        epochs: PositiveInt,
        *,
        pool_from: NonNegativeFloat = 0.4,
        pool_size: PositiveInt = 16,
        max_age: PositiveInt = 150,
        fresh: Share = 0.4,
        previous_share: Share = 0.5,
        crps_from: NonNegativeFloat = 0.0,
        rollout_steps: PositiveInt = 1,
        final_lr_factor: NonNegativeFloat = 0.01,
        warmup: NonNegativeFloat = 0.0,
    ) -> None:
        steps, final = rollout_steps, final_lr_factor
        self.base = ConstantSchedule(epochs, rollout_steps=steps, final_lr_factor=final, warmup=warmup)
        [start], [self.crps_start] = switch_epochs([pool_from], epochs), switch_epochs([crps_from], epochs)
        self.own_states = OwnStates(round(start), pool_size, max_age, fresh, previous_share)

    def at(self, epoch: float) -> Stage:
        """See `training.schedule.Schedule`."""
        own_states = self.own_states if epoch >= self.own_states.since else None
        return replace(self.base.at(epoch), own_states=own_states, crps=float(epoch >= self.crps_start))


class OwnStatePool:
    """States that the model has made, of which a batch takes some in the place of true ones.

    Nothing of it leaves the device, so that a step waits for nothing. Every process has its own.
    """

    def __init__(self) -> None:
        self._states: Tensor | None = None  # (place + 1, 2, node, state); what is put at the last place is lost
        self._windows = torch.empty(0, 2, dtype=torch.int64)  # run and first frame of the window that each goes on with

    def enter(self, batch: Batch, places: int, *, optional: bool) -> Batch:
        """Give windows that continue a trajectory the states that the model has made of the one before.

        Args:
            batch: standardised, with the places that its windows visit.
            places: of the pool.
            optional: the model can do without the state before: it is left out (the state at t stands for it) where the
                windows say so.

        Returns:
            The batch with three initial states: the two to start from, and the true one at t.

        """
        _, count, nodes, variables = batch.initial.shape
        if self._states is None or self._states.shape != (places + 1, count, nodes, variables):
            self._states = batch.initial.new_zeros(places + 1, count, nodes, variables)
            self._windows = batch.window.new_full((places + 1, 2), -1)
        self._states, self._windows = self._states.to(batch.initial), self._windows.to(batch.window.device)
        place, age, given = batch.window[:, 2:].unbind(1)
        held, states = self._windows[place], self._states[place]
        own = (age > 0) & (held == batch.window[:, :2]).all(dim=1)
        previous, state = torch.where(own[:, None, None, None], states, batch.initial).unbind(1)
        if optional:
            previous = torch.where(given[:, None, None] > 0, previous, state)
        return batch._replace(initial=torch.stack([previous, state, batch.initial[:, 1]], dim=1))

    def keep(self, batch: Batch, state: Tensor, forecast: Tensor) -> None:
        """Put what was made of a batch into its places; the truth in the place of what is not finite or has exploded.

        Args:
            batch: as `enter` gave it.
            state: what the forecast started from, shape (batch, node, state).
            forecast: one step later.

        """
        assert self._states is not None
        true = batch.target[:, 0]
        forecast = forecast.detach().to(true.dtype)
        largest = LIMIT * true.abs().amax(dim=(1, 2))
        sound = forecast.abs().amax(dim=(1, 2)) <= largest  # False where it is not finite
        made, truth = torch.stack([state.detach(), forecast], dim=1), torch.stack([batch.initial[:, 2], true], dim=1)
        place = batch.window[:, 2]
        place = torch.where(place < 0, len(self._states) - 1, place)
        self._states[place] = torch.where(sound[:, None, None, None], made, truth)
        self._windows[place] = batch.window[:, :2] + batch.window.new_tensor([0, 1])

    def state_dict(self) -> dict[str, Any]:
        """Everything that a checkpoint must hold; empty before the first batch."""
        if self._states is None:
            return {}
        found = {"states": self._states[:-1], "windows": self._windows[:-1]}
        return {name: each.to("cpu", copy=True) for name, each in found.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with what was saved."""
        if state:
            self._states, self._windows = (torch.cat([state[name], state[name][:1]]) for name in ("states", "windows"))
