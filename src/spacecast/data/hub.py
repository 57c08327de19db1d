"""What is known of Hugging Face: the files of a repository, how to fetch one, and what its errors mean.

The address is `HF_ENDPOINT`, the token `HF_TOKEN` or that of `hf auth login`, as the library huggingface_hub has it.
"""

import errno
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from spacecast.core.errors import UserError
from spacecast.core.text import first_line, shown

KINDS = ("dataset", "model")
PLACE = "https://huggingface.co"
KEPT = "what has come is kept, and the same command goes on"


class RemoteFile(NamedTuple):
    """A file of a repository: its path, its bytes, and its SHA-256 or, where git itself keeps it, SHA-1 of its blob."""

    path: str
    size: int
    digest: str


@dataclass(frozen=True)
class Repository:
    """A repository at one commit.

    Args:
        name: OWNER/NAME.
        kind: `dataset` or `model`.
        revision: the commit, 40 hexadecimal digits.
        files: all of them.

    """

    name: str
    kind: str
    revision: str
    files: tuple[RemoteFile, ...]


def endpoint() -> str:
    """Where the hub is."""
    return os.environ.get("HF_ENDPOINT", "").strip().rstrip("/") or PLACE


def list_repository(name: str, revision: str | None = None) -> Repository:
    """Find a repository, a data set or else a model, and list its files.

    Args:
        name: OWNER/NAME.
        revision: a commit, branch or tag; None: the newest commit.

    Raises:
        UserError: the hub cannot be reached, or has no such repository or revision, or keeps it to others.

    """
    api = _library().HfApi(endpoint=endpoint())
    with explained(name, revision):
        kind, commit = _find(api, name, revision)
        tree = api.list_repo_tree(name, recursive=True, revision=commit, repo_type=kind)
        found = [
            RemoteFile(_safe(entry.path, name), entry.size, entry.lfs.sha256 if entry.lfs else entry.blob_id)
            for entry in tree
            if hasattr(entry, "blob_id")
        ]
    return Repository(name, kind, commit, tuple(sorted(found)))


def _find(api: Any, name: str, revision: str | None) -> tuple[str, str]:
    """Kind and commit of a repository; the hub's own error where it is none."""
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RevisionNotFoundError

    for kind in KINDS:
        try:
            return kind, str(api.repo_info(name, repo_type=kind, revision=revision).sha)
        except (GatedRepoError, RevisionNotFoundError):
            raise
        except HfHubHTTPError as error:
            absent = error.response.status_code in (401, 404)  # to strangers, what is private is absent
            if not absent or kind == KINDS[-1]:
                raise
    raise AssertionError


def _safe(path: str, name: str) -> str:
    """A path that stays below the folder that it is fetched into.

    Raises:
        UserError: it does not.

    """
    parts = path.split("/")
    if {"", ".", ".."} & set(parts) or "\\" in path or "\0" in path or PurePosixPath(path).is_absolute():
        raise UserError(f"{name} holds a file {shown(path)}, which would lie elsewhere; nothing of it is fetched")
    return path


def fetch_file(
    repository: Repository, path: str, folder: Path, count: Callable[[int], None], *, again: bool = False
) -> Path:
    """Fetch one file; what is interrupted begins anew, unless within this call.

    Args:
        repository: at a commit.
        path: of the file in it.
        folder: where it goes, below its path.
        count: called with the number of bytes that have come since; what it raises ends the transfer.
        again: do not take it from the cache of the library.

    Raises:
        UserError: it cannot be fetched.

    """
    with explained(repository.name, repository.revision):
        found = _library().hf_hub_download(
            repository.name,
            path,
            repo_type=repository.kind,
            revision=repository.revision,
            local_dir=folder,
            endpoint=endpoint(),
            force_download=again,
            tqdm_class=_counter(count),
        )
    return Path(found)


def _counter(count: Callable[[int], None]) -> Any:
    """What the library takes for a progress bar."""

    class Counter:
        """Shows nothing; bytes that come over the network twice are not of interest."""

        def __init__(self, *_: Any, **__: Any) -> None: ...
        def __enter__(self) -> "Counter":
            return self

        def __exit__(self, *_: object) -> None: ...
        def close(self) -> None: ...
        def set_postfix_str(self, *_: Any, **__: Any) -> None: ...
        def set_transfer_postfix_str(self, *_: Any, **__: Any) -> None: ...
        def update_transfer(self, _: Any = 1) -> None: ...
        def update(self, number: float | None = 1) -> None:
            count(int(number or 0))

    return Counter


def _library() -> Any:
    """The library, which comes with an extra; what it has to say goes into our log.

    Raises:
        UserError: it is not installed.

    """
    try:
        import huggingface_hub
    except ImportError as error:
        raise UserError('spacecast-data download needs huggingface_hub: pip install "spacecast[hub]"') from error
    logger = logging.getLogger("huggingface_hub")
    for handler in logger.handlers[:]:
        logger.removeHandler(handler)
    logger.propagate = True
    return huggingface_hub


@contextmanager
def explained(name: str, revision: str | None) -> Iterator[None]:
    """Say errors of the hub, of the network and of the disk in one line.

    Args:
        name: OWNER/NAME.
        revision: as it was asked for.

    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        told = _told(error, name, revision)
        if told is None:
            raise
        raise UserError(told) from error


def _told(error: Exception, name: str, revision: str | None) -> str | None:
    """What to tell a user; None where it is nothing that we know of."""
    from huggingface_hub import errors

    place, inner = endpoint(), error.__cause__
    if isinstance(error, errors.LocalEntryNotFoundError) and isinstance(inner, Exception):
        return _told(inner, name, revision) or f"{place} does not give {name}: {first_line(inner)}"
    if isinstance(error, errors.OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set, so that nothing is downloaded; unset it"
    if isinstance(error, errors.GatedRepoError):
        return f"{name} is gated: accept its terms at {place}/{name}, then log in with hf auth login or set HF_TOKEN"
    if isinstance(error, errors.RepositoryNotFoundError):
        return f"{place} has no {name}, or keeps it private: check the name, or log in with hf auth login (HF_TOKEN)"
    if isinstance(error, errors.RevisionNotFoundError):
        return f"{name} has no revision {shown(str(revision))}; give a commit, a branch or a tag, or leave revision out"
    if isinstance(error, errors.HFValidationError):
        return f"name={shown(name)} names no repository; give OWNER/NAME"
    if isinstance(error, errors.HfHubHTTPError):
        status = error.response.status_code
        if status in (401, 403):
            return (
                f"{place} refuses {name} to this token ({status}): log in with hf auth login, or set another HF_TOKEN"
            )
        return f"{place} answers {status} for {name}: try again later; {KEPT}"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk is full ({error.strerror}): make room; {KEPT}"
    if isinstance(error, PermissionError):
        return f"cannot write {error.filename} ({error.strerror}); choose another output=DIR"
    libraries = {base.__module__.partition(".")[0] for base in type(error).__mro__}
    if libraries & {"httpx", "httpx2", "httpcore2", "ssl", "socket"} or isinstance(error, ConnectionError):
        return f"{place} cannot be reached ({first_line(error)}): check the network or HF_ENDPOINT; {KEPT}"
    if isinstance(error, OSError):  # sizes that differ, headers that lack, a folder where a file goes
        return f"{name} cannot be fetched ({first_line(error)}); {KEPT}"
    if isinstance(error, (ValueError, KeyError, TypeError)):
        return f"{place} does not answer as the hub does ({first_line(error)}): check HF_ENDPOINT, or try again later"
    return None
