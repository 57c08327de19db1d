from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
import yaml

from spacecast.core.errors import UserError
from spacecast.core.spec import FeatureSpec
from spacecast.evaluation.accumulator import Accumulator
from spacecast.evaluation.evaluator import evaluate, spread_starts
from spacecast.evaluation.regions import DEFAULT_REGIONS, region_masks

STEPS = 4
REPOSITORY = Path(__file__).resolve().parents[2]


def values(scores, metric: str, region: str = "all") -> np.ndarray:
    """(variable, lead) of the state variables."""
    return np.stack([scores.series(metric, name, region)[1] for name in scores.variables])


def test_truth_as_forecast_is_perfect(store, fakes) -> None:
    scores = evaluate(fakes.Oracle(store), store, steps=STEPS)
    assert scores.windows == 9 - STEPS - 1
    for metric in ("rmse", "mae", "bias"):
        assert (values(scores, metric) == 0).all()
    assert (values(scores, "skill") == 1).all()
    np.testing.assert_allclose(values(scores, "correlation"), 1, rtol=1e-9)
    np.testing.assert_allclose(scores.series("div_b", "B")[1], scores.series("div_b_truth", "B")[1], rtol=1e-4)
    assert (scores.ratio() == 0).all()


def test_persistence_has_skill_exactly_zero(store, fakes) -> None:
    scores = evaluate(fakes.Persist(), store, steps=STEPS)
    assert (values(scores, "skill") == 0).all()
    assert (values(scores, "rmse") == values(scores, "persistence_rmse")).all()
    assert (values(scores, "mae") == values(scores, "persistence_mae")).all()


def test_scores_equal_numpy_on_all_forecasts_at_once(store, fakes) -> None:
    """Damped persistence by hand: no streaming, physical units, boundary left out."""
    damping, spec = 0.8, store.spec
    scores = evaluate(fakes.Persist(damping=damping), store, steps=STEPS, batch_size=3)
    states = store.states[0].astype(np.float64)[:, spec.interior]
    mean, std = spec.state.mean, spec.state.std
    starts = np.arange(9 - STEPS - 1)
    for lead in range(1, STEPS + 1):
        start, truth = states[starts + 1], states[starts + 1 + lead]
        forecast = (start - mean) / std * damping**lead * std + mean
        error = forecast - truth
        expected = {
            "rmse": np.sqrt((error**2).mean(axis=(0, 1))),
            "mae": np.abs(error).mean(axis=(0, 1)),
            "bias": error.mean(axis=(0, 1)),
            "persistence_rmse": np.sqrt(((start - truth) ** 2).mean(axis=(0, 1))),
            "persistence_mae": np.abs(start - truth).mean(axis=(0, 1)),
            "correlation": [np.corrcoef(forecast[..., v].ravel(), truth[..., v].ravel())[0, 1] for v in range(12)],
        }
        expected["skill"] = 1 - expected["rmse"] / expected["persistence_rmse"]
        for metric, wanted in expected.items():
            ours = values(scores, metric)[:, lead - 1]
            np.testing.assert_allclose(ours, wanted, rtol=2e-5, atol=1e-5, err_msg=metric)


def test_divergence_equals_numpy_outside_boundary_and_earth(store, fakes) -> None:
    scores = evaluate(fakes.Oracle(store), store, steps=1)
    spec, grid = store.spec, store.spec.grid
    field = grid.to_field(np.moveaxis(store.states[0].astype(np.float64), -1, 1))
    bx, bz = field[2:, spec.state.index("Bx")], field[2:, spec.state.index("Bz")]
    dx, dz = grid.spacing
    divergence = np.full_like(bx, np.nan)
    along_x = (bx[:, 2:, 1:-1] - bx[:, :-2, 1:-1]) / (2 * dx)
    divergence[:, 1:-1, 1:-1] = along_x + (bz[:, 1:-1, 2:] - bz[:, 1:-1, :-2]) / (2 * dz)
    divergence = divergence[:, grid.valid][:, spec.interior]
    expected = np.nanmean(np.abs(divergence))
    assert scores.series("div_b_truth", "B")[1][0] == pytest.approx(expected, rel=1e-5)
    assert next(row.units for row in scores if row.metric == "div_b") == "nT/R_E"


