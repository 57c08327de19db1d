"""Scores of the physics, over forecasts that are known: perfect, shifted, smoothed, extrapolated, broken."""

import math

import numpy as np
import pytest
import torch
from plasma_fixtures import NAMES, demo_plane, describe, plane, simulate

from spacecast.core.grid import Grid
from spacecast.core.types import Batch
from spacecast.evaluation.accumulator import Accumulator
from spacecast.evaluation.regions import DEFAULT_REGIONS, Regions, region_masks

PHYSICS = [
    "extrapolation_rmse", "gas_law_residual", "gas_law_residual_truth", "ohms_law_residual", "ohms_law_residual_truth",
    "small_scale_power", "standoff", "standoff_truth", "standoff_bias", "standoff_mae", "standoff_missing",
    "standoff_missing_truth", "reconnected_flux", "reconnected_flux_truth", "reconnected_flux_bias",
    "reconnected_flux_mae",
]  # fmt: skip


@pytest.fixture(scope="module")
def magnetosphere():
    """Description and four frames of the simulated magnetosphere."""
    return simulate(1.0)


def score(spec, states, forecasts, regions=None):
    """Accumulator of forecasts (member, lead, node, variable), physical, from the first two of some states."""
    mean, std = (torch.as_tensor(each) for each in (spec.state.mean, spec.state.std))
    forcing = torch.zeros(1, len(states) - 2, spec.num_nodes, 0)
    batch = Batch(states[None, :2], states[None, 2:], forcing, torch.tensor([[0, 0]]))
    scaled = Batch((batch.initial - mean) / std, (batch.target - mean) / std, forcing, batch.window)
    sums = Accumulator(spec, len(states) - 2, len(forecasts), regions)
    for lead in range(len(states) - 2):
        sums.add(lead, ((forecasts[:, lead] - mean) / std)[None], scaled, batch)
    return sums


def shifted(spec, states, cells):
    """States moved sunward by some cells, the outermost ones repeated."""
    x = spec.grid.positions[:, 0]
    field = torch.as_tensor(spec.grid.to_field(np.arange(spec.num_nodes, dtype=np.float32), fill=-1)).long()
    moved = torch.roll(field, cells, dims=0)
    source = torch.as_tensor(spec.grid.to_nodes(moved.numpy()))
    own = torch.arange(spec.num_nodes)
    usable = (source >= 0) & torch.as_tensor(x > 6)
    return states[:, torch.where(usable, source, own)]


def test_a_perfect_forecast_has_the_scores_of_the_truth(magnetosphere):
    spec, states = magnetosphere
    scores = score(spec, states, states[None, 2:]).scores()
    assert [name for name in scores.metrics if name in PHYSICS] == PHYSICS
    for law, variable in (("gas_law_residual", "P"), ("ohms_law_residual", "E")):
        assert scores.series(law, variable)[1].max() < 1e-4  # of a state that was standardised in single precision
        assert scores.series(f"{law}_truth", variable)[1].max() < 1e-6
    for name in NAMES:
        np.testing.assert_allclose(scores.series("small_scale_power", name)[1], 1, rtol=1e-3)
    for boundary in ("bow_shock", "magnetopause"):
        for name in ("standoff_bias", "standoff_mae", "standoff_missing", "standoff_missing_truth"):
            np.testing.assert_allclose(scores.series(name, boundary)[1], 0, atol=1e-3)
        np.testing.assert_allclose(*(scores.series(f"standoff{end}", boundary)[1] for end in ("", "_truth")), rtol=1e-4)
    assert (np.abs(scores.series("standoff_truth", "bow_shock")[1] - 16.5) < 1.5).all()
    assert (np.abs(scores.series("standoff_truth", "magnetopause")[1] - 9.5) < 1.5).all()
    np.testing.assert_allclose(scores.series("reconnected_flux_mae", "all")[1], 0, atol=0.01)
    assert (scores.series("reconnected_flux_truth", "all")[1] > 10).all()


def test_a_forecast_moved_by_a_cell_misplaces_the_boundaries_by_as_much(magnetosphere):
    spec, states = magnetosphere
    moved = torch.stack([shifted(spec, states[2:], 1), states[2:]])
    scores = score(spec, states, moved).scores()
    size = spec.grid.spacing[0]
    for boundary in ("bow_shock", "magnetopause"):
        np.testing.assert_allclose(scores.series("standoff_bias", boundary)[1], size / 2, rtol=0.02)
        np.testing.assert_allclose(scores.series("standoff_mae", boundary)[1], size / 2, rtol=0.02)
    both = torch.stack([shifted(spec, states[2:], 1), shifted(spec, states[2:], -1)])
    scores = score(spec, states, both).scores()
    np.testing.assert_allclose(scores.series("standoff_bias", "bow_shock")[1], 0, atol=0.02 * size)
    np.testing.assert_allclose(scores.series("standoff_mae", "bow_shock")[1], size, rtol=0.02)


