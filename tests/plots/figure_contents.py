"""What a figure holds, and what a written picture looks like."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage, imread


def panes(figure: Figure) -> list[Axes]:
    """Axes that are seen and are no colour bar."""
    return [axes for axes in figure.axes if axes.get_visible() and not hasattr(axes, "_colorbar")]


def bar_units(figure: Figure) -> list[str]:
    """What stands above the colour bars."""
    return [axes.get_title(loc="left") for axes in figure.axes if hasattr(axes, "_colorbar")]


def lines(axes: Axes) -> dict[str, list[float]]:
    """Curves by their label."""
    return {line.get_label(): list(line.get_ydata()) for line in axes.lines}


def images(axes: Axes) -> list[AxesImage]:
    """Images on a plane, from the lowest: Earth, the field, and the veil where there is one."""
    return list(axes.images)


def pixels(path: Path) -> np.ndarray:
    """Colours of a written picture, (row, column, 3), 0 to 255."""
    return np.round(imread(path)[..., :3] * 255).astype(int)


def share_of(path: Path, colour: tuple[int, int, int]) -> float:
    """How much of a picture has one colour."""
    return float((pixels(path) == colour).all(axis=-1).mean())


def assert_a_whole_picture(path: Path) -> None:
    """Not blank, and nothing half-written is left beside it."""
    image = pixels(path)
    assert min(image.shape[:2]) > 50
    assert 0.2 < image.mean() / 255 < 0.995
    assert image.std() > 8
    assert not [entry for entry in path.parent.iterdir() if entry.name.startswith(".")]
