"""An `xarray.Dataset` as a datastore: one run that somebody has opened or made, read frame by frame."""

import logging
import os
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import xarray as xr

from spacecast.core.errors import UserError, nearest
from spacecast.core.spec import DataSpec, FeatureSpec
from spacecast.core.text import first_line
from spacecast.data.decoded import check_places
from spacecast.data.forcing import fold_window, window_of
from spacecast.data.geometry import describe_fault
from spacecast.data.layouts import Fields, Layout, Prepared, Static, Wanted, is_prepared
from spacecast.storage.arrays import open_dataset
from spacecast.storage.times import DEVIATION, check_times, decode_times, warn_deviation

log = logging.getLogger(__name__)
SPLIT = "all"
NONE = FeatureSpec.empty()


class DatasetStore:
    """Reads one run out of an `xarray.Dataset`; implements `core.protocols.Datastore`, with the split `all` alone.

    Two layouts are known: named variables over (time, x, z), in any order, as raw runs have them; and state(time,
    grid_index, state_feature) with mask and coordinates, as mllam-data-prep writes it. Only the variables that the
    model takes are read, and of them only the frames that are asked for. Two frames make a run.

    What the data say of themselves is taken: units, times, coordinates, valid ranges, a mask. The mask and static
    features that they do not hold are the model's own, which belong to the grid; statistics are the model's, in its
    units: read it through `data.fit.FittedDatastore`, which compares the two.

    Args:
        dataset: decoded, as xarray opens it.
        spec: what the model was trained on.

    Raises:
        UserError: a variable, a coordinate or the time axis is missing or makes no sense.

    """

    def __init__(self, dataset: xr.Dataset, spec: DataSpec) -> None:
        if not isinstance(dataset, xr.Dataset):
            raise UserError(f"expected an xarray.Dataset, found a {type(dataset).__name__}; see Dataset.to_dataset")
        source = Path(str(dataset.encoding.get("source", ""))).name
        self.label = f"dataset {source}".strip()
        self.train_runs: tuple[str, ...] = (Path(source).stem or "dataset",)
        self.holdout_runs: tuple[str, ...] = ()
        check_places(dataset, self.label)
        self._times = self._read_times(dataset)
        names, self.forcing_past, self.forcing_future = window_of(spec.forcing.names)
        wanted = {"state": spec.state.names, **({"forcing": names} if names else {})}
        self._names, self._layout = wanted, self._open(dataset, wanted, spec)
        self.spec = self._make_spec(spec)

    def _open(self, dataset: xr.Dataset, wanted: Wanted, spec: DataSpec) -> Layout:
        """The layout of the dataset."""
        if is_prepared(dataset):
            return Prepared(dataset, wanted, self.label)
        return Fields(dataset, wanted, spec, self.label)

    def _read_times(self, dataset: xr.Dataset) -> np.ndarray:
        """Times of the frames, on the uniform axis that they lie on."""
        if "time" not in dataset.dims or "time" not in dataset.coords:
            found = ", ".join(map(str, dataset.dims)) or "none"
            raise UserError(f"{self.label} has no axis time with the times of its frames, found {found}; rename it")
        time = dataset["time"].variable
        missing = time.isnull().values
        dates, deviation = decode_times(time.values, missing, time.attrs, self.label)
        check_times(dates, self.label)
        warn_deviation(xr.DataArray(xr.Variable("time", dates, encoding={DEVIATION: deviation})), self.label)
        return dates

    def _make_spec(self, trained: DataSpec) -> DataSpec:
        """What is known of the data: their grid, units and step, the model's statistics."""
        grid, units = self._layout.grid, self._layout.units
        window = self.forcing_past + 1 + self.forcing_future
        forcing_units = tuple(unit for unit in units.get("forcing", ()) for _ in range(window))
        for name, found, own in zip(trained.state.names, units["state"], trained.state.units, strict=True):
            if own and not found:
                log.warning("%s: %s has no units and is taken to be in %s", self.label, name, own)
        fits = grid.num_nodes == trained.num_nodes
        columns = zip(trained.static.units, trained.static_values.T, strict=True)
        static: Static = dict(zip(trained.static.names, columns, strict=True)) if fits else {}
        static |= {name: each for name, each in self._layout.static.items() if name in static}
        values = [each for _, each in static.values()]
        return replace(
            trained,
            grid=grid,
            state=replace(trained.state, units=units["state"]),
            forcing=replace(trained.forcing, units=forcing_units),
            static=replace(trained.static, units=tuple(unit for unit, _ in static.values())) if fits else NONE,
            static_values=np.stack(values, axis=-1) if values else np.empty((grid.num_nodes, 0)),
            boundary=trained.boundary if fits else np.zeros(grid.num_nodes, dtype=bool),
            step_seconds=check_times(self._times, self.label),
            data_hash="",
        )

    def num_frames(self, run: str, split: str) -> int:
        """Frames of the run."""
        self._check_split(run, split)
        return len(self._times)

    def times(self, run: str, split: str) -> np.ndarray:
        """Time stamps of the run, datetime64[ns], shape (frame,)."""
        self._check_split(run, split)
        return self._times

    def read_state(self, run: str, split: str, start: int, stop: int) -> np.ndarray:
        """Frames [start, stop): (frame, node, state).

        Raises:
            UserError: a value outside the mask is not finite, or cannot be read.

        """
        return self._read("state", run, split, start, stop)

    def read_forcing(self, run: str, split: str, start: int, stop: int) -> np.ndarray:
        """Forcing of frames [start, stop), window folded into the last axis: (frame, node, forcing).

        Raises:
            UserError: a value outside the mask is not finite, or cannot be read.

        """
        if "forcing" not in self._names:
            return np.zeros((stop - start, self.spec.num_nodes, 0), dtype=np.float32)
        past, future = self.forcing_past, self.forcing_future
        return fold_window(self._read("forcing", run, split, start - past, stop + future), past, future)

    def _read(self, category: str, run: str, split: str, start: int, stop: int) -> np.ndarray:
        """Frames of a category, all of their values finite."""
        if not 0 <= start <= stop <= self.num_frames(run, split):
            raise IndexError(f"frames {start} to {stop} of {self.label}, which has {len(self._times)}")
        values = self._layout.read(category, start, stop)
        if not np.isfinite(values).all():
            names = self._names[category]
            fault = describe_fault(values, self.spec.grid, names, start)
            marks = self._layout.missing[names[int(np.argwhere(~np.isfinite(values))[0, 2])]]
            raise UserError(f"{self.label}: {fault}; {marks and marks + '; '}correct the data")
        return values

    def _check_split(self, run: str, split: str) -> None:
        """There is one run, and no part of it has a name."""
        if run not in self.train_runs:
            raise UserError(f"{self.label} has no run {run!r}; {nearest(run, self.train_runs)}")
        if split != SPLIT:
            raise UserError(f"{self.label} has no split {split!r}; valid: {SPLIT}")


def open_source(path: str | os.PathLike[str]) -> xr.Dataset:
    """Open a zarr store or a NetCDF file lazily, decoded as it says of itself.

    Args:
        path: of the folder or the file.

    Raises:
        UserError: it cannot be opened.

    """
    place, label = Path(path), f"dataset {Path(path).name}"
    if not place.is_file() or zipfile.is_zipfile(place):
        dataset = open_dataset(place, label, "give a zarr store or a NetCDF file")
        dataset.encoding["source"] = str(place)
        return dataset
    try:
        with place.open("rb") as file:
            classic = file.read(3) == b"CDF"
        return xr.open_dataset(place, engine="scipy" if classic else None)  # others read zeros where its end is lost
    except Exception as error:  # (the engines raise anything)
        raise UserError(f"{label}: {place} is no NetCDF file that can be read ({first_line(error)})") from error