@pytest.mark.parametrize("options", [{"batch_size": 1}, {"batch_size": 3}, {"batch_size": 100}])
def test_streaming_does_not_change_the_scores(store, fakes, options) -> None:
    whole = evaluate(fakes.Persist(damping=0.9), store, steps=STEPS)
    parts = evaluate(fakes.Persist(damping=0.9), store, steps=STEPS, **options)
    assert [row[:5] for row in whole] == [row[:5] for row in parts]
    np.testing.assert_allclose([row.value for row in parts], [row.value for row in whole], rtol=1e-6, atol=1e-9)


def test_boundary_is_driven_by_truth_and_left_out(store, fakes) -> None:
    """Whatever stands on boundary nodes changes no score of a pointwise model."""
    before = evaluate(fakes.Persist(damping=0.9), store, steps=2)
    store.states[..., store.spec.boundary, 3:] += 100.0
    after = evaluate(fakes.Persist(damping=0.9), store, steps=2)
    assert before == after


def test_regions_part_the_plane(store, fakes) -> None:
    regions = {"inner": {"r_max": 10}, "outer": {"r_min": 10}}
    scores = evaluate(fakes.Persist(damping=0.9), store, steps=2, regions=regions)
    spec = store.spec
    inside = (spec.grid.radius < 10)[spec.interior].mean()
    parts = inside * values(scores, "rmse", "inner") ** 2 + (1 - inside) * values(scores, "rmse", "outer") ** 2
    np.testing.assert_allclose(parts, values(scores, "rmse") ** 2, rtol=1e-9)


def test_ensemble_scores_of_noise_around_the_present(store, fakes) -> None:
    """Persistence plus noise of variance s^2 per step: spread is s sqrt(lead) in standardised units."""
    noise = 0.2
    scores = evaluate(fakes.Persist(noise=noise), store, steps=3, members=24, member_chunk=7, seed=3)
    std = store.spec.state.std[:, None]
    expected = noise * np.sqrt([1, 2, 3]) * std
    np.testing.assert_allclose(values(scores, "spread"), expected, rtol=0.1)
    # the walk moves by 0.2 per frame as well: a perfect ensemble
    np.testing.assert_allclose(values(scores, "spread_skill_ratio"), 1, atol=0.2)
    assert scores.series("spread_skill_ratio", "mean")[1] == pytest.approx(1, abs=0.05)
    gaussian = expected / np.sqrt(np.pi)
    np.testing.assert_allclose((values(scores, "crps") / gaussian).mean(axis=0), 1, atol=0.06)
    np.testing.assert_allclose((values(scores, "member_rmse") / expected).mean(axis=0), np.sqrt(2), rtol=0.06)
    assert scores.ranks.shape == (3, 12, 25)
    assert (scores.ranks.sum(axis=-1) == scores.windows * store.spec.interior.sum()).all()
    counts = scores.ranks.sum(axis=(0, 1))
    assert counts.max() < 1.5 * counts.min()


def test_same_seed_same_scores_and_the_callers_draws_are_left_alone(store, fakes) -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    options = {"steps": 2, "members": 3, "regions": {"inner": {"r_max": 10}}}
    runs = [evaluate(fakes.Persist(noise=0.1), store, seed=seed, **options) for seed in (1, 1, 2)]
    assert torch.equal(torch.rand(3), expected)
    assert runs[0] == runs[1] != runs[2]
    np.testing.assert_array_equal(runs[0].ranks, runs[1].ranks)


