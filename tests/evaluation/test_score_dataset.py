"""scores.nc: the numbers of the table, by run and by initial time, with intervals; from any number of processes."""

from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
import xarray as xr

from spacecast.evaluation import diagnostics
from spacecast.evaluation.bootstrap import block_bootstrap, block_length
from spacecast.evaluation.diagnostics import Diagnostic
from spacecast.evaluation.evaluator import evaluate
from spacecast.forecast.processes import Processes

REGIONS = {"inner": {"r_max": 10}}


@dataclass(frozen=True)
class Pretended(Processes):
    """A process that finds what those before it have left."""

    left: list = field(default_factory=list)

    def gather(self, value):
        self.left.append(value)
        return self.left if self.first else None


def shared(world: int, model, store, **options):
    """Scores from so many processes, the first of which comes last."""
    left: list = []
    for rank in reversed(range(world)):
        scores = evaluate(model, store, processes=Pretended(rank, world, left=left), **options)
        assert (scores is None) == (rank > 0)
    return scores


@pytest.mark.parametrize("world", [2, 3, 7])
def test_several_processes_give_the_same_bits_as_one(store, fakes, tmp_path, world) -> None:
    options = {"runs": "all", "steps": 2, "batch_size": 2, "members": 3, "regions": REGIONS, "out_dir": tmp_path}
    alone = evaluate(fakes.Persist(noise=0.1), store, **options)
    together = shared(world, fakes.Persist(noise=0.1), store, **options, examples=2)
    assert alone == together
    np.testing.assert_array_equal(alone.ranks, together.ranks)
    xr.testing.assert_identical(alone.dataset, together.dataset)
    examples = xr.open_zarr(tmp_path / "examples.zarr")
    assert np.isfinite(examples.Bx_truth.values).any(axis=(2, 3)).all()


def test_the_table_stands_in_the_data_set(store, fakes, tmp_path) -> None:
    scores = evaluate(fakes.Persist(noise=0.1), store, steps=3, members=4, regions=REGIONS)
    scores.write_netcdf(tmp_path / "scores.nc")
    with xr.open_dataset(tmp_path / "scores.nc") as found:
        for row in scores:
            place = {"lead_time": row.lead_s, "region": row.region, "variable": row.variable}
            own = {axis: value for axis, value in place.items() if axis in found[row.metric].dims}
            np.testing.assert_equal(float(found[row.metric].sel(own)), row.value)
        assert found.rmse.attrs["best"] == 0
        assert list(found.variable_units.values[:4]) == ["nT", "nT", "nT", "mV/m"]
        assert (found.attrs["members"], found.attrs["forecasts"]) == (4, 5)
        counts = scores.ranks[:, 0]
    shares = found.rank_histogram.sel(variable="Bx").values
    np.testing.assert_allclose(shares, counts / counts.sum(axis=-1, keepdims=True), rtol=1e-12)


def test_everything_in_the_file_says_what_it_is(store, fakes) -> None:
    scores = evaluate(fakes.Persist(noise=0.1), store, steps=2, members=3, regions=REGIONS).dataset
    for name, table in scores.variables.items():
        assert table.attrs.get("long_name"), name
        assert name not in scores.data_vars or table.attrs.get("units"), name
    assert scores.rmse_low.attrs == {"long_name": "RMSE, lower end of the 95% interval", "units": "of the variable"}
    assert scores.rank_histogram_by_start.long_name.endswith("by initial time")
    assert "energy_score" in scores.data_vars
    assert scores.energy_score.best == 0


def test_runs_and_starts_by_themselves(store, fakes) -> None:
    """The score of one run is that of an evaluation of it; mean squares of the starts make that of all."""
    scores = evaluate(fakes.Persist(damping=0.9), store, runs="all", steps=2, regions=REGIONS).dataset
    for run in ("1", "2"):
        alone = evaluate(fakes.Persist(damping=0.9), store, runs=[run], steps=2, regions=REGIONS).dataset
        for name in ("rmse", "bias", "skill", "correlation", "div_b"):
            found = scores[f"{name}_by_run"].sel(run=run)
            np.testing.assert_allclose(found, alone[name], rtol=1e-9, err_msg=name)
    squares = (scores.rmse_by_start.astype(float) ** 2).mean("start") ** 0.5
    np.testing.assert_allclose(squares, scores.rmse.sel(region="all"), rtol=1e-6)
    assert list(scores.start_run.values) == ["1"] * 6 + ["2"] * 6
    assert (np.diff(scores.init_time.values[:6]) == np.timedelta64(10, "s")).all()


