import math

import numpy as np
import pytest
import torch

from spacecast.core.errors import UserError
from spacecast.core.grid import Grid
from spacecast.evaluation import metrics


@pytest.fixture
def fields() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, 7, 3, generator=generator), torch.randn(2, 7, 3, generator=generator)


def brute_force_crps(members: np.ndarray, truth: np.ndarray, share: float) -> np.ndarray:
    """Double sum over pairs, members on the first axis."""
    count = len(members)
    pairs = sum(np.abs(one - other) for one in members for other in members)
    return np.abs(members - truth).mean(0) - share * pairs / (2 * count * max(count - 1, 1))


def test_pointwise_scores_by_hand() -> None:
    forecast = torch.tensor([[1.0], [4.0], [100.0]])
    truth = torch.tensor([[0.0], [6.0], [0.0]])
    mask = torch.tensor([True, True, False])
    assert metrics.mse(forecast, truth, mask).item() == 2.5
    assert metrics.mae(forecast, truth, mask).item() == 1.5
    assert metrics.bias(forecast, truth, mask).item() == -0.5
    assert metrics.wmse(forecast, truth, torch.tensor(2.0), mask).item() == 0.625
    assert metrics.wmae(forecast, truth, torch.tensor(2.0), mask[:, None]).item() == 0.75
    assert metrics.mse(forecast, truth).item() == pytest.approx(10005 / 3)


def test_a_masked_node_may_hold_nan(fields) -> None:
    forecast, truth = fields
    broken = forecast.clone()
    broken[:, 2] = math.nan
    mask = torch.arange(7) != 2
    for metric in (metrics.mse, metrics.mae, metrics.bias, metrics.correlation):
        torch.testing.assert_close(metric(broken, truth, mask), metric(forecast[:, mask], truth[:, mask]))


def test_nll_is_that_of_torch(fields) -> None:
    forecast, truth = fields
    std = torch.tensor([0.5, 1.0, 3.0])
    expected = -torch.distributions.Normal(forecast, std).log_prob(truth).mean(-2)
    torch.testing.assert_close(metrics.nll(forecast, truth, std), expected)


def test_correlation_is_pearsons(fields) -> None:
    forecast, truth = fields
    expected = np.corrcoef(forecast[1, :, 2].numpy(), truth[1, :, 2].numpy())[0, 1]
    assert metrics.correlation(forecast, truth)[1, 2].item() == pytest.approx(expected, rel=1e-5)
    torch.testing.assert_close(metrics.correlation(truth, 3 * truth + 2), torch.ones(2, 3))
    assert metrics.correlation(torch.ones(4, 1), torch.randn(4, 1)).isnan().all()


def test_gaussian_crps_integrates_the_squared_cdf_error() -> None:
    mean, std, truth = 0.3, 0.7, 1.4
    x = torch.linspace(-20, 20, 400001, dtype=torch.float64)
    cdf = torch.distributions.Normal(torch.tensor(mean).double(), torch.tensor(std).double()).cdf(x)
    integral = torch.trapezoid((cdf - (x >= truth).double()).square(), x)
    value = metrics.crps_gauss(torch.tensor([[mean]]), torch.tensor([[truth]]), torch.tensor([std]))
    assert value.item() == pytest.approx(integral.item(), rel=1e-4)
    sharp = metrics.crps_gauss(torch.tensor([[mean]]), torch.tensor([[truth]]), torch.tensor([1e-6]))
    assert sharp.item() == pytest.approx(truth - mean, rel=1e-5)


