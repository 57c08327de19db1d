"""One prepared run: a zarr store of mllam-data-prep, read frame by frame as nodes in the order of `Grid`."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from spacecast.core.errors import UserError, nearest
from spacecast.core.text import first_line
from spacecast.data.geometry import describe_fault, read_grid
from spacecast.data.splits import STATISTICS, split_ranges
from spacecast.storage.absences import check_absent, fill_of, missing_chunks, per_frame, stored_chunks
from spacecast.storage.arrays import axis_names, open_dataset, open_group
from spacecast.storage.chunks import frame_blocks
from spacecast.storage.encoding import Encoding, encoding_of
from spacecast.storage.fingerprint import content_hash
from spacecast.storage.times import check_times, warn_deviation

FEW = 64  # cells on average that a copy of consecutive ones must move to be faster than one of chosen ones
ADVICE = "run spacecast-data prepare, or download it"


class RunStore:
    """Reads one prepared run; zarr format 2 or 3, any order of axes and cells, any type of numbers, packed or not.

    Args:
        path: folder of the prepared zarr store.
        name: name of the run.

    Attributes:
        grid: the plane; `order` holds the grid_index of each of its nodes, shape (node,).
        names, units: variables per category (`state`, `static`, `forcing`).
        times: datetime64[ns], shape (frame,); `step_seconds` is their distance.
        splits: frames [start, stop) by split name.
        static_values: static features on the nodes, physical units, shape (node, static).

    Raises:
        UserError: when the store is missing, truncated, or not what training needs.

    """

    def __init__(self, path: Path, name: str) -> None:
        self.path, self.name = Path(path), str(name)
        self.label = f"run {name}"
        self._arrays: dict[str, Any] = {}
        self._encodings: dict[str, Encoding] = {}
        dataset = open_dataset(self.path, self.label, ADVICE)
        try:
            self._read_description(dataset)
        except UserError:
            raise
        except Exception as error:  # (codecs raise anything)
            raise UserError(
                f"{self.label}: {self.path} is damaged ({first_line(error)}); prepare or download it again"
            ) from error
        finally:
            dataset.close()
        self._check_chunks()
        self.read("state", 0, 1)

    def _read_description(self, dataset: xr.Dataset) -> None:
        """Everything but the frames."""
        for category in ("state", "static", "mask"):
            if category not in dataset:
                found = ", ".join(str(v) for v in dataset.data_vars if "__" not in str(v)) or "none"
                raise UserError(
                    f"{self.label} has no category {category!r}, found {found}; "
                    f"add it to the inputs of {self.path.stem}.yaml and prepare again"
                )
        categories = [c for c in ("state", "static", "forcing") if c in dataset]
        dataset = self._check_axes(dataset, categories)
        self.names = {c: tuple(str(v) for v in dataset[f"{c}_feature"].values) for c in categories}
        self.units = {
            c: tuple(str(v) for v in dataset[f"{c}_feature_units"].values)
            if f"{c}_feature_units" in dataset
            else ("",) * len(self.names[c])
            for c in categories
        }
        check_names(self.names, self.label)
        self.times = dataset["time"].values
        self.step_seconds = check_times(self.times, self.label)
        warn_deviation(dataset["time"], self.label)
        if "splits" not in dataset:
            raise UserError(
                f"{self.label} has no splits; add output.splitting to {self.path.stem}.yaml and prepare again"
            )
        bounds = dataset["splits"].transpose("split_name", "split_part")
        stored = {
            str(n): [str(b) for b in row] for n, row in zip(bounds["split_name"].values, bounds.values, strict=True)
        }
        self.splits = split_ranges(self.times, stored, self.label)
        self.grid, self.order = read_grid(dataset, self.label)
        static = dataset["static"].transpose("grid_index", "static_feature").values.astype(np.float32)
        self.static_values = static[self.order]
        if not np.isfinite(self.static_values).all():
            bad = self.names["static"][int(np.argmin(np.isfinite(self.static_values).all(axis=0)))]
            raise UserError(
                f"{self.label}: static variable {bad!r} is NaN outside Earth; correct static.zarr and prepare again"
            )
        self._statistics = {
            key: dataset[key].values.astype(np.float64)
            for c in categories
            for s in STATISTICS
            if (key := f"{c}__train__{s}") in dataset
        }

    def _check_axes(self, dataset: xr.Dataset, categories: Sequence[str]) -> xr.Dataset:
        """Every category must hold real numbers on the axes of mllam-data-prep; others of length 1 are dropped."""
        self._axes = {category: tuple(map(str, dataset[category].dims)) for category in categories}
        for category in (*categories, "mask"):
            needed = {"grid_index", f"{category}_feature"} | ({"time"} if category in ("state", "forcing") else set())
            values = dataset[category]
            if values.dtype.kind not in "biuf":
                raise UserError(
                    f"{self.label}: {category} holds {values.dtype}, expected real numbers; "
                    "convert it and prepare again"
                )
            spare = {axis for axis in values.dims if axis not in needed and values.sizes[axis] == 1}
            optional = {"grid_index"} if category == "forcing" else set()
            if not needed - optional <= set(values.dims) - spare <= needed:
                raise UserError(
                    f"{self.label}: {category} has axes {', '.join(map(str, values.dims))}, "
                    f"expected {', '.join(sorted(needed))}"
                )
            dataset = dataset.squeeze(sorted(map(str, spare)), drop=True)
        return dataset

    def _array(self, category: str) -> Any:
        """The zarr array, opened at first use in each process."""
        if category not in self._arrays:
            self._arrays[category] = array = open_group(self.path, self.label, ADVICE)[category]
            self._encodings[category] = encoding_of(array, f"{self.label}: {category}")
        return self._arrays[category]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_arrays": {}}

    def _check_chunks(self) -> None:
        """Absent chunks are read as the fill value: refuse them where that is no value, or where nothing is stored."""
        for category, names in self.names.items():
            check_category(self.path, category, names, self.order, self.label)

    @property
    def num_frames(self) -> int:
        """Frames of the whole run."""
        return len(self.times)

    def num_bytes(self, category: str) -> int:
        """Bytes of all frames of a category once they are decoded."""
        return 4 * self.num_frames * self.order.size * len(self.names.get(category, ()))

    def frames_per_chunk(self, category: str) -> int:
        """Frames that one chunk holds, so that decoding one decodes all of them."""
        return int(stored_chunks(self._array(category))[self._axes[category].index("time")])

    def read(self, category: str, start: int, stop: int, *, check: bool = True) -> np.ndarray:
        """Frames [start, stop) of the run as nodes, shape (frame, node, variable), float32, physical units.

        Raises:
            UserError: when a chunk cannot be decoded or, with `check`, a node is not finite.

        """
        nodes = np.empty((stop - start, self.order.size, len(self.names[category])), dtype=np.float32)
        try:
            finite = self._fill(category, nodes, start, stop)
        except MemoryError:
            raise
        except Exception as error:  # (codecs raise anything)
            raise UserError(
                f"{self.label}: frames {start} to {stop - 1} of {category} cannot be decoded ({first_line(error)}); "
                f"prepare or download {self.path} again"
            ) from error
        if check and not finite:
            self._complain(category, nodes, start)
        return nodes

    def _fill(self, category: str, nodes: np.ndarray, start: int, stop: int) -> bool:
        """Decode frames [start, stop) into an array of nodes, chunk by chunk; whether all values are finite."""
        array, axes = self._array(category), self._axes[category]
        known = ("time", f"{category}_feature", "grid_index")
        spare = tuple(slice(None) if axis in known else 0 for axis in axes)
        places = [name for name in axes if name in known]
        order = [places.index(name) for name in known if name in places]
        done, finite = 0, True
        for block in frame_blocks(array, self.path / category, axes.index("time"), start, stop):
            values = self._encodings[category].decode(block[spare]).transpose(order)
            for number, plane in enumerate(values, done):
                if plane.ndim == 1:
                    nodes[number] = plane
                else:
                    self._pick(plane, nodes[number])
                finite = finite and _finite(nodes[number])  # while it is in the cache
            done += len(values)
        return finite

    def _pick(self, plane: np.ndarray, nodes: np.ndarray) -> None:
        """Cells, shape (variable, cell), as nodes, shape (node, variable); neighbours are copied together."""
        if len(self._pieces) * FEW > self.order.size:
            nodes[...] = plane.take(self.order, axis=1).T
            return
        for first, last, cell in self._pieces:
            nodes[first:last] = plane[:, cell : cell + last - first].T

    @cached_property
    def _pieces(self) -> list[tuple[int, int, int]]:
        """Nodes [first, last) that are consecutive cells, and the first of these."""
        ends = [*(np.flatnonzero(np.diff(self.order) != 1) + 1).tolist(), self.order.size]
        starts = [0, *ends[:-1]]
        return [(first, last, int(self.order[first])) for first, last in zip(starts, ends, strict=True)]

    def _complain(self, category: str, nodes: np.ndarray, start: int) -> None:
        """Raise the error that names the first value which is not finite."""
        marks = self._encodings[category].describe()
        raise UserError(
            f"{self.label}: {describe_fault(nodes, self.grid, self.names[category], start)}; "
            f"{marks and marks + '; '}correct the raw data or the mask and prepare again"
        )

    def statistic(self, category: str, name: str) -> np.ndarray:
        """A stored statistic of the training split, float64, shape (variable,)."""
        key = f"{category}__train__{name}"
        if key not in self._statistics:
            raise UserError(f"{self.label} stores no {key}, {nearest(key, self._statistics)}; use statistics: pooled")
        return self._statistics[key]

    def split(self, name: str) -> tuple[int, int]:
        """Frames [start, stop) of a split; `all` is the whole run."""
        if name == "all":
            return 0, self.num_frames
        if name not in self.splits:
            raise UserError(f"{self.label} has no split {name!r}; {nearest(name, [*self.splits, 'all'])}")
        return self.splits[name]

    @cached_property
    def content_hash(self) -> str:
        """Hash of all that is stored; see `fingerprint.content_hash`."""
        return content_hash(self.path)


def _finite(frame: np.ndarray) -> bool:
    """Whether all values are finite; the sum of their squares is so in most cases and is no sooner than they are."""
    return bool(np.isfinite(np.vdot(frame, frame)) or np.isfinite(frame).all())


def check_names(categories: Mapping[str, Sequence[str]], label: str) -> None:
    """Refuse variables of a prepared run, by category, that their names do not tell apart."""
    for category, names in categories.items():
        if not all(names) or len(set(names)) < len(names):
            raise UserError(
                f"{label}: names of {category} variables are missing or given twice ({', '.join(names)}); "
                "correct its YAML and prepare again"
            )


def check_category(path: Path, category: str, names: Sequence[str], order: np.ndarray, label: str) -> None:
    """Refuse a prepared store of which chunks are missing; see `check_absent`.

    Args:
        path: folder of the store.
        category: whose chunks.
        names: of its variables.
        order: grid_index of each node; chunks without a node are not read.
        label: name of the run, for errors.

    """
    array = open_group(path, label, ADVICE)[category]
    axes, chunks, missing = axis_names(array), stored_chunks(array), missing_chunks(array, path / category, label)
    if not missing.any():
        return
    if "grid_index" in axes:
        axis = axes.index("grid_index")
        used = np.zeros(array.shape[axis], dtype=bool)
        used[order] = True
        starts = np.arange(0, used.size, chunks[axis])
        missing = missing.compress(np.logical_or.reduceat(used, starts), axis=axis)
    feature = axes.index(f"{category}_feature")
    places = [missing.take([number // chunks[feature]], axis=feature) for number in range(len(names))]
    absent = {name: per_frame(flags, array, axes) for name, flags in zip(names, places, strict=True)}
    fill = fill_of(array, encoding_of(array, f"{label}: {category}"))
    gone = check_absent(absent, fill, f"{label}: {category}")
    if gone.any():
        counted = f" in {gone.sum()} of {gone.size} frames, first in frame {np.argmax(gone)}"
        where = counted if "time" in axes else ""
        raise UserError(f"{label}: chunks of {category} are missing{where}; prepare or download {path} again")
