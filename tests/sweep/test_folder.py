"""The folder of a sweep: names by what differs, a record that survives."""

import pytest

from spacecast.core.errors import UserError
from spacecast.sweep.folder import Sweep, name_runs

GRID = [["launcher=slurm", f"model.hidden_dim={width}", f"seed={seed}"] for width in (4, 8) for seed in (1, 2)]


def test_runs_are_named_by_what_differs():
    runs = name_runs(GRID)
    assert [run.name for run in runs] == [
        "hidden_dim=4 seed=1", "hidden_dim=4 seed=2", "hidden_dim=8 seed=1", "hidden_dim=8 seed=2",
    ]  # fmt: skip
    assert runs[2].values == {"model.hidden_dim": "8", "seed": "1"}
    assert [run.number for run in runs] == [0, 1, 2, 3]


def test_keys_that_end_alike_keep_their_sections():
    runs = name_runs([["model.layers=1", "graph.layers=3"], ["model.layers=2", "graph.layers=4"]])
    assert runs[0].name == "model.layers=1 graph.layers=3"


def test_a_single_run_has_nothing_that_differs():
    assert name_runs([["seed=1"]])[0].name == ""


def test_a_sign_in_front_is_no_part_of_the_key():
    assert name_runs([["+model.extra=1"], ["++model.extra=2"]])[1].values == {"model.extra": "2"}


def test_a_sweep_is_read_as_it_was_written(tmp_path):
    sweep = Sweep(tmp_path / "sweep", "spacecast.app.train:COMMAND", tuple(name_runs(GRID)))
    sweep.write()
    sweep = sweep.submitted("slurm", {0: "7_0", 1: "7_1"}).submitted("slurm", {1: "8"})
    again = Sweep.read(tmp_path / "sweep")
    assert again == sweep
    assert [again.job(run) for run in again.runs] == [("slurm", "7_0"), ("slurm", "8"), ("", ""), ("", "")]
    assert again.varied == ["model.hidden_dim", "seed"]
    assert not list((tmp_path / "sweep").glob(".*"))


def test_another_folder_is_no_sweep(tmp_path):
    with pytest.raises(UserError, match=r"is no sweep: it has no sweep.json"):
        Sweep.read(tmp_path)
