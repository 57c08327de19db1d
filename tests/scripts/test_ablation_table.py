"""What each ingredient brings: one line for each member of the sweep, seeds together."""

import pytest

from spacecast.config.compose import conf_dir
from spacecast.core.errors import UserError
from spacecast.evaluation.scores import ScoreRow, Scores


def write(run_dir, base: float, seconds: float, scored) -> None:
    rows = []
    for lead in range(1, 13):
        rows += [ScoreRow("skill", name, "1", 10.0 * lead, "all", 1 - base * lead) for name in ("T", "mean")]
        rows.append(ScoreRow("div_b", "B", "nT/R_E", 10.0 * lead, "all", 1e-7 * lead))
        for metric, value in (("rmse", base), ("persistence_rmse", 1.0), ("climatology_rmse", 0.6), ("roughness", 1.5)):
            rows.append(ScoreRow(metric, "T", "MK", 10.0 * lead, "all", value * lead))
    scored(run_dir, {"skill": [[1 - base]]}, ["1"], ["mean"], training_seconds=seconds)
    Scores(tuple(rows)).write_csv(run_dir / "scores.csv")


@pytest.fixture
def folder(make_sweep, scored):
    words = [[f"experiment=ablation/{name}", f"seed={seed}"] for name in ("mesh", "whole") for seed in (1, 2)]
    sweep = make_sweep(words, [{"seed": 1}] * 4)
    for run, base in zip(sweep.runs, (0.05, 0.07, 0.02, 0.02), strict=True):
        write(sweep.run_dir(run), base, 100.0, scored)
    return sweep.folder


def test_seeds_are_one_line_and_members_say_what_they_are(folder, script, tmp_path, capsys):
    page = tmp_path / "page.md"
    page.write_text("<!-- ablation -->\n<!-- end of ablation -->\n")
    script("ablation_table.py").run([str(folder), "--page", str(page)])
    text = (folder / "ablation.md").read_text()
    head, _, mesh, whole, climatology = text.splitlines()
    leads = "lead 1 | lead 2 | lead 5 | lead 10 | lead 12"
    assert head == f"|  | {leads} | T, lead 10 | abs div B, lead 10 | roughness, lead 10 | training [s] |"
    first = (conf_dir() / "experiment/ablation/mesh.yaml").read_text().splitlines()[1].removeprefix("# ")
    assert mesh.startswith(f"| {first} | 0.060 ± 0.01 | 0.120 ± 0.03 | 0.300 ± 0.07 | 0.600 ± 0.1 |")
    assert whole.endswith("| 0.2 ± 0 | 1e-06 ± 0 | 15 ± 0 | 100 ± 0 |")
    assert climatology == "| climatology, mean | 0.600 | 0.600 | 0.600 | 0.600 | 0.600 |  |  |  |  |"
    assert text in page.read_text()
    assert text == capsys.readouterr().out


def test_another_sweep_is_refused(make_sweep, scored, script):
    sweep = make_sweep([["experiment=smoke", "seed=1"]], [{"seed": 1}])
    write(sweep.run_dir(sweep.runs[0]), 0.1, 1.0, scored)
    with pytest.raises(UserError, match="is no ablation; give the folder of -m experiment=ablation"):
        script("ablation_table.py").run([str(sweep.folder)])
