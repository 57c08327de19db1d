"""One prepared run: a zarr store of mllam-data-prep, read frame by frame as nodes in the order of `Grid`."""

import warnings
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr

from spacecast.core.errors import UserError, nearest
from spacecast.data.chunks import axis_names, first_line, missing_chunks, open_dataset, stored_chunks
from spacecast.data.fingerprint import content_hash
from spacecast.data.plane import plane_of
from spacecast.data.splits import check_times, split_ranges

STATISTICS = ("mean", "std", "diff_mean", "diff_std")


class RunStore:
    """Reads one prepared run; zarr format 2 or 3, any order of axes, any stacking order of grid_index, any float type.

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
        dataset = open_dataset(self.path, self.label, "run spacecast-data prepare, or download it")
        try:
            self._read_description(dataset)
        except (ValueError, KeyError, RuntimeError, OSError) as error:
            if isinstance(error, UserError):
                raise
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
        self._check_axes(dataset)
        self.names = {c: tuple(str(v) for v in dataset[f"{c}_feature"].values) for c in categories}
        self.units = {
            c: tuple(str(v) for v in dataset[f"{c}_feature_units"].values)
            if f"{c}_feature_units" in dataset
            else ("",) * len(self.names[c])
            for c in categories
        }
        self.times = dataset["time"].values
        self.step_seconds = check_times(self.times, self.label)
        self.times = self.times.astype("datetime64[ns]")
        if "splits" not in dataset:
            raise UserError(
                f"{self.label} has no splits; add output.splitting to {self.path.stem}.yaml and prepare again"
            )
        bounds = dataset["splits"].transpose("split_name", "split_part")
        stored = {
            str(n): [str(b) for b in row] for n, row in zip(bounds["split_name"].values, bounds.values, strict=True)
        }
        self.splits = split_ranges(self.times, stored, self.label)
        self.grid, self.order = plane_of(dataset, self.label)
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

    def _check_axes(self, dataset: xr.Dataset) -> None:
        """Every category must have the axes of mllam-data-prep."""
        for category, needed in (
            ("state", {"time", "grid_index"}),
            ("static", {"grid_index"}),
            ("mask", {"grid_index"}),
        ):
            expected = needed | {f"{category}_feature"}
            if set(dataset[category].dims) != expected:
                raise UserError(
                    f"{self.label}: {category} has axes {', '.join(map(str, dataset[category].dims))}, "
                    f"expected {', '.join(sorted(expected))}"
                )

    def _array(self, category: str) -> Any:
        """The zarr array, opened at first use in each process."""
        if category not in self._arrays:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self._arrays[category] = zarr.open_group(self.path, mode="r")[category]
        return self._arrays[category]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_arrays": {}}

    def _check_chunks(self) -> None:
        """Frames with an absent chunk would be read as fill values: refuse them."""
        for category in ("state", "forcing"):
            if category not in self.names:
                continue
            array = self._array(category)
            axes = axis_names(array)
            used = np.zeros(self.num_cells, dtype=bool)
            used[self.order] = True
            frames = np.zeros(len(self.times), dtype=bool)
            for region in missing_chunks(array, self.path / category):
                place = dict(zip(axes, region, strict=True))
                if "grid_index" not in place or used[place["grid_index"]].any():
                    frames[place["time"]] = True
            if frames.any():
                raise UserError(
                    f"{self.label}: chunks of {category} are missing in {frames.sum()} of {frames.size} frames, "
                    "first in frame "
                    f"{int(np.argmax(frames))}; prepare or download {self.path} again"
                )

    @property
    def num_frames(self) -> int:
        """Frames of the whole run."""
        return len(self.times)

    @property
    def num_cells(self) -> int:
        """Length of grid_index, Earth included."""
        array = self._array("state")
        return int(array.shape[axis_names(array).index("grid_index")])

    def frames_per_chunk(self, category: str) -> int:
        """Frames that one chunk holds, so that decoding one decodes all of them."""
        array = self._array(category)
        return int(stored_chunks(array)[axis_names(array).index("time")])

    def read(self, category: str, start: int, stop: int, *, check: bool = True) -> np.ndarray:
        """Frames [start, stop) of the run as nodes, shape (frame, node, variable), float32, physical units.

        Raises:
            UserError: when a chunk cannot be decoded or, with `check`, a node is not finite.

        """
        array = self._array(category)
        axes = axis_names(array)
        try:
            block = array[tuple(slice(start, stop) if axis == "time" else slice(None) for axis in axes)]
        except (ValueError, RuntimeError, OSError, TypeError, KeyError) as error:
            raise UserError(
                f"{self.label}: frames {start} to {stop - 1} of {category} cannot be decoded ({first_line(error)}); "
                f"prepare or download {self.path} again"
            ) from error
        feature = axes.index(f"{category}_feature")
        if "grid_index" not in axes:
            values = np.moveaxis(block, (axes.index("time"), feature), (0, 1)).astype(np.float32)
            nodes = np.repeat(values[:, None, :], self.order.size, axis=1)
        else:
            planes = np.moveaxis(block, (axes.index("time"), feature, axes.index("grid_index")), (0, 1, 2))
            nodes = np.empty((planes.shape[0], self.order.size, planes.shape[1]), dtype=np.float32)
            for frame, plane in zip(nodes, planes, strict=True):
                frame[...] = plane.take(self.order, axis=1).T
        if check and not np.isfinite(nodes).all():
            self._complain(category, nodes, start)
        return nodes

    def _complain(self, category: str, nodes: np.ndarray, start: int) -> None:
        """Raise the error that names the first value which is not finite."""
        bad = ~np.isfinite(nodes)
        frame, node, variable = (int(i) for i in np.argwhere(bad)[0])
        x, z = self.grid.positions[node]
        raise UserError(
            f"{self.label}: {self.names[category][variable]} is {nodes[frame, node, variable]} outside the mask in "
            f"frame {start + frame}, first at "
            f"x = {x:g}, z = {z:g} R_E, {int(bad[frame, :, variable].sum())} of {nodes.shape[1]} nodes; "
            "correct the raw data or the mask and prepare again"
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
