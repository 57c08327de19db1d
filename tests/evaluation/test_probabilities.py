"""Scores of events and of whole fields, as an evaluation averages them, against numpy on everything at once."""

import itertools

import numpy as np
import pytest
import torch

from spacecast.core.errors import UserError
from spacecast.core.types import Batch
from spacecast.evaluation import probabilities
from spacecast.evaluation.accumulator import Accumulator
from spacecast.evaluation.evaluator import evaluate
from spacecast.evaluation.regions import Regions
from spacecast.evaluation.sample import Setting
from spacecast.formulas.ensemble import crps_ensemble

MEMBERS, WINDOWS, LEADS = 4, 5, 2
THRESHOLDS = (-0.5, 0.7)
REGIONS = {"inner": {"r_max": 10}, "near": {"r_max": 14}, "tail": {"r_min": 10, "x_max": 0}}


@pytest.fixture
def drawn(tiny_spec) -> tuple[torch.Tensor, torch.Tensor]:
    """Standardised members (lead, window, member, node, state) and truth (lead, window, node, state)."""
    generator = torch.Generator().manual_seed(0)
    nodes, state = tiny_spec.num_nodes, len(tiny_spec.state)
    truth = torch.randn(LEADS, WINDOWS, nodes, state, generator=generator)
    noise = torch.randn(LEADS, WINDOWS, MEMBERS, nodes, state, generator=generator)
    return 0.6 * truth.unsqueeze(2) + 0.5 * noise, truth


def accumulate(spec, drawn, **options) -> Accumulator:
    members, truth = drawn
    sums = Accumulator(spec, LEADS, members.shape[2], REGIONS, **options)
    target = truth.movedim(0, 1)
    initial = torch.zeros(WINDOWS, 2, *target.shape[2:])
    window = torch.tensor([[0, number] for number in range(WINDOWS)])
    forcing = torch.zeros(WINDOWS, LEADS, spec.num_nodes, 0)
    mean, std = torch.as_tensor(spec.state.mean), torch.as_tensor(spec.state.std)
    scaled = Batch(initial, target, forcing, window)
    physical = Batch(initial * std + mean, target * std + mean, forcing, window)
    for rows in (slice(0, 2), slice(2, None)):
        for lead in range(LEADS):
            sums.add(lead, members[lead][rows], Batch(*(each[rows] for each in scaled)),
                     Batch(*(each[rows] for each in physical)))  # fmt: skip
    return sums


