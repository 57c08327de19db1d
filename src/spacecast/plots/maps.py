"""Maps on the x-z plane: the variables of one frame, three fields side by side, and so example forecasts."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from spacecast.core.spec import DataSpec
from spacecast.plots.canvas import ColourScale, ScoredRun, colour_scale, label, save
from spacecast.plots.plane import draw_field, new_planes

if TYPE_CHECKING:
    from xarray import Dataset

LEAD = 10  # of example forecasts, beside the last one


def draw_fields(
    spec: DataSpec,
    state: np.ndarray,
    path: str | Path,
    *,
    variables: Sequence[str] | None = None,
    title: str | None = None,
) -> Path:
    """Draw the variables of one frame, three in a row.

    Args:
        spec: names, units, grid and boundary.
        state: shape (node, state), physical units.
        path: picture to write.
        variables: which to draw; None: all.
        title: above the picture.

    Returns:
        The path.

    """
    names = list(spec.state.names if variables is None else variables)
    columns = min(3, len(names))
    rows = -(-len(names) // columns)
    with new_planes(spec.grid, rows, columns, range(columns), title) as planes:
        for number, name in enumerate(names):
            row, column = divmod(number, columns)
            pane = planes.plane(row, column, labelled=(number + columns >= len(names), column == 0))
            index = spec.state.index(name)
            planes.colourbar(draw_field(pane, spec, state[:, index], colour_scale(state[:, index])), row, column)
            pane.set_title(label(name, spec.state.units[index]))
        return save(planes.figure, path)


def draw_comparison(
    spec: DataSpec,
    fields: Mapping[str, np.ndarray],
    path: str | Path,
    *,
    variables: Sequence[str] | None = None,
    title: str | None = None,
) -> Path:
    """Draw three planes per variable: the first two share their colours; two variables in a row when there are many.

    Args:
        spec: names, units, grid and boundary.
        fields: three by their heading, such as truth, forecast and error, each of shape (node, state), physical units.
        path: picture to write.
        variables: which to draw; None: all.
        title: above the picture.

    Returns:
        The path.

    """
    names = list(spec.state.names if variables is None else variables)
    groups = 1 if len(names) <= 4 else 2
    rows = -(-len(names) // groups)
    bars = [column for column in range(3 * groups) if column % 3]
    first, second, third = fields
    with new_planes(spec.grid, rows, 3 * groups, bars, title) as planes:
        for number, name in enumerate(names):
            group, row = divmod(number, rows)
            lowest = row == rows - 1 or number == len(names) - 1
            index = spec.state.index(name)
            shown = [field[:, index] for field in fields.values()]
            shared, own = colour_scale(shown[0], shown[1]), _own_colours(shown[2])
            headings = (f"{label(name)}, {first}", second, third + label("", spec.state.units[index]))
            for place, (field, heading) in enumerate(zip(shown, headings, strict=True)):
                column = 3 * group + place
                pane = planes.plane(row, column, labelled=(lowest, column == 0))
                image = draw_field(pane, spec, field, own if place == 2 else shared)
                pane.set_title(heading)
                if place:
                    planes.colourbar(image, row, column)
        return save(planes.figure, path)


def draw_examples(run: ScoredRun, path: Path) -> list[Path]:
    """Draw truth, forecast and error of every example at `LEAD` and the last lead; of ensembles also mean and spread.

    Args:
        run: scored, with examples.
        path: beside which the pictures go: `example_<number>_lead_<number>.png` and `..._ensemble.png`.

    Returns:
        The paths, in order.

    """
    import xarray as xr

    if run.examples is None:
        return []
    paths = []
    with xr.open_zarr(run.examples, chunks=None) as data:
        last = data.sizes["lead_time"]
        places = [(number, lead) for number in range(data.sizes["example"]) for lead in sorted({min(LEAD, last), last})]
        for number, lead in places:
            frame = data.isel(example=number, lead_time=lead - 1)
            forecast, truth = _nodes(frame, run.spec, ""), _nodes(frame, run.spec, "_truth")
            members = forecast if "member" in data.sizes else forecast[None]
            mean = members.mean(axis=0)
            start = np.datetime_as_string(frame.init_time.values, unit="s").replace("T", " ")
            title = f"{start} + {float(frame.lead_time):g} s"
            picture = path.with_name(f"example_{number}_lead_{lead}.png")
            fields = {"truth": truth, "forecast": mean, "error": mean - truth}
            paths.append(draw_comparison(run.spec, fields, picture, title=title))
            if len(members) > 1:
                fields = {"truth": truth, "ensemble mean": mean, "spread": members.std(axis=0, ddof=1)}
                picture = picture.with_stem(f"{picture.stem}_ensemble")
                paths.append(draw_comparison(run.spec, fields, picture, title=title))
    return paths


def _nodes(frame: "Dataset", spec: DataSpec, suffix: str) -> np.ndarray:
    """All variables of a frame on the nodes, shape (..., node, state)."""
    fields = [frame[f"{name}{suffix}"].values for name in spec.state.names]
    return np.stack([spec.grid.to_nodes(field) for field in fields], axis=-1)


def _own_colours(field: np.ndarray) -> ColourScale:
    """Colours of the third column: an error diverges about zero, a spread starts from it."""
    finite = field[np.isfinite(field)]
    if not finite.size or finite.min() < 0:
        return colour_scale(field)
    return ColourScale("magma", 0.0, float(np.percentile(finite, 99)) or 1.0)
