"""Forecasts as files: what xarray reads of them, with and without the truth."""

import numpy as np
import pytest
import xarray as xr

from spacecast.forecast.writer import ForecastWriter

START = np.array([np.datetime64("2000-01-01T00:10:00")])
LEADS = 2


def write(path, spec, members: int, truth: bool) -> np.ndarray:
    """Write random forecasts of one start: (lead, member, node, state)."""
    states = np.random.default_rng(0).normal(size=(LEADS, members, spec.num_nodes, 12)).astype(np.float32)
    with ForecastWriter(path, spec, START, LEADS, members, {"model": "x"}, truth=truth) as writer:
        for lead, each in enumerate(states):
            writer.write(0, lead, each, *([each[0] + 1] if truth else []))
    return states


@pytest.mark.parametrize("members", [1, 3])
@pytest.mark.parametrize("truth", [False, True])
def test_a_forecast_needs_no_truth(tiny_spec, tmp_path, members: int, truth: bool) -> None:
    states = write(tmp_path / "new" / "forecast.zarr", tiny_spec, members, truth)
    with xr.open_zarr(tmp_path / "new" / "forecast.zarr", chunks=None) as data:
        assert len(data.data_vars) == 12 * (1 + truth)
        assert data.attrs["title"] == ("forecasts beside the truth" if truth else "forecasts")
        assert data.attrs["model"] == "x"
        assert (data.rho.units, data.lead_time.units, data.x.units) == ("1/cm3", "s", "R_E")
        assert data.valid_time.values[0, 1] == START[0] + np.timedelta64(20, "s")
        for number, name in enumerate(tiny_spec.state.names):
            found = data[name].isel(example=0).transpose("lead_time", ...).values
            expected = states[..., number] if members > 1 else states[:, 0, :, number]
            np.testing.assert_array_equal(tiny_spec.grid.to_nodes(found), expected)
            if truth:
                plane = data[f"{name}_truth"].isel(example=0).values
                np.testing.assert_array_equal(tiny_spec.grid.to_nodes(plane), states[:, 0, :, number] + 1)


def test_a_store_appears_whole_or_not_at_all(tiny_spec, tmp_path) -> None:
    def stop_half_way() -> None:
        with ForecastWriter(tmp_path / "forecast.zarr", tiny_spec, START, LEADS) as writer:
            writer.write(0, 0, np.zeros((1, tiny_spec.num_nodes, 12)))
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        stop_half_way()
    assert not list(tmp_path.iterdir())
