"""Reads the files that `torch.save` writes: every byte checked, and nothing that they name imported or called."""

import pickletools
import struct
import warnings
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from spacecast.core.errors import UserError
from spacecast.core.names import DOTTED, within

DIRECTORY, FOREIGN = 0x10, 0x61  # bits of an entry of an archive: a folder; encrypted or a patch
MOST_TUPLES = 50_000  # a tensor takes five; hashing some 100,000, one within the other, overflows the stack of Python


class Record:
    """Stands in for an object of a class that is not imported, and holds its attributes."""

    attributes: dict[str, Any]

    def __new__(cls, *_: Any) -> "Record":
        """Leave out what the object would have been built from."""
        made = super().__new__(cls)
        made.attributes = {}
        return made

    def __setstate__(self, state: Any) -> None:
        """Take over attributes; anything else is of no interest."""
        if isinstance(state, dict):
            self.attributes.update(state)


def foreign_names(path: Path) -> list[str]:
    """Dotted names of classes and functions in a file that are neither tensors nor plain containers.

    Returns:
        The names, none of them looked up; empty when the file is damaged or none of `torch.save`.

    """
    try:
        with _without_safe_globals():
            return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except (OSError, RuntimeError, EOFError, LookupError, ValueError, UnpicklingError, struct.error):
        return []


def read_archive(path: Path, inert: Sequence[str] = ()) -> Any:
    """What a file holds, on the CPU, after `check_whole`.

    Args:
        path: written by `torch.save`.
        inert: modules and classes by their dotted names; what belongs to them is read as `Record`. Without any, the
            file must not name anything besides tensors and plain containers.

    Raises:
        UserError: when it is damaged, or holds anything besides tensors, plain values and records.

    """
    check_whole(path)
    try:
        with warnings.catch_warnings(), _without_safe_globals():
            warnings.simplefilter("ignore")  # what torch thinks of the pickle
            stand_ins: list[Any] = [(_stand_in(name, inert), name) for name in (foreign_names(path) if inert else ())]
            with torch.serialization.safe_globals(stand_ins):
                return torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(f"checkpoint {path} cannot be read: {_first_line(error)}; use another one") from error
    except Exception as error:
        refused = ", ".join(name for name in foreign_names(path) if DOTTED.fullmatch(name) and not within(name, inert))
        more = f"tensors and plain values ({refused[:200]})" if refused else "tensors and plain values"
        raise UserError(f"checkpoint {path} holds more than {more} and is refused") from error


@contextmanager
def _without_safe_globals() -> Iterator[None]:
    """Within the block nothing may be made that other libraries of this process have allowed torch to make."""
    allowed = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    try:
        yield
    finally:
        torch.serialization.add_safe_globals(allowed)


def _stand_in(name: str, inert: Sequence[str]) -> Callable[..., Any]:
    """What torch calls in place of something that a file names; to name it alone does no harm."""
    if name == "collections.defaultdict":
        return lambda *_: {}
    return Record if within(name, inert) else type("Refused", (), {"__new__": _refuse})


def _refuse(*_: Any) -> Any:
    """Make nothing."""
    raise UnpicklingError


def check_whole(path: Path) -> None:
    """Hold every byte of a checkpoint against its check sums, which torch itself does not.

    Raises:
        UserError: when the file is missing, damaged or no archive as `torch.save` writes it.

    """
    if not path.is_file():
        raise UserError(f"there is no checkpoint {path}")
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if any(entry.filename.endswith("/constants.pkl") for entry in entries):
                raise UserError("it is a TorchScript program")
            odd = [entry.filename for entry in entries if not _as_written(entry)]
            twice = {entry.filename for entry in entries if archive.getinfo(entry.filename) is not entry}
            damaged = next(iter([*odd, *twice]), None) or archive.testzip()
            pickles = [entry for entry in entries if entry.filename.endswith("data.pkl") and not damaged]
            deep = any(_has_many_tuples(archive.read(entry)) for entry in pickles)
    except Exception as error:  # there is hardly anything that zipfile does not raise over a damaged directory
        raise UserError(f"checkpoint {path} cannot be read: {_first_line(error)}; use another one") from error
    if damaged is not None:
        raise UserError(f"checkpoint {path} cannot be read: {damaged!r} in it is damaged; use another one")
    if deep:
        raise UserError(f"checkpoint {path} cannot be read: it is nested too deeply; use another one")


def _has_many_tuples(pickled: bytes) -> bool:
    """Whether a pickle makes more tuples than any checkpoint; False of what is none, which is found later."""
    try:
        made = (operation.name.startswith("TUPLE") for operation, _, _ in pickletools.genops(pickled))
        return sum(made) > MOST_TUPLES
    except ValueError:
        return False


def _as_written(entry: zipfile.ZipInfo) -> bool:
    """Whether the archive's directory, which has no check sum, describes an entry in the way of `torch.save`.

    Torch takes an entry for a folder by one bit, and then leaves the memory of its tensor as it is.
    """
    plain = entry.compress_type == zipfile.ZIP_STORED and entry.file_size == entry.compress_size
    return plain and not entry.external_attr & DIRECTORY and not entry.flag_bits & FOREIGN


def _first_line(error: Exception) -> str:
    """The first line of an error message."""
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
