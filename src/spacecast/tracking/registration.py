"""Checkpoints as versions of a model in MLflow's model registry: registered once, and the best one known by an alias.

A version is a plain file among the artifacts of the run that it is of, in a folder named by its check sum, beside which
no other file is ever put. MLflow asks for no more: only `mlflow.register_model` wants its own model format, which holds
pickles.
"""

import hashlib
import json
import logging
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from spacecast.core.errors import UserError
from spacecast.core.names import REGISTERED
from spacecast.process.lock import exclusive

log = logging.getLogger(__name__)

ALIAS = "best"
FILE = "best.ckpt"
FOLDER = "checkpoints"  # of the artifacts of a run
CHECK_SUM, IDENTITY = "spacecast.sha256", "spacecast.run"
SCORE, SCORED_ON = "spacecast.score", "spacecast.scored_on"
MODEL_TEXT = f"Checkpoints of spacecast. `{ALIAS}` is the one with the lowest score on the same data and split."
LOCK_SECONDS = 60.0
_NAME = re.compile(r"\w[\w.-]{0,199}")


class ReplacedError(RuntimeError):
    """The file is not the one that was to be registered."""


def check_model_name(name: str, key: str = "logger.register") -> str:
    """A name of a registered model that every way of typing it takes.

    Raises:
        UserError: MLflow or a command line would not take it as it is.

    """
    if not _NAME.fullmatch(name):
        raise UserError(f"{key}={name!r} is no name of a model; use letters, digits, '_', '-' and '.', or true")
    return name


ModelName = Annotated[str, check_model_name]


def check_sum(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def scored(name: str, value: float, *, data_hash: str, settings: Mapping[str, Any]) -> dict[str, str]:
    """Tags by which versions of a model are compared; the lower score is the better one.

    Args:
        name: of the score.
        value: of the score; one that is not finite is none.
        data_hash: of the data that were scored.
        settings: of the evaluation, all that shape the score. Versions with other settings or data are not compared.

    """
    basis = json.dumps({"score": name, "data_hash": data_hash, **settings}, sort_keys=True, default=str)
    return {SCORE: f"{value:.9g}", SCORED_ON: basis}


def register(client: Any, run_id: str, identity: str, told: Mapping[str, Any], file: Path) -> str:
    """Make a checkpoint a version of a model, unless it is one, and give the alias to the best.

    Args:
        client: of the store.
        run_id: the run there that the checkpoint is of.
        identity: of that run in every store.
        told: the entry `model` of a journal.
        file: the checkpoint, called `best.ckpt`.

    Returns:
        The number of the version.

    Raises:
        FileNotFoundError, ReplacedError: the file is gone or another one.
        InUseError: another process registers it.
        MlflowException: the store failed.

    """
    name = told["name"]
    with exclusive(file.with_name(f".{file.name}.lock"), f"the registration of {file}", LOCK_SECONDS):
        known = [version for version in versions(client, name) if version.tags.get(CHECK_SUM) == told["sha256"]]
        new = known[0] if known else _new_version(client, run_id, identity, told, file)
        log.info("registered as %s%s/%s%s", REGISTERED, name, new.version, _give_alias(client, name, new))
    return str(new.version)


def _new_version(client: Any, run_id: str, identity: str, told: Mapping[str, Any], file: Path) -> Any:
    """Upload a checkpoint, then register it; see `register`."""
    from mlflow.exceptions import MlflowException

    name, total = told["name"], told["sha256"]
    if check_sum(file) != total:
        raise ReplacedError(f"{file.name} is no longer the checkpoint that was to be registered")
    folder = f"{FOLDER}/{total[:16]}"
    client.log_artifact(run_id, str(file), folder)
    try:
        client.create_registered_model(name, description=MODEL_TEXT)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    tags = {**told["tags"], CHECK_SUM: total, IDENTITY: identity}
    return client.create_model_version(
        name, f"runs:/{run_id}/{folder}", run_id, tags=tags, description=told["description"]
    )


def versions(client: Any, name: str) -> list[Any]:
    """All versions of a model, the first one first; none where there is no such model."""
    quote = '"' if "'" in name else "'"
    page = client.search_model_versions(f"name = {quote}{name}{quote}")
    found = list(page)
    while page.token:
        page = client.search_model_versions(f"name = {quote}{name}{quote}", page_token=page.token)
        found += page
    return sorted(found, key=lambda version: int(version.version))


def _give_alias(client: Any, name: str, new: Any) -> str:
    """Let the alias name a new version if that is better than the one it names; what to say of it.

    Others may do the same at this moment, so it is looked at again until the best of all that have come since has it.
    """
    held = client.get_registered_model(name).aliases.get(ALIAS)
    holder = client.get_model_version(name, str(held)) if held else None
    if holder is not None and str(holder.version) == str(new.version):
        return f", which is {ALIAS}"
    if holder is not None and not _beats(new, holder):
        why = "has a better score" if _alike(new, holder) else "was scored on other data, or in another way"
        return f"; {ALIAS} stays version {holder.version}, which {why}"
    given = None
    while (best := _best(versions(client, name), new, holder)) != given:
        client.set_registered_model_alias(name, ALIAS, best)
        given = best
    return f", which is {ALIAS} now" if given == str(new.version) else f"; version {given} is {ALIAS}"


def _best(found: list[Any], new: Any, holder: Any) -> str:
    """The version with the lowest score, of those like the new one that are not older than the holder of the alias."""
    since = int(holder.version) if holder is not None else 0
    rivals = [version for version in found if int(version.version) > since and _alike(version, new)]
    return str(min(rivals, key=lambda version: (_score(version), int(version.version)), default=new).version)


def _beats(one: Any, other: Any) -> bool:
    """Whether a version has a better score than another one that was scored in the same way."""
    return _alike(one, other) and _score(one) < _score(other)


def _alike(one: Any, other: Any) -> bool:
    """Whether two versions were scored on the same data in the same way."""
    return bool(one.tags.get(SCORED_ON) == other.tags.get(SCORED_ON))


def _score(version: Any) -> float:
    """The score of a version; without one it is never the better one."""
    try:
        value = float(version.tags.get(SCORE, "inf"))
    except ValueError:
        return math.inf
    return value if math.isfinite(value) else math.inf
