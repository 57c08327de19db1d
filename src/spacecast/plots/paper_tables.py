"""Scores by lead time as the published tables and the runs of this project hold them."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import xarray as xr

from spacecast.core.errors import UserError
from spacecast.core.text import shown
from spacecast.evaluation.scores import Scores

FILES = {  # published tables by the metric that they hold, the first that is there
    "rmse": ("test_ens_rmse.csv", "test_rmse.csv"),
    "member_rmse": ("test_rmse.csv",),
    "crps": ("test_crps_ens.csv",),
    "spread_skill_ratio": ("test_spsk_ratio.csv",),
    "div_b": ("test_div_b.csv",),
    "div_b_truth": (),
}
OF_ENSEMBLES = ("test_ens_rmse.csv", "test_crps_ens.csv", "test_spsk_ratio.csv", "test_spread.csv")
SCORES, TABLE = "scores.nc", "scores.csv"
DIVERGENCE = "B"  # the variable of div B
LARGEST = 2**26  # bytes of a table; more is none


@dataclass(frozen=True, eq=False)
class Table:
    """One metric of one model.

    Args:
        path: of the file.
        leads: lead times, shape (lead,) [s].
        curves: of each variable, shape (lead,), physical units; NaN where there is no such score.
        units: of each variable.
        published: whether it is a published table.

    """

    path: Path
    leads: np.ndarray
    curves: Mapping[str, np.ndarray]
    units: Mapping[str, str]
    published: bool


class Tables:
    """The tables below a folder.

    Args:
        folder: relative names of folders of models are looked for in it.
        variables: columns of published tables in order, with their units.

    Attributes:
        absent: a line for each table that was asked for and is not there, by its place.

    """

    def __init__(self, folder: Path, variables: Mapping[str, str]) -> None:
        self.folder, self.variables = folder, variables
        self.absent: dict[Path, str] = {}

    def read(self, name: str, metric: str, step_seconds: float) -> Table | None:
        """A metric of a model; None where there is none, which `absent` tells.

        Args:
            name: of the folder of the model.
            metric: as in `evaluation/metrics.py`; `rmse` is that of the ensemble mean where there is an ensemble.
            step_seconds: from one row of a published table to the next [s].

        Raises:
            UserError: a file is odd.

        """
        place = self.folder / name
        if not place.is_dir():
            self.absent[place] = f"{place} is not there"
            return None
        if (place / SCORES).is_file():
            return self._told(_of_dataset(place / SCORES, metric), place / SCORES, metric)
        if (place / TABLE).is_file():
            return self._told(_of_scores(place / TABLE, metric), place / TABLE, metric)
        for file in FILES[metric]:
            if (place / file).is_file():
                columns = {DIVERGENCE: ""} if metric == "div_b" else self.variables
                return read_table(place / file, columns, step_seconds)
        if FILES[metric]:
            self.absent[place / FILES[metric][-1]] = f"{place / FILES[metric][-1]} is not there"
        return None

    def is_single(self, name: str) -> bool:
        """Whether a model makes single forecasts, which have no scores of an ensemble."""
        place = self.folder / name
        if not place.is_dir():
            return False
        if (place / SCORES).is_file() or (place / TABLE).is_file():
            of_dataset = (place / SCORES).is_file()
            table = _of_dataset(place / SCORES, "crps") if of_dataset else _of_scores(place / TABLE, "crps")
            return table is None
        tables = [file for file in place.glob("test_*.csv") if file.is_file()]
        return bool(tables) and not any(file.name in OF_ENSEMBLES for file in tables)

    def _told(self, table: Table | None, path: Path, metric: str) -> Table | None:
        """What was found; that nothing was found is noted."""
        if table is None:
            self.absent[path / metric] = f"{path} has no {metric}"
        return table


def read_table(path: Path, columns: Mapping[str, str], step_seconds: float) -> Table:
    """Read a published table: no header, a row for each lead, a column for each variable.

    Args:
        path: of the file.
        columns: variables in order, with their units.
        step_seconds: from one row to the next; the first row is that of one step [s].

    Raises:
        UserError: a row of another length, a cell that is no finite number, or no row.

    """
    if path.stat().st_size > LARGEST:
        raise UserError(f"{path} has {path.stat().st_size:,} bytes, which is no table of scores; name another folder")
    rows: list[list[float]] = []
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            for line in csv.reader(stream):
                rows.append(_row(line, columns, f"{path}, row {len(rows) + 1}"))
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} is no table of numbers ({type(error).__name__}); write it again") from error
    if not rows:
        raise UserError(f"{path} is empty; write it again")
    values = np.array(rows)
    curves = dict(zip(columns, values.T, strict=True))
    return Table(path, step_seconds * np.arange(1, len(rows) + 1), curves, dict(columns), published=True)


def _row(cells: list[str], columns: Mapping[str, str], where: str) -> list[float]:
    """The numbers of a row."""
    if len(cells) != len(columns):
        names = ", ".join(columns)
        raise UserError(
            f"{where}: {len(cells)} columns, expected {len(columns)} ({names}); see variables in the YAML file"
        )
    numbers = []
    for cell, name in zip(cells, columns, strict=True):
        try:
            number = float(cell)
        except ValueError:
            raise UserError(f"{where}, {name}: {shown(repr(cell))} is no number; tables have no header") from None
        if not np.isfinite(number):
            raise UserError(f"{where}, {name}: {cell.strip()} is no finite number; leave this model out")
        numbers.append(number)
    return numbers


@lru_cache(maxsize=32)
def _scores(path: Path) -> Scores:
    """A table of scores, read once."""
    return Scores.read_csv(path)


def _of_scores(path: Path, metric: str) -> Table | None:
    """From `scores.csv` of a run."""
    scores = _scores(path)
    units = {row.variable: row.units for row in scores if row.metric == metric and row.region == "all"}
    if not units:
        return None
    found = {name: scores.series(metric, name) for name in units}
    return _lined_up(path, found, units)


def _lined_up(path: Path, found: Mapping[str, tuple[np.ndarray, np.ndarray]], units: Mapping[str, str]) -> Table:
    """Curves on one axis of leads."""
    leads = np.unique(np.concatenate([each for each, _ in found.values()]))
    curves = {}
    for name, (own, values) in found.items():
        curves[name] = np.full(leads.shape, np.nan)
        curves[name][np.searchsorted(leads, own)] = values
    return Table(path, leads, curves, units, published=False)


def _of_dataset(path: Path, metric: str) -> Table | None:
    """From `scores.nc` of a run."""
    try:
        with xr.open_dataset(path, decode_timedelta=False) as data:
            if metric not in data:
                return None
            values = data[metric].sel(region="all").transpose("lead_time", "variable").values
            leads = data["lead_time"].values.astype(np.float64)
            names = [str(name) for name in data["variable"].values]
            texts = [str(unit) for unit in data["variable_units"].values]
            kind = str(data[metric].attrs.get("units", ""))
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{path} is no scores of a run ({type(error).__name__}); evaluate that run again") from error
    known = ~np.isnan(values).all(axis=0)
    curves = {name: values[:, column] for column, name in enumerate(names) if known[column]}
    own = dict(zip(names, texts, strict=True))
    gradient = f"{own.get('Bx', 'nT')}/R_E"
    units = {name: {"of the variable": own[name], "of B, per R_E": gradient}.get(kind, kind) for name in curves}
    return Table(path, leads, curves, units, published=False)
