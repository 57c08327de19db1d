import math
import re

import pytest

from spacecast.config.compose import conf_dir
from spacecast.core.types import ScoreRow
from spacecast.tracking.names import (
    GROUPS,
    REPEATED,
    Point,
    choose_params,
    clean,
    named_apart,
    rmse_ratios,
    score_points,
    units_tag,
)


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
        "model": "GraphFM",
        "settings/model/hidden_dim": "48",
        "settings/model/inner/a": "0.5",
        "settings/evaluation/steps": "10",
        "settings/datastore/runs": "run_1,run_2",
        "settings/datastore/long": "x" * 250,
    }


def test_a_group_is_named_by_its_chosen_member_and_nothing_stands_twice():
    config = {
        "seed": 3,
        "data": {"seed": 3, "batch_size": 2},
        "graph": {"_target_": "package.Builder", "layout": "multiscale", "levels": 2},
        "model": {"_target_": "package.EncodeProcessDecode", "hidden_dim": 48},
        "loss": {"_target_": "package.ForecastObjective", "loss": "huber", "delta": 1.0},
        "schedule": {"_target_": "package.Schedule", "epochs": 4},
        "trainer": {"max_epochs": 4},
    }
    choices = {"model": "keisler", "graph": "multiscale", "loss": "huber"}
    assert choose_params(config, choices) == {
        "seed": "3",
        "settings/data/batch_size": "2",
        "graph": "multiscale",
        "settings/graph/levels": "2",
        "model": "keisler",
        "settings/model/hidden_dim": "48",
        "loss": "huber",
        "settings/loss/delta": "1.0",
        "schedule": "Schedule",
        "settings/trainer/max_epochs": "4",
    }
    typed = config | {"data": {"seed": 4}, "schedule": {"epochs": 8}, "loss": {"loss": "mse"}}
    typed_params = choose_params(typed, choices)
    told = {"settings/data/seed": "4", "settings/schedule/epochs": "8", "settings/loss/loss": "mse"}
    assert told.items() <= typed_params.items()
    assert max(choices) < min(name for name in typed_params if "/" in name)  # MLflow sorts them


def test_a_mesh_that_the_model_does_not_use_is_no_parameter():
    config = {"graph": {"_target_": "package.Builder", "levels": 2}, "model": {"hidden_dim": 48}}
    params = choose_params(config, {"model": "graph_unet", "graph": "simple"}, on_mesh=False)
    assert params == {"model": "graph_unet", "graph": "none", "settings/model/hidden_dim": "48"}


def test_what_is_typed_tells_runs_of_the_same_model_apart():
    words = ["model=keisler", "++model.hidden_dim=128", "data.workers=4", "datastore.root=/x", "seed=2", "~loss.x"]
    words += ["experiment=smoke", "loss=huber", "trainer=gpu"]
    assert named_apart("keisler", words) == "keisler hidden_dim=128 seed=2 huber smoke"
    assert named_apart("keisler", ["paths.run_dir=x", "experiment=none"]) == "keisler"


def test_what_follows_another_key_in_conf_is_known_to_do_so():
    """A new interpolation from one recorded group to another would put a parameter there twice."""
    found = {}
    for path in (path for group in GROUPS for path in (conf_dir() / group).glob("*.yaml")):
        for line in path.read_text().splitlines():
            if match := re.fullmatch(r"(\w+): \$\{([\w.]+)\}", line):
                found[f"{path.parent.name}/{match[1]}"] = match[2].replace(".", "/")
    assert found == REPEATED


def test_names_hold_only_what_mlflow_takes():
    names = {"B(x) [nT]": "B_x_ _nT_", "/val/loss": "val/loss", "val_rmse/Bx": "val_rmse/Bx"}
    assert [clean(name) for name in names] == list(names.values())


def test_of_many_leads_the_first_ones_and_those_of_tables_are_points_and_all_are_in_the_mean():
    rows = [ScoreRow("skill", "mean", "1", lead * 10.0, "all", lead / 1000) for lead in range(1, 101)]
    points = score_points(rows)
    assert [point.step for point in points if point.name == "test/skill_by_lead_s"] == list(range(10, 1001, 10))
    assert next(point.value for point in points if point.name == "test/rmse_ratio") == pytest.approx(1 - 0.0505)


def test_the_lead_time_in_seconds_is_the_step():
    rows = [ScoreRow("rmse", "Bx", "nT", lead * 10.0, "all", lead / 10) for lead in (1, 2, 3)]
    assert [(point.name, point.step, point.value) for point in score_points(rows)] == [
        ("test_rmse_by_lead_s/Bx", 10, 0.1),
        ("test_rmse_by_lead_s/Bx", 20, 0.2),
        ("test_rmse_by_lead_s/Bx", 30, 0.3),
    ]


