"""Power spectra: Parseval, waves, and what smoothing takes away."""

import math

import pytest
import torch

from spacecast.formulas.spectra import hann, power_spectrum, wavenumbers

SHAPES = [((40, 32), (0.5, 0.5)), ((33, 27), (1.0, 1.5)), ((20, 61), (0.25, 0.5))]


def ring_width(shape, spacing):
    return float(wavenumbers(shape, spacing)[0])


@pytest.mark.parametrize(("shape", "spacing"), SHAPES)
def test_parseval_holds_without_a_window(shape, spacing):
    field = torch.randn(3, *shape, dtype=torch.float64) * 7 + 100
    total = power_spectrum(field, spacing).sum(dim=-1) * ring_width(shape, spacing)
    torch.testing.assert_close(total, field.var(dim=(-2, -1), correction=0), rtol=1e-9, atol=0)


@pytest.mark.parametrize(("shape", "spacing"), SHAPES)
@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
def test_parseval_holds_with_a_window(shape, spacing, precision):
    field = torch.randn(3, *shape).to(precision) + torch.linspace(-9, 9, shape[1]).to(precision)
    window = hann(shape)
    total = power_spectrum(field, spacing, window).sum(dim=-1) * ring_width(shape, spacing)
    mean = (window * field.double()).sum(dim=(-2, -1), keepdim=True) / window.sum()
    expected = (window * (field.double() - mean)).square().sum(dim=(-2, -1)) / window.square().sum()
    torch.testing.assert_close(total, expected, rtol=1e-6, atol=0)


def test_white_noise_keeps_its_variance_under_the_window():
    torch.manual_seed(0)
    shape, spacing = (64, 64), (1.0, 1.0)
    field = 3 * torch.randn(200, *shape)
    total = power_spectrum(field, spacing, hann(shape)).sum(dim=-1).mean() * ring_width(shape, spacing)
    assert total == pytest.approx(9.0, rel=0.02)


@pytest.mark.parametrize(("along", "across"), [(0.25, 0.0), (0.0, 0.25), (0.2, 0.15), (-0.2, 0.15), (0.3, 0.4)])
@pytest.mark.parametrize("windowed", [True, False])
def test_a_plane_wave_peaks_at_its_wavenumber(along, across, windowed):
    shape, spacing = (80, 40), (0.5, 0.5)
    x, z = (torch.arange(count, dtype=torch.float64) * step for count, step in zip(shape, spacing, strict=True))
    field = 2 * torch.cos(2 * math.pi * (along * x[:, None] + across * z) + 1)
    spectrum = power_spectrum(field, spacing, hann(shape) if windowed else None)
    scales = wavenumbers(shape, spacing)
    width = ring_width(shape, spacing)
    assert abs(scales[spectrum.argmax()] - math.hypot(along, across)) <= width / 2
    near = (scales - math.hypot(along, across)).abs() <= 2.5 * width
    assert spectrum[near].sum() * width == pytest.approx(2.0, rel=0.01)  # half of the amplitude squared


def test_a_constant_has_no_power_and_a_longer_side_loses_none():
    shape, spacing = (60, 20), (1.0, 1.0)
    assert power_spectrum(torch.full(shape, 5.0), spacing, hann(shape)).abs().max() < 1e-20
    long = torch.cos(2 * math.pi * torch.arange(60) / 60)[:, None].expand(shape)
    spectrum = power_spectrum(long, spacing)
    assert spectrum.argmax() == 0
    assert spectrum[0] / 20 == pytest.approx(0.5)


def test_a_field_smoothed_over_three_cells_is_told_from_the_truth():
    torch.manual_seed(1)
    shape, spacing = (64, 48), (0.5, 0.5)
    scales = wavenumbers(shape, spacing)
    modes = torch.fft.rfft2(torch.randn(8, *shape, dtype=torch.float64))
    k = torch.hypot(torch.fft.fftfreq(64, 0.5)[:, None], torch.fft.rfftfreq(48, 0.5)).clamp(min=0.01)
    truth = torch.fft.irfft2(modes * k ** (-4 / 3), s=shape)  # a spectrum of k^-5/3
    smooth = torch.nn.functional.avg_pool2d(torch.nn.functional.pad(truth, (1, 1, 1, 1), mode="circular"), 3, stride=1)
    other = truth.roll((5, 9), dims=(-2, -1))  # the same scales, elsewhere
    spectra = [power_spectrum(field, spacing, hann(shape)).mean(dim=0) for field in (truth, smooth, other, 1.5 * truth)]
    small = scales > 1 / (6 * 0.5)
    fine, coarse = ([float(each[chosen].sum()) for each in spectra] for chosen in (small, ~small))
    assert fine[1] < 0.35 * fine[0]
    assert coarse[1] > 0.8 * coarse[0]
    assert fine[2] == pytest.approx(fine[0], rel=0.1)
    assert fine[3] == pytest.approx(2.25 * fine[0])


def test_the_spectrum_of_members_is_not_that_of_their_mean():
    torch.manual_seed(2)
    members = torch.randn(50, 32, 32, dtype=torch.float64)
    of_members = power_spectrum(members, (1.0, 1.0), hann((32, 32))).mean(dim=0)
    of_mean = power_spectrum(members.mean(dim=0), (1.0, 1.0), hann((32, 32)))
    assert of_members.sum() / of_mean.sum() == pytest.approx(50, rel=0.3)