def test_boundaries_that_are_not_there_are_counted_and_left_out(magnetosphere):
    spec, states = magnetosphere
    good, uniform = states[2:], states[2:].clone()
    uniform[..., NAMES.index("rho")] = 1.0
    uniform[..., NAMES.index("Bz")] = 5.0
    sums = score(spec, states, torch.stack([good, uniform]))
    scores = sums.scores()
    for boundary in ("bow_shock", "magnetopause"):
        np.testing.assert_allclose(scores.series("standoff_missing", boundary)[1], 0.5)
        np.testing.assert_allclose(scores.series("standoff_missing_truth", boundary)[1], 0)
        np.testing.assert_allclose(scores.series("standoff_mae", boundary)[1], 0, atol=1e-3)
    scores = score(spec, states, uniform[None]).scores()
    assert np.isnan(scores.series("standoff", "bow_shock")[1]).all()
    assert np.isnan(scores.series("standoff_mae", "bow_shock")[1]).all()
    assert (scores.series("standoff_missing", "bow_shock")[1] == 1).all()


def test_a_forecast_that_is_no_number_has_no_physics(magnetosphere):
    spec, states = magnetosphere
    scores = score(spec, states, torch.full_like(states[None, 2:], math.nan)).scores()
    assert (scores.series("standoff_missing", "magnetopause")[1] == 1).all()
    for name, variable in (("gas_law_residual", "P"), ("small_scale_power", "Bz"), ("reconnected_flux", "all")):
        assert np.isnan(scores.series(name, variable)[1]).all()
    assert np.isfinite(scores.series("gas_law_residual_truth", "P")[1]).all()


def test_residuals_are_relative_to_the_fields_of_the_forecast(magnetosphere):
    spec, states = magnetosphere
    wrong = states[2:].clone()
    wrong[..., NAMES.index("P")] *= 2  # P - n k T is then half of P
    for axis in "xyz":
        wrong[..., NAMES.index(f"E{axis}")] *= -1  # E + v x B is then 2 E
    scores = score(spec, states, wrong[None], DEFAULT_REGIONS).scores()
    for region in ("all", "tail", "magnetosheath"):
        np.testing.assert_allclose(scores.series("gas_law_residual", "P", region)[1], 0.5, rtol=1e-3)
        np.testing.assert_allclose(scores.series("ohms_law_residual", "E", region)[1], 2, rtol=1e-3)


def test_extrapolation_is_exact_for_steady_change_and_scored_like_a_forecast(magnetosphere):
    spec, states = magnetosphere
    slope = 0.1 * torch.as_tensor(spec.state.std) * torch.randn(spec.num_nodes, len(NAMES))
    steady = states[:1] + torch.arange(5)[:, None, None] * slope
    scores = score(spec, steady, steady[None, 2:]).scores()
    for name, std in zip(NAMES, spec.state.std, strict=True):
        assert scores.series("extrapolation_rmse", name)[1].max() < 1e-4 * std
        assert scores.series("persistence_rmse", name)[1].min() > 0.05 * std
    straight = states[1] + torch.arange(1, 3)[:, None, None] * (states[1] - states[0])
    scores = score(spec, states, straight[None]).scores()
    for name in NAMES:
        np.testing.assert_allclose(
            scores.series("extrapolation_rmse", name)[1], scores.series("rmse", name)[1], rtol=1e-3
        )


def test_a_smoothed_forecast_is_told_from_the_truth(magnetosphere):
    spec, states = magnetosphere
    weights = torch.as_tensor(spec.grid.neighbours)
    smooth = states[2:]
    for _ in range(4):  # a Gaussian of a width of one cell, as wide as the mean over three and a half cells
        smooth = 0.5 * smooth + 0.125 * sum(smooth[:, beside] for beside in weights)
    sums = score(spec, states, smooth[None])
    scores = sums.scores()
    for name in NAMES:
        assert (scores.series("small_scale_power", name)[1] < 0.6).all()
    means = sums.averages()
    forecast, truth = (
        sums.table(next(each for each in sums.diagnostics if each.name == name), means)
        for name in ("spectrum", "spectrum_truth")
    )
    assert forecast.shape == (2, len(NAMES), len(sums.setting.plasma.rectangle.wavenumbers))
    largest = forecast[..., 0] / truth[..., 0]
    assert (largest > 0.8).all()


def test_spectra_hold_the_variance_of_the_members_in_physical_units():
    spec = describe(demo_plane(), ("Bz", "rho"), std=np.array([3.0, 0.5]))
    x = torch.as_tensor(spec.grid.positions[:, 0])
    waves = torch.stack([4 * torch.sin(2 * math.pi * x / 8), 1 + torch.sin(2 * math.pi * x / 4)], dim=-1).float()
    states = waves.expand(3, -1, -1)
    sums = score(spec, states, torch.stack([states[2:], -states[2:]]))  # of which the mean is 0
    table = sums.table(next(each for each in sums.diagnostics if each.name == "spectrum"), sums.averages())
    scales = sums.setting.plasma.rectangle.wavenumbers
    power = table[0].sum(dim=-1) * scales[0]
    torch.testing.assert_close(power, torch.tensor([8.0, 0.5], dtype=torch.float64), rtol=0.02, atol=0)
    peaks = scales[table[0].argmax(dim=-1)]
    torch.testing.assert_close(peaks, torch.tensor([1 / 8, 1 / 4], dtype=torch.float64), rtol=0, atol=float(scales[0]))


