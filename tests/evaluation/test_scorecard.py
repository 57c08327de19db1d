"""Scorecards of scores by initial time that are made here, so that what is true of them is known."""

import csv
import math

import numpy as np
import pytest
import xarray as xr

from spacecast.core.errors import UserError
from spacecast.evaluation.evaluator import evaluate
from spacecast.evaluation.metrics import METRICS
from spacecast.evaluation.paired_scores import SINGLE, PairedScores, overlap, paired, read_scores
from spacecast.evaluation.scorecard import BETTER, NEITHER, REPEATS, UNTESTED, WORSE, compare

VARIABLES = ["Bx", "rho", "T", "mean"]
LEADS = [10.0, 20.0, 30.0]
STARTS = {"1": 60, "2": 40}


def by_start(starts=STARTS, **series) -> xr.Dataset:
    """Scores by initial time in the layout of `scores.nc`: arrays that broadcast to (start, lead, variable)."""
    number = sum(starts.values())
    shape = (number, len(LEADS), len(VARIABLES))
    tables = {
        f"{name}_by_start": (("start", "lead_time", "variable"), np.broadcast_to(values, shape).astype(np.float32))
        for name, values in series.items()
    }
    steps = np.concatenate([np.arange(count) for count in starts.values()]) * np.timedelta64(10, "s")
    coordinates = {
        "lead_time": LEADS,
        "region": ["all", "inner"],
        "variable": VARIABLES,
        "run": list(starts),
        "init_time": ("start", np.datetime64("2000-01-01", "ns") + steps),
        "start_run": ("start", np.repeat(list(starts), list(starts.values()))),
    }
    return xr.Dataset(tables, coordinates, {"data_hash": "v2:a", "split": "test", "members": 1})


def errors(seed: int, factor=1.0, starts=STARTS) -> xr.Dataset:
    """Errors of a deterministic model beside those of persistence, which all models share."""
    shared, own = np.random.default_rng(0), np.random.default_rng(seed)
    shape = (sum(starts.values()), len(LEADS), len(VARIABLES))
    size = np.array([10, 0.1, 2, np.nan]) * (1 + np.arange(3))[:, None]
    weather = shared.gamma(8, 1 / 8, size=shape)
    rmse = size * weather * own.normal(1, 0.1, size=shape) * np.asarray(factor)
    persistence = np.broadcast_to(2 * size, shape)
    skill = 1 - rmse / persistence
    return by_start(
        starts, rmse=rmse, mae=0.7 * rmse, bias=0.1 * rmse * own.choice([-1, 1], size=shape), skill=skill,
        persistence_rmse=persistence, persistence_mae=0.7 * persistence,
    )  # fmt: skip


def ensemble(seed: int, spread: float) -> xr.Dataset:
    """Scores of an ensemble of four."""
    scores = errors(seed)
    rmse = scores["rmse_by_start"]
    more = {"spread": spread * rmse, "crps": 0.5 * rmse, "spread_skill_ratio": math.sqrt(5 / 4) * spread + 0 * rmse}
    return scores.assign({f"{name}_by_start": values for name, values in more.items()}).assign_attrs(members=4)


def verdicts(card, model: str, metric: str) -> set[str]:
    return {cell.significant for cell in card.cells if (cell.model, cell.metric) == (model, metric)}


def test_a_better_and_a_worse_model_are_told_and_equal_ones_are_not():
    card = compare({"base": errors(1), "good": errors(2, 0.8), "bad": errors(3, 1.2), "same": errors(4)})
    assert card.models == ("base", "good", "bad", "same")
    for metric in ("rmse", "mae", "skill"):
        assert verdicts(card, "good", metric) == {BETTER}
        assert verdicts(card, "bad", metric) == {WORSE}
        assert verdicts(card, "same", metric) == {NEITHER}
    cell = card.cell("good", "rmse", "Bx", 20.0)
    assert cell.low < -20 < cell.high
    assert cell.p <= cell.p_adjusted < 0.05
    alone = compare({"base": errors(1), "same": errors(4)})  # clear differences of others do not count
    assert alone.cells == tuple(each for each in card.cells if each.model == "same")


