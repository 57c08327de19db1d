"""One rule for all means over variables: those that do not change are left out; tiny units are not tiny changes."""

import logging
from dataclasses import replace

import numpy as np
import pytest

from spacecast.data.statistics import floor_std
from spacecast.evaluation.evaluator import evaluate

STEPS = 2
BY, RHO = 1, 9


OTHER_UNITS = {1e-9: "T", 1e-21: "TT", 1e6: "1/m3", 1e-12: "1/um3"}  # of nT and 1/cm3


def rescaled(store, column: int, factor: float):
    """The same data with one variable in another unit."""
    state = store.spec.state
    scale = np.ones(len(state))
    scale[column] = factor
    units = tuple(OTHER_UNITS[factor] if number == column else unit for number, unit in enumerate(state.units))
    rescaled = replace(state, mean=state.mean * scale, std=state.std * scale, units=units)
    store.spec = replace(store.spec, state=rescaled)
    store.states = (store.states * scale).astype(np.float32)
    return store


def with_own_statistics(store) -> None:
    """Statistics of By as a data store makes them."""
    state, values = store.spec.state, store.states[..., BY].astype(np.float64)
    mean, std = state.mean.copy(), state.std.copy()
    mean[BY] = values.mean()
    std[BY] = floor_std(values.std(keepdims=True).ravel(), mean[[BY]], ["By"], "variable")[0]
    store.spec = replace(store.spec, state=replace(state, mean=mean, std=std))


def constant(store, size: float) -> None:
    store.states[..., BY] = size


def frozen(store, size: float) -> None:
    store.states[..., BY] = size * store.states[:, :1, :, BY]


def rounding(store, size: float) -> None:
    noise = 1 + 5e-8 * np.random.default_rng(1).normal(size=store.states.shape[:-1])
    store.states[..., BY] = size * (100 + np.arange(store.spec.num_nodes)) * noise


@pytest.mark.parametrize("change", [constant, frozen, rounding])
@pytest.mark.parametrize("size", [5.0, 5e-9, 3e6, 0.0])
@pytest.mark.parametrize("members", [1, 3])
def test_a_variable_that_does_not_change_takes_over_no_score(store, fakes, change, size, members, caplog) -> None:
    change(store, size)
    with_own_statistics(store)
    caplog.set_level(logging.INFO)
    scores = evaluate(fakes.Persist(noise=0.1), store, steps=STEPS, members=members)
    assert not [row for row in scores if np.isinf(row.value)]
    for metric in {"skill", "spread_skill_ratio", "correlation"} & set(scores.metrics):
        others = [scores.series(metric, name)[1] for name in scores.variables if name != "By"]
        np.testing.assert_allclose(scores.series(metric, "mean")[1], np.mean(others, axis=0), rtol=1e-6)
    assert np.isnan(scores.series("skill", "By")[1]).all()
    assert np.isnan(scores.series("correlation", "By")[1]).all() == (change is constant or size == 0)
    assert np.isfinite(scores.ratio()).all()
    if members > 1:
        ratios = [scores.series("crps", n)[1] / scores.series("mae", n)[1] for n in scores.variables if n != "By"]
        line = next(line for line in scores.table().splitlines() if line.startswith("CRPS"))
        assert float(line.split()[-1]) == pytest.approx(np.mean(ratios, axis=0)[-1], rel=0.01)
    said = [record.getMessage() for record in caplog.records if "no skill" in record.getMessage()]
    assert len(said) == 1
    assert said[0].endswith(": By")


@pytest.mark.parametrize(("column", "factor"), [(BY, 1e-9), (BY, 1e-21), (RHO, 1e6), (RHO, 1e-12)])
def test_units_change_no_ratio(store, fakes, column: int, factor: float) -> None:
    before = evaluate(fakes.Persist(damping=0.9, noise=0.1), store, steps=STEPS)
    after = evaluate(fakes.Persist(damping=0.9, noise=0.1), rescaled(store, column, factor), steps=STEPS)
    pairs = [(one.value, two.value) for one, two in zip(before, after, strict=True) if one.units == "1"]
    np.testing.assert_allclose(*zip(*pairs, strict=True), rtol=1e-3, atol=1e-6)
    name = store.spec.state.names[column]
    np.testing.assert_allclose(
        after.series("rmse", name)[1], factor * before.series("rmse", name)[1], rtol=1e-5
    )


