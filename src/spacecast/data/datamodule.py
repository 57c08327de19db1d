"""Loaders for Lightning: which windows come when is a pure function of (seed, epoch)."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, DistributedSampler, default_collate, get_worker_info

from spacecast.core.errors import UserError, nearest
from spacecast.core.protocols import CachedDatastore, Datastore, SharedDatastore
from spacecast.core.ranges import NonNegativeInt, PositiveInt
from spacecast.core.shards import GridPart
from spacecast.core.types import Batch, OwnStates
from spacecast.data.own_states import with_own_states
from spacecast.data.windows import WindowDataset

WORDS = {"cache": ("auto", "none", "memory", "packed"), "packed": ("float32", "float16")}
PARENT_SECONDS = 1.0  # between two looks of a reading process for the one that it reads for
Rollout = int | Callable[[int], int]
Visits = Callable[[np.ndarray], np.ndarray]


class EpochSampler(DistributedSampler):
    """Window numbers of an epoch, a pure function of (seed, epoch), whatever was drawn before.

    Args:
        num: number of windows.
        seed: the seed of the run.
        shuffle: draw a new permutation each epoch, else keep the order.
        limit: windows per epoch over all ranks, None takes all.
        rank, world: this process and the number of processes. When shuffled all ranks get equally many windows (a
            remainder is left out), else each window goes to exactly one rank.
        multiple: when shuffled, windows over all ranks are a multiple of this, if there are as many.
        visits: makes of the windows of an epoch those that are taken, with more numbers each; None: as they are.

    `load_state_dict` makes one epoch start where it was interrupted. It is a `DistributedSampler` only so that
    Lightning leaves it in place.

    """

    def __init__(
        self,
        num: int,
        seed: int,
        *,
        shuffle: bool = True,
        limit: int | None = None,
        rank: int = 0,
        world: int = 1,
        multiple: int = 1,
        visits: Visits | None = None,
    ) -> None:
        super().__init__(range(num), num_replicas=world, rank=rank, shuffle=shuffle, seed=seed)  # type: ignore[arg-type]
        self.num, self.limit = num, num if limit is None else min(limit, num)
        self.multiple = multiple if multiple <= self.limit else 1
        self.visits = visits
        self._resume = (-1, 0)

    def order(self, epoch: int) -> np.ndarray:
        """Window numbers of this rank in an epoch."""
        numbers = (
            np.random.default_rng((self.seed, epoch)).permutation(self.num) if self.shuffle else np.arange(self.num)
        )
        numbers = numbers[: self.limit]
        if self.shuffle:
            numbers = numbers[: len(numbers) // self.multiple * self.multiple]
        if self.shuffle and len(numbers) >= self.num_replicas:
            numbers = numbers[: len(numbers) // self.num_replicas * self.num_replicas]
        return numbers[self.rank :: self.num_replicas]

    def __iter__(self) -> Iterator[int]:
        epoch, start = self._resume
        windows = self.order(self.epoch)
        taken = windows if self.visits is None else self.visits(windows)
        return iter(taken[start if epoch == self.epoch else 0 :].tolist())

    def __len__(self) -> int:
        return len(self.order(self.epoch))

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Leave out, in that epoch only, the windows that were used before the interruption."""
        self._resume = (int(state["epoch"]), int(state["consumed"]))