def test_values_are_those_over_all_initial_times_and_differences_are_shares_of_the_baseline():
    scores = {"base": errors(1), "other": errors(2, 0.9)}
    card = compare(scores)
    rmse = {
        name: np.sqrt(np.mean(each["rmse_by_start"].sel(variable="rho", lead_time=30.0).values.astype(float) ** 2))
        for name, each in scores.items()
    }
    cell = card.cell("other", "rmse", "rho", 30.0)
    assert (cell.value, cell.baseline_value) == pytest.approx((rmse["other"], rmse["base"]))
    assert cell.difference == pytest.approx(100 * (rmse["other"] / rmse["base"] - 1))
    skill, mae = card.cell("other", "skill", "mean", 10.0), card.cell("other", "mae", "T", 10.0)
    assert mae.value == pytest.approx(float(scores["other"]["mae_by_start"].sel(variable="T", lead_time=10.0).mean()))
    first = card.means["RMSE / persistence"]["other"][0]
    assert skill.value == pytest.approx(1 - first)
    assert skill.difference == pytest.approx(100 * (first / card.means["RMSE / persistence"]["base"][0] - 1))
    assert card.means["RMSE / persistence"]["persistence"] == [1, 1, 1]
    assert [cell.variable for cell in card.cells if cell.metric == "skill"] == ["mean"] * 3


def test_the_baseline_is_the_first_or_the_one_that_is_named():
    scores = {"one": errors(1), "two": errors(2, 0.8), "three": errors(3)}
    card, turned = compare(scores), compare(scores, "two")
    assert turned.models == ("two", "one", "three")
    there, back = card.cell("two", "rmse", "Bx", 10.0), turned.cell("one", "rmse", "Bx", 10.0)
    assert (there.value, there.baseline_value, there.p) == (back.baseline_value, back.value, back.p)
    assert (1 + there.difference / 100) * (1 + back.difference / 100) == pytest.approx(1)
    assert (there.significant, back.significant) == (BETTER, WORSE)
    with pytest.raises(UserError, match="baseline=tow: no model has that name; did you mean 'two'"):
        compare(scores, "tow")


def test_signs_of_a_mean_error_do_not_matter_and_a_ratio_is_held_against_one():
    low, high, near = ensemble(1, 0.5), ensemble(1, 1.6), ensemble(1, 0.85)
    card = compare({"low": low, "high": high, "near": near})
    assert verdicts(card, "near", "spread_skill_ratio") == {BETTER}
    assert verdicts(card, "high", "spread_skill_ratio") == {WORSE}
    cell = card.cell("high", "spread_skill_ratio", "mean", 10.0)
    assert cell.value == pytest.approx(math.sqrt(5 / 4) * 1.6, rel=1e-5)
    flipped = errors(1)
    flipped["bias_by_start"] *= -1
    same = [each for each in compare({"a": errors(1), "b": flipped}).cells if each.metric == "bias"]
    assert {(each.difference, each.significant) for each in same} == {(0, NEITHER)}


def test_the_crps_of_a_single_forecast_is_its_mean_absolute_error():
    card = compare({"single": errors(1), "ensemble": ensemble(1, 0.8)})
    cell = card.cell("ensemble", "crps", "T", 10.0)
    assert cell.baseline_value == pytest.approx(1.4 * cell.value)
    assert verdicts(card, "ensemble", "crps") == {BETTER}
    assert card.means["CRPS / persistence"].keys() == {"persistence", "single", "ensemble"}
    assert card.means["spread / skill"].keys() == {"ensemble"}
    assert not verdicts(card, "ensemble", "spread_skill_ratio")
    alone = compare({"a": errors(1), "b": errors(2)})
    assert not verdicts(alone, "b", "crps")  # it would say the same as that of the absolute error


