"""A sweep is a folder: `sweep.json` says what belongs to it, each run has a numbered folder in it."""

import json
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from spacecast.core.errors import UserError
from spacecast.process.files import write_json

FILE = "sweep.json"
CODE, LOGS = "code", "jobs"
STOP = "stop"  # a file among the logs: the sweep was cancelled, nothing more is to be started


@dataclass(frozen=True)
class Run:
    """One run of a sweep.

    Args:
        number: name of its folder.
        name: what differs from the other runs, for people.
        values: the keys that differ, with their values as typed.
        overrides: everything that was typed for it.

    """

    number: int
    name: str
    values: Mapping[str, str]
    overrides: tuple[str, ...]


@dataclass(frozen=True)
class Submission:
    """What one submission gave to a scheduler: run number to job number.

    Args:
        cluster: `slurm` or `local`.
        jobs: job of each run, for example {0: "12_0", 1: "12_1"}.
        time: ISO 8601.

    """

    cluster: str
    jobs: Mapping[int, str]
    time: str = field(default_factory=lambda: time.strftime("%Y-%m-%dT%H:%M:%S%z"))


@dataclass(frozen=True)
class Sweep:
    """All runs of one multirun.

    Args:
        folder: where it lies, absolute.
        command: where the command is found, `module:NAME`.
        runs: in order of their numbers.
        submissions: in order of time.
        waiting: numbers of the runs whose turn comes, as long as the command that would start them is at work.

    """

    folder: Path
    command: str
    runs: tuple[Run, ...]
    submissions: tuple[Submission, ...] = ()
    waiting: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """Name of the folder, also the `sweep` tag of its runs."""
        return self.folder.name

    @property
    def varied(self) -> list[str]:
        """Keys in which the runs differ."""
        return list(dict.fromkeys(key for run in self.runs for key in run.values))

    def run_dir(self, run: Run) -> Path:
        """Folder of a run."""
        return self.folder / str(run.number)

    def job(self, run: Run) -> tuple[str, str]:
        """Cluster and number of the latest job of a run; empty when it was never submitted."""
        for submission in reversed(self.submissions):
            if run.number in submission.jobs:
                return submission.cluster, submission.jobs[run.number]
        return "", ""

    @property
    def stopped(self) -> bool:
        """Whether it was cancelled, and has not been resumed since."""
        return (self.folder / LOGS / STOP).exists()

    def stop(self) -> None:
        """Let nothing more be started; `await_turns` takes it back."""
        (self.folder / LOGS).mkdir(exist_ok=True)
        (self.folder / LOGS / STOP).touch()

    def await_turns(self, runs: Iterable[Run]) -> Self:
        """The sweep when these runs are about to be started one after the other, recorded on disk."""
        (self.folder / LOGS / STOP).unlink(missing_ok=True)
        return self._recorded(waiting=tuple(run.number for run in runs))

    def started(self, run: Run) -> Self:
        """The sweep when the turn of a run has come, recorded on disk."""
        return self._recorded(waiting=tuple(number for number in self.waiting if number != run.number))

    def submitted(self, cluster: str, jobs: Mapping[int, str]) -> Self:
        """The sweep after a submission, recorded on disk."""
        waiting = tuple(number for number in self.waiting if number not in jobs)
        return self._recorded(submissions=(*self.submissions, Submission(cluster, jobs)), waiting=waiting)

    def _recorded(self, **changes: Any) -> Self:
        """The sweep with changes, on disk as well."""
        sweep = replace(self, **changes)
        sweep.write()
        return sweep

    def write(self) -> None:
        """Replace `sweep.json` as a whole."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self.folder / FILE, {key: value for key, value in asdict(self).items() if key != "folder"})

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The sweep in a folder.

        Raises:
            UserError: the folder holds none.

        """
        try:
            found = json.loads((folder / FILE).read_text())
        except (FileNotFoundError, NotADirectoryError) as error:
            raise UserError(f"{folder} is no sweep: it has no {FILE}; give the folder that -m has made") from error
        except (OSError, ValueError) as error:
            raise UserError(f"{folder / FILE} cannot be read ({type(error).__name__})") from error
        try:
            runs = tuple(_run(**run) for run in found["runs"])
            submissions = tuple(_submission(**entry) for entry in found["submissions"])
            waiting = tuple(map(int, found.get("waiting", ())))
            if not runs or not isinstance(found["command"], str):
                raise ValueError
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(f"{folder / FILE} is not as -m writes it, and is not used") from error
        return cls(folder.absolute(), found["command"], runs, submissions, waiting)


def _run(number: int, name: str, values: Mapping[str, str], overrides: Sequence[str]) -> Run:
    """A run of a file that anybody may have written: its number names a folder."""
    if not isinstance(number, int) or number < 0 or not isinstance(name, str):
        raise ValueError(number)
    return Run(number, name, {str(key): str(value) for key, value in values.items()}, tuple(map(str, overrides)))


def _submission(cluster: str, jobs: Mapping[str, str], time: str) -> Submission:
    """A submission of such a file: its jobs go to commands of the scheduler."""
    numbers = {int(number): job for number, job in jobs.items()}
    if cluster not in ("slurm", "local") or not all(re.fullmatch(r"\d+(_\d+)?", job) for job in numbers.values()):
        raise ValueError(cluster)
    return Submission(cluster, numbers, str(time))


def name_runs(overrides: Sequence[Sequence[str]]) -> list[Run]:
    """Runs named by what differs among their overrides, `key=value` each.

    The last part of a key will do where it is the only one of its kind: `hidden_dim=64 lr=0.001`.
    """
    typed = [dict(_split(word) for word in words) for words in overrides]
    keys = list(dict.fromkeys(key for values in typed for key in values))
    varied = [key for key in keys if len({values.get(key) for values in typed}) > 1]
    leaves = [key.rpartition(".")[2] for key in varied]
    short = {key: leaf if leaves.count(leaf) == 1 else key for key, leaf in zip(varied, leaves, strict=True)}
    runs = []
    for number, (words, values) in enumerate(zip(overrides, typed, strict=True)):
        differs = {key: values[key] for key in varied if key in values}
        name = " ".join(f"{short[key]}={value}" for key, value in differs.items())
        runs.append(Run(number, name, differs, tuple(words)))
    return runs


def _split(word: str) -> tuple[str, str]:
    """Key, without signs in front, and value of an override."""
    key, _, value = word.partition("=")
    return key.lstrip("+~"), value