def inside(sums: Accumulator, drawn) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Members and truth in each region, double precision."""
    members, truth = (each.double() for each in drawn)
    grid, spec = sums.spec.grid, sums.spec
    r, x = grid.radius, grid.positions[:, 0]
    masks = {"all": r > 0, "inner": r < 10, "near": r < 14, "tail": (r >= 10) & (x < 0)}
    nodes = {name: np.flatnonzero(mask & spec.interior) for name, mask in masks.items()}
    return {name: (members[..., each, :], truth[..., each, :]) for name, each in nodes.items()}


def metric(sums: Accumulator, name: str) -> np.ndarray:
    """(lead, region, column)."""
    means = sums.averages()
    found = next(each for each in sums.metrics if each.name == name)
    return sums.values(found, means, sums.counted(means)).numpy()


def table(sums: Accumulator, name: str) -> np.ndarray:
    """(lead, *axes)."""
    found = next(each for each in sums.diagnostics if each.name == name)
    return sums.table(found, sums.averages()).numpy()


def test_brier_scores_of_regions_are_those_of_numpy(tiny_spec, drawn) -> None:
    sums = accumulate(tiny_spec, drawn, thresholds=THRESHOLDS)
    for number, (members, truth) in enumerate(inside(sums, drawn).values()):
        scores, frequencies = [], []
        for threshold in THRESHOLDS:
            share, event = (members > threshold).double().mean(dim=2), (truth > threshold).double()
            fair = (share - event).square() - share * (1 - share) / (MEMBERS - 1)
            scores.append(fair.mean(dim=(1, 2)))
            frequencies.append(event.mean(dim=(1, 2)))
        score, frequency = torch.stack(scores).mean(dim=0), torch.stack(frequencies)
        skill = 1 - score / (frequency * (1 - frequency)).mean(dim=0)
        np.testing.assert_allclose(metric(sums, "brier_score")[:, number, :-1], score, rtol=1e-9)
        np.testing.assert_allclose(metric(sums, "brier_skill_score")[:, number, :-1], skill, rtol=1e-9)
        np.testing.assert_allclose(metric(sums, "brier_skill_score")[:, number, -1], skill.mean(dim=-1), rtol=1e-9)
        if number == 0:
            by_threshold = torch.stack(scores, dim=-1)
            np.testing.assert_allclose(table(sums, "threshold_brier_score"), by_threshold, rtol=1e-9)
            each = 1 - by_threshold / (frequency * (1 - frequency)).movedim(0, -1)
            np.testing.assert_allclose(table(sums, "threshold_brier_skill_score"), each, rtol=1e-9)


def test_reliability_tables_make_up_the_brier_score(tiny_spec, drawn) -> None:
    sums = accumulate(tiny_spec, drawn, thresholds=THRESHOLDS)
    share, frequency = table(sums, "forecast_share"), table(sums, "observed_frequency")
    members, truth = inside(sums, drawn)["all"]
    assert share.shape == (LEADS, len(tiny_spec.state), len(THRESHOLDS), MEMBERS + 1)
    np.testing.assert_allclose(share.sum(axis=-1), 1, rtol=1e-12)
    for (place, threshold), count in itertools.product(enumerate(THRESHOLDS), range(MEMBERS + 1)):
        forecast = (members > threshold).sum(dim=2) == count
        np.testing.assert_allclose(share[:, :, place, count], forecast.double().mean(dim=(1, 2)), rtol=1e-9)
        happened = (forecast & (truth > threshold)).sum(dim=(1, 2)) / forecast.sum(dim=(1, 2)).double()
        np.testing.assert_allclose(frequency[:, :, place, count], happened, rtol=1e-9)
    parts = [table(sums, f"brier_{name}") for name in ("reliability", "resolution", "uncertainty")]
    probability = np.arange(MEMBERS + 1) / MEMBERS
    plain = (share * (frequency * (1 - probability) ** 2 + (1 - frequency) * probability**2)).sum(axis=-1)
    np.testing.assert_allclose(parts[0] - parts[1] + parts[2], plain, rtol=1e-9)


@pytest.mark.parametrize("estimator", ["fair", "almost_fair", "ecdf"])
def test_almost_fair_crps_follows_from_any_estimator(tiny_spec, drawn, estimator) -> None:
    sums, std = accumulate(tiny_spec, drawn, estimator=estimator), tiny_spec.state.std
    for number, (members, truth) in enumerate(inside(sums, drawn).values()):
        ordered = members.movedim(2, 0)
        for name, expected in (
            ("crps", crps_ensemble(ordered, truth, estimator=estimator)),
            ("almost_fair_crps", crps_ensemble(ordered, truth, estimator="almost_fair")),
            ("member_mae", (ordered - truth).abs().mean(dim=0)),
        ):
            found = metric(sums, name)[:, number] / std
            np.testing.assert_allclose(found, expected.mean(dim=(1, 2)), rtol=2e-6, err_msg=name)


def energy(members: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Fair energy score of fields (lead, window, member, entry) by brute force, mean over windows: (lead,)."""

    def norm(field: torch.Tensor) -> torch.Tensor:
        return field.square().mean(dim=-1).sqrt()

    skill = norm(members - truth.unsqueeze(2)).mean(dim=2)
    pairs = sum(norm(members[:, :, j] - members[:, :, k]) for j, k in itertools.permutations(range(MEMBERS), 2))
    return (skill - pairs / (2 * MEMBERS * (MEMBERS - 1))).mean(dim=1)


@pytest.mark.parametrize("at_once", [2**24, 500])
def test_energy_scores_of_regions_are_those_of_brute_force(tiny_spec, drawn, monkeypatch, at_once) -> None:
    """Whether nodes are taken together or in parts; `inner` lies within `near`, which meets `tail`."""
    monkeypatch.setattr(probabilities, "LARGE", at_once)
    sums = accumulate(tiny_spec, drawn)
    for number, (members, truth) in enumerate(inside(sums, drawn).values()):
        columns = [energy(members[..., column], truth[..., column]) for column in range(len(tiny_spec.state))]
        expected = torch.stack(columns, dim=-1).numpy() * tiny_spec.state.std
        np.testing.assert_allclose(table(sums, "energy_score")[:, number], expected, rtol=1e-6)
        together = energy(members.flatten(-2), truth.flatten(-2))
        np.testing.assert_allclose(table(sums, "energy_score_of_all")[:, number], together, rtol=1e-6)


def test_a_region_that_some_forecasts_have_no_node_of_is_scored_in_the_others(tiny_spec, drawn, monkeypatch) -> None:
    """As regions by plasma may be: `tail` is there in the first two windows alone, and `near` in none."""
    ours, state = Regions.masks, tiny_spec.state
    first = (drawn[1][:, :2] * torch.as_tensor(state.std) + torch.as_tensor(state.mean)).flatten(0, 1)

    def masks(regions: Regions, truth: torch.Tensor) -> torch.Tensor:
        found = ours(regions, truth).clone()
        later = [not any(torch.equal(window, each) for each in first) for window in truth]
        found[later, regions.names.index("tail")] = 0
        found[:, regions.names.index("near")] = 0
        return found

    monkeypatch.setattr(Regions, "masks", masks)
    sums = accumulate(tiny_spec, drawn)
    members, truth = inside(sums, drawn)["tail"]
    expected = energy(members[:, :2].flatten(-2), truth[:, :2].flatten(-2))
    found = dict(zip(sums.regions.names, table(sums, "energy_score_of_all").T, strict=True))
    np.testing.assert_allclose(found["tail"], expected, rtol=1e-6)
    assert np.isnan(found["near"]).all()
    assert np.isfinite(found["all"]).all()


