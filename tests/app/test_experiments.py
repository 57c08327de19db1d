"""Experiments that are sweeps: what runs they have, and that they say so where one run is asked for."""

from collections.abc import Callable

import pytest

from spacecast.sweep import creation
from spacecast.sweep.folder import Sweep
from spacecast.sweep.saved import read_config


@pytest.fixture
def recorded(run, workplace, monkeypatch) -> Callable[..., Sweep]:
    """recorded(words): the sweep that spacecast-train -m records, without its runs."""
    monkeypatch.setattr(creation, "start", lambda *_, **__: None)
    monkeypatch.setattr(creation, "conclude", lambda *_: None)

    def record(*words: str) -> Sweep:
        result = run("spacecast-train", "-m", *words, "paths.run_dir=sweep")
        assert (result.code, result.err) == (0, "")
        return Sweep.read(workplace / "sweep")

    return record


def test_each_density_is_held_out_once_and_all_runs_are_scored(recorded):
    sweep = recorded("experiment=leave_one_out")
    configs = [read_config(sweep.run_dir(run)) for run in sweep.runs]
    assert [config["datastore"]["holdout"] for config in configs] == [[1], [2], [3], [4]]
    assert {config["evaluation"]["runs"] for config in configs} == {"all"}
    assert len(configs[0]["simulation"]["densities"]) == 4


def test_what_is_held_out_can_be_chosen(recorded):
    sweep = recorded("experiment=leave_one_out", "datastore.holdout=[1,2],[a]")
    assert [read_config(sweep.run_dir(run))["datastore"]["holdout"] for run in sweep.runs] == [[1, 2], ["a"]]


def test_a_sweep_without_m_is_refused_before_anything_starts(run, workplace):
    result = run("spacecast-train", "experiment=leave_one_out", "paths.run_dir=r")
    assert (result.code, list(workplace.iterdir())) == (2, [])
    assert result.line.endswith("this is a sweep over datastore.holdout: add -m to do all of its runs")
