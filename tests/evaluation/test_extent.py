"""What tells a roll-out that breaks: roughness beside the truth's, and values out of its range."""

import numpy as np
import pytest
import xarray as xr
from torch import nn

from spacecast.core.types import StepOutput
from spacecast.evaluation.evaluator import evaluate


class Scaled(nn.Module):
    """Persistence about the mean, times a number; of one member in two where a draw says so."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def prepare(self) -> None:
        pass

    def step(self, previous, state, forcing, prepared) -> StepOutput:
        return StepOutput(self.factor * state, None)


def still(store) -> None:
    """The truth no longer changes, so that persistence is perfect."""
    store.states[:] = store.states[:, :1]


def scored(store, model: nn.Module, steps: int = 1, members: int = 1) -> xr.Dataset:
    """Scores by lead and variable of the model."""
    found = evaluate(model, store, steps=steps, windows=2, members=members, regions=None, bootstrap_draws=0).dataset
    return found.sel(variable=list(store.spec.state.names))


def test_roughness_is_the_root_of_the_squares_of_laplacians_over_those_of_the_truth(store, fakes) -> None:
    """By brute force, of persistence, on the cells beside which none is driven."""
    found = scored(store, fakes.Persist(), steps=2)["roughness"].values
    grid, boundary = store.spec.grid, store.spec.boundary
    free = grid.to_field((~boundary).astype(float), fill=0) > 0
    counted = free[1:-1, 1:-1] & free[2:, 1:-1] & free[:-2, 1:-1] & free[1:-1, 2:] & free[1:-1, :-2]

    def square(states: np.ndarray) -> np.ndarray:
        fields = grid.to_field(states.astype(np.float64).T)
        inner, sizes = fields[..., 1:-1, 1:-1], grid.spacing
        across = (fields[..., 2:, 1:-1] + fields[..., :-2, 1:-1] - 2 * inner) / sizes[0] ** 2
        along = (fields[..., 1:-1, 2:] + fields[..., 1:-1, :-2] - 2 * inner) / sizes[1] ** 2
        return np.nanmean((across + along)[..., counted] ** 2, axis=-1)

    for lead in (1, 2):
        truths, starts = store.states[0, [1 + lead, 2 + lead]], store.states[0, [1, 2]]
        ratio = sum(map(square, starts)) / sum(map(square, truths))
        np.testing.assert_allclose(found[lead - 1], np.sqrt(ratio), rtol=1e-4)


@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
def test_roughness_and_extent_are_those_of_the_truth_times_its_factor(store, factor: float) -> None:
    """Symmetric about 0 in standardised units, the truth's range is scaled about its middle."""
    state = store.spec.state
    half = np.linspace(-1, 1, store.spec.num_nodes)
    half[store.spec.boundary] = 0
    half[np.flatnonzero(store.spec.interior)[[0, -1]]] = (-1, 1)
    store.states[:] = half[:, None] * state.std + state.mean
    found = scored(store, Scaled(factor))
    np.testing.assert_allclose(found["roughness"], factor, rtol=2e-3)
    np.testing.assert_allclose(found["extent"], factor, rtol=1e-4)
    share = (np.abs(factor * half[store.spec.interior]) > 2).mean()
    np.testing.assert_allclose(found["beyond_range"], share, atol=0.02)
    assert (found["beyond_range"].values > 0).all() == (factor > 2)


def test_a_forecast_that_is_no_number_is_beyond_any_range(store) -> None:
    found = scored(store, Scaled(float("nan")))
    assert (found["beyond_range"] == 1).all()
    assert np.isnan(found["extent"]).all()
    assert np.isnan(found["roughness"]).all()


def test_a_field_without_a_range_has_no_such_scores(store, fakes) -> None:
    store.states[..., 3] = 7.0
    found = scored(store, fakes.Persist())
    for name in ("extent", "beyond_range"):
        values = found[name].values[0]
        assert np.isnan(values[3])
        assert np.isfinite(np.delete(values, 3)).all()


def test_each_member_counts(store, fakes) -> None:
    """The mean of members with much noise is smooth, and none of them is."""
    still(store)
    found = scored(store, fakes.Persist(noise=3.0), members=8)
    single = scored(store, fakes.Persist(noise=3.0))
    np.testing.assert_allclose(found["roughness"], single["roughness"], rtol=0.25)
    assert (found["extent"] > single["extent"]).mean() > 0.8
    assert {"roughness_by_run", "extent_by_start"} <= set(found)
