"""Single fields of a file of forecasts, one variable and lead at a time, however large its plane is."""

from collections.abc import Sequence

import numpy as np

from spacecast.core.errors import UserError, nearest
from spacecast.core.names import MEAN, SPREAD, TRUTH
from spacecast.plots.forecasts import FORCING, ForecastFile

ERROR = "_error"  # of the forecast or the mean


def lead_number(file: ForecastFile, seconds: float) -> int | None:
    """Number of a lead from 0; None where there is none at that time [s]."""
    found = np.flatnonzero(np.abs(file.leads - seconds) < 1e-6 * max(seconds, 1.0))
    return int(found[0]) if found.size else None


def leads_in_words(file: ForecastFile) -> str:
    """Lead times for people."""
    leads = file.leads
    if leads.size < 3:
        return " and ".join(f"{lead:g} s" for lead in leads)
    return f"{leads[0]:g} to {leads[-1]:g} s every {leads[1] - leads[0]:g} s"


def kinds_of(file: ForecastFile) -> list[str]:
    """Endings of what there is of a forecast: the truth, the mean, and of an ensemble the spread."""
    ensemble = file.members > 1 or f"{next(iter(file.plane.units))}{SPREAD}" in file.data
    return [*([TRUTH] if file.has_truth else []), MEAN, *([SPREAD] if ensemble else [])]


def is_ensemble(file: ForecastFile) -> bool:
    """Whether there is a spread."""
    return SPREAD in kinds_of(file)


def check_variables(file: ForecastFile, variables: Sequence[tuple[str, str]], label: str) -> None:
    """Refuse forecasts that lack a variable or have it in other units.

    Raises:
        UserError: one does.

    """
    units = file.plane.units
    for name, unit in variables:
        if name not in units:
            raise UserError(f"{label} has no variable {name!r}; {nearest(name, units)}")
        if units[name] != unit:
            found = units[name] or "no units"
            raise UserError(f"{label}: {name} is in {found}, expected {unit}; see variables in the YAML file")


def samples(file: ForecastFile, name: str, lead: int, label: str) -> np.ndarray:
    """What the first forecast says, members one by one or, where the file has none, the mean: shape (member, node).

    Args:
        file: of the forecasts.
        name: of the variable.
        lead: counted from 0.
        label: the file, for errors.

    Raises:
        UserError: a value is no number.

    """
    values = _nodes(file, f"{name}{'' if name in file.data else MEAN}", lead, 0)
    return _checked(values, name, file.leads[lead], label)


def checked_field(file: ForecastFile, kind: str, name: str, lead: int, label: str) -> np.ndarray:
    """A field of the first forecast, all values numbers; see `read_field`.

    Raises:
        UserError: a value is no number.

    """
    return _checked(read_field(file, kind, name, lead), f"{name}{kind}", file.leads[lead], label)


def read_field(file: ForecastFile, kind: str, name: str, lead: int, example: int = 0) -> np.ndarray:
    """One field, shape (node,), float64.

    Args:
        file: of the forecasts.
        kind: `ERROR`, of the mean, or one of `kinds_of`.
        name: of the variable.
        lead: counted from 0.
        example: which forecast, counted from 0.

    """
    if kind == ERROR:
        forecast, truth = (read_field(file, each, name, lead, example) for each in (MEAN, TRUTH))
        return np.asarray(forecast - truth)
    if f"{name}{kind}" in file.data:
        return np.asarray(_nodes(file, f"{name}{kind}", lead, example)[0])
    members = _nodes(file, name, lead, example)
    return np.asarray(members.std(axis=0, ddof=1) if kind == SPREAD else members.mean(axis=0))


def read_forcing(file: ForecastFile, columns: Sequence[str], lead: int, example: int = 0) -> np.ndarray | None:
    """What was given for the step to a lead, shape (node, forcing), physical units; None where the file lacks it.

    Args:
        file: of the forecasts.
        columns: their names, in order.
        lead: counted from 0.
        example: which forecast, counted from 0.

    """
    if FORCING not in file.data or list(file.data[FORCING].attrs.get("columns", [])) != list(columns):
        return None
    return np.asarray(_nodes(file, FORCING, lead, example).T)


def _nodes(file: ForecastFile, name: str, lead: int, example: int) -> np.ndarray:
    """Fields on the nodes, (member or column, node)."""
    part = file.data[name].isel({file.axis: example, "lead_time": lead})
    grid = file.plane.grid
    values = grid.to_nodes(part.transpose(..., *grid.axes).values.astype(np.float64))
    return np.atleast_2d(values)


def _checked(values: np.ndarray, what: str, seconds: float, label: str) -> np.ndarray:
    """The values, if all are numbers."""
    if missing := int((~np.isfinite(values)).sum()):
        raise UserError(f"{label}: {what} holds {missing} values that are no numbers at {seconds:g} s; leave it out")
    return values
