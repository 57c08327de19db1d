"""The divergence of the magnetic field against lead time."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from spacecast.plots.canvas import BASELINE, TRUTH, add_legend, new_figure, save
from spacecast.plots.curves import LEAD_TIME, coloured_runs, draw_line, scored_runs
from spacecast.plots.forecasts import opened
from spacecast.plots.panes import describe
from spacecast.plots.picture import Picture, ScoredRun

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_divergence(run: ScoredRun, path: Path) -> list[Path]:
    """Draw mean |div B| of forecast and truth against lead time, beside what is large: |B| over the width of a cell."""
    runs = scored_runs(run, "div_b")
    if not runs:
        return []
    with new_figure(4.2, 2.7) as figure:
        axes = figure.subplots()
        for each, colour, text in coloured_runs(runs):  # of members, not their mean
            draw_line(axes, each, "div_b", "B", colour, text if len(runs) > 1 else "forecast")
        draw_line(axes, runs[0], "div_b_truth", "B", TRUTH, "truth", ":")  # last: forecasts may lie upon it
        scale = _field_over_width(runs[0])
        if scale is not None:
            axes.axhline(scale, color=BASELINE, linestyle=":", linewidth=1, label=r"mean $|B|\,/\,\Delta x$")
        _scale_with_zero(axes)
        axes.set_xlabel(LEAD_TIME)
        axes.set_ylabel(rf"mean $|\nabla\cdot B|$ [{runs[0].scores.units['Bx']}/$R_E$]")
        axes.spines[["top", "right"]].set_visible(False)
        describe(figure, runs)
        add_legend(figure)
        return [save(figure, path)]


def _scale_with_zero(axes: "Axes") -> None:
    """A logarithmic axis of amounts; where some are exactly 0, as is a divergence by construction, it ends in a 0."""
    from matplotlib.ticker import NullLocator

    values = np.concatenate([np.asarray(line.get_ydata(), dtype=float) for line in axes.lines])
    above = values[values > 0]
    if not above.size or (values != 0).all():
        axes.set_yscale("log")
        return
    least = 10.0 ** np.floor(np.log10(above.min()))
    axes.set_yscale("symlog", linthresh=least, linscale=0.5)
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_ylim(-0.1 * least, 3 * above.max())


def _field_over_width(run: ScoredRun) -> float | None:
    """Mean size of the magnetic field of the example forecasts' truth over the width of a cell; None: no examples."""
    if run.examples is None or run.plane is None or not {"Bx", "By", "Bz"} <= set(run.plane.units):
        return None
    with opened(run.examples, run.plane) as file:
        state = file.frame(0, 1)
        values = state.mean if state.truth is None else state.truth
    size = np.linalg.norm([values[:, run.plane.index(name)] for name in ("Bx", "By", "Bz")], axis=0)
    return float(size.mean() / min(run.plane.grid.spacing))


PICTURES = (
    Picture("divergence", "mean |div B| of forecast and truth beside |B| over a cell", draw_divergence, together=True),
)
