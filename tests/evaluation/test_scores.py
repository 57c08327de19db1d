import csv
import math

import numpy as np
import pytest

from spacecast.core.errors import UserError
from spacecast.core.types import shown_leads
from spacecast.evaluation.scores import ScoreRow, Scores


@pytest.fixture
def scores() -> Scores:
    rows = []
    for lead in (5.0, 10.0, 15.0):
        for name, units, scale in (("Bx", "nT", 1.0), ("rho", "1/cm3", 0.1)):
            for metric, factor in (("rmse", 1), ("mae", 1 / 2), ("persistence_rmse", 2), ("crps", 1 / 4)):
                rows.append(ScoreRow(metric, name, units, lead, "all", scale * factor * lead))
            rows.append(ScoreRow("skill", name, "1", lead, "all", 0.5))
            rows.append(ScoreRow("rmse", name, units, lead, "inner", 3 * lead))
        rows.append(ScoreRow("skill", "mean", "1", lead, "all", 0.5))
        rows.append(ScoreRow("spread_skill_ratio", "mean", "1", lead, "all", 0.9))
        rows += [ScoreRow(metric, "B", "nT/R_E", lead, "all", lead / 100) for metric in ("div_b", "div_b_truth")]
    return Scores(tuple(rows), windows=7, members=4)


def test_series_are_curves_over_lead_time(scores) -> None:
    leads, values = scores.series("rmse", "rho")
    np.testing.assert_allclose(leads, [5, 10, 15])
    np.testing.assert_allclose(values, [0.5, 1.0, 1.5])
    assert scores.series("rmse", "Bx", "inner")[1][0] == 15
    assert scores.variables == ["Bx", "rho"]
    np.testing.assert_allclose(scores.ratio(), 0.5)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (("rmes", "Bx"), "'rmse'"),
        (("rmse", "By"), "variable 'By'"),
        (("rmse", "Bx", "iner"), "'inner'"),
        (("skill", "Bx", "inner"), "no scores"),
    ],
)
def test_unknown_series_name_the_nearest(scores, request_, message: str) -> None:
    with pytest.raises(UserError, match=message):
        scores.series(*request_)


def test_csv_is_tidy_and_comes_back(scores, tmp_path) -> None:
    path = scores.write_csv(tmp_path / "new" / "scores.csv")
    assert [entry.name for entry in path.parent.iterdir()] == ["scores.csv"]
    with path.open() as stream:
        lines = list(csv.reader(stream))
    assert lines[0] == ["metric", "variable", "units", "lead_s", "region", "value"]
    assert lines[1] == ["rmse", "Bx", "nT", "5", "all", "5"]
    assert Scores.read_csv(path).rows == scores.rows


def test_csv_keeps_what_is_not_a_number(tmp_path) -> None:
    path = Scores((ScoreRow("skill", "By", "1", 1.5, "all", math.nan),)).write_csv(tmp_path / "scores.csv")
    assert path.read_text().endswith("skill,By,1,1.5,all,nan\n")
    assert math.isnan(Scores.read_csv(path).rows[0].value)


def test_a_table_of_something_else_is_refused(tmp_path) -> None:
    (tmp_path / "scores.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match="no table of scores"):
        Scores.read_csv(tmp_path / "scores.csv")


def test_terminal_table_says_what_matters(scores) -> None:
    text = scores.table()
    for part in (
        "RMSE of the ensemble mean / persistence, 7 forecasts",
        "5 s     10 s     15 s",
        "CRPS / MAE",
        "|div B| of the truth [nT/R_E]",
    ):
        assert part in text
    assert max(len(line) for line in text.splitlines()) <= 130
    assert "10 s" in scores.table(leads=[2])
    assert "15 s" not in scores.table(leads=[2, 9])
    line = next(line for line in text.splitlines() if line.startswith("rho"))
    assert line.split() == ["rho", "0.5", "0.5", "0.5"]


def test_the_table_has_the_other_references_where_they_are_known(scores) -> None:
    assert "climatology" not in scores.table()
    rows = [
        ScoreRow(metric, name, units, lead, "all", factor * lead * scale)
        for lead in (5.0, 10.0, 15.0)
        for name, units, scale in (("Bx", "nT", 1.0), ("rho", "1/cm3", 0.1))
        for metric, factor in (("climatology_rmse", 3), ("extrapolation_rmse", 4))
    ]
    text = Scores((*scores.rows, *rows), windows=1, scored="run unseen (held out), all frames").table()
    assert "RMSE / persistence, 1 forecast of run unseen (held out), all frames" in text
    assert "climatology, mean                       1.5      1.5      1.5" in text
    assert "linear extrapolation, mean                2        2        2" in text


@pytest.mark.parametrize(
    ("count", "expected"),
    [(0, []), (1, [1]), (3, [1, 2, 3]), (10, [1, 2, 5, 10]), (11, [1, 2, 5, 10]), (13, [1, 2, 5, 10, 13]),
     (100, [1, 2, 5, 10, 20, 50, 100])],
)  # fmt: skip
def test_leads_of_a_table_grow_by_steps(count: int, expected: list[int]) -> None:
    assert shown_leads(count) == expected
