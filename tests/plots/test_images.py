"""Pictures of fixed data against stored ones, `images/*.png`; `make images` writes these anew, to be looked at.

Both are averaged over squares of a few pixels, so that another version of a font changes little: what is told apart is
where things are, which colours they have, and whether they are there.
"""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from spacecast.core.graph import MeshGraph
from spacecast.core.grid import Grid
from spacecast.evaluation.scores import ScoreRow, Scores
from spacecast.forecast.writer import ForecastWriter
from spacecast.graphs.builders import MeshGraphBuilder
from spacecast.graphs.cells import cell_graph
from spacecast.plots import canvas, curves, cuts, divergence, history, latents, levels, maps, members
from spacecast.plots.picture import Choice, ScoredRun
from spacecast.plots.plane import Plane

STORED = Path(__file__).parent / "images"
REMAKE = "SPACECAST_REMAKE_IMAGES"  # of the environment, which writes the stored pictures
SQUARE, MOST = 4, 4.0  # pixels, and the root of the mean square of differences of 0 to 255
LEADS = 6


@pytest.fixture(scope="module")
def spec(tiny_spec):
    """A plane of 36 x 24 cells with a strip that is driven."""
    x, z = np.linspace(-29.375, 14.375, 36), np.linspace(-14.375, 14.375, 24)
    grid = Grid({"x": x, "z": z}, np.hypot(x[:, None], z[None, :]) > 3)
    static = np.zeros((grid.num_nodes, 3))
    return replace(tiny_spec, grid=grid, boundary=grid.positions[:, 0] > 12, static_values=static)


def state_of(spec, lead: int, shift: float) -> np.ndarray:
    """Something like a magnetosphere, the same on every machine: (node, state)."""
    x, z = spec.grid.positions.T
    squared = (x**2 + z**2) ** 2
    front = 1 / (1 + np.exp((np.hypot(x + 12, 1.4 * z) - 22 - 0.2 * lead - shift) / 1.5))
    values = np.zeros((spec.num_nodes, 12))
    values[:, 0] = 2000 * 2 * x * z / squared + 3 * np.tanh(z / 3) * front
    values[:, 1] = 2 * np.sin(x / 5 + lead + shift)
    values[:, 2] = 2000 * (z**2 - x**2) / squared - 3
    values[:, 3:6] = np.stack([np.sin(x / 4), np.cos(z / 3), np.sin((x + z) / 6)], axis=1) + shift
    values[:, 6] = -600 * (1 - front) - 100 + 50 * shift
    values[:, 7:9] = 50 * np.stack([np.sin(z / 5), np.tanh(z / 4)], axis=1)
    values[:, 9] = np.exp(-4 * front + 0.1 * lead + 0.3 * shift)
    values[:, 10:] = values[:, 9:10] ** 0.5 * np.array([0.1, 4.0])
    return values


@pytest.fixture(scope="module")
def run(spec, tmp_path_factory) -> ScoredRun:
    """A scored ensemble of three members with an example forecast."""
    folder = tmp_path_factory.mktemp("run")
    start = np.array(["2000-01-01T00:10:00"], dtype="datetime64[ns]")
    with ForecastWriter(folder / "examples.zarr", spec, start, LEADS, 3, {"runs": ["unseen"]}) as writer:
        for lead in range(LEADS):
            drawn = [state_of(spec, lead, 0.1 * (lead + 1) * sign) for sign in (-1, 0.5, 2)]
            writer.write(0, lead, np.stack(drawn), state_of(spec, lead, 0.0))
    records = folder / "metrics.csv"
    steps = [(step, 2 * 0.98**step + 0.2, 0.8 - 0.004 * step if step % 20 == 19 else "") for step in range(80)]
    lines = [f"{step // 20},{step},{loss},{ratio}" for step, loss, ratio in steps]
    records.write_text("\n".join(["epoch,step,train/loss,val/rmse_ratio", *lines]))
    graph = MeshGraphBuilder("hierarchical", levels=2, mesh_spacing=2).build(spec.grid)
    at = graph.levels[0].positions.numpy()
    wave = np.stack([np.sin(at[:, 0] / 5), np.cos(at[:, 1] / 4)], axis=1)
    prior, posterior = np.stack([0 * wave, 1 + 0 * wave]), np.stack([wave, 0.4 + 0.2 * wave])
    known = latents.Latents(at, prior, posterior, np.stack([wave**2, wave]), "run unseen")
    return ScoredRun(
        scores_of(spec),
        Plane.of(spec),
        folder / "examples.zarr",
        "small",
        records,
        graph=lambda: graph,
        choice=Choice(variables=["rho", "Bz"], leads=[6], field_lines=True),
        stages=[(2, "2 steps")],
        latents=lambda: known,
    )


