"""Whether a prepared run is that of its raw data: changes are noticed, copies and downloads are left alone."""

import json
import logging
import multiprocessing
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import zarr
from test_prepare import contents, edit_yaml
from test_store import truth

from spacecast.core.errors import UserError
from spacecast.data import prepare as module
from spacecast.data.configs import HEADER
from spacecast.data.prepare import prepare
from spacecast.data.store import RunStore


def double(root: Path, run: int = 2) -> None:
    """Another raw run of the same size: one variable times two."""
    raw = zarr.open_group(root / f"run_{run}.zarr", mode="r+")
    raw["rho"][...] = 2 * raw["rho"][...]


def later(folder: Path, seconds: float = 5.0) -> None:
    """Move the times of all files, as a copy does."""
    for path in folder.rglob("*"):
        status = path.stat()
        os.utime(path, (status.st_atime + seconds, status.st_mtime + seconds))


def set_attributes(store: Path, change) -> None:
    """Edit what a prepared store says of itself."""
    document = json.loads((store / "zarr.json").read_text())
    change(document["attributes"])
    (store / "zarr.json").write_text(json.dumps(document))


def without_mark(store: Path) -> None:
    """As somebody else prepared it."""
    set_attributes(store, lambda values: [values.pop(name) for name in list(values) if name.startswith("spacecast")])


@pytest.fixture
def never(monkeypatch):
    """Preparing anything is a failure."""
    monkeypatch.setattr(module, "run_mdp", lambda *_: pytest.fail("it was prepared again"))


def test_a_copy_with_other_times_is_up_to_date(raw_root, never):
    later(raw_root)
    assert [path.name for path in prepare(raw_root, [1, 2])] == ["vlasiator_run_1.zarr", "vlasiator_run_2.zarr"]
    raw_root.chmod(0o555)
    try:
        prepare(raw_root)
    finally:
        raw_root.chmod(0o755)


@pytest.mark.parametrize("where", ["run_2.zarr", "static.zarr", "vlasiator_run_2.yaml"])
def test_a_change_that_cannot_be_followed_is_refused(raw_root, never, where):
    """In a folder that is read-only, by the command to type."""
    if where == "run_2.zarr":
        double(raw_root)
    elif where == "static.zarr":
        zarr.open_group(raw_root / where, mode="r+")["r"][0, 0] = 7.0
    else:
        edit_yaml(raw_root / where, lambda config: config["inputs"]["fields"].update(variables=["Bx", "By"]))
    raw_root.chmod(0o555)
    try:
        with pytest.raises(UserError, match=r"run 2: its raw data or its YAML have changed .*spacecast-data prepare"):
            prepare(raw_root, [2])
        if where != "static.zarr":
            prepare(raw_root, [1])
    finally:
        raw_root.chmod(0o755)


def test_raw_data_that_were_never_prepared_in_a_folder_that_is_read_only(raw_root, never):
    shutil.rmtree(raw_root / "vlasiator_run_2.zarr")
    raw_root.chmod(0o555)
    try:
        with pytest.raises(UserError, match=r"run 2: it is not prepared, and data folder .* cannot be written to"):
            prepare(raw_root, [2])
    finally:
        raw_root.chmod(0o755)


def test_raw_data_taken_away_leave_the_prepared_run_as_it_is(raw_root, never):
    for name in ("run_1.zarr", "run_2.zarr"):
        shutil.rmtree(raw_root / name)
    prepare(raw_root)
    later(raw_root / "static.zarr")
    prepare(raw_root)
    edit_yaml(raw_root / "vlasiator_run_2.yaml", lambda config: config["output"]["splitting"]["splits"].pop("val"))
    with pytest.raises(UserError, match=r"run 2: vlasiator_run_2.yaml or its raw data have .*run_2.zarr is not"):
        prepare(raw_root)
    prepare(raw_root, [1])
    (raw_root / "vlasiator_run_2.yaml").unlink()
    prepare(raw_root)


def test_raw_data_that_are_in_part_absent_are_compared_by_the_rest(raw_root, never):
    shutil.rmtree(raw_root / "static.zarr")
    prepare(raw_root)
    double(raw_root)
    with pytest.raises(UserError, match=r"run 2: .*have changed .*static.zarr is not"):
        prepare(raw_root)


def test_moved_raw_data_are_known_again_by_their_new_path(raw_root, never):
    (raw_root / "elsewhere").mkdir()
    (raw_root / "run_2.zarr").rename(raw_root / "elsewhere" / "dense.zarr")
    edit_yaml(
        raw_root / "vlasiator_run_2.yaml", lambda c: c["inputs"]["fields"].update(path="elsewhere/dense.zarr")
    )
    assert prepare(raw_root, [2]) == [raw_root / "vlasiator_run_2.zarr"]


def test_a_run_without_its_yaml_is_held_against_its_raw_data_all_the_same(raw_root):
    (raw_root / "vlasiator_run_2.yaml").unlink()
    double(raw_root)
    prepare(raw_root, [2])
    assert (raw_root / "vlasiator_run_2.yaml").read_text().startswith(HEADER)
    found = RunStore(raw_root / "vlasiator_run_2.zarr", "2").read("state", 0, 30)[..., 9]
    np.testing.assert_allclose(found, 2 * truth(2)[..., 9], rtol=1e-6)


def test_a_mark_of_an_earlier_version_counts_by_its_times(raw_root, never):
    """It knows no contents: raw data with other times count as changed."""
    keep = ("spacecast_config", "spacecast_inputs")
    set_attributes(raw_root / "vlasiator_run_2.zarr", lambda values: [values.pop(name) for name in keep])
    prepare(raw_root, [2])
    later(raw_root / "run_2.zarr")
    with pytest.raises(pytest.fail.Exception, match="prepared again"):
        prepare(raw_root, [2])


def test_a_download_is_taken_as_it_is_and_doubted_when_its_raw_data_are_newer(raw_root, never, caplog):
    for path in raw_root.glob("vlasiator_run_*.zarr"):
        without_mark(path)
    later(raw_root / "vlasiator_run_2.zarr", 1e6)
    with caplog.at_level(logging.WARNING):
        prepare(raw_root, [2])
        assert not caplog.records
        later(raw_root / "run_2.zarr", 2e6)
        prepare(raw_root, [2])
    assert "vlasiator_run_2.zarr does not say what it was prepared from, and its raw data are newer" in caplog.text


def test_two_processes_prepare_a_changed_run_once(raw_root, tmp_path, monkeypatch):
    """Both find it outdated before either has begun; the second waits and finds it done."""
    double(raw_root)
    done, ready = tmp_path / "done", multiprocessing.get_context("fork").Barrier(2)
    check = module._outdated

    def outdated(*arguments):
        found = check(*arguments)
        ready.wait(60)
        return found

    def copied(config, folder, marks, name):
        with done.open("a") as file:
            file.write("x")
        shutil.copytree(raw_root / "vlasiator_run_2.zarr", folder)
        set_attributes(folder, lambda values: values.update(marks))

    monkeypatch.setattr(module, "_outdated", outdated)
    monkeypatch.setattr(module, "run_mdp", copied)
    processes = [multiprocessing.get_context("fork").Process(target=prepare, args=(raw_root, [2])) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert done.read_text() == "x"
    assert not [path for path in raw_root.iterdir() if ".partial-" in path.name]


def test_what_is_up_to_date_is_left_alone_and_needs_no_lock(raw_root, never):
    before = contents(raw_root)
    (raw_root / ".lock").unlink(missing_ok=True)
    prepare(raw_root)
    assert not (raw_root / ".lock").exists()
    assert contents(raw_root) == before