@pytest.mark.parametrize("count", [1, 2, 3, 8, 21])
@pytest.mark.parametrize("estimator", ["fair", "ecdf", "almost_fair"])
def test_ensemble_crps_equals_the_double_sum(count: int, estimator: str) -> None:
    rng = np.random.default_rng(count)
    members, truth = rng.normal(size=(count, 2, 5, 3)), rng.normal(size=(2, 5, 3))
    share = {"fair": 1.0, "ecdf": 1 - 1 / count, "almost_fair": 1 - 0.1 / count}[estimator]
    expected = brute_force_crps(members, truth, share).mean(-2)
    for axis in (0, 1, -3):
        moved = torch.as_tensor(np.moveaxis(members, 0, axis))
        value = metrics.crps_ensemble(moved, torch.as_tensor(truth), axis, estimator, alpha=0.9)
        np.testing.assert_allclose(value.numpy(), expected, rtol=1e-12)


def test_crps_variable_by_variable_is_the_same(monkeypatch) -> None:
    members, truth = torch.randn(2, 6, 5, 3), torch.randn(2, 5, 3)
    whole = metrics.crps_ensemble(members, truth, axis=1)
    monkeypatch.setattr(metrics, "LARGE", 1)
    torch.testing.assert_close(metrics.crps_ensemble(members, truth, axis=1), whole)


def test_ecdf_crps_integrates_the_squared_step_function() -> None:
    members, truth = torch.tensor([0.1, 0.9, 1.3, 4.0]).double(), 1.0
    x = torch.linspace(-2, 6, 800001, dtype=torch.float64)
    cdf = (x[:, None] >= members).double().mean(-1)
    integral = torch.trapezoid((cdf - (x >= truth).double()).square(), x).item()
    value = metrics.crps_ensemble(members.reshape(4, 1, 1), torch.tensor([[truth]]).double(), 0, "ecdf")
    assert value.item() == pytest.approx(integral, rel=1e-4)


def test_large_ensemble_approaches_the_gaussian() -> None:
    members = torch.distributions.Normal(0.0, 1.0).icdf((torch.arange(20000) + 0.5) / 20000)
    truth = torch.tensor([[0.4]])
    value = metrics.crps_ensemble(members.reshape(-1, 1, 1), truth, axis=0)
    assert value.item() == pytest.approx(metrics.crps_gauss(torch.zeros(1, 1), truth, torch.ones(1)).item(), rel=1e-3)


def test_ensemble_of_one_is_the_absolute_error(fields) -> None:
    forecast, truth = fields
    torch.testing.assert_close(metrics.crps_ensemble(forecast[None], truth, axis=0), metrics.mae(forecast, truth))
    assert (metrics.spread(forecast[None], axis=0) == 0).all()


def test_fair_crps_is_unbiased_in_the_number_of_members() -> None:
    generator = torch.Generator().manual_seed(3)
    truth = torch.randn(40000, 1, generator=generator)
    exact = metrics.crps_gauss(torch.zeros(40000, 1), truth, torch.ones(1)).item()
    for count in (2, 5):
        members = torch.randn(count, 40000, 1, generator=generator)
        assert metrics.crps_ensemble(members, truth, axis=0).item() == pytest.approx(exact, rel=0.02)
        assert metrics.crps_ensemble(members, truth, axis=0, estimator="ecdf").item() > 1.1 * exact


def test_unknown_estimator_is_refused() -> None:
    with pytest.raises(UserError, match="unknown CRPS estimator 'unfair'; did you mean 'fair'"):
        metrics.crps_ensemble(torch.zeros(2, 1, 1), torch.zeros(1, 1), axis=0, estimator="unfair")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="unknown CRPS estimator"):
        metrics.crps_ensemble(torch.zeros(1, 1, 1), torch.zeros(1, 1), axis=0, estimator="unfair")  # type: ignore[arg-type]


@pytest.mark.parametrize("count", [2, 5, 20])
def test_exchangeable_ensemble_has_ratio_one_and_flat_ranks(count: int) -> None:
    generator = torch.Generator().manual_seed(count)
    centre = 10 * torch.randn(30000, 2, generator=generator)
    drawn = centre + torch.randn(count + 1, 30000, 2, generator=generator)
    members, truth = drawn[:-1], drawn[-1]
    variance, error = metrics.ensemble_variance(members, axis=0), metrics.mse(members.mean(0), truth)
    torch.testing.assert_close(metrics.spread_skill_ratio(variance, error, count), torch.ones(2), rtol=0.02, atol=0)
    counts = metrics.rank_histogram(members, truth, axis=0)
    assert counts.shape == (2, count + 1)
    assert (counts.sum(-1) == 30000).all()
    expected = 30000 / (count + 1)
    assert ((counts - expected).abs() < 5 * math.sqrt(expected)).all()