def test_anomaly_correlation_is_that_of_numpy(tiny_spec, drawn) -> None:
    generator = np.random.default_rng(1)
    physical = tiny_spec.state.mean + tiny_spec.state.std * generator.normal(
        size=(tiny_spec.num_nodes, len(tiny_spec.state))
    )
    sums = accumulate(tiny_spec, drawn, climatology=physical)
    standard = torch.as_tensor((physical - tiny_spec.state.mean) / tiny_spec.state.std)[tiny_spec.interior_nodes]
    members, truth = inside(sums, drawn)["all"]
    f, y = members.mean(dim=2) - standard, truth - standard
    expected = (f * y).sum(dim=(1, 2)) / (f.square().sum(dim=(1, 2)) * y.square().sum(dim=(1, 2))).sqrt()
    found = metric(sums, "anomaly_correlation")[:, 0]
    np.testing.assert_allclose(found[:, :-1], expected, rtol=1e-6)
    np.testing.assert_allclose(found[:, -1], expected.mean(dim=-1), rtol=1e-6)


def test_what_never_departs_from_its_climatology_has_no_anomaly_and_is_left_out_of_the_mean(tiny_spec, drawn) -> None:
    members, truth = drawn
    truth[..., 0] = 0.25
    climatology = np.tile(tiny_spec.state.mean + 0.25 * tiny_spec.state.std, (tiny_spec.num_nodes, 1))
    found = metric(accumulate(tiny_spec, (members, truth), climatology=climatology), "anomaly_correlation")
    assert np.isnan(found[..., 0]).all()
    assert np.isfinite(found[..., 1:]).all()


def test_events_that_never_happen_have_no_skill(tiny_spec, drawn) -> None:
    sums = accumulate(tiny_spec, drawn, thresholds=(50.0,))
    assert np.isnan(metric(sums, "brier_skill_score")).all()
    assert (metric(sums, "brier_score") == 0).all()
    assert (table(sums, "brier_uncertainty") == 0).all()


def test_without_thresholds_climatology_or_members_there_are_no_such_scores(tiny_spec, drawn) -> None:
    def names(**options) -> set[str]:
        sums = accumulate(tiny_spec, drawn, **options)
        return {each.name for each in (*sums.metrics, *sums.diagnostics)}

    assert {name for name in names() - names(thresholds=()) if "brier" not in name} == {
        "forecast_share", "observed_frequency"
    }  # fmt: skip
    assert names(climatology=np.zeros((tiny_spec.num_nodes, 12))) - names() == {"anomaly_correlation"}
    sums = Accumulator(tiny_spec, 1, 1)
    single = {each.name for each in (*sums.metrics, *sums.diagnostics)}
    assert not single & {"member_mae", "almost_fair_crps", "brier_score", "energy_score", "rank_slope"}


def test_thresholds_are_numbers(tiny_spec) -> None:
    with pytest.raises(UserError, match=r"evaluation.thresholds=\[1.0, nan\]: must be finite"):
        Setting(tiny_spec, 2, thresholds=(1.0, float("nan")))


def test_ranks_of_an_ensemble_with_too_little_spread_curve_up_and_are_not_flat(store, fakes) -> None:
    """The walk moves by 0.2 a frame; members that move by 0.05 leave the truth outside of them."""
    found = evaluate(fakes.Persist(noise=0.05), store, runs="all", steps=2, members=5).dataset
    good = evaluate(fakes.Persist(noise=0.2), store, runs="all", steps=2, members=5).dataset
    names = list(store.spec.state.names)
    assert (found.rank_curvature.sel(variable=names) > 0.5).all()
    assert (found.rank_flatness_p.sel(variable=names) < 0.05).all()
    assert (abs(good.rank_curvature.sel(variable=names)) < 0.3).all()
    np.testing.assert_allclose(found.rank_histogram.sel(variable=names).sum("rank"), 1)
    assert (found.reliability_index > good.reliability_index).sel(variable=names).all()
    low, high = found.rank_curvature_low, found.rank_curvature_high
    assert ((low <= found.rank_curvature) & (found.rank_curvature <= high)).sel(variable=names).all()


def test_tables_of_probabilities_are_written_once_and_their_scores_with_intervals(store, fakes) -> None:
    found = evaluate(fakes.Persist(noise=0.2), store, steps=2, members=3, thresholds=(-1.0, 1.0)).dataset
    assert found.threshold_brier_score_by_start.dims == ("start", "lead_time", "variable", "threshold")
    assert found.threshold.values.tolist() == [-1.0, 1.0]
    state, limits = store.spec.state, found.threshold_value.sel(variable=list(store.spec.state.names))
    np.testing.assert_allclose(limits, np.stack([state.mean - state.std, state.mean + state.std], axis=-1))
    np.testing.assert_allclose(found.probability, np.arange(4) / 3)
    assert found.observed_frequency.dims == ("lead_time", "variable", "threshold", "probability")
    assert not {f"observed_frequency_{part}" for part in ("low", "high", "by_run", "by_start")} & set(found)
    assert found.energy_score.units == "of the variable"
