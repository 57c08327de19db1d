"""The contest of equal seconds: lengths of trainings, intervals, turns, and what is done again and what is not."""

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.stats import ttest_1samp, ttest_ind

from spacecast.config.check import check_config
from spacecast.config.compose import compose, conf_dir, job_part, to_plain
from spacecast.config.schema import Train, typed
from spacecast.core.errors import UserError
from spacecast.evaluation.scores import ScoreRow, Scores
from spacecast.process.run_folder import add_facts


@pytest.fixture(scope="module")
def plan(script):
    return script("contest/plan.py")


@pytest.fixture(scope="module")
def table(script):
    return script("contest/table.py")


@pytest.fixture
def contest(script):
    return script("contest/run.py")


def measured(fixed: float, each: float):
    """Seconds of a training of 10 epochs, and the windows that were asked for."""
    asked: list[int] = []

    def measure(windows: int) -> float:
        asked.append(windows)
        return 10 * (fixed + each * windows)

    return measure, asked


@pytest.mark.parametrize(("fixed", "each"), [(0.5, 0.02), (0.0, 0.3), (5.0, 1.0), (0.5, 1e-4)])
def test_a_planned_training_takes_the_seconds(plan, fixed, each):
    measure, asked = measured(fixed, each)
    found = plan.make_plan(200.0, 10, 500, measure)
    taken = found.epochs * (fixed + each * found.windows)
    assert taken <= 200.0 + 1e-6
    assert taken > 200.0 - found.epochs * each - fixed - 500 * each
    assert found.windows <= 500
    assert found.measured == tuple((windows, 10 * (fixed + each * windows)) for windows in asked)
    assert asked[:2] == sorted(asked[:2])
    assert max(10 * (fixed + each * windows) for windows in asked) <= max(50.0, 10 * (fixed + 2 * each)) + 1e-6


def test_an_epoch_has_no_more_windows_than_there_are(plan):
    measure, _ = measured(0.0, 0.01)
    found = plan.make_plan(100.0, 10, 300, measure)
    assert (found.epochs, found.windows) == (34, 294)


def test_short_trainings_that_tell_nothing_make_no_negative_time(plan):
    """Noise may make the longer one the faster one."""
    took = iter([4.0, 3.0, 3.5])
    found = plan.make_plan(100.0, 10, 300, lambda _: next(took))
    assert 1 <= found.windows <= 300
    assert found.epochs >= 10


def test_too_few_seconds_are_refused(plan):
    with pytest.raises(UserError, match="2 s are too few: 10 epochs of one step take 15 s"):
        plan.make_plan(2.0, 10, 300, measured(0.5, 1.0)[0])


def test_intervals_are_those_of_students_t(table):
    values = [0.3, 0.34, 0.29]
    found = table.mean_interval(values)
    low, high = ttest_1samp(values, 0.0).confidence_interval()
    np.testing.assert_allclose(found, [np.mean(values), low, high])
    assert math.isnan(table.mean_interval([0.3]).low)
    assert table.mean_interval([0.3]).text(3) == "0.300"
    assert table.mean_interval([0.3, math.inf]).text(3) == "inf"


def test_quotients_are_those_of_welch_on_logarithms(table):
    one, other = [0.1, 0.11, 0.13], [0.4, 0.41, 0.38, 0.5]
    found = table.quotient_interval(one, other)
    low, high = ttest_ind(np.log(one), np.log(other), equal_var=False).confidence_interval()
    expected = np.exp(np.mean(np.log(one)) - np.mean(np.log(other)))
    np.testing.assert_allclose(found, [expected, np.exp(low), np.exp(high)])
    np.testing.assert_allclose(table.quotient_interval([0.1, 0.1], [0.2, 0.2]), [0.5, 0.5, 0.5])
    assert table.quotient_interval([0.1], [0.2]).text(2) == "0.50"


class Stand:
    """Trainings that take a tenth of a second for a window and leave scores."""

    def __init__(self) -> None:
        self.trained: list[str] = []
        self.fails = ""

    def train(self, words, run_dir) -> float:
        if run_dir.name == self.fails:
            raise UserError(f"{run_dir}: exit code 1")
        key = dict(word.split("=", 1) for word in words)
        if not (run_dir / "scores.csv").exists():
            self.trained.append(f"{run_dir.parent.name}/{run_dir.name}")
            run_dir.mkdir(parents=True)
            seconds = 0.1 * int(key["data.limit_windows"]) * int(key.get("trainer.max_epochs", 4))
            add_facts(run_dir, training_seconds=seconds)
            base = 0.2 if run_dir.parent.name == "ours" else 0.5
            steps = range(1, int(key["evaluation.steps"]) + 1)
            rows = []
            for name in ("T", "mean"):
                rows += [ScoreRow("skill", name, "1", 10.0 * step, "all", 1 - base * step) for step in steps]
            for metric, value in (("rmse", base), ("persistence_rmse", 1.0), ("climatology_rmse", 0.6)):
                rows += [ScoreRow(metric, "T", "MK", 10.0 * step, "all", value * step) for step in steps]
            Scores(tuple(rows)).write_csv(run_dir / "scores.csv")
        return 0.0


@pytest.fixture
def stand(contest, monkeypatch) -> Stand:
    made = Stand()

    def train(words, run_dir):
        made.train(words, run_dir)
        return json.loads((run_dir / "run.json").read_text())["training_seconds"]

    monkeypatch.setattr(contest, "train", train)
    monkeypatch.setattr(contest, "available", lambda _: 100)
    monkeypatch.setattr(contest, "load_checkpoint", lambda _: None)
    monkeypatch.setattr(contest, "model_weights", lambda _: {"weight": torch.zeros(3, 4)})

    def configured(words):
        epochs = dict(word.split("=", 1) for word in words).get("trainer.max_epochs", 4)
        return SimpleNamespace(trainer=SimpleNamespace(max_epochs=epochs))

    monkeypatch.setattr(contest, "configured", configured)
    return made