def test_ranks_by_hand_and_ties_by_chance() -> None:
    members = torch.tensor([1.0, 2.0, 3.0]).reshape(3, 1, 1)
    for value, rank in ((0.0, 0), (1.5, 1), (2.5, 2), (9.0, 3)):
        counts = metrics.rank_histogram(members, torch.tensor([[value]]), axis=0)
        assert counts.tolist() == [[int(rank == slot) for slot in range(4)]]
    tied = metrics.rank_histogram(
        torch.zeros(3, 8000, 1), torch.zeros(8000, 1), axis=0, generator=torch.Generator().manual_seed(0)
    )
    assert ((tied - 2000).abs() < 250).all()


def test_divergence_of_a_linear_field_and_of_a_curl() -> None:
    x, z = np.arange(8.0), np.arange(6.0) * 2
    valid = np.ones((8, 6), dtype=bool)
    valid[3, 3] = False
    grid = Grid({"x": x, "z": z}, valid)
    px, pz = torch.as_tensor(grid.positions).T
    assert metrics.divergence(grid, 3 * px, pz).item() == pytest.approx(4.0)
    assert metrics.divergence(grid, 3 * px, pz, squared=True).item() == pytest.approx(16.0)
    assert metrics.divergence(grid, pz, -px).item() == pytest.approx(0.0)
    mask = torch.as_tensor(grid.positions[:, 0] < 3)
    assert metrics.divergence(grid, torch.where(px > 4, px**3, px), 0 * pz, mask).item() == pytest.approx(1.0)


def test_agreement_with_the_reference(reference_dir) -> None:
    known = {name: torch.as_tensor(value) for name, value in np.load(reference_dir / "tensors/metrics.npz").items()}
    pred, target, std, mask = (known[name] for name in ("pred", "target", "pred_std", "mask"))
    ours = {name: getattr(metrics, name)(pred, target, mask=mask) for name in ("mse", "mae")}
    ours |= {name: getattr(metrics, name)(pred, target, std, mask) for name in ("wmse", "wmae", "nll", "crps_gauss")}
    for count in (2, 3, 5, 12):
        members = known[f"ens{count}"]
        ours[f"crps_ens{count}"] = metrics.crps_ensemble(members, target, axis=1, mask=mask)
        ours[f"spread_squared{count}"] = metrics.ensemble_variance(members, axis=1, mask=mask)
    for name, value in ours.items():
        torch.testing.assert_close(value, known[name], rtol=1e-5, atol=1e-6, msg=lambda text, n=name: f"{n}: {text}")


def test_divergence_agrees_with_the_reference_on_its_cells(reference_dir) -> None:
    constants = np.load(reference_dir / "tensors/constants.npz")
    known = np.load(reference_dir / "tensors/divergence.npz")
    nx, nz, dx, dz = (constants[name].item() for name in ("nx", "nz", "dx", "dz"))
    grid = Grid({"x": np.arange(nx) * dx, "z": np.arange(nz) * dz}, np.ones((nx, nz), dtype=bool))
    mask = torch.zeros(nx * nz, dtype=torch.bool)
    mask[torch.as_tensor(grid.stencil[0])] = torch.as_tensor(constants["div_mask"][:, 0] > 0)
    bx, bz = torch.as_tensor(known["field"]).unbind(-1)
    for name, squared in (("absolute", False), ("squared", True)):
        ours = metrics.divergence(grid, bx, bz, mask, squared)
        np.testing.assert_allclose(ours.numpy(), known[name], rtol=1e-5)
