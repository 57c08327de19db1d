"""Maps of example forecasts, as the published figures have them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from spacecast.core.names import MEAN, SPREAD, TRUTH
from spacecast.plots.canvas import label, save
from spacecast.plots.colours import ColourScale, colour_scale, own_scale
from spacecast.plots.fields import checked_field, is_ensemble, kinds_of
from spacecast.plots.forecasts import ForecastFile
from spacecast.plots.paper_figure import is_turned
from spacecast.plots.plane import draw_field, new_planes

HEADINGS = {TRUTH: "truth", MEAN: "ensemble mean", SPREAD: "ensemble std. dev."}


def draw_maps(
    runs: Mapping[str, tuple[ForecastFile, int]], name: str, shown: Sequence[str], paths: Sequence[Path]
) -> list[Path]:
    """Draw a variable of several forecasts at one lead: a row for each; truth, mean and standard deviation beside.

    For a column or a slide these stand below each other. All runs share the colours of truth and mean, and those of the
    standard deviation.

    Args:
        runs: forecasts by their heading, each with the number of the lead, counted from 0; all of them decide on the
            colours.
        name: of the variable, which all have.
        shown: headings of those that are drawn.
        paths: pictures to write; the suffix gives the format.

    Returns:
        The paths.

    Raises:
        UserError: a value is no number where there is plasma.

    """
    fields = {
        (text, kind): checked_field(file, kind, name, lead, text)
        for text, (file, lead) in runs.items()
        for kind in kinds_of(file)
    }
    kinds = [kind for kind in HEADINGS if any(there == kind for _, there in fields)]
    scales = _scales(fields)
    turned = is_turned()
    bars = {max(column for column, kind in enumerate(kinds) if kind != SPREAD), len(kinds) - 1}
    bars = {len(shown) - 1} if turned else bars
    first, lead = runs[shown[0]]
    title = f"{label(name)}, lead time {first.leads[lead]:g} s"
    size = (len(kinds), len(shown)) if turned else (len(shown), len(kinds))
    with new_planes(first.plane, *size, bars, title) as planes:
        for (text, kind), values in fields.items():
            if text not in shown:
                continue
            place = shown.index(text), kinds.index(kind)
            row, column = reversed(place) if turned else place
            file = runs[text][0]
            pane = planes.plane(row, column, labelled=(row == size[0] - 1, column == 0))
            image = draw_field(pane, file.plane, values, scales[kind])
            what = "forecast" if kind == MEAN and not is_ensemble(file) else HEADINGS[kind]
            heading = f"{text}, {what}"
            planes.head(pane, heading)
            if column in bars:
                planes.colourbar(image, row, column, file.plane.units[name])
        return [save(planes.figure, path) for path in paths]


def _scales(fields: Mapping[tuple[str, str], np.ndarray]) -> dict[str, ColourScale]:
    """Colours of each kind, the same in all rows."""
    shared = colour_scale(*(field for (_, kind), field in fields.items() if kind != SPREAD))
    spreads = [field for (_, kind), field in fields.items() if kind == SPREAD]
    own = own_scale(np.concatenate(spreads), shared) if spreads else shared
    return {TRUTH: shared, MEAN: shared, SPREAD: own}