def test_an_interval_holds_the_score_and_shrinks_with_the_data(store, fakes) -> None:
    few, many = (evaluate(fakes.Persist(), store, runs="all", steps=1, windows=number).dataset for number in (2, None))
    for scores in (few, many):
        low, value, high = (scores[f"rmse{end}"].sel(region="all", variable="Bx") for end in ("_low", "", "_high"))
        assert ((low <= value) & (value <= high)).all()
    one = evaluate(fakes.Persist(), store, steps=1, windows=1).dataset
    assert "rmse_low" not in one
    assert "rmse_low" not in evaluate(fakes.Persist(), store, steps=1, bootstrap_draws=0).dataset


def test_blocks_are_drawn_within_runs_and_cover_the_true_mean() -> None:
    counts = block_bootstrap(["a"] * 7 + ["b"] * 3, 2, 200, seed=1)
    assert (counts[:, :7].sum(dim=1) == 7).all()
    assert (counts[:, 7:].sum(dim=1) == 3).all()
    assert torch.equal(counts, block_bootstrap(["a"] * 7 + ["b"] * 3, 2, 200, seed=1))
    assert torch.equal(block_bootstrap(["a"] * 3, 9, 5), torch.ones(5, 3, dtype=torch.float64))
    assert [block_length([20, 8], leads) for leads in (1, 3, 60)] == [1, 3, 5]
    rng, held = np.random.default_rng(0), []
    for trial in range(200):  # an autoregressive series, whose mean a drawing of single times would be too sure of
        noise = rng.normal(size=300)
        for place in range(1, 300):
            noise[place] += 0.8 * noise[place - 1]
        drawn = (block_bootstrap(["a"] * 300, 20, 200, trial).numpy() @ noise) / 300
        low, high = np.quantile(drawn, [0.025, 0.975])
        held.append(low <= 0 <= high)
    assert np.mean(held) > 0.82


def test_a_diagnostic_of_ones_own_is_one_value(store, fakes, monkeypatch) -> None:
    """A number of each forecast and a table, one of them in scores.csv as well."""
    warmest = Diagnostic(
        "warmest", "highest temperature", "MK", lambda setting: {},
        (lambda sample: sample.physical[..., -1].amax(dim=-1),), rows=True,
    )  # fmt: skip
    parts = Diagnostic(
        "share", "share of cells above quartiles", "1", lambda setting: {"variable": ["Bx", "T"], "level": [0.0, 1.0]},
        (lambda sample: torch.stack([(sample.truth[..., [0, -1]] > x).double().mean(1) for x in (0.0, 1.0)], dim=-1),),
    )  # fmt: skip
    none = Diagnostic("none", "of a cube", "1", lambda setting: None, ())
    monkeypatch.setattr(diagnostics, "DIAGNOSTICS", [*diagnostics.DIAGNOSTICS, warmest, parts, none])
    scores = evaluate(fakes.Persist(), store, steps=2, batch_size=2)
    hottest = store.states[0, 2:, :, -1].max(axis=-1).astype(float)
    expected = [hottest[lead : lead + 6].mean() for lead in range(2)]
    np.testing.assert_allclose(scores.dataset.warmest, expected, rtol=1e-6)
    np.testing.assert_allclose(scores.series("warmest", "all")[1], expected, rtol=1e-6)
    assert scores.dataset.share.dims == ("lead_time", "variable", "level")
    assert np.isfinite(scores.dataset.share.sel(variable="T")).all()
    assert np.isnan(scores.dataset.share.sel(variable="By")).all()
    assert "none" not in scores.dataset
