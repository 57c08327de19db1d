"""Held-out densities: scores by run become quotients of two kinds."""

import json

import numpy as np
import pytest
import yaml

from spacecast.core.errors import UserError

RATIO = {  # by held-out run; `unseen` is trained on by none
    "1": {"2": 0.2, "3": 0.4, "1": 0.36, "unseen": 0.9},
    "3": {"1": 0.2, "2": 0.4, "3": 0.6, "unseen": 0.9},
}


@pytest.fixture
def folder(make_sweep, scored):
    """Runs 1 and 3 of three were held out; at the second lead everything is twice as bad."""
    words = [[f"datastore.holdout=[{name}]"] for name in RATIO]
    configs = [
        {"datastore": {"holdout": [int(name)]}, "simulation": {"densities": [0.5, 1.0, 1.5]}} for name in RATIO
    ]
    sweep = make_sweep(words, configs)
    for run, ratios in zip(sweep.runs, RATIO.values(), strict=True):
        skill = 1 - np.array([[[value], [2 * value]] for value in ratios.values()])
        scored(sweep.run_dir(run), {"skill_by_run": skill}, list(ratios), ["mean"])
    return sweep.folder


def test_the_held_out_run_is_held_against_training_runs_and_against_models_trained_on_it(folder, script, capsys):
    script("leave_one_out.py").run([str(folder)])
    found = json.loads((folder / "leave_one_out.json").read_text())
    assert found["lead_s"] == [10.0, 20.0]
    lines = found["held_out_runs"]
    assert list(lines) == ["run 1, 0.5/cm³", "run 3, 1.5/cm³"]
    first, last = lines.values()
    np.testing.assert_allclose(first["held_out"], [0.36, 0.72])
    np.testing.assert_allclose(first["training_runs"], [0.3, 0.6])
    np.testing.assert_allclose(first["same_run"], [0.2, 0.4])
    np.testing.assert_allclose(last["same_run"], [0.4, 0.8])
    text = (folder / "leave_one_out.md").read_text()
    assert "| run 1, 0.5/cm³ | **1.20** (0.360 / 0.300) | **1.20** (0.720 / 0.600) |" in text
    assert "| run 3, 1.5/cm³ | **1.50** (0.600 / 0.400) | **1.50** (1.200 / 0.800) |" in text
    assert capsys.readouterr().out == text
    assert (folder / "leave_one_out.png").stat().st_size > 1000


def test_the_tables_take_their_place_in_a_page_and_leave_the_rest(folder, script, tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# Before\n<!-- leave one out -->\nold\n<!-- end of leave one out -->\nafter\n")
    run = script("leave_one_out.py").run
    run([str(folder), "--page", str(page)])
    once = page.read_text()
    assert once.startswith("# Before\n<!-- leave one out -->\nRMSE")
    assert once.endswith("|\n<!-- end of leave one out -->\nafter\n")
    assert "old" not in once
    run([str(folder), "--page", str(page)])
    assert page.read_text() == once
    page.write_text("no markers\n")
    with pytest.raises(UserError, match="has no place for the table"):
        run([str(folder), "--page", str(page)])


def test_runs_without_scores_and_sweeps_of_another_kind_are_refused(folder, script, tmp_path):
    run = script("leave_one_out.py").run
    (folder / "1" / "scores.nc").rename(tmp_path / "kept.nc")
    with pytest.raises(UserError, match=r"run 1 \(holdout=\[3\]\) has no scores; .*resume"):
        run([str(folder)])
    (tmp_path / "kept.nc").rename(folder / "1" / "scores.nc")
    (folder / "1" / "config.yaml").write_text(yaml.safe_dump({"datastore": {"holdout": []}}))
    with pytest.raises(UserError, match="no scores of both held-out and training runs"):
        run([str(folder)])
    (folder / "1" / "scores.nc").write_text("no scores")
    with pytest.raises(UserError, match="cannot be read"):
        run([str(folder)])
    with pytest.raises(UserError, match="is no sweep"):
        run([str(tmp_path)])
