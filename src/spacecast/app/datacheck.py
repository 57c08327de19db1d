"""Holds the configuration of a training against the data, before they are made and once they are open."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch

from spacecast.app.assemble import Parts, assemble, device_of
from spacecast.app.auto import decided
from spacecast.app.planned import planned_datastore
from spacecast.app.shards import check_shards
from spacecast.config.binding import takes
from spacecast.config.schema import Train
from spacecast.core.errors import UserError
from spacecast.core.protocols import Datastore
from spacecast.data.contract import offers
from spacecast.data.windows import WindowDataset
from spacecast.evaluation.regions import plasma_regions, region_masks
from spacecast.evaluation.selection import select
from spacecast.forecast.forecaster import check_ensemble
from spacecast.objectives.ensemble import EnsembleObjective
from spacecast.process.logs import information_muted
from spacecast.tracking.store import check_uri
from spacecast.training.trainer import make_trainer

if TYPE_CHECKING:
    from spacecast.training.schedule import Schedule


def check_without_data(config: Train) -> None:
    """Build whatever needs no data, so that its own checks speak before data are made.

    Raises:
        UserError: a value is out of range, or this machine does not have what the trainer asks for.

    """
    config.graph.build()
    schedule = config.schedule.build()
    longest_rollout(schedule, epochs_of(config))
    check_optimizer(config)
    if config.logger.tracking_uri:
        check_uri(config.logger.tracking_uri)
    trainer_of(config)


def trainer_of(config: Train) -> Any:
    """The Lightning trainer of a training, for what it refuses and for its numbers."""
    section = config.trainer
    sizes = {"batch_size": config.data.batch_size, "global_batch": section.global_batch, "shards": section.shards}
    return make_trainer(section.build(), config.paths.run_dir, None, [], **sizes)  # type: ignore[arg-type]


def check_optimizer(config: Train) -> None:
    """Build the optimiser for one number and take a step with it.

    Raises:
        UserError: a value is out of range, or the optimiser does not suit dense gradients, vectors or the precision.

    """
    weight = torch.nn.Parameter(torch.ones(1, device=device_of(config)))

    def closure() -> float:
        weight.grad = None
        loss = weight.square().sum()
        loss.backward()
        return float(loss.detach())

    try:
        optimizer = config.optimizer.build()([weight])
        if not isinstance(optimizer, torch.optim.Optimizer) or "lr" not in optimizer.param_groups[0]:
            raise TypeError(f"{config.optimizer.target} makes no torch optimiser with a learning rate")
        optimizer.step(closure)
    except UserError:
        raise
    except (TypeError, ValueError, RuntimeError, AssertionError) as error:
        raise UserError(f"optimizer: {' '.join(str(error).split())}") from error
    precision = config.trainer.precision
    if isinstance(optimizer, torch.optim.LBFGS) and str(precision) in ("16", "16-mixed"):
        raise UserError(f"optimizer: LBFGS cannot follow the scaled gradients of trainer.precision={precision}")


def check_planned(config: Train) -> None:
    """The checks that follow, and building everything, on data that are still to be simulated.

    Raises:
        UserError: the configuration does not fit them.

    """
    data: Any = planned_datastore(config)
    if data is None:
        return
    with information_muted(), TemporaryDirectory() as folder:
        config = replace(config, model=decided(config.model, data.spec, None))
        check_evaluation(config, data)
        check_training(config, assemble(config, data, Path(folder)))


def check_training(config: Train, parts: Parts) -> None:
    """Every roll-out of training and validation must fit into its split, evaluation and loss must suit the model.

    Raises:
        UserError: it does not; the key to change is named.

    """
    check_members(config, parts.model)
    check_shards(config, parts, epochs_of(config))
    if isinstance(parts.module.objective, EnsembleObjective):
        parts.module.objective.check(parts.model)
    check_own_states(config, parts)
    longest = longest_rollout(parts.schedule, epochs_of(config))
    needs = (("train", longest, "schedule.rollout_steps"), ("val", config.data.val_steps, "data.val_steps"))
    for split, steps, key in needs:
        if fault := _no_window(parts.datastore, parts.datastore.train_runs, split, steps):
            raise UserError(f"{key}={steps}: {fault}")


def check_own_states(config: Train, parts: Parts) -> None:
    """A training on states of the model's own needs an objective that hands them out and a place for each of a batch.

    Raises:
        UserError: it has not.

    """
    plan = parts.schedule.at(epochs_of(config)).own_states
    if plan is None:
        return
    takers: dict[str, tuple[Callable[..., Any], str]] = {
        "loss": (parts.module.objective.forward, "keep"),
        "data": (type(parts.data), "own_states"),
    }
    for name, (taker, keyword) in takers.items():
        if not takes(taker, keyword):
            owner = getattr(config, name).target
            raise UserError(
                f"{name}: {owner} takes no {keyword}, and so no states of the model's own; take another schedule"
            )
    size = config.data.batch_size
    if size > plan.size:
        raise UserError(
            f"data.batch_size={size} is more than schedule.pool_size={plan.size}: give each window of a batch a place"
        )


def check_evaluation(config: Train, datastore: Datastore) -> None:
    """Runs, leads and regions of the evaluation must be there.

    Raises:
        UserError: they are not.

    """
    chosen = config.evaluation
    try:
        runs, split, steps, _ = select(datastore, chosen.runs, chosen.split, 1, chosen.windows)
        datastore.num_frames(runs[0], split)
    except UserError as error:
        ours = str(error).startswith("evaluation.")
        raise UserError(f"{'' if ours else f'evaluation.split={chosen.split}: '}{error}") from error
    except (LookupError, ValueError) as error:  # of a datastore of a user's own
        raise UserError(f"evaluation.split={split}: the data store has no such split") from error
    steps = select(datastore, chosen.runs, chosen.split, chosen.steps, chosen.windows).steps
    if fault := _no_window(datastore, runs, split, steps):
        whole = split != "all" and steps >= 1 and all(offers(datastore, run, "all") for run in runs)
        longer = whole and not _no_window(datastore, runs, "all", steps)
        way = "; evaluation.split=all takes the whole run" if longer else ""
        raise UserError(f"evaluation.steps={steps}: {fault}{way}")
    region_masks(datastore.spec, chosen.regions, chosen.surfaces)
    if chosen.plasma_regions:
        plasma_regions(datastore.spec, chosen.surfaces)


def _no_window(datastore: Datastore, runs: tuple[str, ...], split: str, steps: int) -> str:
    """Why a run has no window of so many steps; empty when each has one."""
    try:
        WindowDataset(datastore, runs, split, steps, limit=1)
    except UserError as error:
        return str(error)
    return ""


def check_members(config: Train, model: torch.nn.Module) -> None:
    """Members of an ensemble must differ.

    Raises:
        UserError: the evaluation asks for several members of a model that draws nothing.

    """
    drawing = "a model that draws (model.noise={local: 12}, or model=graph_efm)"
    way = f"give evaluation=deterministic or evaluation.members=1, or train {drawing}"
    check_ensemble(model, config.evaluation.members, way, "evaluation.members")


def epochs_of(config: Train) -> int:
    """Epochs of the run, as far as they are known."""
    epochs = config.trainer.max_epochs
    return epochs if epochs is not None and epochs > 0 else 1000


def longest_rollout(schedule: "Schedule", epochs: int) -> int:
    """Most steps that a training roll-out has in any epoch."""
    return max(schedule.at(epoch).rollout_steps for epoch in range(epochs))
