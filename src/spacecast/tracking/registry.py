"""From `models:/NAME@ALIAS`, `models:/NAME/3` or `models:/NAME/latest` to a checkpoint file on this machine."""

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from spacecast.core.errors import UserError, nearest
from spacecast.core.names import REGISTERED
from spacecast.core.text import shown
from spacecast.process.files import MARK
from spacecast.tracking.artifacts import local_folder
from spacecast.tracking.delivered import without_password
from spacecast.tracking.mlflow_run import connect, reason
from spacecast.tracking.registration import CHECK_SUM, FILE, FOLDER, check_sum, versions
from spacecast.tracking.store import check_uri, sqlite_path

LATEST = "latest"
MOST_SHOWN = 20
_SOURCE = re.compile(rf"runs:/([\w-]+)/({FOLDER}/\w+)")  # as `registration.register` makes them
_NOT_THERE = "RESOURCE_DOES_NOT_EXIST"


class Wanted(NamedTuple):
    """What a text asks for: the version of that number, the newest one, or the one that an alias names."""

    name: str
    version: str = ""
    alias: str = ""


def parse(text: str, key: str) -> Wanted:
    """Take `models:/NAME@ALIAS` or `models:/NAME/VERSION` apart.

    Raises:
        UserError: it is neither.

    """
    rest = text.removeprefix(REGISTERED)
    name, at, alias = rest.rpartition("@")
    if at and name and alias and "/" not in rest:
        return Wanted(name, version=LATEST) if alias == LATEST else Wanted(name, alias=alias)
    name, slash, version = rest.partition("/")
    if slash and name and (version.isdecimal() or version == LATEST):
        return Wanted(name, version=version)
    shape = f"{REGISTERED}NAME@best, {REGISTERED}NAME/3 or {REGISTERED}NAME/{LATEST}"
    raise UserError(f"{key}={text} names no version of a registered model; type {shape}")


def registered_file(text: str, key: str, store: str, cache: Path) -> Path:
    """The checkpoint that a version of a registered model is, held against the check sum it was registered with.

    A file on this machine is used where it lies; another one is downloaded once.

    Args:
        text: begins with `models:/`.
        key: of the command line, for messages.
        store: address of the MLflow store.
        cache: folder for what is downloaded.

    Raises:
        UserError: there is no such model or version, the store does not answer, or the file is gone or another one.

    """
    wanted, uri = parse(text, key), check_uri(store)
    told, place = f"{key}={text}", without_password(uri)
    path = sqlite_path(uri)
    if path is not None and not path.is_file():
        way = "give logger.tracking_uri=URI or set MLFLOW_TRACKING_URI"
        raise UserError(f"{told}: there is no MLflow store {path}; {way}")
    try:
        client, uri = connect(uri)
        return _file_of(client, _found(client, wanted, f"{told}: {place}"), told, cache)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{told}: the MLflow store {place} cannot be asked: {reason(error)}") from error


def _found(client: Any, wanted: Wanted, told: str) -> Any:
    """The version.

    Raises:
        UserError: there is none; the message names what there is.

    """
    from mlflow.exceptions import MlflowException

    try:
        model = client.get_registered_model(wanted.name)
    except MlflowException as error:
        if error.error_code != _NOT_THERE:
            raise
        names = [each.name for each in client.search_registered_models()]
        raise UserError(f"{told} has no model {wanted.name!r}; {nearest(wanted.name, names)}") from error
    aliases = {alias: str(version) for alias, version in model.aliases.items()}
    number = aliases.get(wanted.alias, wanted.version)
    if not number:
        raise UserError(f"{told} has no alias {wanted.alias!r} of {wanted.name}; {nearest(wanted.alias, aliases)}")
    found = {str(version.version): version for version in versions(client, wanted.name)}
    number = next(reversed(found), LATEST) if number == LATEST else str(int(number))
    if number not in found:
        known = [*found][-MOST_SHOWN:]
        raise UserError(f"{told} has no version {number} of {wanted.name}; {nearest(number, known)}")
    return found[number]


def _file_of(client: Any, version: Any, told: str, cache: Path) -> Path:
    """The file of a version.

    Raises:
        UserError: it was not registered by spacecast, or its file is gone, or another one.

    """
    from mlflow.exceptions import MlflowException

    total, source = str(version.tags.get(CHECK_SUM, "")), _SOURCE.fullmatch(version.source or "")
    if not re.fullmatch("[0-9a-f]{64}", total) or source is None:
        raise UserError(
            f"{told}: version {version.version} is no checkpoint that spacecast has registered (logger.register=true)"
        )
    run_id, place = source[1], f"{source[2]}/{FILE}"
    gone = f"{told}: the file of version {version.version} is gone"
    try:
        root = client.get_run(run_id).info.artifact_uri
    except MlflowException as error:
        if error.error_code != _NOT_THERE:
            raise
        raise UserError(f"{gone} with its run {run_id}; choose another version") from error
    folder = local_folder(root)
    other = f"{told}: the file of version {version.version} is not the one that was registered, its check sum differs"
    if folder is not None:
        if not (file := folder / place).is_file():
            raise UserError(f"{gone}: there is no {file} here; choose another version")
        if _check_sum(file) != total:
            raise UserError(f"{other}: {shown(str(file))}")
        return file
    name = re.sub(r"[^\w.-]", "_", version.name)
    file = cache / f"{name}-{version.version}-{total[:16]}" / FILE
    if file.is_file() and _check_sum(file) == total:
        return file
    with _folder_beside(file) as partial:
        try:
            found = Path(client.download_artifacts(run_id, place, str(partial)))
        except Exception as error:
            raise UserError(f"{gone}, or its store cannot be asked: {reason(error)}") from error
        if _check_sum(found) != total:
            raise UserError(other)
        found.replace(file)
    return file


@contextmanager
def _folder_beside(file: Path) -> Iterator[Path]:
    """A folder to download into, gone with the block.

    Raises:
        UserError: nothing can be written there.

    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{file.name}{MARK}", dir=file.parent) as folder:
            yield Path(folder)
    except OSError as error:
        why = error.strerror or error
        raise UserError(f"{file.parent}: cannot write there ({why}); choose another paths.data_dir") from error


def _check_sum(file: Path) -> str:
    """The check sum of a file.

    Raises:
        UserError: it cannot be read.

    """
    try:
        return check_sum(file)
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror or error}") from error
