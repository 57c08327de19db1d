"""Several checkpoints in one command: each is scored as by itself, once, and all of them are compared."""

import csv
import json
import shutil
from pathlib import Path

import pytest

from spacecast.app.checkpoints import listed
from spacecast.app.cli import run_command
from spacecast.app.train import COMMAND as TRAIN
from spacecast.core.errors import UserError
from spacecast.process.exit_codes import GOES_ON, Interrupted
from spacecast.process.status import FAILED, FINISHED, write_status
from spacecast.sweep.folder import Run, Sweep


@pytest.fixture(scope="module")
def runs(tmp_path_factory, small) -> Path:
    """Folders `one` and `two` of runs that differ in their seed, and `shorter`, which was scored at one lead alone."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("SPACECAST_DATA", raising=False)
        patch.setattr("spacecast.plots.pictures.draw_pictures", lambda *_: [])
        for number, (name, steps) in enumerate({"one": 2, "two": 2, "shorter": 1}.items()):
            words = [f"seed={number}", f"evaluation.steps={steps}", "evaluation.windows=3", f"paths.run_dir={name}"]
            with pytest.raises(SystemExit) as end:
                run_command(TRAIN, [*small, *words, "trainer.max_epochs=1"])
            assert end.value.code == 0
    return folder


@pytest.fixture
def trained(runs, workplace, monkeypatch) -> Path:
    """A working folder with copies of these runs."""
    monkeypatch.setattr("spacecast.plots.pictures.draw_pictures", lambda *_: [])
    shutil.copytree(runs, workplace, dirs_exist_ok=True)
    return workplace


@pytest.fixture
def evaluated(monkeypatch) -> list[str]:
    """Names of the folders in that of a scorecard that are evaluated in, in order."""
    from spacecast.app import report

    names, before = [], report.score

    def note(config, *parts):
        if config.paths.run_dir.parent.name == "card":
            names.append(config.paths.run_dir.name)
        return before(config, *parts)

    monkeypatch.setattr(report, "score", note)
    return names


def table(path: Path) -> list[dict[str, str]]:
    with path.open() as stream:
        return list(csv.DictReader(stream))


def make_sweep(folder: Path, runs: dict[str, Path | None]) -> None:
    """A sweep of finished runs, and of failed ones where there is no run to copy."""
    sweep = Sweep(folder, "spacecast.app.train:COMMAND", tuple(Run(n, name, {}, ()) for n, name in enumerate(runs)))
    sweep.write()
    for each, source in zip(sweep.runs, runs.values(), strict=True):
        if source:
            shutil.copytree(source, sweep.run_dir(each))
        sweep.run_dir(each).mkdir(exist_ok=True)
        write_status(sweep.run_dir(each), state=FINISHED if source else FAILED)


def test_each_is_scored_as_by_itself_and_they_are_compared(run, trained, evaluated):
    words = ["evaluation.steps=1", "evaluation.windows=null"]
    result = run("spacecast-evaluate", "checkpoint=[one,two]", *words, "logger.tracking_uri=null", "paths.run_dir=card")
    assert (result.code, result.err) == (0, "")
    assert evaluated == ["one", "two"]
    for name in ("one", "two"):
        assert (
            run("spacecast-evaluate", f"checkpoint={name}", *words, "logger=none", f"paths.run_dir={name}-e").code == 0
        )
        alone, among = (folder / "scores.csv" for folder in (trained / f"{name}-e", trained / "card" / name))
        assert alone.read_bytes() == among.read_bytes()
    lines = table(trained / "card" / "scorecard.csv")
    assert {(line["model"], line["baseline"], line["lead_s"]) for line in lines} == {("two", "one", "15")}
    [cell] = [line for line in lines if (line["metric"], line["variable"]) == ("rmse", "Bz")]
    for name, key in (("two", "value"), ("one", "baseline_value")):
        rows = table(trained / "card" / name / "scores.csv")
        [score] = [row for row in rows if (row["metric"], row["variable"], row["region"]) == ("rmse", "Bz", "all")]
        assert float(cell[key]) == pytest.approx(float(score["value"]), rel=1e-5)
    assert "Scorecard: 2 models" in result.out
    assert "Scorecard: 2 models" in (trained / "card" / "evaluate.log").read_text()
    assert (trained / "card" / "scorecard.png").stat().st_size > 1000
    assert json.loads((trained / "card" / "status.json").read_text())["state"] == "finished"
    journal = (trained / "card" / "tracking.jsonl").read_text()
    assert '"path":"scorecard.csv","folder":"scores"' in journal
    assert '"path":"scorecard.png","folder":"figures"' in journal
    assert '"name":"scorecard"' in journal
    assert '"name":"two-evaluate"' in (trained / "card" / "two" / "tracking.jsonl").read_text()


def test_what_has_been_scored_is_not_scored_again(run, trained, small, evaluated, monkeypatch):
    from spacecast.app import report

    words, note = ["checkpoint=[one,two]", "logger=none", "paths.run_dir=card"], report.score

    def broken_off(*parts):
        if evaluated:
            raise Interrupted("SIGTERM")
        return note(*parts)

    with monkeypatch.context() as patch:  # once the first is done and the second is not
        patch.setattr(report, "score", broken_off)
        assert run("spacecast-evaluate", *words).code == GOES_ON
    assert evaluated == ["one"]
    assert not (trained / "card" / "scorecard.csv").exists()
    result = run("spacecast-evaluate", *words)
    assert (result.code, evaluated) == (0, ["one", "two"])
    assert f"scored before: {trained}/card/one/scores.nc" in result.out
    first = (trained / "card" / "scorecard.csv").read_bytes()
    assert run("spacecast-evaluate", *words).code == 0
    assert evaluated == ["one", "two"]
    assert (trained / "card" / "scorecard.csv").read_bytes() == first
    turned = run("spacecast-evaluate", *words, "baseline=two")
    assert (turned.code, evaluated) == (0, ["one", "two"])
    assert "against two" in turned.out

    more = ["trainer.max_epochs=1", "seed=0", "init_from=two", "evaluation.windows=3", "paths.run_dir=more"]
    assert run("spacecast-train", *small, *more).code == 0
    shutil.copy(trained / "more" / "checkpoints" / "best.ckpt", trained / "one" / "checkpoints" / "best.ckpt")
    again = run("spacecast-evaluate", *words)  # another one by the same name
    assert again.err == ""
    assert evaluated == ["one", "two", "one"]
    assert (trained / "card" / "scorecard.csv").read_bytes() != first
    result = run("spacecast-evaluate", *words, "evaluation.steps=1")
    assert (result.code, len(evaluated)) == (2, 3)
    assert f"paths.run_dir={trained}/card holds an evaluation with evaluation.steps=2, here it is 1" in result.line


def test_a_sweep_is_its_finished_runs_and_one_checkpoint_is_an_evaluation(run, trained, evaluated):
    make_sweep(trained / "swept", {"seed=0": trained / "one", "seed=1": trained / "two", "seed=2": None})
    result = run("spacecast-evaluate", "checkpoint=swept", "logger=none", "evaluation.windows=1", "paths.run_dir=card")
    assert (result.code, evaluated) == (0, ["seed=0", "seed=1"])
    assert "left out of swept, 1 run that did not finish: 2 (failed)" in result.out
    assert {line["baseline"] for line in table(trained / "card" / "scorecard.csv")} == {"seed=0"}
    assert "fewer than 5 blocks" in result.out

    evaluated.clear()
    make_sweep(trained / "single", {"seed=0": trained / "one", "seed=1": None})
    for number, word in enumerate(("checkpoint=one", "checkpoint=[one]", "checkpoint=single")):
        assert run("spacecast-evaluate", word, "logger=none", f"paths.run_dir=e{number}").code == 0
        assert not (trained / f"e{number}" / "scorecard.csv").exists()
    assert not evaluated  # in folders of their own
    scores = [(trained / f"e{number}" / "scores.csv").read_bytes() for number in range(3)]
    assert scores[0] == scores[1] == scores[2]


def test_what_cannot_be_compared_is_refused_by_name_before_anything_is_scored(run, trained, evaluated):
    (trained / "link.ckpt").symlink_to(trained / "one" / "checkpoints" / "best.ckpt")
    mistakes = {
        ("checkpoint=[one,shorter]",): "one and shorter cannot be compared: evaluation.steps is 2 in one and 1 in the",
        ("checkpoint=[one,one]",): "/one is named twice; name it once",
        ("checkpoint=[one,one/checkpoints/best.ckpt]",): "best.ckpt is named twice; name it once",
        ("checkpoint=[one,link.ckpt]",): "checkpoint: one and link are the same file",
        ("checkpoint=[]",): "checkpoint=[]: there is nothing to score",
        ("checkpoint=[one,nowhere]",): "no checkpoint at",
        ("checkpoint=[one,two]", "baseline=tow"): "baseline=tow: no checkpoint has that name; did you mean 'two'?",
        ("checkpoint=one", "baseline=one"): "baseline=one: there is one checkpoint",
        ("checkpoint=[one,two]", "paths.run_dir=one"): "one holds a training, whose files would be overwritten",
    }
    for typed, said in mistakes.items():
        result = run("spacecast-evaluate", *typed, "logger=none")
        assert (result.code, said in result.line) == (2, True), result.err
    result = run("spacecast-evaluate", "-m", "checkpoint=[one,two]", "seed=1,2", "logger=none")
    assert (result.code, "without -m or launcher" in result.line) == (2, True)
    assert not evaluated
    assert run("spacecast-evaluate", "checkpoint=[one,shorter]", "evaluation.steps=1", "logger=none").code == 0


def test_models_of_other_data_are_refused_unless_the_data_are_typed(run, trained, tiny_data, evaluated, monkeypatch):
    """A checkpoint that says that its data were others."""
    from spacecast.app import scorecard

    monkeypatch.setattr(scorecard, "_data_hash", lambda each: f"v2:{each.config.paths.run_dir.name}")
    result = run("spacecast-evaluate", "checkpoint=[one,two]", "logger=none")
    assert result.code == 2
    assert "one and two cannot be compared: they were trained on different data, v2:one and v2:two" in result.line
    assert not evaluated
    typed = f"datastore.root={tiny_data}/magnetosphere"
    assert run("spacecast-evaluate", "checkpoint=[one,two]", "logger=none", typed).code == 0


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["runs/a", "runs/b"], ["a", "b"]),
        (["x/run", "y/run"], ["x-run", "y-run"]),
        (["x/run", "x/run/checkpoints/last.ckpt"], ["run", "run-last"]),
        (["x/run/checkpoints/best.ckpt", "y/weights.ckpt"], ["run", "weights"]),
        (["x/run/best.ckpt", "y/run/best.ckpt"], ["x-run-best", "y-run-best"]),
        (["models:/wind@best", "models:/calm@best"], ["wind@best", "calm@best"]),
        (["0", "a run (2)"], ["0", "a_run_2_"]),
        (["x/checkpoints", ".hidden"], ["checkpoints_", "hidden"]),
    ],
)
def test_names_are_short_and_differ(words, names, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for word in words:
        if word.endswith(".ckpt"):
            Path(word).parent.mkdir(parents=True, exist_ok=True)
            Path(word).touch()
    assert [each.name for each in listed(words)[0]] == names


def test_runs_of_a_sweep_go_by_their_numbers_where_their_names_are_long(tmp_path):
    done = tmp_path / "done"
    done.mkdir()
    make_sweep(tmp_path / "long", {"a" * 50: done, "b": None, "c": None})
    make_sweep(tmp_path / "short", {"lr=0.1 seed=1": done, "lr=0.2 seed=1": None})
    found, left_out = listed([tmp_path / "long", tmp_path / "short"])
    assert [each.name for each in found] == ["0", "lr=0.1_seed=1"]
    assert left_out == [
        "left out of long, 2 runs that did not finish: 1 (failed), 2 (failed)",
        "left out of short, 1 run that did not finish: 1 (failed)",
    ]
    make_sweep(tmp_path / "none", {"a": None, "b": None})
    with pytest.raises(UserError, match="none: no run of this sweep has finished; there is nothing to score yet"):
        listed([tmp_path / "none"])
