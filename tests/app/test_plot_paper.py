"""`spacecast-plot paper` as it is typed."""

import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from spacecast.app import plot
from spacecast.app.plot_paper import COMMAND

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "plots"))

from published_files import ENSEMBLE, SINGLE, make_example, write_example, write_model

MINE = {
    "divergence": {"Graph-FM": {"no penalty": "before", "weight 10": "after"}},
    "members": {2: "two", 5: "five"},
    "forecasts": {"Run 1": "run_1"},
    "variables": {"Bx": "nT", "Bz": "nT"},
    "few": ["Bz"],
    "map_seconds": 2,
}


@pytest.fixture
def files(workplace, tiny_grid) -> Path:
    """Tables and an example of two variables, and their names."""
    for model, kinds in (("before", SINGLE), ("after", SINGLE), ("two", ENSEMBLE), ("five", ENSEMBLE)):
        for path in write_model(workplace / "metrics", model, kinds).glob("*.csv"):
            values = np.loadtxt(path, delimiter=",", ndmin=2)[:, :2]
            np.savetxt(path, values, delimiter=",")
    write_example(make_example(tiny_grid).sel(state_feature=["Bx", "Bz"]), workplace / "forecasts" / "run_1")
    (workplace / "mine.yaml").write_text(yaml.safe_dump(MINE))
    return workplace


WORDS = ("metrics_dir=metrics", "forecasts_dir=forecasts", "output=plots", "models=mine.yaml", "formats=[png]")


def test_figures_are_drawn_from_files_of_the_published_form(files, run):
    result = run(COMMAND, "paper", *WORDS)
    assert (result.code, result.err) == (0, "")
    figures = ["div_loss_comparison.png", "ens_norm_diff.png", "forecast_grid_Bx.png", "forecast_grid_Bz.png"]
    assert sorted(path.name for path in (files / "plots").iterdir()) == figures
    assert f"4 figures in {files / 'plots'}" in result.out


def test_what_is_not_there_is_told_and_the_rest_is_drawn(files, run):
    (files / "metrics" / "five" / "test_crps_ens.csv").unlink()
    mine = {**MINE, "steps": {1: "slow"}, "divergence": {}, "forecasts": {}}
    (files / "mine.yaml").write_text(yaml.safe_dump(mine))
    result = run(COMMAND, "metrics_dir=metrics", "output=plots", "models=mine.yaml", "formats=[pdf]")
    assert (result.code, result.err) == (0, "")
    told = result.out.splitlines()
    assert any(line.endswith("ens_norm_diff: " + str(files / "metrics/five/test_crps_ens.csv") + " is not there")
               for line in told)  # fmt: skip
    assert any(line.endswith("rmse_1s is not drawn: none of its scores is there") for line in told)
    assert any(line.endswith("no figure of forecasts: give forecasts_dir=DIR") for line in told)
    assert [path.name for path in (files / "plots").iterdir()] == ["ens_norm_diff.pdf"]


MISTAKES = {
    "no output": (WORDS[:2], "output has no value; give output=VALUE"),
    "no folder": (("metrics_dir=nowhere", "output=plots"), "is no folder; give the one with a folder for each model"),
    "nothing to draw": (("output=plots",), "there is nothing to draw; give metrics_dir and forecasts_dir"),
    "format": ((*WORDS[:4], "formats=[gif4]"), "the suffix names no format"),
    "no formats": ((*WORDS[:4], "formats=[]"), "formats=[]"),
    "unknown key": ((*WORDS, "metric_dir=a"), "unknown key 'metric_dir'; did you mean 'metrics_dir'?"),
    "no file of names": ((*WORDS[:3], "models=other.yaml"), "other.yaml cannot be read"),
    "output below a file": ((*WORDS[:2], "output=mine.yaml/a", "models=mine.yaml"), "is a file"),
}


@pytest.mark.parametrize(("words", "message"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_are_one_line(words, message, files, run):
    result = run(COMMAND, *words)
    assert result.code == 2
    assert message in result.line
    assert not (files / "plots").exists()


@pytest.mark.parametrize("text", ["[1, 2]", "a: [", "gird: {}", "grid: !!python/object/apply:os.getcwd []"])
def test_a_file_of_names_that_is_odd_is_refused_by_name(text, files, run):
    (files / "mine.yaml").write_text(text)
    result = run(COMMAND, *WORDS)
    assert result.code == 2
    assert "mine.yaml" in result.line


def test_an_odd_table_is_refused_before_anything_is_drawn(files, run):
    table = files / "metrics" / "five" / "test_ens_rmse.csv"
    table.write_text("1,nan\n")
    result = run(COMMAND, *WORDS)
    assert result.code == 2
    assert f"{table}, row 1, Bz: nan is no finite number" in result.line
    assert not (files / "plots").exists()


def test_the_first_word_leads_to_it(monkeypatch, workplace, capsys):
    monkeypatch.setattr(sys, "argv", ["spacecast-plot", "paper", "metrics_dir=nowhere", "output=plots"])
    with pytest.raises(SystemExit) as end:
        plot.main()
    assert end.value.code == 2
    assert "metrics_dir=" in capsys.readouterr().err
