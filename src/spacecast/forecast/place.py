"""Where a forecast is written before it is complete: beside its file, for one command at a time, kept for the next.

A folder whose name follows from that of the file holds the request, the stores and a record of each unit that is done.
The same request goes on where it ended, however that was; another one begins anew.
"""

import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import zarr

from spacecast.core.errors import UserError
from spacecast.forecast.layout import IDENTITY, Layout, complete
from spacecast.forecast.netcdf import write_netcdf
from spacecast.forecast.request import identity
from spacecast.process.files import read_json, write_json
from spacecast.process.lock import exclusive

log = logging.getLogger(__name__)

LOCK = ".lock"


class Place:
    """The folder beside a file of forecasts in which it is made.

    Args:
        path: of the file.
        request: what it is to hold, see `request.Request.described`.
        layout: of the file.
        statistics: `none`, `beside` or `only`.

    """

    def __init__(self, path: Path, request: Mapping[str, Any], layout: Layout, statistics: str) -> None:
        if path.name in ("", "..") or "\0" in str(path):
            raise UserError(f"output={str(path)!r} is no name of a file; give NAME.zarr or NAME.nc")
        self.path, self.request, self.layout, self.statistics = path, dict(request), layout, statistics
        self.folder = path.with_name(f".{path.name}.unfinished")
        self.final = self.folder / "forecast.zarr"
        self.members = self.folder / "members.zarr" if statistics == "only" else self.final
        self.records = self.folder / "done"
        self.identity = identity(request)

    @contextmanager
    def held(self, *, overwrite: bool) -> Iterator[None]:
        """Keep other commands out within the block; the folder is ready for work in it unless the file is complete.

        Args:
            overwrite: whether another forecast may be replaced, or this one made again.

        Raises:
            InUseError: another command writes this file.
            UserError: the file is there and may not be replaced, or nothing can be written.

        """
        self._check_file(overwrite=overwrite)
        with explained(self.path):
            self.folder.mkdir(parents=True, exist_ok=True)
        with exclusive(self.folder / LOCK, f"output={self.path}", 0.0, "wait for it or give another output"):
            try:
                with explained(self.path):
                    self._prepare(overwrite=overwrite)
                yield
            finally:
                if not self._note.exists():  # nothing to go on with
                    self._clear()
                    shutil.rmtree(self.folder, ignore_errors=True)  # with the lock, last of all

    @property
    def ready(self) -> bool:
        """Whether there is work to do here."""
        return bool(read_json(self._note) == self.request)

    def is_done(self, unit: int) -> bool:
        """Whether a unit lies in the store."""
        return self._record(unit).exists()

    def record(self, unit: int, found: Any) -> None:
        """Note that a unit lies in the store, with what is to be said of it."""
        write_json(self._record(unit), {"found": found})

    def found(self, unit: int) -> Any:
        """What was noted of a unit."""
        return read_json(self._record(unit))["found"]

    def finish(self, attributes: Mapping[str, Any], file_format: str) -> None:
        """Complete the file and put it in its place; what is there is replaced."""
        complete(self.final, {**attributes, IDENTITY: self.identity})
        result = self.final
        if file_format == "netcdf":
            result = (
                self.folder / f"forecast-{os.getpid()}.nc"
            )  # that of a command that was killed may still be written
            write_netcdf(self.final, result)
        if self.path.exists():
            old = self.folder / "replaced"
            _remove(old)
            self.path.rename(old)
        result.replace(self.path)
        self._note.unlink()  # first of all: without it, nobody goes on with half a folder

    @property
    def _note(self) -> Path:
        """Says what is being made; written when the stores are there, removed before they go."""
        return self.folder / "request.json"

    def _record(self, unit: int) -> Path:
        """Says that a unit is done."""
        return self.records / f"{unit:06d}.json"

    def _check_file(self, *, overwrite: bool) -> None:
        """Refuse to replace what may not be replaced."""
        if not os.path.lexists(self.path):
            return
        found = identity_of(self.path)
        if found is None:
            raise UserError(f"output={self.path} is there and no forecast of this command; give another output")
        if found != self.identity and not overwrite:
            raise UserError(f"output={self.path} is another forecast; give overwrite=true or another output")

    def _prepare(self, *, overwrite: bool) -> None:
        """Make the folder ready for work, or find that there is none."""
        self._check_file(overwrite=overwrite)  # another command may have ended meanwhile
        unfinished = self.ready and all((store / "zarr.json").exists() for store in (self.final, self.members))
        ours = self.path.exists() and identity_of(self.path) == self.identity
        if ours and (not overwrite or (self.ready and not unfinished)):  # the latter ended while it put it there
            log.info("%s is there already, from the same request", self.path)
            self._note.unlink(missing_ok=True)
            return
        if unfinished:
            log.info("going on with %s", self.path)
            return
        self._note.unlink(missing_ok=True)
        self._clear()
        self._create()
        self.records.mkdir()
        write_json(self._note, self.request)

    def _clear(self) -> None:
        """Empty the folder."""
        for old in self.folder.iterdir():
            if old.name != LOCK:
                _remove(old)

    def _create(self) -> None:
        """Make the stores."""
        layout = self.layout
        statistics = [] if self.statistics == "none" else layout.statistics
        if self.members == self.final:
            layout.create(self.final, [*layout.fields, *statistics])
        else:
            layout.create(self.members, layout.fields)
            layout.create(self.final, statistics)


def identity_of(path: Path) -> str | None:
    """The hash of the request that a file of forecasts, zarr or NetCDF, is the answer to; None for other files."""
    try:
        if path.is_dir():
            return str(zarr.open_group(path, mode="r").attrs[IDENTITY])
        import h5netcdf

        with h5netcdf.File(path, "r") as file:
            return str(file.attrs[IDENTITY])
    except (OSError, KeyError, ValueError):
        return None


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """A disk that is full or may not be written to is a mistake of the user, not of the program."""
    try:
        yield
    except OSError as error:
        why = error.strerror or str(error)
        raise UserError(f"output={path} cannot be written: {why}; the same command goes on once it can") from error


def _remove(path: Path) -> None:
    """Remove a file or folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