def test_ensemble_of_equal_members_is_the_single_forecast(store, fakes) -> None:
    single = evaluate(fakes.Persist(damping=0.9), store, steps=2)
    many = evaluate(fakes.Persist(damping=0.9), store, steps=2, members=5, member_chunk=2)
    for metric in ("rmse", "mae", "bias"):
        np.testing.assert_allclose(values(many, metric), values(single, metric), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(values(many, "crps"), values(single, "mae"), rtol=1e-5)
    assert values(many, "spread").max() < 1e-5


def test_statistics_of_the_models_own_data_are_used(store, fakes, tiny_spec) -> None:
    """A model trained with other statistics damps towards another mean."""
    state = tiny_spec.state
    other = replace(tiny_spec, state=replace(state, mean=state.mean + 5, std=2 * state.std))
    ours = evaluate(fakes.Persist(damping=0.5), store, steps=1)
    theirs = evaluate(fakes.Persist(damping=0.5), store, spec=other, steps=1)
    states, mean = store.states[0][:, tiny_spec.interior], other.state.mean
    error = (states[1:-1] - mean) * 0.5 + mean - states[2:]
    np.testing.assert_allclose(values(theirs, "rmse")[:, 0], np.sqrt((error**2).mean(axis=(0, 1))), rtol=1e-4)
    np.testing.assert_allclose(values(theirs, "persistence_rmse"), values(ours, "persistence_rmse"), rtol=1e-5)


def test_windows_runs_and_progress(store, fakes) -> None:
    seen = []
    options = {"steps": 2, "batch_size": 2, "progress": lambda *numbers: seen.append(numbers)}
    assert evaluate(fakes.Persist(), store, windows=3, **options).windows == 3
    assert seen == [(2, 3), (3, 3)]
    assert evaluate(fakes.Persist(), store, runs="all", steps=2).windows == 12
    held, second = (evaluate(fakes.Persist(), store, runs=runs, steps=2) for runs in ("holdout", [2]))
    assert held == second


@pytest.mark.parametrize("members", [1, 3])
def test_examples_open_with_xarray_alone(store, fakes, tmp_path, members: int, recwarn) -> None:
    evaluate(fakes.Persist(noise=0.1), store, steps=STEPS, members=members, examples=2, batch_size=1, out_dir=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["examples.zarr"]
    with xr.open_zarr(tmp_path / "examples.zarr", chunks=None) as data:
        ensemble = ("member",) if members > 1 else ()
        assert data.Bx.dims == ("example", *ensemble, "lead_time", "x", "z")
        assert data.Bx_truth.dims == ("example", "lead_time", "x", "z")
        assert (data.rho.units, data.x.units, data.lead_time.units) == ("1/cm3", "R_E", "s")
        assert list(data.lead_time.values) == [10, 20, 30, 40]
        assert data.init_time.values[1] == np.datetime64("2000-01-01T00:00:40")
        assert data.valid_time.values[1, 0] == np.datetime64("2000-01-01T00:00:50")
        assert set(data.coords) >= {"init_time", "valid_time", "x", "z", "lead_time"}
        grid, truth = store.spec.grid, store.states[0, 3 + 1 + 2]
        plane = data.vy_truth.isel(example=1, lead_time=1).values
        np.testing.assert_allclose(grid.to_nodes(plane), truth[:, store.spec.state.index("vy")], rtol=1e-6)
        assert np.isnan(plane[~grid.valid]).all()
        assert np.isfinite(grid.to_nodes(data.vy.values)).all()
    assert not [str(warning.message) for warning in recwarn if "zarr" in str(warning.message).lower()]


def test_examples_hold_the_forcing_of_each_step(store, fakes, tmp_path) -> None:
    """Column by column, in physical units; latents are drawn from it."""
    forcing = FeatureSpec(("n[0]", "n[+1]"), ("1/cm3", "1/cm3"), np.full(2, 5.0), np.full(2, 2.0))
    given = np.random.default_rng(4).normal(size=(9, store.spec.num_nodes, 2)).astype(np.float32)
    store.spec = replace(store.spec, forcing=forcing)
    store.read_forcing = lambda run, split, start, stop: given[start:stop]
    evaluate(fakes.Persist(), store, steps=STEPS, examples=1, out_dir=tmp_path)
    with xr.open_zarr(tmp_path / "examples.zarr", chunks=None) as data:
        assert data.forcing.dims == ("example", "lead_time", "forcing_column", "x", "z")
        assert data.forcing.attrs == {"columns": ["n[0]", "n[+1]"], "column_units": ["1/cm3", "1/cm3"]}
        nodes = store.spec.grid.to_nodes(data.forcing.isel(example=0).values)
        first = int((data.valid_time.values[0, 0] - store.times("2", "test")[0]) / np.timedelta64(10, "s"))
        np.testing.assert_array_equal(nodes.transpose(0, 2, 1), given[first : first + STEPS])


def test_failed_examples_leave_nothing(store, fakes, tmp_path) -> None:
    def fail(done: int, total: int) -> None:
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        evaluate(fakes.Persist(), store, steps=2, examples=1, out_dir=tmp_path, progress=fail)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 8}, "at most 7 steps"),
        ({"members": 0}, "members=0"),
        ({"runs": ["3"]}, "no run '3'"),
        ({"examples": 1}, "folder"),
        ({"regions": {"sheath": {"xmin": 3}}}, "did you mean 'x_min'"),
        ({"regions": {"far": {"x_min": 300}}}, r"regions.far={'x_min': 300} holds no node .* ~evaluation.regions.far"),
        ({"regions": {"inner": {"r_max": 0.1}}}, r"evaluation.regions.inner={'r_max': 0.1} holds no node"),
        ({"regions": {"all": {}}}, "evaluation.regions.all: 'all' is the whole domain"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(store, fakes, options, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        evaluate(fakes.Persist(), store, **{"steps": 2, **options})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("counts", "wanted", "expected"),
    [
        ([10], 1, [0]),
        ([10], 3, [0, 4, 9]),
        ([10, 10], 2, [0, 19]),
        ([10, 10], 3, [0, 9, 14]),
        ([10, 10], 4, [0, 6, 13, 19]),
        ([10, 10, 10, 10], 2, [0, 29]),
        ([1, 5], 4, [0, 2, 4, 5]),
        ([2, 2], 9, [0, 1, 2, 3]),
    ],
)
def test_examples_are_spread_over_runs_and_times(counts, wanted: int, expected) -> None:
    assert spread_starts(counts, wanted) == expected


@pytest.mark.parametrize("counts", [[7], [3, 9], [5, 5, 5], [1, 1, 8, 2]])
def test_no_example_is_drawn_twice(counts) -> None:
    for wanted in range(1, sum(counts) + 2):
        chosen = spread_starts(counts, wanted)
        assert len(set(chosen)) == min(wanted, sum(counts))
        assert chosen == sorted(chosen)
        runs = {int(np.searchsorted(np.cumsum(counts), number, side="right")) for number in chosen}
        assert len(runs) >= min(wanted, len(counts))


def test_examples_say_their_run_and_time_and_hold_its_truth(store, fakes, tmp_path) -> None:
    evaluate(fakes.Persist(), store, runs="all", steps=STEPS, examples=3, batch_size=3, out_dir=tmp_path)
    with xr.open_zarr(tmp_path / "examples.zarr", chunks=None) as data:
        assert data.attrs["runs"] == ["1", "1", "2"]
        assert len(set(data.init_time.values)) == 3
        for example, run in enumerate(data.attrs["runs"]):
            frame = int((data.valid_time.values[example, 0] - store.times(run, "test")[0]) / np.timedelta64(10, "s"))
            plane = data.Bx_truth.isel(example=example, lead_time=0).values
            truth = store.read_state(run, "test", frame, frame + 1)[0, :, 0]
            np.testing.assert_allclose(store.spec.grid.to_nodes(plane), truth, rtol=1e-6)


@pytest.mark.parametrize("kept", [("inner",), ("tail", "lobes", "plasma_sheet")], ids=lambda kept: kept[0])
def test_default_regions_that_a_plane_has_no_part_in_are_left_out(tiny_spec, caplog, kept) -> None:
    """A domain that is the tail alone has no inner magnetosphere, and the other way round."""
    radius, x = tiny_spec.grid.radius, tiny_spec.grid.positions[:, 0]
    spec = replace(tiny_spec, boundary=~{"inner": radius < 10, "tail": (radius >= 10) & (x < 0)}[kept[0]])
    with caplog.at_level("INFO"):
        masks = region_masks(spec, {"own": {"x_max": 0}, **DEFAULT_REGIONS})
        Accumulator(spec, 1, regions=DEFAULT_REGIONS)
    assert list(masks) == ["all", "own", *kept]
    others = ", ".join(name for name in DEFAULT_REGIONS if name not in kept)
    assert f"left out of the scores: {others}" in caplog.text


def test_regions_of_the_configuration_are_the_default_ones() -> None:
    for file in (REPOSITORY / "conf" / "evaluation").glob("*.yaml"):
        assert (yaml.safe_load(file.read_text()) or {}).get("regions", DEFAULT_REGIONS) == DEFAULT_REGIONS