def scores_of(spec) -> Scores:
    """Scores that grow with the lead time, and of a divergence whose truth is exactly 0."""
    names, rows = spec.state.names, []
    of = {"rmse": 1.0, "persistence_rmse": 2.0, "spread": 0.7, "member_rmse": 1.3}
    for lead in 10.0 * np.arange(1, LEADS + 1):
        rows += [
            ScoreRow(metric, name, units, lead, "all", (1 + place) * factor * lead**0.5)
            for place, (name, units) in enumerate(zip(names, spec.state.units, strict=True))
            for metric, factor in of.items()
        ]
        rows += [ScoreRow("skill", name, "1", lead, "all", 0.9 - 0.01 * lead) for name in (*names, "mean")]
        divergences = {"div_b": 1e-3 * lead, "div_b_truth": 0.0}
        rows += [ScoreRow(metric, "B", "nT/R_E", lead, "all", value) for metric, value in divergences.items()]
    ranks = np.tile(np.array([40, 20, 15, 25]), (LEADS, len(names), 1)) + np.arange(LEADS)[:, None, None]
    return Scores(tuple(rows), windows=4, members=3, scored="run unseen, all frames", ranks=ranks)


def cells_of(run: ScoredRun) -> MeshGraph:
    """What a model on cells passes messages on."""
    assert run.plane is not None
    return cell_graph(run.plane.grid, 2)


CASES: dict[str, tuple[str, Callable[[ScoredRun, Path], list[Path]]]] = {
    "maps": ("page", maps.draw_examples),
    "maps_column": ("column", maps.draw_examples),
    "members": ("slide", members.draw_members),
    "latents": ("page", latents.draw_latents),
    "rmse": ("column", curves.draw_rmse),
    "skill": ("page", curves.draw_skill),
    "ranks": ("slide", curves.draw_ranks),
    "divergence": ("page", divergence.draw_divergence),
    "history": ("column", history.draw_history),
    "cuts": ("page", cuts.draw_cuts),
    "keogram": ("column", cuts.draw_keograms),
    "mesh": ("page", levels.draw_mesh),
    "mesh_of_cells": ("page", lambda run, path: levels.draw_mesh(replace(run, graph=lambda: cells_of(run)), path)),
}


def averaged(path: Path) -> np.ndarray:
    """Colours of squares, (row, column, 3), 0 to 255."""
    image = Image.open(path).convert("RGB")
    return np.asarray(image.reduce(SQUARE), dtype=float)


def difference(one: Path, other: Path) -> float:
    """Root of the mean square of the differences; infinite where the sizes differ."""
    first, second = averaged(one), averaged(other)
    return float(np.sqrt(np.mean((first - second) ** 2))) if first.shape == second.shape else float("inf")


@pytest.fixture
def _coarse(monkeypatch) -> None:
    """As many pixels as it takes to see what is where."""
    monkeypatch.setitem(canvas.STYLE, "savefig.dpi", 60)
    sizes = {name: size._replace(dpi=60) for name, size in canvas.SIZES.items()}
    monkeypatch.setattr(canvas, "SIZES", sizes)


@pytest.mark.usefixtures("_coarse")
@pytest.mark.parametrize("name", CASES)
def test_pictures_look_as_the_stored_ones(name, run, tmp_path) -> None:
    size, draw = CASES[name]
    with canvas.sized(size):
        drawn = draw(run, tmp_path / f"{name}.png")[0]
    stored = STORED / f"{name}.png"
    if os.environ.get(REMAKE):
        stored.parent.mkdir(exist_ok=True)
        Image.open(drawn).convert("RGB").quantize(128).save(stored, optimize=True)
    assert difference(drawn, stored) < MOST


def test_what_is_compared_tells_pictures_apart(tmp_path) -> None:
    """A missing pane, another colour scale, and a shift by a few pixels are more than another font."""
    stored = STORED / "maps.png"
    image = Image.open(stored).convert("RGB")
    colours = np.asarray(image).copy()
    height, width = colours.shape[:2]
    empty, swapped = colours.copy(), colours[..., ::-1]
    empty[: height // 2, : width // 3] = 255
    for number, changed in enumerate((empty, swapped, np.roll(colours, 8, axis=1))):
        Image.fromarray(np.ascontiguousarray(changed)).save(tmp_path / f"{number}.png")
        assert difference(tmp_path / f"{number}.png", stored) > 2 * MOST
    Image.fromarray(colours[:-8]).save(tmp_path / "lower.png")
    assert difference(tmp_path / "lower.png", stored) == float("inf")


def test_stored_pictures_are_few_and_small() -> None:
    files = sorted(STORED.glob("*.png"))
    assert [path.stem for path in files] == sorted(CASES)
    assert sum(path.stat().st_size for path in files) < 500_000


@pytest.mark.usefixtures("_coarse")
def test_a_keogram_says_what_it_is_of_and_where_true_values_drive(run, tmp_path, drawn) -> None:
    cuts.draw_keograms(replace(run, choice=Choice(variables=["Bz"])), tmp_path / "keogram.png")
    panes = [pane for pane in drawn[0].axes if pane.get_title()]
    assert [pane.get_title() for pane in panes] == ["$B_z$, truth", "$B_z$, ensemble mean", "$B_z$, error"]
    edges = [[line.get_xdata()[0] for line in pane.lines] for pane in panes]
    assert edges == [pytest.approx([12.5])] * 3  # the left edge of the first cell whose x is above 12
    assert [text.get_text() for text in drawn[0].legends[0].get_texts()] == ["beyond: driven by true values"]