def test_forecasts_are_paired_by_run_and_initial_time():
    one, other = errors(1), errors(2, 0.9)
    expected = compare({"one": one, "other": other})
    order = np.random.default_rng(0).permutation(100)
    assert compare({"one": one, "other": other.isel(start=order)}) == expected
    fewer = compare({"one": one.isel(start=slice(10, 100)), "other": other.isel(start=order[order < 95])})
    both = {name: each.isel(start=slice(10, 95)) for name, each in (("one", one), ("other", other))}
    assert fewer.cells == compare(both).cells
    assert (fewer.starts, fewer.left_out) == (85, {"one": 5, "other": 10})
    assert "left out: 5 initial times of one that not all models have" in fewer.table()
    run = {name: each.isel(start=slice(*place)) for name, each, place in (("a", one, (0, 60)), ("b", other, (60, 100)))}
    with pytest.raises(UserError, match=r"no initial time in common .a 60 forecasts, b 40 forecasts"):
        compare(run)  # the same times, of other runs


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda each: each.assign_attrs(data_hash="v2:b"), "data hash v2:a and v2:b"),
        (lambda each: each.assign_attrs(split="val"), "split test and val"),
        (lambda each: each.assign_coords(run=["1", "3"]), r"runs \['1', '2'\] and \['1', '3'\]"),
        (lambda each: each.assign_coords(lead_time=[15.0, 30.0, 45.0]), r"lead times \[s\] \[10.0, 20.0, 30.0\]"),
        (lambda each: each.isel(lead_time=slice(2)), r"lead times \[s\]"),
        (lambda each: each.assign_coords(region=["all", "tail"]), "regions"),
    ],
)
def test_scores_of_another_kind_are_refused_by_name(change, named):
    with pytest.raises(UserError, match=f"one and other cannot be compared: {named}"):
        compare({"one": errors(1), "third": errors(3), "other": change(errors(2))})


def test_a_forecast_that_is_no_number_has_no_difference_and_does_not_spoil_others():
    broken = errors(2, 0.8)
    for name in ("rmse", "skill", "mae"):
        broken[f"{name}_by_start"][3, :, 0] = np.nan
    card = compare({"base": errors(1), "broken": broken})
    cell = card.cell("broken", "rmse", "Bx", 10.0)
    assert np.isnan([cell.value, cell.difference, cell.p]).all()
    assert cell.significant == UNTESTED
    assert card.cell("broken", "rmse", "T", 10.0).significant == BETTER
    assert np.isnan(card.cell("broken", "skill", "mean", 10.0).value)  # and not the mean of the others
    assert np.isnan(card.means["RMSE / persistence"]["broken"]).all()
    for name in ("rmse", "skill", "mae"):
        broken[f"{name}_by_start"][:, :, 0] = np.nan
    card = compare({"base": errors(1), "broken": broken})
    assert np.isnan(card.cell("broken", "rmse", "Bx", 10.0).value)
    assert np.isnan(card.cell("broken", "skill", "mean", 10.0).value)


def test_a_variable_that_does_not_change_is_left_out_of_means():
    scores = {"one": errors(1), "two": errors(2)}
    for each in scores.values():
        each["skill_by_start"][:, :, 1] = np.nan
        each["persistence_rmse_by_start"][:, :, 1] = 0
    card = compare(scores)
    kept = 1 - np.mean([PairedScores(scores["two"]).score("skill", 0, [name], np.full((1, 100), 0.01)) for name in "T"])
    both = PairedScores(scores["two"]).score("skill", 0, ["Bx", "T"], np.full((1, 100), 0.01))
    assert card.means["RMSE / persistence"]["two"][0] == pytest.approx(1 - both.mean())
    assert card.cell("two", "skill", "mean", 10.0).value == pytest.approx(both.mean())
    assert kept != pytest.approx(1 - both.mean())


