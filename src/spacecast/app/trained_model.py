"""The public Python interface: a trained model that takes an `xarray.Dataset` and gives one."""

import tempfile
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import torch
import xarray as xr
from torch import nn

import spacecast
from spacecast.config.paths import absolute_path
from spacecast.core.graph import MeshGraph
from spacecast.core.protocols import draws
from spacecast.core.ranges import whole
from spacecast.core.spec import DataSpec
from spacecast.data.dataset import SPLIT, DatasetStore, open_source
from spacecast.data.fit import Advice, FittedDatastore
from spacecast.evaluation.evaluator import evaluate
from spacecast.evaluation.scores import Scores
from spacecast.forecast.forecaster import check_ensemble
from spacecast.forecast.layout import Statistics, statistics_of
from spacecast.forecast.processes import Processes
from spacecast.forecast.run import write_forecast
from spacecast.forecast.starts import Moment, find_starts
from spacecast.process.progress import ProgressBar

PathText = str | PathLike[str]
ADVICE = Advice("give data like the model's own", "convert_units=True", "convert them")


@dataclass(frozen=True, eq=False, repr=False)
class TrainedModel:
    """A model with all that it needs to forecast; `spacecast.load` reads it.

    Args:
        module: the `StepModel`, on the device where it computes, ready to forecast.
        spec: what it was trained on: variables, units, statistics, grid, time step.
        graph: its mesh graph.
        facts: what the checkpoint says of itself: `config`, `versions`, `graph` and so on.
        source: the checkpoint.

    """

    module: nn.Module
    spec: DataSpec
    graph: MeshGraph
    facts: Mapping[str, Any]
    source: Path

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return next((weight.device for weight in self.module.parameters()), torch.device("cpu"))

    @property
    def variables(self) -> dict[str, str]:
        """Units of what is forecast, by name."""
        return dict(zip(self.spec.state.names, self.spec.state.units, strict=True))

    def __repr__(self) -> str:
        count = sum(weight.numel() for weight in self.module.parameters())
        mesh = " + ".join(f"{level.num_nodes}" for level in self.graph.levels)
        kind = "ensemble" if draws(self.module) else "one forecast"
        sizes = f"{count:,} parameters, {mesh} mesh nodes, on {self.device}"
        lines = {
            "model": f"{type(self.module).__name__} ({kind}), {sizes}",
            "variables": ", ".join(f"{name} [{unit}]" for name, unit in self.variables.items()),
            "forcing": ", ".join(self.spec.forcing.names) or "none",
            "grid": f"{self.spec.grid}, {self.spec.num_nodes} cells with plasma",
            "boundary": f"{int(self.spec.boundary.sum())} cells driven with true values",
            "step": f"{self.spec.step_seconds:g} s",
            "source": str(self.source),
        }
        return "\n".join(["<spacecast.TrainedModel>", *(f"  {name + ':':<11}{text}" for name, text in lines.items())])

    def forecast(
        self,
        dataset: xr.Dataset | PathText,
        *,
        steps: int,
        start: Moment | Iterable[Moment] | None = None,
        members: int = 1,
        seed: int = 0,
        boundary: Literal["data", "persist"] = "data",
        statistics: bool | Statistics = False,
        output: PathText | None = None,
        member_chunk: int = 6,
        convert_units: bool = False,
        overwrite: bool = False,
        progress: bool = False,
    ) -> xr.Dataset:
        """Forecast from one or several initial times of a run.

        Args:
            dataset: the run, opened by xarray, or the path of it; see `data.dataset.DatasetStore`. Two frames suffice.
            steps: leads.
            start: time of the newer of the two initial states, or its number in the run, or a list of such. None: the
                newest two frames; of a model with a driven boundary, the newest two that `steps` frames follow, unless
                `boundary` says `persist`.
            members: of the ensemble.
            seed: of its noise; a member is a function of it, of the initial time and of its own number.
            boundary: what drives the cells of the boundary, if the model has any: true values of the `data`, or those
                of the initial time, which `persist`.
            statistics: mean and spread of the members: False, True (`beside` them), or `only` these.
            output: a file to write, zarr or, where it ends in `.nc`, NetCDF; None: the forecast is kept in memory.
            member_chunk: members that go through the model at a time.
            convert_units: turn data in other units, such as T for nT, into the model's.
            overwrite: replace another forecast at `output`.
            progress: show a bar on a terminal.

        Returns:
            One variable per field over (init_time, member, lead_time, x, z), in physical units, NaN inside Earth; with
            `output`, opened lazily.

        Raises:
            UserError: the data are not like those that the model was trained on, or something else is not possible; it
                says what.

        """
        self._check_members(members)
        datastore = self._fitted(dataset, convert_units=convert_units)
        starts = find_starts(datastore, None, start, steps, boundary)
        wanted: dict[str, Any] = {"starts": starts, "steps": steps, "members": members, "seed": seed}
        wanted |= {"boundary": boundary, "statistics": statistics_of(statistics)}
        wanted |= {"member_chunk": member_chunk, "overwrite": overwrite}
        if output is not None:
            return self._written(datastore, Path(absolute_path(output, "output")), wanted, progress=progress)
        with tempfile.TemporaryDirectory(prefix="spacecast-") as folder:
            return self._written(datastore, Path(folder, "forecast.zarr"), wanted, progress=progress).load()

    def _written(
        self, datastore: FittedDatastore, path: Path, wanted: Mapping[str, Any], *, progress: bool
    ) -> xr.Dataset:
        """A forecast in a file, opened lazily."""
        netcdf = path.suffix == ".nc"
        with ProgressBar("forecasting") if progress else nullcontext() as bar:
            write_forecast(
                self.module,
                datastore,
                path,
                format="netcdf" if netcdf else "zarr",
                attributes=self.attributes(),
                processes=Processes(device=self.device),
                progress=None if bar is None else lambda done, total: bar("steps", done, total),
                **wanted,
            )
        return xr.open_dataset(path) if netcdf else xr.open_zarr(path, chunks=None)

    def evaluate(
        self,
        dataset: xr.Dataset | PathText,
        *,
        steps: int,
        windows: int | None = None,
        members: int = 1,
        seed: int = 0,
        convert_units: bool = False,
        **options: Any,
    ) -> Scores:
        """Score forecasts from every initial time of a run against its own frames, beside persistence.

        Args:
            dataset: as in `forecast`; the model should not have been trained on it.
            steps: leads.
            windows: how many initial times, from the first one on; None: all.
            members, seed: of the ensemble.
            convert_units: as in `forecast`.
            options: further ones of `evaluation.evaluator.evaluate`, such as `regions`.

        Returns:
            The scores: `Scores.series` gives a curve, `Scores.dataset` all of them with intervals.

        Raises:
            UserError: as in `forecast`.

        """
        self._check_members(members)
        datastore = self._fitted(dataset, convert_units=convert_units)
        common: dict[str, Any] = {"spec": self.spec, "split": SPLIT, "windows": windows, "device": self.device}
        scores = evaluate(self.module, datastore, steps=steps, members=members, seed=seed, **common, **options)
        assert scores is not None  # this is the only process
        return scores

    def attributes(self) -> dict[str, str]:
        """Where a forecast comes from, as global attributes of its file."""
        kind = type(self.module).__name__
        return {
            "title": "forecast of the plasma around Earth",
            "source": f"spacecast {spacecast.__version__}, {kind} {self.source}",
            "checkpoint": str(self.source),
            "graph_hash": self.graph.content_hash,
            "training_data_hash": self.spec.data_hash,
        }

    def _fitted(self, dataset: xr.Dataset | PathText, *, convert_units: bool) -> FittedDatastore:
        """A run in the variables, order and units of the model."""
        opened = open_source(dataset) if isinstance(dataset, (str, PathLike)) else dataset
        store = DatasetStore(opened, self.spec)
        return FittedDatastore(store, self.spec, convert_units=convert_units, advice=ADVICE)

    def _check_members(self, members: int) -> None:
        """Members of an ensemble must differ."""
        whole(1, members=members)
        check_ensemble(self.module, members, "give members=1")

