
import pytest

from spacecast.core.types import ScoreRow
from spacecast.tracking.names import Point, choose_params, clean, score_points


def test_params_are_short_flat_and_of_the_experiment_alone():
    config = {
        "seed": 1,
        "model": {"_target_": "package.GraphFM", "_partial_": True, "hidden_dim": 48, "inner": {"a": 0.5}},
        "datastore": {"runs": ["run_1", "run_2"], "holdout": [], "long": "x" * 900},
        "logger": {"tracking_uri": "secret"},
        "paths": {"run_dir": "/somewhere"},
        "evaluation": {"_target_": "package.evaluate", "regions": {"tail": {"x_max": 0}}, "steps": 10},
        "launcher": None,
    }
    params = choose_params(config)
    assert params == {
        "seed": "1",
        "model/name": "GraphFM",
        "model/hidden_dim": "48",
        "model/inner/a": "0.5",
        "evaluation/steps": "10",
        "datastore/runs": "run_1,run_2",
        "datastore/long": "x" * 250,
    }


def test_names_hold_only_what_mlflow_takes():
    names = {"B(x) [nT]": "B_x_ _nT_", "/val/loss": "val/loss", "val_rmse/Bx": "val_rmse/Bx"}
    assert [clean(name) for name in names] == list(names.values())


def test_of_many_leads_the_first_ones_and_those_of_tables_are_points_and_all_are_in_the_mean():
    rows = [ScoreRow("skill", "mean", "1", lead * 10.0, "all", lead / 1000) for lead in range(1, 101)]
    points = score_points(rows)
    steps = [point.step for point in points if point.name == "test_skill_by_lead/mean"]
    assert steps == [*range(1, 11), 20, 50, 100]
    assert next(point.value for point in points if point.name == "test/rmse_ratio") == pytest.approx(1 - 0.0505)


def test_scores_use_the_lead_number_as_step():
    rows = [ScoreRow("rmse", "Bx", "nT", lead * 10.0, "all", lead / 10) for lead in (1, 2, 3)]
    assert [(point.name, point.step, point.value) for point in score_points(rows)] == [
        ("test_rmse_by_lead/Bx", 1, 0.1),
        ("test_rmse_by_lead/Bx", 2, 0.2),
        ("test_rmse_by_lead/Bx", 3, 0.3),
    ]


def test_missing_leads_keep_their_number_and_regions_are_left_to_the_file():
    rows = [ScoreRow("bias", "rho", "1/cm3", lead, region, 1.0) for lead in (5.0, 20.0) for region in ("all", "tail")]
    assert [(point.name, point.step) for point in score_points(rows, split="val")] == [
        ("val_bias_by_lead/rho", 1),
        ("val_bias_by_lead/rho", 4),
    ]


def test_only_ratios_to_persistence_are_averaged_over_variables():
    rows = []
    for variable, factor in (("Bx", 0.5), ("vx", 0.25)):
        for lead in (1, 2):
            rows.append(ScoreRow("persistence_rmse", variable, "", lead * 10.0, "all", 100.0 * lead))
            rows.append(ScoreRow("rmse", variable, "", lead * 10.0, "all", 100.0 * lead * factor * lead))
            rows.append(ScoreRow("skill", variable, "1", lead * 10.0, "all", 1 - factor * lead))
    rows += [ScoreRow("skill", "mean", "1", lead * 10.0, "all", 1 - 0.375 * lead) for lead in (1, 2)]
    points = {(point.name, point.step): point.value for point in score_points(rows)}
    assert points["test_rmse_ratio_by_lead/mean", 1] == pytest.approx(0.375)
    assert points["test/rmse_ratio_first_lead", 0] == pytest.approx(0.375)
    assert points["test/rmse_ratio_last_lead", 0] == pytest.approx(0.75)
    assert points["test/rmse_ratio", 0] == pytest.approx(0.5625)
    assert ("test/rmse_mean", 0) not in points  # nT and km/s have no mean


def test_a_variable_without_a_skill_is_left_out_of_the_ratio_as_everywhere():
    errors = {"rmse": 0.3, "persistence_rmse": 1e-9}
    rows = [ScoreRow(metric, "By", "nT", 10.0, "all", value) for metric, value in errors.items()]
    rows += [ScoreRow("skill", "By", "1", 10.0, "all", float("nan")), ScoreRow("skill", "mean", "1", 10.0, "all", 0.75)]
    assert Point("test/rmse_ratio", 0.25, 0) in score_points(rows)


def test_no_rows_no_points():
    assert score_points([]) == []
