"""Experiments that are sweeps: what runs they have, and that they say so where one run is asked for."""

from collections.abc import Callable

import pytest

from spacecast.config.compose import compose, conf_dir, group_members, job_part, to_plain
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


def test_the_ablation_has_every_member_once_and_takes_what_is_typed(monkeypatch):
    first = compose("train", ["experiment=ablation", "seed=1", "paths.run_dir=sweep"], conf_dir())
    words = ["experiment=ablation", "seed=1,2", "paths.run_dir=sweep"]
    _, grid, _ = creation._grid(words, first, lambda _: first)
    members = [name for name in group_members([conf_dir()])["experiment"] if name.startswith("ablation/")]
    found = [(typed[0], typed[1]) for typed in grid]
    assert sorted(found) == sorted((f"experiment={name}", f"seed={seed}") for name in members for seed in (1, 2))
    assert found[:2] == [("experiment=ablation/mesh", "seed=1"), ("experiment=ablation/mesh", "seed=2")]


def test_one_ingredient_is_left_out_at_a_time():
    """Members differ from the whole, or from the one before, in what they say and in nothing else."""

    def settings(name: str) -> dict[str, object]:
        plain = to_plain(job_part(compose("train", [f"experiment=ablation/{name}", "paths.run_dir=r"], conf_dir())))
        return dict(flat(plain))

    def flat(plain, prefix=""):
        for key, value in plain.items():
            yield from flat(value, f"{prefix}{key}.") if isinstance(value, dict) else [(f"{prefix}{key}", value)]

    for name, before, changed in (
        ("no_ideal", "whole", {"model.electric"}),
        ("mesh_potential", "mesh", {"model.magnetic"}),
        ("mesh_tendencies", "mesh_potential", {"model.electric", "model.inputs"}),
        ("cells_noise", "cells", {"loss.input_noise", "trainer.ema"}),
    ):
        one, other = settings(name), settings(before)
        assert {key for key in one | other if one.get(key) != other.get(key)} == changed