def test_parts_of_seconds_are_milliseconds_and_the_name_says_so():
    rows = [ScoreRow("rmse", "Bx", "nT", lead, "all", lead) for lead in (0.5, 1.0)]
    assert score_points(rows) == [Point("test_rmse_by_lead_ms/Bx", lead, int(lead * 1000)) for lead in (0.5, 1.0)]


def test_missing_leads_and_regions_are_left_to_the_file():
    rows = [ScoreRow("rmse", "rho", "1/cm3", lead, region, 1.0) for lead in (5.0, 20.0) for region in ("all", "tail")]
    assert [(point.name, point.step) for point in score_points(rows, split="val")] == [
        ("val_rmse_by_lead_s/rho", 5),
        ("val_rmse_by_lead_s/rho", 20),
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
    assert points["test/rmse_ratio_by_lead_s", 10] == pytest.approx(0.375)
    assert points["test/skill_by_lead_s", 20] == pytest.approx(0.25)
    assert points["test_skill_by_lead_s/vx", 20] == pytest.approx(0.5)
    assert points["test/rmse_ratio", 0] == pytest.approx(0.5625)
    assert rmse_ratios(rows) == {
        "test/rmse_ratio": pytest.approx(0.5625),
        "test/rmse_ratio_first_lead": pytest.approx(0.375),
        "test/rmse_ratio_last_lead": pytest.approx(0.75),
    }
    assert ("test/rmse_mean", 0) not in points  # nT and km/s have no mean


def _ensemble(leads=(10.0, 20.0)) -> list[ScoreRow]:
    """Two variables, of which one does not change, with the CRPS a quarter, then half of persistence's error."""
    rows = []
    for number, lead in enumerate(leads, 1):
        for name, skill in (("Bx", 0.5), ("By", math.nan)):
            values = {"skill": skill, "crps": 2.0 * number, "persistence_mae": 8.0, "spread_skill_ratio": 0.9}
            values |= {"bias": 1.0, "persistence_rmse": 9.0, "div_b_truth": 1.0, "correlation": 0.7}
            rows += [ScoreRow(metric, name, "", lead, "all", value) for metric, value in values.items()]
        means = {"skill": 0.5, "spread_skill_ratio": 0.8, "correlation": 0.6}
        rows += [ScoreRow(metric, "mean", "1", lead, "all", value) for metric, value in means.items()]
        rows.append(ScoreRow("div_b", "B", "nT/R_E", lead, "all", 3.0))
    return rows


def test_of_ensembles_the_crps_is_held_against_the_error_of_persistence():
    points = {(point.name, point.step): point.value for point in score_points(_ensemble())}
    assert points["test/skill_crps_by_lead_s", 10] == 0.75
    assert points["test/skill_crps_by_lead_s", 20] == 0.5
    assert points["test/skill_crps", 0] == 0.625
    assert points["test/spread_skill_ratio_by_lead_s", 20] == 0.8
    assert points["test_crps_by_lead_s/Bx", 20] == 4.0


def test_the_scores_that_matter_come_first_and_the_rest_is_one_section_without_what_files_hold():
    sections = {}
    for name in sorted({point.name for point in score_points(_ensemble())}):
        section, _, chart = name.rpartition("/")
        sections.setdefault(section, []).append(chart)
    assert min(sections) == "test"  # MLflow sorts them
    assert sections == {
        "test": [
            "rmse_ratio", "rmse_ratio_by_lead_s", "skill_by_lead_s",
            "skill_crps", "skill_crps_by_lead_s", "spread_skill_ratio_by_lead_s",
        ],
        "test_crps_by_lead_s": ["Bx", "By"],
        "test_skill_by_lead_s": ["Bx", "By"],
        "test_spread_skill_ratio_by_lead_s": ["Bx", "By"],
        "test_supplement_by_lead_s": ["correlation", "div_b_B"],
    }  # fmt: skip


def test_units_are_a_tag():
    units = {"Bx": "nT", "rho": "1/cm3"}
    rows = [ScoreRow("rmse", name, unit, lead, "all", 1.0) for name, unit in units.items() for lead in (1.0, 2.0)]
    assert units_tag(rows) == {"units": "Bx [nT], rho [1/cm3]"}


def test_a_variable_without_a_skill_is_left_out_of_the_ratio_as_everywhere():
    errors = {"rmse": 0.3, "persistence_rmse": 1e-9}
    rows = [ScoreRow(metric, "By", "nT", 10.0, "all", value) for metric, value in errors.items()]
    rows += [ScoreRow("skill", "By", "1", 10.0, "all", float("nan")), ScoreRow("skill", "mean", "1", 10.0, "all", 0.75)]
    assert Point("test/rmse_ratio", 0.25, 0) in score_points(rows)


def test_no_rows_no_points():
    assert score_points([]) == []
    assert rmse_ratios([]) == units_tag([]) == {}
