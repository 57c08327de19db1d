"""Holds the configuration against the data, before they are made and once they are open."""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch

from spacecast.app.assemble import Parts, assemble, device_of
from spacecast.app.foresee import foresee
from spacecast.config.build import build
from spacecast.config.schema import own_part
from spacecast.core.errors import UserError
from spacecast.core.protocols import Datastore, LatentStepModel
from spacecast.data.windows import WindowDataset
from spacecast.evaluation.evaluator import select_runs
from spacecast.evaluation.regions import region_masks
from spacecast.process.logs import hushed
from spacecast.tracking.store import check_uri
from spacecast.training.trainer import lightning_keywords, make_trainer

if TYPE_CHECKING:
    from spacecast.training.schedule import Schedule

Plain = Mapping[str, Any]


def check_without_data(plain: Plain) -> None:
    """Build whatever needs no data, so that its own checks speak before data are made.

    Raises:
        UserError: a value is out of range, or this machine does not have what the trainer asks for.

    """
    build(plain["graph"])
    schedule = build(plain["schedule"])
    longest_rollout(schedule, epochs_of(plain))
    check_optimizer(plain)
    if plain["logger"].get("tracking_uri"):
        check_uri(plain["logger"]["tracking_uri"])
    own = own_part(plain["trainer"], "trainer")
    sizes = {"batch_size": plain["data"]["batch_size"], "global_batch": own["global_batch"]}
    make_trainer(build(lightning_keywords(plain["trainer"])), Path(plain["paths"]["run_dir"]), None, [], **sizes)


def check_optimizer(plain: Plain) -> None:
    """Build the optimiser for one number and take a step with it.

    Raises:
        UserError: a value is out of range, or the optimiser does not suit dense gradients, vectors or the precision.

    """
    weight = torch.nn.Parameter(torch.ones(1, device=device_of(plain)))

    def closure() -> float:
        weight.grad = None
        loss = weight.square().sum()
        loss.backward()
        return float(loss)

    try:
        optimizer = build(plain["optimizer"])([weight])
        if not isinstance(optimizer, torch.optim.Optimizer) or "lr" not in optimizer.param_groups[0]:
            raise TypeError(f"{plain['optimizer']['_target_']} makes no torch optimiser with a learning rate")
        optimizer.step(closure)
    except UserError:
        raise
    except (TypeError, ValueError, RuntimeError, AssertionError) as error:
        raise UserError(f"optimizer: {' '.join(str(error).split())}") from error
    precision = plain["trainer"].get("precision")
    if isinstance(optimizer, torch.optim.LBFGS) and str(precision) in ("16", "16-mixed"):
        raise UserError(f"optimizer: LBFGS cannot follow the scaled gradients of trainer.precision={precision}")


def check_foreseen(plain: Plain) -> None:
    """The checks that follow, and building everything, on data that are still to be simulated.

    Raises:
        UserError: the configuration does not fit them.

    """
    data: Any = foresee(plain)
    if data is None:
        return
    with hushed(), TemporaryDirectory() as folder:
        check_evaluation(plain, data)
        check_training(plain, assemble({**plain, "paths": {**plain["paths"], "data_dir": folder}}, data))


def check_training(plain: Plain, parts: Parts) -> None:
    """Every roll-out of training and validation must fit into its split, the evaluation must suit the model.

    Raises:
        UserError: it does not; the key to change is named.

    """
    check_members(plain, parts.model)
    longest = longest_rollout(parts.schedule, epochs_of(plain))
    needs = (("train", longest, "schedule.rollout_steps"), ("val", plain["data"]["val_steps"], "data.val_steps"))
    for split, steps, key in needs:
        _need_windows(parts.datastore, parts.datastore.train_runs, split, steps, key)


def check_evaluation(plain: Plain, datastore: Datastore) -> None:
    """Runs, leads and regions of the evaluation must be there.

    Raises:
        UserError: they are not.

    """
    wanted = plain["evaluation"]
    runs = select_runs(datastore, wanted.get("runs"))
    try:
        datastore.num_frames(runs[0], wanted["split"])
    except UserError as error:
        raise UserError(f"evaluation.split={wanted['split']}: {error}") from error
    try:
        _need_windows(datastore, runs, wanted["split"], wanted["steps"], "evaluation.steps")
    except UserError as error:
        if wanted["split"] == "all" or wanted["steps"] < 1 or not _has_windows(datastore, runs, "all", wanted["steps"]):
            raise
        raise UserError(f"{error}; evaluation.split=all takes the whole run") from error
    region_masks(datastore.spec, wanted.get("regions"))


def check_members(plain: Plain, model: torch.nn.Module) -> None:
    """Members of an ensemble must differ.

    Raises:
        UserError: the evaluation asks for several members of a model that draws nothing.

    """
    members = plain["evaluation"].get("members", 1)
    if members > 1 and not isinstance(model, LatentStepModel):
        raise UserError(
            f"evaluation.members={members}: {type(model).__name__} has no latent variable, all its members would be "
            "one forecast; give evaluation=deterministic or evaluation.members=1, or train model=graph_efm"
        )


def _need_windows(datastore: Datastore, runs: tuple[str, ...], split: str, steps: int, key: str) -> None:
    """At least one window of every run, else an error that starts with the key."""
    try:
        WindowDataset(datastore, runs, split, steps, limit=1)
    except UserError as error:
        raise UserError(f"{key}={steps}: {error}") from error


def _has_windows(datastore: Datastore, runs: tuple[str, ...], split: str, steps: int) -> bool:
    """Whether every run has a window."""
    try:
        WindowDataset(datastore, runs, split, steps, limit=1)
    except UserError:
        return False
    return True


def epochs_of(plain: Plain) -> int:
    """Epochs of the run, as far as they are known."""
    epochs = plain["trainer"].get("max_epochs")
    return epochs if isinstance(epochs, int) and epochs > 0 else 1000


def longest_rollout(schedule: "Schedule", epochs: int) -> int:
    """Most steps that a training roll-out has in any epoch."""
    return max(schedule.at(epoch).rollout_steps for epoch in range(epochs))