def test_a_baseline_without_errors_cannot_be_improved_upon():
    perfect = errors(1, 0.0)
    card = compare({"perfect": perfect, "other": errors(2), "again": errors(1, 0.0)})
    cell = card.cell("other", "rmse", "T", 10.0)
    assert (cell.difference, cell.significant) == (math.inf, WORSE)
    assert {(each.difference, each.p) for each in card.cells if each.model == "again" and each.metric == "rmse"} == {
        (0, 1)
    }


def test_too_few_initial_times_are_told_instead_of_a_p_value():
    starts = {"1": 8}
    card = compare({"one": errors(1, starts=starts), "two": errors(2, 0.5, starts=starts)})
    first, last = (card.cell("two", "rmse", "T", lead) for lead in (10.0, 30.0))
    assert last.difference < -30
    assert np.isnan([last.low, last.high, last.p, last.p_adjusted]).all()
    assert last.significant == UNTESTED
    assert first.significant in (BETTER, UNTESTED)  # forecasts of one step do not overlap
    assert "8 initial times make fewer than 5 blocks" in card.table()


def test_few_leads_are_chosen_of_many_the_first_and_the_last_among_them():
    scores = {name: errors(seed) for seed, name in enumerate("ab")}
    long = {
        name: xr.concat([each] * 4, "lead_time").assign_coords(lead_time=np.arange(1, 13) * 10.0)
        for name, each in scores.items()
    }
    card = compare(long)
    assert len(card.lead_seconds) == 5
    assert (card.lead_seconds[0], card.lead_seconds[-1]) == (10, 120)
    assert compare({name: each.isel(lead_time=slice(9)) for name, each in long.items()}).lead_seconds == (
        10, 30, 50, 70, 90,
    )  # fmt: skip


def test_forecasts_overlap_with_those_that_begin_before_their_end():
    scores = PairedScores(errors(1))
    assert [overlap(scores, lead) for lead in (5, 10, 15, 30)] == [1, 1, 2, 3]
    sparse = PairedScores(errors(1).isel(start=slice(None, None, 2)))
    assert [overlap(sparse, lead) for lead in (10, 20, 30)] == [1, 1, 2]
    assert overlap(PairedScores(errors(1).isel(start=[0, 60])), 30) == 1  # one of each run


def test_chance_alone_makes_few_cells_significant():
    """Twenty pairs of models that do not differ, with neighbouring scores alike: a tenth of the cards may have any."""
    rng = np.random.default_rng(1)
    found = []
    for _ in range(20):
        noise = rng.normal(size=(2, 104, 3, 4))
        rmse = 5 + sum(noise[:, shift : shift + 100] for shift in range(5)) / 5
        same = {"persistence_rmse": 9.0, "persistence_mae": 7.0}
        models = [by_start(rmse=each, mae=0.7 * each, skill=1 - each / 9, **same) for each in rmse]
        card = compare(dict(zip("ab", models, strict=True)))
        found.append(any(cell.significant in (BETTER, WORSE) for cell in card.cells))
    assert sum(found) <= 4


def test_the_file_has_a_line_for_each_comparison(tmp_path):
    card = compare({"base": errors(1), "other": errors(2, 0.9)})
    path = card.write_csv(tmp_path / "scorecard.csv")
    with path.open() as stream:
        lines = list(csv.DictReader(stream))
    assert ",".join(lines[0]) == (
        "model,baseline,metric,variable,lead_s,value,baseline_value,difference,low,high,p,p_adjusted,significant"
    )
    assert len(lines) == len(card.cells) == 3 * (3 * 3 + 1)
    for line, cell in zip(lines, card.cells, strict=True):
        assert (line["model"], line["metric"], line["variable"], float(line["lead_s"])) == (cell.model, *cell[2:5])
        assert float(line["p"]) == pytest.approx(cell.p, rel=1e-8)
        assert line["significant"] == cell.significant
    assert [entry.name for entry in tmp_path.iterdir()] == ["scorecard.csv"]