WORDS = ["--seconds", "20", "--seeds", "1", "2", "--leads", "2", "1", "--entries", "published", "ours"]


def test_entries_train_in_turn_and_the_table_has_intervals_and_quotients(contest, stand, tmp_path, capsys):
    page = tmp_path / "page.md"
    page.write_text("<!-- contest -->\n<!-- end of contest -->\n")
    contest.run([*WORDS, "--folder", str(tmp_path / "c"), "--page", str(page), "trainer.devices=1"])
    turns = [name for name in stand.trained if "short" not in name]
    assert turns == ["published/seed_1", "ours/seed_1", "published/seed_2", "ours/seed_2"]
    found = json.loads((tmp_path / "c" / "contest.json").read_text())
    assert (found["seconds"], found["words"]) == (20.0, ["trainer.devices=1"])
    for name, base in {"published": 0.5, "ours": 0.2}.items():
        runs = found["results"][name]
        assert [run["seed"] for run in runs] == [1, 2]
        for run in runs:
            assert run["ratio"] == pytest.approx({"1": base, "2": 2 * base})
            assert (run["seconds"], run["steps"], run["parameters"]) == (pytest.approx(20.0, abs=0.5), 200, 12)
    text = (tmp_path / "c" / "contest.md").read_text()
    assert "| defaults of spacecast | 2 | 12 | 200 | 20 to 20 | 0.200 (0.200 to 0.200) | 0.400 " in text
    assert "| climatology, mean |  |  |  |  | 0.600 | 0.600 |" in text
    assert "| defaults of spacecast / published recipe and sizes |  |  |  |  | 0.40 (0.40 to 0.40) |" in text
    assert text in page.read_text()
    assert text in capsys.readouterr().out


def test_the_same_command_again_does_what_is_missing_alone(contest, stand, tmp_path):
    words = [*WORDS, "--folder", str(tmp_path / "c")]
    stand.fails = "seed_2"
    with pytest.raises(UserError, match="exit code 1"):
        contest.run(words)
    kept = json.loads((tmp_path / "c" / "contest.json").read_text())["results"]
    assert {name: len(runs) for name, runs in kept.items()} == {"published": 1, "ours": 1}
    stand.fails, stand.trained = "", []
    contest.run(words)
    assert stand.trained == ["published/seed_2", "ours/seed_2"]
    stand.trained = []
    contest.run(words)
    assert stand.trained == []


def test_a_folder_of_another_contest_is_refused(contest, stand, tmp_path):
    folder = ["--folder", str(tmp_path / "c")]
    contest.run([*WORDS, *folder])
    for changed in (["--seconds", "30"], ["optimizer.lr=1"]):
        with pytest.raises(UserError, match="is of another contest, 20 s of"):
            contest.run([*WORDS, *folder, *changed])


def test_a_training_that_fails_ends_the_contest_with_its_message(contest, tmp_path, monkeypatch):
    done = SimpleNamespace(returncode=2, stderr="spacecast-train: error: no such key\n")
    monkeypatch.setattr(contest.subprocess, "run", lambda *_, **__: done)
    with pytest.raises(UserError, match="exit code 2: spacecast-train: error: no such key"):
        contest.train(["a=1"], tmp_path)


@pytest.fixture(scope="module")
def composed():
    """composed(words): a checked configuration."""

    def once(*words: str) -> Train:
        plain = to_plain(job_part(compose("train", [*words, "paths.run_dir=nowhere"], conf_dir())))
        check_config(plain, Train)
        return typed(plain, Train)

    return once


def test_the_published_recipe_is_that_of_the_presets(script, composed):
    """All but the sizes of the run: inputs, loss, optimiser, stages as shares of 250 epochs."""
    preset = to_plain(job_part(compose("train", ["experiment=paper/graph_fm_simple"], conf_dir())))
    entries = script("contest/entries.py").ENTRIES
    config = composed(*entries["published"].words)
    assert config.model.content == preset["model"]
    assert config.optimizer.content == preset["optimizer"]
    assert {**config.loss.content, "recompute": True} == preset["loss"]
    shares = [epoch / preset["trainer"]["max_epochs"] for epoch in preset["schedule"]["switches"]]
    assert config.schedule.content["switches"] == shares
    assert config.schedule.content["decay"] == "constant"
    assert (config.data.batch_size, config.trainer.content["gradient_clip_val"]) == (1, None)
    assert (config.datastore.content["statistics"], config.simulation is not None) == ("pooled", True)
    small = composed(*entries["published_small"].words)
    changed = {key for key, value in small.model.content.items() if value != preset["model"][key]}
    assert changed == {"hidden_dim", "decode_dim", "processor_layers"}
    assert small.loss.content == config.loss.content


def test_all_are_scored_on_the_run_that_no_choice_has_seen(contest, script, composed):
    """Also where the preset says otherwise."""
    for entry in script("contest/entries.py").ENTRIES.values():
        section = composed(*entry.words, *contest.UNSEEN).evaluation.content
        assert [section[key] for key in ("split", "runs", "spread")] == [None, "auto", True]


def test_ours_are_the_defaults(script):
    assert script("contest/entries.py").ENTRIES["ours"].words == ()
