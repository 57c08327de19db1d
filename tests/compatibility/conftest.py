"""A project as an earlier version left it, and the commands on it, in this process."""

import logging
import sys
import tarfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

PROJECT = Path(__file__).with_name("project_of_before.tar.xz")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Its folder, moved here from elsewhere; nothing in it knows of that."""
    with tarfile.open(PROJECT) as archive:
        archive.extractall(tmp_path / "project", filter="data")
    monkeypatch.chdir(tmp_path / "project")
    monkeypatch.delenv("SPACECAST_DATA", raising=False)
    monkeypatch.setattr("spacecast.plots.pictures.draw_pictures", lambda *_: [])
    return tmp_path / "project"


@pytest.fixture
def call(project: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., tuple[int, str]]]:
    """call(main, words): exit code, and what was printed; `main` takes the words and ends the process."""
    root = logging.getLogger()
    before = root.handlers[:], root.level

    def run(main: Callable[[Sequence[str]], Any], *words: str) -> tuple[int, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main(words)
        captured = capsys.readouterr()
        return int(end.value.code or 0), captured.out + captured.err

    yield run
    logging.captureWarnings(False)
    for handler in set(root.handlers) - set(before[0]):
        handler.close()
    root.handlers[:] = before[0]
    root.setLevel(before[1])
