"""Forecasts that are looked at while a training goes on: when, which, and what happens when that fails."""

import logging

import numpy as np
import pytest
import pytorch_lightning as pl
from torch.utils.data import DataLoader
from wave_training import fit, make_module, waves

from spacecast.training.pictures import ForecastPictures, chosen_epochs


@pytest.fixture
def loader(tiny_spec) -> DataLoader:
    return DataLoader(waves(tiny_spec, 4), batch_size=2)


@pytest.mark.parametrize(
    ("times", "epochs", "chosen"),
    [(0, 8, []), (1, 8, [8]), (2, 8, [4, 8]), (3, 8, [3, 6, 8]), (5, 2, [1, 2]), (2, 1, [1]), (2, 0, [])],
)
def test_pictures_are_spread_over_the_epochs(times, epochs, chosen):
    assert [epoch for epoch in chosen_epochs(times, epochs) if epoch] == chosen


@pytest.mark.parametrize("epochs", [None, -1])
def test_without_a_number_of_epochs_they_become_rarer(epochs):
    assert chosen_epochs(2, epochs)[:5] == [1, 2, 4, 8, 16]


def test_the_forecast_is_that_of_the_first_window_in_physical_units(tiny_spec, tiny_graph, loader):
    seen = []
    fit(make_module(tiny_spec, tiny_graph, epochs=4), loader, epochs=4, callbacks=[ForecastPictures(2, seen.append)])
    assert [sample.epochs for sample in seen] == [2, 4]
    window = waves(tiny_spec, 1)[0]
    for sample in seen:
        assert sample.seconds == 2 * tiny_spec.step_seconds
        np.testing.assert_allclose(sample.truth, window.target[1], rtol=1e-4, atol=1e-4)
        assert sample.forecast.shape == sample.truth.shape
        driven = tiny_spec.boundary
        np.testing.assert_allclose(sample.forecast[driven], sample.truth[driven], rtol=1e-4, atol=1e-4)
    assert not np.allclose(seen[0].forecast, seen[1].forecast, atol=1e-3)


@pytest.mark.parametrize("broken", ["forecast", "picture"])
def test_what_goes_wrong_costs_a_warning_and_no_training(broken, tiny_spec, tiny_graph, loader, monkeypatch, caplog):
    def fail(*_):
        raise AssertionError("no room")

    if broken == "forecast":
        monkeypatch.setattr("spacecast.training.pictures.forecast_of", fail)
    with caplog.at_level(logging.WARNING, logger="spacecast"):
        trainer = fit(make_module(tiny_spec, tiny_graph), loader, epochs=2, callbacks=[ForecastPictures(2, fail)])
    assert trainer.current_epoch == 2
    assert len(caplog.messages) == 2
    assert all("no room" in message for message in caplog.messages)


def test_only_the_first_process_draws(tiny_spec, tiny_graph, loader, monkeypatch):
    monkeypatch.setattr(pl.Trainer, "is_global_zero", property(lambda _: False))
    seen = []
    fit(make_module(tiny_spec, tiny_graph), loader, callbacks=[ForecastPictures(2, seen.append)])
    assert seen == []


def test_pictures_leave_the_training_as_it_is(tiny_spec, tiny_graph, loader):
    weights = []
    for times in (0, 2):
        module = make_module(tiny_spec, tiny_graph)
        fit(module, loader, epochs=2, callbacks=[ForecastPictures(times, lambda _: None)])
        weights.append([weight.detach().numpy() for weight in module.parameters()])
    for one, other in zip(*weights, strict=True):
        np.testing.assert_array_equal(one, other)