def test_what_data_do_not_hold_is_not_scored():
    spec = describe(demo_plane(), ("vx", "P"))
    states = torch.randn(3, spec.num_nodes, 2)
    scores = score(spec, states, states[None, 2:]).scores()
    assert [name for name in scores.metrics if name in PHYSICS] == ["extrapolation_rmse", "small_scale_power"]


@pytest.mark.parametrize("place", ["box", "small"])
def test_a_box_or_a_small_plane_has_no_spectra_and_no_boundaries(place, caplog):
    caplog.set_level("INFO")
    axes = {"x": np.arange(-8.0, 9), "y": np.arange(-2.0, 3), "z": np.arange(-8.0, 9)}
    grid = Grid(axes, np.ones((17, 5, 17))) if place == "box" else plane(np.arange(-8.0, 9), np.arange(-8.0, 9))
    spec = describe(grid)
    states = torch.rand(3, spec.num_nodes, len(NAMES)) + 1
    scores = score(spec, states, states[None, 2:], DEFAULT_REGIONS).scores()
    assert [name for name in scores.metrics if name in PHYSICS] == PHYSICS[:5]
    assert caplog.text.count("the grid has no place for power spectra") == 1


def test_regions_by_position_part_the_simulated_magnetosphere(magnetosphere):
    spec, _ = magnetosphere
    masks = region_masks(spec, DEFAULT_REGIONS)
    assert list(masks) == ["all", *DEFAULT_REGIONS]
    x, z = spec.grid.positions.T
    far = (spec.grid.radius >= 10) & spec.interior & (x < 0)
    parts = [masks[name] for name in ("solar_wind", "magnetosheath", "lobes", "plasma_sheet")]
    assert (np.sum(parts, axis=0)[far] == 1).all()
    assert (np.sum(parts, axis=0) <= 1).all()
    assert masks["plasma_sheet"][far & (np.abs(z) < 1)].all()
    assert masks["solar_wind"][(x > 17) & spec.interior].all()


def test_default_regions_that_a_grid_has_no_axis_for_are_left_out():
    flat = describe(Grid({"x": np.arange(-20.0, 21), "y": np.arange(-20.0, 21)}, np.ones((41, 41))), ("Bz",))
    names = list(region_masks(flat, DEFAULT_REGIONS))
    assert names == ["all", "inner", "dayside", "tail", "solar_wind", "magnetosheath"]


def test_scores_by_plasma_follow_the_plasma(magnetosphere):
    spec, states = magnetosphere
    regions = Regions(spec, None, by_plasma=True)
    assert regions.names[:2] == ["all", "solar_wind_by_plasma"]
    wrong = states[2:].clone()
    masks = regions.masks(states[2:])
    for lead in range(2):
        lobes = masks[lead, regions.names.index("lobes_by_plasma")].bool()
        wrong[lead, lobes, NAMES.index("rho")] += 0.5
    sums = score(spec, states, wrong[None], regions)
    scores = sums.scores()
    np.testing.assert_allclose(scores.series("rmse", "rho", "lobes_by_plasma")[1], 0.5, rtol=1e-4)
    for other in ("solar_wind_by_plasma", "magnetosheath_by_plasma", "plasma_sheet_by_plasma"):
        np.testing.assert_allclose(scores.series("rmse", "rho", other)[1], 0, atol=1e-5)


def test_a_region_without_plasma_of_its_kind_has_no_scores_and_says_nothing_of_persistence(magnetosphere, caplog):
    spec, states = magnetosphere
    still = states.clone()
    still[..., NAMES.index("vx")] = 0.1 * torch.rand(still.shape[:-1])  # nothing blows towards the tail
    caplog.set_level("INFO")
    scores = score(spec, still, states[None, 2:], Regions(spec, None, by_plasma=True)).scores()
    for variable in ("rho", "mean"):
        assert np.isnan(scores.series("skill", variable, "lobes_by_plasma")[1]).all()
        assert np.isfinite(scores.series("skill", variable)[1]).all()
    assert "no skill" not in caplog.text


def test_regions_of_ones_own_may_be_bounded_by_surfaces(magnetosphere):
    spec, _ = magnetosphere
    bounds = {"subsolar": {"bow_shock_max": 1, "magnetopause_min": 1, "x_min": 0, "abs_z_max": 3}}
    near, far = (region_masks(spec, bounds, {"bow_shock_standoff": value})["subsolar"].sum() for value in (13, 20))
    assert near < far
