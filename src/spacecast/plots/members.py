"""Members of an ensemble on the plane, beside its mean, its spread and the truth."""

from pathlib import Path

import numpy as np

from spacecast.plots.canvas import label, panes_across, save
from spacecast.plots.colours import colour_scale, own_scale
from spacecast.plots.forecasts import Frame
from spacecast.plots.picture import Picture, ScoredRun, chosen_frames
from spacecast.plots.plane import Plane, draw_field, draw_field_lines, new_planes

MOST = 6  # members that are shown


def draw_members(run: ScoredRun, path: Path) -> list[Path]:
    """Draw truth, ensemble mean, spread and the first members, a picture for each variable, lead and example.

    Args:
        run: with example forecasts that hold the members of an ensemble.
        path: the pictures are `members_<number>_lead_<lead>_<variable>` beside it.

    """
    if run.plane is None:
        return []
    return [
        _draw(run, frame, name, picture.with_stem(f"{picture.stem}_{name}"))
        for frame, picture in chosen_frames(run, path)
        if frame.spread is not None and frame.members is not None
        for name in run.plane.chosen(run.choice.variables)
    ]


def _draw(run: ScoredRun, frame: Frame, name: str, path: Path) -> Path:
    """One variable; all planes but that of the spread share their colours."""
    plane = run.plane
    assert isinstance(plane, Plane)
    assert frame.members is not None
    assert frame.spread is not None
    column = plane.index(name)
    states = {"truth": frame.truth} if frame.truth is not None else {}
    states |= {"ensemble mean": frame.mean, "spread": frame.spread}
    states |= {f"member {number}": state for number, state in enumerate(frame.members[:MOST], start=1)}
    shared = colour_scale(*(state[:, column] for text, state in states.items() if text != "spread"))
    own = own_scale(frame.spread[:, column], shared)
    columns = min(3, panes_across())
    rows = -(-len(states) // columns)
    more = len(frame.members) - MOST
    title = f"{frame.title}, {MOST} of {len(frame.members)} members" if more > 0 else frame.title
    with new_planes(plane, rows, columns, range(columns), title) as planes:
        for number, (text, state) in enumerate(states.items()):
            row, place = divmod(number, columns)
            pane = planes.plane(row, place, labelled=(number + columns >= len(states), place == 0))
            image = draw_field(pane, plane, np.asarray(state[:, column]), own if text == "spread" else shared)
            planes.head(pane, f"{label(name)}, {text}" if number == 0 else text)
            planes.colourbar(image, row, place, plane.units[name])
            if run.choice.field_lines and text != "spread":
                draw_field_lines(pane, plane, state)
        return save(planes.figure, path)


PICTURES = (
    Picture("members", "maps of the mean, the spread and the first members of an ensemble", draw_members, always=False),
)
