"""Files and folders appear whole or not at all."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from spacecast.process.files import atomic_write, leftovers, read_json, remove_leftovers, write_json, write_text


def content(folder: Path) -> dict[str, str]:
    """Every file below a folder, hidden ones included."""
    return {str(path.relative_to(folder)): path.read_text() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("name", ["scores.csv", "no suffix", "odd [*?] name.png", ".hidden"])
def test_a_file_is_replaced_and_nothing_else_is_left(tmp_path, name):
    path = tmp_path / name
    for text in ("old", "new"):
        with atomic_write(path) as partial:
            assert partial.parent == path.parent
            assert partial.name.endswith(path.suffix)  # by which libraries choose a format
            partial.write_text(text)
            assert not path.exists() or path.read_text() == "old"
        assert content(tmp_path) == {name: text}


def test_a_folder_is_replaced_with_all_that_is_in_it(tmp_path):
    place = tmp_path / "run.zarr"
    for inside in ("a", "b"):
        with atomic_write(place) as partial:
            partial.mkdir()
            (partial / inside).write_text(inside)
        assert content(tmp_path) == {f"run.zarr/{inside}": inside}


@pytest.mark.parametrize("folder", [False, True])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_what_fails_leaves_the_one_before(tmp_path, folder, error):
    place = tmp_path / "x"
    if folder:
        place.mkdir()
    (place / "f" if folder else place).write_text("old")
    before = content(tmp_path)

    def fail() -> None:
        with atomic_write(place) as partial:
            if folder:
                partial.mkdir()
            (partial / "f" if folder else partial).write_text("half")
            raise error

    with pytest.raises(type(error)):
        fail()
    assert content(tmp_path) == before


def test_what_a_library_keeps_beside_goes_as_well(tmp_path):
    with atomic_write(tmp_path / "store.db") as partial:
        partial.write_text("store")
        partial.with_name(f"{partial.name}-journal").write_text("journal")
    assert content(tmp_path) == {"store.db": "store"}


def test_a_block_that_writes_nothing_is_an_error_and_changes_nothing(tmp_path):
    write_text(tmp_path / "x", "old")
    with pytest.raises(FileNotFoundError), atomic_write(tmp_path / "x"):
        pass
    assert content(tmp_path) == {"x": "old"}


def test_two_at_once_do_not_meet(tmp_path):
    with atomic_write(tmp_path / "x") as one, atomic_write(tmp_path / "x") as other:
        one.write_text("one")
        other.write_text("other")
    assert content(tmp_path) == {"x": "one"}  # the inner block ended first


def test_a_killed_process_leaves_what_can_be_found_and_removed(tmp_path):
    script = """if True:
        import os, signal, sys
        from pathlib import Path
        from spacecast.process.files import atomic_write
        with atomic_write(Path("last.ckpt")) as file, atomic_write(Path("a.zarr")) as folder:
            file.write_text("half")
            folder.mkdir()
            (folder / "f").write_text("half")
            os.kill(os.getpid(), signal.SIGKILL)
    """
    write_text(tmp_path / "last.ckpt", "whole")
    (tmp_path / ".mine.ckpt").write_text("of the user")
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(leftovers(tmp_path, "*.ckpt")) == len(leftovers(tmp_path, "*.zarr")) == 1
    remove_leftovers(tmp_path, "*.ckpt")
    remove_leftovers(tmp_path, "a.zarr")
    assert content(tmp_path) == {".mine.ckpt": "of the user", "last.ckpt": "whole"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_an_os_error(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError):
        write_text(tmp_path / "x", "text")


def test_plain_values_come_back_and_damage_is_nothing(tmp_path):
    values = {"a": 1.5, "b": [None, "ü"]}
    write_json(tmp_path / "x.json", values)
    assert read_json(tmp_path / "x.json") == values
    for text in ('{"a": 1', "[1, 2]"):
        write_text(tmp_path / "x.json", text)
        assert read_json(tmp_path / "x.json") == {}
    assert read_json(tmp_path / "absent.json") == {}