def test_the_table_shows_means_beside_persistence_and_counts():
    card = compare({"base": errors(1), "better-one": errors(2, 0.8), "worse": errors(3, 1.3)})
    text = card.table()
    lines = {line.split("  ")[0]: line for line in text.splitlines()}
    assert text.splitlines()[0] == "Scorecard: 3 models, 100 initial times of 2 runs, against base"
    assert lines["RMSE / persistence"].split()[3:] == ["10", "s", "20", "s", "30", "s"]
    shown = next(line for line in text.splitlines() if line.startswith("better-one"))
    assert shown.count("+") == 3
    assert next(line for line in text.splitlines() if line.startswith("worse")).count("-") == 3
    assert text.splitlines()[3].split() == ["persistence", "1.000", "1.000", "1.000"]
    counts = text.splitlines()[-2:]
    assert counts[0].split() == ["better-one", "21", "0", "9", "0"]
    assert counts[1].split()[2] == "21"
    assert max(map(len, text.splitlines())) <= 120


def test_the_table_has_the_other_references_beside_persistence():
    one = errors(1)
    size = one["persistence_rmse_by_start"]
    scores = one.assign(climatology_rmse_by_start=0.7 * size, extrapolation_rmse_by_start=3 * size)
    lines = compare({"a": scores, "b": scores}).table().splitlines()
    assert [line.split() for line in lines[3:6]] == [
        ["persistence", "1.000", "1.000", "1.000"],
        ["climatology", "0.700", "0.700", "0.700"],
        ["linear", "extrapolation", "3.000", "3.000", "3.000"],
    ]
    assert "climatology" not in compare({"a": scores, "b": one}).table()


def test_files_of_another_kind_are_refused(tmp_path):
    with pytest.raises(
        UserError, match=r"absent.nc cannot be read .FileNotFoundError.; evaluate that checkpoint again"
    ):
        read_scores(tmp_path / "absent.nc")
    (tmp_path / "text.nc").write_text("no")
    with pytest.raises(UserError, match=r"text.nc cannot be read"):
        read_scores(tmp_path / "text.nc")
    errors(1).drop_vars("start_run").to_netcdf(tmp_path / "old.nc")
    with pytest.raises(UserError, match=r"old.nc has no start_run, as scores.nc of this version has"):
        read_scores(tmp_path / "old.nc")
    errors(1).to_netcdf(tmp_path / "scores.nc")
    xr.testing.assert_identical(read_scores(tmp_path / "scores.nc"), errors(1))


@pytest.mark.parametrize("members", [1, 4])
def test_scores_of_all_initial_times_are_those_of_the_evaluation(store, fakes, members):
    """Of every metric that is compared, but for those of single forecasts."""
    dataset = evaluate(fakes.Persist(noise=0.3), store, runs="all", steps=2, members=members).dataset
    scores = PairedScores(dataset)
    equal = np.full((1, len(scores.runs)), 1 / len(scores.runs))
    ranking = [each for each in METRICS if each.best is not None and each.members != "none" and scores.has(each.name)]
    ranking = [each for each in ranking if each.name not in REPEATS]
    assert len(ranking) >= 7
    for metric in ranking:
        names = scores.variables(metric.name)
        found = np.stack([scores.score(metric.name, lead, names, equal)[0] for lead in range(2)])
        expected = dataset[metric.name].sel(region="all", variable=names).values
        if metric.name in SINGLE:
            expected = dataset[f"{metric.name}_by_start"].sel(variable=names).mean("start").values
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-9, err_msg=metric.name)
        if metric.averaged and metric.name not in SINGLE:
            mean = dataset[metric.name].sel(region="all", variable="mean").values
            np.testing.assert_allclose(found.mean(axis=1), mean, rtol=1e-5, err_msg=metric.name)


def test_paired_scores_are_in_order_whatever_the_order_of_the_files():
    models, left_out = paired({"a": errors(1).isel(start=slice(None, None, -1)), "b": errors(2)})
    assert models["a"].runs == ["2"] * 40 + ["1"] * 60
    assert (np.diff(models["b"].times[:40]) > 0).all()
    assert left_out == {"a": 0, "b": 0}
