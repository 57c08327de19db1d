"""Checkpoints that are typed as `models:/NAME@best`, and the registration of the best one of a training."""

import hashlib
import logging
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig

from spacecast.app.run_records import recorded_config
from spacecast.config.command import Plain
from spacecast.config.paths import absolute_path
from spacecast.config.schema import Train
from spacecast.core.names import REGISTERED, within
from spacecast.process.signals import first_process

if TYPE_CHECKING:
    from spacecast.evaluation.scores import Scores

log = logging.getLogger(__name__)

BEST = "best.ckpt"
CACHE = "registry"  # below the data folder
NOTE = "SPACECAST_REGISTERED_"  # variables of the environment
SHAPING = ("split", "runs", "steps", "windows", "spread", "members")  # keys of an evaluation that the score depends on


def local_checkpoint(value: object, key: str, plain: Mapping[str, Any] | None = None) -> Path:
    """A checkpoint that was typed as an absolute path; `models:/...` becomes the file that it stands for.

    The store is `logger.tracking_uri`, otherwise what MLFLOW_TRACKING_URI says, otherwise `mlflow.db` of the project.
    Nothing but a typed `models:/` imports MLflow.

    Args:
        value: as typed: a file, a folder or `models:/NAME@ALIAS`.
        key: of the command line, for messages.
        plain: the composed configuration, whose `logger` and `paths` say where; None: the working folder.

    Raises:
        UserError: it is empty, or there is no such version, or the store does not answer.

    """
    text = absolute_path(value, key)
    if not text.startswith(REGISTERED):
        return Path(text)
    from spacecast.tracking.registry import registered_file

    paths, logger = ((plain or {}).get(name) or {} for name in ("paths", "logger"))
    project = Path(paths.get("project_dir") or Path.cwd())
    data = Path(paths.get("data_dir") or os.environ.get("SPACECAST_DATA", "").strip() or project / "data")
    store = logger.get("tracking_uri") or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{project}/mlflow.db"
    note = NOTE + hashlib.sha256(f"{store} {text}".encode()).hexdigest()[:16]
    if first_process() or note not in os.environ:
        os.environ[note] = str(registered_file(text, key, str(store), data.absolute() / CACHE))
    return Path(os.environ[note])  # processes that this one starts work with the same file wherever the alias moves


def complete_start(plain: Plain) -> Plain:
    """A composed training in which `resume` and `init_from` are files.

    A run that has checkpoints goes on from them, whatever has become of the registry, and keeps what it recorded.
    """
    typed = {key: plain.get(key) for key in ("resume", "init_from")}
    asked = {key: value for key, value in typed.items() if isinstance(value, str) and value.startswith(REGISTERED)}
    run_dir = Path(plain["paths"]["run_dir"])
    if asked and any((run_dir / "checkpoints" / name).is_file() for name in ("last.ckpt", "previous.ckpt")):
        before = recorded_config(run_dir)
        return plain | {key: before.get(key) for key in asked}
    return plain | {key: str(local_checkpoint(value, key, plain)) for key, value in asked.items()}


def complete_name(plain: Plain) -> Plain:
    """A composed training in which `logger.register=true` is the name EXPERIMENT-MODEL."""
    logger = plain.get("logger")
    if not isinstance(logger, dict) or logger.get("register") is not True:
        return plain
    from spacecast.tracking.names import clean

    model = HydraConfig.get().runtime.choices.get("model")
    name = clean(f"{logger.get('experiment')}-{model}").replace(" ", "_").replace("/", "_").replace(":", "_")
    return {**plain, "logger": {**logger, "register": name}}


def register_best(config: Train, logger: Any, scores: "Scores | None") -> None:
    """Have the best checkpoint of a finished training registered, if that is asked for; never fails a training.

    Args:
        config: of the training.
        logger: of `tracking`, or anything else that is then left alone.
        scores: of that checkpoint; None in processes that write nothing.

    """
    from spacecast.tracking.logger import RunLogger

    if scores is None or not isinstance(logger, RunLogger) or not logger.registers:
        return
    file = config.paths.run_dir / "checkpoints" / BEST
    try:
        logger.log_model(file, *described(config, file, scores))
    except (OSError, ValueError) as error:
        log.warning("tracking: nothing is registered as model %s: %s", logger.registers, error)


def record_checkpoint(logger: Any, run_dir: Path) -> None:
    """Make the best checkpoint an artifact of its run, unless its registration does."""
    from spacecast.tracking.logger import RunLogger, log_artifact

    file = run_dir / "checkpoints" / BEST
    if isinstance(logger, RunLogger) and logger.checkpoint and not logger.registers and file.is_file():
        log_artifact(logger, file, "checkpoints")


def register_finished(config: Train, **kept: str) -> None:
    """The same for a training that has come to its end before, unless its journal knows of it.

    Args:
        config: of the training.
        kept: keywords of the logger by which the run is found again.

    """
    from spacecast.evaluation.scores import Scores
    from spacecast.tracking.journal import read_summary
    from spacecast.tracking.logger import tracked
    from spacecast.tracking.registration import check_sum

    name, journal = config.logger.content.get("register"), config.logger.journal
    file, table = config.paths.run_dir / "checkpoints" / BEST, config.paths.run_dir / "scores.csv"
    if not name or not first_process() or not file.is_file():
        return
    if journal is not None and journal.is_file() and (name, check_sum(file)) in read_summary(journal).models:
        return
    quiet = {"system_metrics_seconds": 0.0} if "system_metrics_seconds" in config.logger.content else {}
    logger = config.logger.build(**kept, **quiet)
    with tracked(logger):
        register_best(config, logger, Scores.read_csv(table))


def described(config: Train, file: Path, scores: "Scores") -> tuple[dict[str, str], str]:
    """Tags and description of a checkpoint in the registry: what it was trained on and how good it is.

    Raises:
        UserError: the file is none of ours.

    """
    from spacecast.checkpoint.content import load_checkpoint
    from spacecast.tracking.names import rmse_ratios
    from spacecast.tracking.registration import scored

    content, split = load_checkpoint(file), config.evaluation.label
    facts, name = content["spacecast"], f"{split}/rmse_ratio"
    data_hash = str((facts["data_spec"] or {}).get("data_hash") or "")
    single = rmse_ratios(scores, split)
    tags = {
        "data_hash": data_hash,
        "graph_hash": str((facts["graph"] or {}).get("hash") or ""),
        "version.spacecast": str(facts["versions"]["spacecast"]),
        **{key: f"{value:.9g}" for key, value in single.items()},
        **scored(name, single.get(name, math.nan), data_hash=data_hash, settings=_settings(config, scores)),
    }
    text = f"Best checkpoint (epoch {int(content['epoch']) + 1}) of the training in {config.paths.run_dir}."
    if name in single:
        text += f" {name} = {single[name]:.4g}: RMSE over that of persistence, mean over variables and leads."
    return tags, text


def _settings(config: Train, scores: "Scores") -> dict[str, Any]:
    """What shapes the score besides the data; scores of other settings are not compared."""
    section, target = config.evaluation, config.evaluation.target
    own = {key: section.content.get(key, getattr(section, key, None)) for key in SHAPING}
    foreign = {} if within(target, ["spacecast"]) else {"evaluation": target}
    return {**own, **foreign, "boundary": config.datastore.boundary, "variables": scores.variables}