def test_what_was_constant_in_training_and_changes_now_counts(store, fakes) -> None:
    state = store.spec.state
    mean, std = state.mean.copy(), state.std.copy()
    mean[BY], std[BY] = 5e-9, 5e-9  # as the statistics of a constant are replaced
    trained = replace(store.spec, state=replace(state, mean=mean, std=std))
    store.states[..., BY] = 5e-9 + 1e-11 * store.states[..., BY]
    scores = evaluate(fakes.Persist(damping=0.9), store, spec=trained, steps=STEPS)
    assert np.isfinite(scores.series("skill", "By")[1]).all()
    assert np.isfinite(scores.series("correlation", "By")[1]).all()


def test_a_variable_may_be_constant_in_a_part_of_the_plane(store, fakes, caplog) -> None:
    caplog.set_level(logging.INFO)
    store.states[:, :, store.spec.grid.radius < 10, BY] = 7.0
    regions = {"inner": {"r_max": 10}, "outer": {"r_min": 10}}
    scores = evaluate(fakes.Persist(damping=0.9), store, steps=STEPS, regions=regions)
    assert np.isnan(scores.series("skill", "By", "inner")[1]).all()
    for region in ("all", "outer"):
        assert np.isfinite(scores.series("skill", "By", region)[1]).all()
    others = [scores.series("skill", name, "inner")[1] for name in scores.variables if name != "By"]
    np.testing.assert_allclose(scores.series("skill", "mean", "inner")[1], np.mean(others, axis=0), rtol=1e-6)
    said = [record.getMessage() for record in caplog.records if "no skill" in record.getMessage()]
    assert [text.rpartition(": ")[2] for text in said] == ["By in inner"]


def test_a_forecast_that_is_no_number_has_no_mean_skill(store, fakes) -> None:
    """It must not be taken for a variable that does not change."""
    for value in (np.nan, np.inf):
        scores = evaluate(fakes.Persist(damping=value), store, steps=1)
        for metric in ("skill", "correlation"):
            assert np.isnan(scores.series(metric, "mean")[1]).all()
        assert np.isnan(scores.ratio()).all()


def test_a_forecast_of_a_constant_has_no_correlation(store, fakes) -> None:
    scores = evaluate(fakes.Persist(damping=0.0), store, steps=1)
    assert np.isnan(scores.series("correlation", "mean")[1]).all()
    assert np.isfinite(scores.series("skill", "mean")[1]).all()


def test_shares_of_cells_below_zero_stand_beside_those_of_the_truth(store, fakes) -> None:
    scores = evaluate(fakes.Persist(), store, steps=1)
    inner = store.states[0][:, store.spec.interior]
    for name in ("rho", "P", "T"):
        below = inner[..., store.spec.state.index(name)] < 0
        assert scores.series("negative_share", name)[1][0] == pytest.approx(below[1:-1].mean(), abs=2e-3)
        assert scores.series("negative_share_truth", name)[1][0] == pytest.approx(below[2:].mean(), abs=2e-3)
    assert {row.variable for row in scores if row.metric == "negative_share"} == {"rho", "P", "T"}
    assert "share of cells with rho < 0" in scores.table()


def test_zero_is_not_below_zero_whatever_rounding_makes_of_it(store, fakes) -> None:
    columns = [store.spec.state.index(name) for name in ("rho", "P", "T")]
    store.states[..., columns] = np.abs(store.states[..., columns])
    store.states[..., :40, columns] = 0
    scores = evaluate(fakes.Persist(), store, steps=1)
    assert all(row.value == 0 for row in scores if row.metric.startswith("negative"))
    assert "< 0" not in scores.table()


def test_one_forecast_is_one_forecast(store, fakes) -> None:
    assert "1 forecast of run 1" in evaluate(fakes.Persist(), store, steps=2, windows=1).table()
