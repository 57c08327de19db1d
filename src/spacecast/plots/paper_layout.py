"""Published example forecasts with the names and axes of our own."""

from typing import TYPE_CHECKING

import numpy as np

from spacecast.core.errors import UserError
from spacecast.core.names import MEAN, SPREAD, TRUTH
from spacecast.core.units import expected_units
from spacecast.storage.times import check_times, decode_times

if TYPE_CHECKING:
    from xarray import DataArray, Dataset

AXES = ("time", "state_feature", "x", "z")
KINDS = {"target": TRUTH, "prediction": "", "ens_mean": MEAN, "ens_std": SPREAD}  # endings of our names
NANOSECONDS = {"units": "nanoseconds since 1970-01-01"}  # of dates that were stored as plain integers


def is_published(data: "Dataset") -> bool:
    """Whether a dataset has the form of the published examples."""
    return "target" in data and "state_feature" in data["target"].dims


def as_ours(data: "Dataset", label: str, step_seconds: float = 1.0) -> "Dataset":
    """A published example with the names and axes of `examples.zarr`; nothing is read.

    Args:
        data: target, and prediction or ens_mean and ens_std, over time, state_feature, x, z.
        label: the file, for errors.
        step_seconds: from one lead to the next where the time axis does not say [s].

    Raises:
        UserError: an axis, a coordinate or the forecast is missing.

    """
    import xarray as xr

    held = {name: ending for name, ending in KINDS.items() if name in data}
    for name in held:
        if set(data[name].dims) != set(AXES):
            found = ", ".join(map(str, data[name].dims))
            raise UserError(f"{label}: {name} has the axes {found}, expected {', '.join(AXES)}")
    for name in AXES[1:]:
        if name not in data.coords:
            raise UserError(f"{label} has no coordinate {name}; write it again")
    if not set(held) & {"prediction", "ens_mean"}:
        raise UserError(f"{label} holds no forecast: expected prediction, or ens_mean and ens_std, beside target")
    if ("ens_mean" in held) != ("ens_std" in held):
        raise UserError(f"{label} holds one of ens_mean and ens_std; an ensemble has both")
    data = data.chunk({"time": 1, "state_feature": 1})  # so that renaming and adding an axis read nothing
    names = [str(name) for name in data["state_feature"].values]
    if len(set(names)) != len(names):
        raise UserError(f"{label}: state_feature names a variable twice: {', '.join(names)}")
    told = data["state_feature_units"].values if "state_feature_units" in data.variables else [""] * len(names)
    step, start = _clock(data, label, step_seconds)
    fields = {
        f"{name}{ending}": _field(data[kind], number, str(unit) or expected_units(name) or "")
        for number, (name, unit) in enumerate(zip(names, told, strict=True))
        for kind, ending in held.items()
        if not ("ens_mean" in held and kind == "prediction")
    }
    leads = step * np.arange(1, data.sizes["time"] + 1)
    clocks = {"lead_time": ("lead_time", leads), "init_time": ("example", [start])}
    return xr.Dataset(fields, attrs=data.attrs).assign_coords(clocks)


def _field(array: "DataArray", number: int, units: str) -> "DataArray":
    """One variable over example, lead_time, x, z."""
    picked = array.isel(state_feature=number)
    kept = picked.drop_vars([name for name in picked.coords if name not in ("x", "z")])
    return kept.rename(time="lead_time").expand_dims("example").assign_attrs(units=units)


def _clock(data: "Dataset", label: str, step_seconds: float) -> tuple[float, np.datetime64]:
    """Seconds from one lead to the next, and the initial time; NaT where the time axis holds no dates."""
    if "time" not in data.variables:
        return step_seconds, np.datetime64("NaT", "ns")
    time = data["time"]
    if time.size < 2 or time.dtype.kind not in "Mi":
        return step_seconds, np.datetime64("NaT", "ns")
    attrs = time.attrs if time.dtype.kind == "M" or "units" in time.attrs else NANOSECONDS
    dates, _ = decode_times(time.values, np.zeros(time.shape, dtype=bool), attrs, label)
    return check_times(dates, label), dates[0] - (dates[1] - dates[0])