class WindowDataModule(pl.LightningDataModule):
    """Batches of windows in physical units, float32, on nodes.

    Args:
        datastore: the source.
        batch_size: windows per batch and process.
        workers: processes that read ahead; 0 reads in the main process.
        seed: the order of windows is a pure function of seed and epoch.
        rollout_steps: target frames K of a training window, a number or a function of the epoch.
        cache: how the frames of the training runs are kept, `auto`, `none`, `memory` or `packed`, see
            `RunDatastore.keeping`; what is read is the same.
        packed: numbers of packed frames, `float32`, or `float16`, which is less precise (`packed.PackedFrames`).
        own_states: how an epoch takes states of the model's own, see `own_states.with_own_states`; None: never.
        val_steps: K of validation windows; None: as many as in training.
        limit_windows: training windows per epoch, drawn anew each epoch; None: all.
        limit_val_windows: first initial times of each run that validation uses; None: all.

    The training loader is made anew for every epoch (`reload_dataloaders_every_n_epochs=1` in the trainer) and holds
    exactly the windows that have all K targets. Its state is the epoch and how many windows of it have been used, so
    that a training that is resumed within an epoch goes on with the next one. Loaders draw no global random numbers.

    `global_batch`, when set, is the number of windows that an optimiser step takes from all processes together: an
    epoch is then cut to whole steps, whatever the number of processes.

    `part`, when set, is what this process has of the grid: batches hold these nodes, and all processes that share a
    sample get the same windows.

    """

    global_batch: int | None = None
    part: GridPart | None = None

    def __init__(
        self,
        datastore: Datastore,
        batch_size: PositiveInt = 1,
        workers: NonNegativeInt = 0,
        seed: NonNegativeInt = 0,
        rollout_steps: Rollout = 1,
        *,
        val_steps: NonNegativeInt | None = 4,
        limit_windows: PositiveInt | None = None,
        limit_val_windows: PositiveInt | None = 4,
        cache: str = "auto",
        packed: str = "float32",
        own_states: Callable[[int], OwnStates | None] | None = None,
    ) -> None:
        super().__init__()
        for name, value, least in (
            ("batch_size", batch_size, 1),
            ("workers", workers, 0),
            ("limit_windows", limit_windows, 1),
        ):
            if value is not None and value < least:
                raise UserError(f"data.{name} must be at least {least}, found {value}")
        for key, word in (("cache", cache), ("packed", packed)):
            if word not in WORDS[key]:
                raise UserError(f"data.{key}={word} is unknown; {nearest(str(word), WORDS[key])}")
        if packed != "float32" and cache != "packed":
            raise UserError(f"data.packed={packed} changes the numbers, and so is taken with data.cache=packed alone")
        if cache != "auto" and not isinstance(datastore, CachedDatastore):
            raise UserError(f"data.cache={cache}: {type(datastore).__name__} keeps its frames itself; take auto")
        self.datastore, self.batch_size, self.workers, self.seed = datastore, batch_size, workers, seed
        self.cache, self.packed, self._source = cache, packed, datastore
        self._settled = not isinstance(datastore, CachedDatastore)
        self.rollout_steps, self.val_steps, self.own_states = rollout_steps, val_steps, own_states
        self.limit_windows, self.limit_val_windows = limit_windows, limit_val_windows
        self._resume = {"epoch": -1, "consumed": 0}
        self._loaded_epoch = -1

    def steps_at(self, epoch: int) -> int:
        """Roll-out steps of training windows in an epoch."""
        return self.rollout_steps(epoch) if callable(self.rollout_steps) else self.rollout_steps

    def dataset(self, split: str, steps: int, limit: int | None = None) -> WindowDataset:
        """Windows of a split of all training runs."""
        return WindowDataset(self._source, self.datastore.train_runs, split, steps, limit)

    def train_dataloader(self) -> DataLoader[Batch]:
        """Shuffled windows of the training split."""
        self._settle()
        epoch = self._epoch
        data = self.dataset("train", self.steps_at(epoch))
        plan = None if self.own_states is None else self.own_states(epoch)
        visits = None if plan is None else partial(self._visits, data, plan, epoch)
        return self._loader(data, shuffle=True, limit=self.limit_windows, visits=visits)

    def val_dataloader(self) -> DataLoader[Batch]:
        """Windows of the validation split in order."""
        self._settle()
        data = self.dataset("val", self.val_steps or self.steps_at(self._epoch), self.limit_val_windows)
        return self._loader(data, shuffle=False)

    def state_dict(self) -> dict[str, int]:
        """The epoch, windows of it that all processes have used, and windows per batch of all processes."""
        if self.trainer is None:
            return {}
        loop = self.trainer.fit_loop
        per_batch = self.batch_size * self._process[1]
        used = 0 if self._epoch > self._loaded_epoch else (loop.batch_idx + 1) * per_batch
        return {"epoch": self._epoch, "consumed": used, "per_batch": per_batch}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on within an epoch.

        Raises:
            UserError: batches have another size now, so that the place within the epoch means nothing.

        """
        per_batch = self.batch_size * self._process[1]
        if state["consumed"] and state["per_batch"] != per_batch:
            raise UserError(
                f"the checkpoint was made within an epoch with {state['per_batch']} windows per batch of all devices, "
                f"here it is {per_batch}: resume with as many (data.batch_size x devices), or use init_from"
            )
        self._resume = state

    def _settle(self) -> None:
        """Let the frames be kept as they are to be, once: that may take disk space, which no dry run does."""
        if not self._settled:
            assert isinstance(self.datastore, CachedDatastore)
            self._source, self._settled = self.datastore.keeping(self.cache, self.packed), True

    @property
    def _epoch(self) -> int:
        return self.trainer.current_epoch if self.trainer is not None else 0

    @property
    def _process(self) -> tuple[int, int]:
        """Which of how many processes with samples of their own this is."""
        if self.trainer is None:
            return 0, 1
        shards = 1 if self.part is None else self.part.group.size
        return self.trainer.global_rank // shards, self.trainer.world_size // shards

    def _visits(self, data: WindowDataset, plan: OwnStates, epoch: int, windows: np.ndarray) -> np.ndarray:
        left = np.concatenate([np.arange(count, 0, -1) for count in data.counts])
        return with_own_states(windows, left, plan, epoch=epoch, seed=self.seed, rank=self._process[0])

    def _loader(self, data: WindowDataset, *, shuffle: bool, **options: Any) -> DataLoader[Batch]:
        rank, world = self._process
        options |= {"shuffle": shuffle, "multiple": self.global_batch or 1}
        sampler = EpochSampler(len(data), self.seed, rank=rank, world=world, **options)
        sampler.set_epoch(self._epoch)
        if shuffle:
            self._loaded_epoch = self._epoch
            sampler.load_state_dict({**self._resume, "consumed": self._resume["consumed"] // world})
        options = {"generator": torch.Generator().manual_seed(self.seed)}
        if self.workers:
            if isinstance(self._source, SharedDatastore):
                self._source.warm_up(data.split)
            options |= {"multiprocessing_context": "fork", "worker_init_fn": partial(_begin, os.getpid())}
        return DataLoader(
            data,
            batch_size=self.batch_size,
            sampler=sampler,
            num_workers=self.workers,
            collate_fn=as_batch if self.part is None else partial(as_part, self.part),
            pin_memory=torch.cuda.is_available(),
            **options,
        )


def as_batch(items: list[Batch]) -> Batch:
    """Windows as a batch; a single one is not copied."""
    if len(items) == 1:
        return Batch(*(each[None] for each in items[0]))
    batch: Batch = default_collate(items)
    return batch


def as_part(part: GridPart, items: list[Batch]) -> Batch:
    """Windows as a batch of the nodes of a part of the grid."""
    initial, target, forcing, window = as_batch(items)
    initial, target, forcing = (part.cut(field).contiguous() for field in (initial, target, forcing))
    return Batch(initial, target, forcing, window)


def _begin(parent: int, _: int) -> None:
    """Let a worker end with the process that it reads for, and have its part of the memory for frames.

    The worker of PyTorch takes whom it finds above it for that process, which may have been killed by then.
    """

    def end_with_parent() -> None:
        while os.getppid() == parent:
            time.sleep(PARENT_SECONDS)
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()
    worker = get_worker_info()
    if worker is not None and isinstance(worker.dataset, WindowDataset):
        store = worker.dataset.datastore
        if isinstance(store, SharedDatastore):
            store.share_memory(worker.num_workers)
