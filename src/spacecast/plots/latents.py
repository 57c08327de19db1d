"""The latent variable of an ensemble model: what its prior and its posterior know of one step."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from spacecast.plots.canvas import panes_across, save
from spacecast.plots.colours import AMOUNT, SIGNED, ColourScale
from spacecast.plots.picture import Picture, ScoredRun
from spacecast.plots.plane import EARTH, Plane, draw_earth, draw_globe, extent, new_planes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import PathCollection


class Latents(NamedTuple):
    """Distributions of the latent variable Z of one step.

    Args:
        positions: of the mesh nodes that bear it [R_E], shape (mesh, 2).
        prior, posterior: mean and standard deviation of Z given the states before, and given the state after as well,
            shape (2, mesh, latent) each.
        samples: one of each, shape (2, mesh, latent).
        title: which step.

    """

    positions: np.ndarray
    prior: np.ndarray
    posterior: np.ndarray
    samples: np.ndarray
    title: str


def divergence(latents: Latents) -> np.ndarray:
    """Kullback-Leibler divergence of the posterior from the prior, both normal [nats]: shape (mesh, latent)."""
    import torch

    from spacecast.formulas.pointwise import kl_gauss

    return kl_gauss(*map(torch.from_numpy, (*latents.posterior, *latents.prior))).numpy()


def draw_latents(run: ScoredRun, path: Path) -> list[Path]:
    """Draw the latent component that the posterior knows most of: prior in the upper row, posterior in the lower one.

    Args:
        run: whose model has a latent variable.
        path: of the picture.

    """
    found = run.latents() if run.latents is not None and run.plane is not None else None
    if found is None or run.plane is None:
        return []
    information = divergence(found)
    chosen = int(information.sum(axis=0).argmax())
    count = information.shape[1]
    knows = f"{information[:, chosen].mean():.2g} of {information.sum(axis=1).mean():.2g} nats per node"
    title = f"{found.title}, latent component {chosen + 1} of {count}, {knows}"
    kinds = [(kind[0, :, chosen], kind[1, :, chosen]) for kind in (found.prior, found.posterior)]
    fields = [(*kind, sample[:, chosen]) for kind, sample in zip(kinds, found.samples, strict=True)]
    widest = max(float(kind[1].max()) for kind in kinds)
    scales = [_signed(0, fields), ColourScale(AMOUNT, 0.0, widest), _signed(2, fields)]
    turned = panes_across() < 3  # a column of a paper has room for two beside each other
    plane = replace(run.plane, boundary=np.zeros_like(run.plane.boundary))
    with new_planes(plane, *((3, 2) if turned else (2, 3)), range(2 if turned else 3), title) as planes:
        for who, shown in enumerate(fields):
            for what, values in enumerate(shown):
                row, column = (what, who) if turned else (who, what)
                pane = planes.plane(row, column, labelled=(row == (2 if turned else 1), column == 0))
                dots = _draw_nodes(pane, plane, found.positions, values, scales[what], planes.pane)
                planes.head(pane, f"{('prior', 'posterior')[who]}, {('mean', 'std. dev.', 'a sample')[what]}")
                planes.colourbar(dots, row, column, "")
        return [save(planes.figure, path)]


def _signed(what: int, fields: Sequence[Sequence[np.ndarray]]) -> ColourScale:
    """Colours about zero for prior and posterior alike."""
    limit = max(float(np.abs(kind[what]).max()) for kind in fields)
    return ColourScale(SIGNED, -(limit or 1.0), limit or 1.0)


def _draw_nodes(
    pane: "Axes",
    plane: Plane,
    positions: np.ndarray,
    values: np.ndarray,
    colours: ColourScale,
    size: tuple[float, float],
) -> "PathCollection":
    """A square for each mesh node, so large that they fill the pane, which has a size in inches."""
    draw_earth(pane, plane.grid, EARTH)
    draw_globe(pane)
    area = float(np.clip(0.9 * 72**2 * size[0] * size[1] / len(positions), 0.5, 400.0))
    style: dict[str, Any] = {"cmap": colours.cmap, "norm": colours.norm(), "linewidths": 0, "marker": "s"}
    dots = pane.scatter(positions[:, 0], positions[:, 1], c=values, s=area, zorder=-1, **style)  # below Earth
    pane.set_xlim(extent(plane.grid)[:2])
    pane.set_ylim(extent(plane.grid)[2:])
    return dots


PICTURES = (
    Picture(
        "latents",
        "prior and posterior of the latent variable of a model that has one, such as graph_efm, for one step",
        draw_latents,
        always=False,
    ),
)
