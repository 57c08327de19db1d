"""The published figures of example forecasts."""

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from figure_contents import images, panes
from published_files import NAMES, UNITS, make_example, write_example

from spacecast.app.plot_paper import published
from spacecast.core.errors import UserError
from spacecast.core.grid import Grid
from spacecast.evaluation.boundaries import largest_rectangle
from spacecast.plots import canvas
from spacecast.plots.forecasts import opened
from spacecast.plots.paper_examples import ExampleFigures
from spacecast.plots.paper_figure import Notes
from spacecast.plots.paper_layout import as_ours
from spacecast.plots.paper_names import PaperNames, read_names


@pytest.fixture(scope="module")
def plane() -> Grid:
    """With room for a rectangle of spectra."""
    x, z = np.linspace(-33.5, 15.5, 50), np.linspace(-9.5, 9.5, 20)
    return Grid({"x": x, "z": z}, np.hypot(x[:, None], z[None, :]) > 4)


@pytest.fixture(scope="module")
def forecasts(plane, tmp_path_factory) -> Path:
    """Two runs of an ensemble, one of single forecasts."""
    folder = tmp_path_factory.mktemp("forecasts")
    write_example(make_example(plane), folder / "run_1_efm")
    write_example(make_example(plane, seed=10), folder / "run_2_efm")
    write_example(make_example(plane, ensemble=False), folder / "run_1_fm")
    return folder


@pytest.fixture(scope="module")
def names() -> PaperNames:
    content = {
        "forecasts": {"Run 1": "run_1_efm", "Run 2": "run_2_efm", "Run 3": "run_3_efm"},
        "spectra": {"Run 1": {"Graph-FM": "run_1_fm", "Graph-EFM": "run_1_efm"}},
        "map_seconds": 3,
        "spectra_seconds": [1, 4, 10],
    }
    return read_names(content, published(), "mine.yaml")


def draw(names, folder, tmp_path) -> tuple[list[str], list[str]]:
    """Names of what is drawn, and what is said."""
    notes = Notes()
    with ExitStack() as files:
        figures = ExampleFigures(names, folder, notes, files).figures()
        for figure in figures:
            figure.draw([tmp_path / f"{figure.name}.png"])
    return [figure.name for figure in figures], notes.lines


def test_maps_have_a_row_for_each_run(names, forecasts, plane, tmp_path, drawn):
    found, lines = draw(replace(names, spectra={}), forecasts, tmp_path)
    assert found == [f"forecast_grid_{name}" for name in NAMES]
    assert lines == [f"forecast_grid: {forecasts / 'run_3_efm' / 'example_1.zarr'} is not there"]
    figure = drawn[NAMES.index("Bz")]
    assert figure.get_suptitle() == "$B_z$, lead time 3 s"
    shown = panes(figure)
    kinds = ("truth", "ensemble mean", "ensemble std. dev.")
    assert [axes.get_title() for axes in shown] == [f"Run {run}, {kind}" for run in (1, 2) for kind in kinds]
    for row, seed in ((0, 0), (3, 10)):
        data = make_example(plane, seed=seed).isel(time=2, state_feature=NAMES.index("Bz"))
        for axes, kind in zip(shown[row:], ("target", "ens_mean", "ens_std"), strict=False):
            np.testing.assert_allclose(np.ma.filled(images(axes)[1].get_array(), np.nan), data[kind].values.T)
    limits = [images(axes)[1].get_clim() for axes in shown]
    assert limits[0] == limits[1] == limits[3] == limits[4]
    assert limits[2] == limits[5] != limits[0]
    assert limits[2][0] == 0
    bars = [axes for axes in figure.axes if axes not in shown]
    assert {bar.get_title(loc="left") for bar in bars} == {"nT"}


def test_spectra_are_those_of_truth_forecast_and_mean(names, forecasts, plane, tmp_path, drawn):
    found, lines = draw(replace(names, forecasts={}), forecasts, tmp_path)
    assert found == [f"run_1_power_spectra_grid_{number}" for number in (1, 2)]
    assert lines == [f"run_1_power_spectra_grid: {model} has no lead of 10 s, but 1 to 4 s every 1 s"
                     for model in ("Graph-FM", "Graph-EFM")]  # fmt: skip
    shown = panes(drawn[1])
    assert [axes.get_title() for axes in shown[:4]] == ["$v_x$, 1 s", "$v_x$, 4 s", "$v_y$, 1 s", "$v_y$, 4 s"]
    assert shown[0].get_ylabel() == "power\n[(km/s)$^2$ $R_E$]"
    texts = [text.get_text() for text in drawn[1].legends[0].get_texts()]
    assert texts == ["truth", "Graph-FM", "Graph-EFM, ensemble mean"]
    place = largest_rectangle(plane, np.ones(plane.num_nodes, dtype=bool))
    single, ensemble = make_example(plane, ensemble=False), make_example(plane)
    for line, field in zip(shown[1].lines, (ensemble.target, single.prediction, ensemble.ens_mean), strict=True):
        nodes = plane.to_nodes(field.isel(time=3, state_feature=NAMES.index("vx")).values)
        expected = place.spectrum(np_tensor(nodes))[0]
        np.testing.assert_allclose(line.get_ydata(), expected, rtol=1e-6)
        np.testing.assert_allclose(line.get_xdata(), place.wavenumbers)


@pytest.mark.parametrize("size", ["column", "slide"])
def test_examples_for_a_column_or_a_slide_are_as_large_as_that(size, names, forecasts, tmp_path, drawn):
    """The runs stand beside each other; of a variable all spectra have one range."""
    now = canvas.SIZES[size]
    with canvas.sized(size):
        draw(names, forecasts, tmp_path)
    for figure in drawn:
        width, height = figure.get_size_inches()
        assert width <= now.width + 1e-6
        assert height <= (now.height or 9.0) + 1e-6
    maps, spectra = drawn[0], drawn[len(NAMES)]
    headings = [f"Run {run}, {kind}" for kind in ("truth", "ensemble mean", "ensemble std. dev.") for run in (1, 2)]
    assert sorted(axes.get_title() for axes in panes(maps)) == sorted(headings)
    first, second = panes(spectra)[:2]
    assert (first.get_title(), second.get_title()) == ("$B_x$, 1 s", "$B_x$, 4 s")
    assert first.get_ylim() == second.get_ylim()
    last = drawn[-1]
    last.draw_without_rendering()  # which puts names in their places
    for axes in panes(last):
        name = axes.yaxis.label.get_window_extent()
        assert name.height <= axes.get_window_extent().height
        assert name.x0 >= 0
    titles = {axes.get_title() for figure in drawn[len(NAMES) :] for axes in panes(figure)}
    assert len(titles) == 2 * len(NAMES)


def np_tensor(nodes: np.ndarray):
    import torch

    return torch.as_tensor(nodes).unsqueeze(-1)


def test_a_small_plane_has_no_spectra(names, tiny_grid, tmp_path, drawn):
    for model in ("run_1_fm", "run_1_efm"):
        write_example(make_example(tiny_grid, ensemble=model == "run_1_efm"), tmp_path / model)
    with pytest.raises(UserError, match="spectra need 16 x 16 cells without Earth"):
        draw(replace(names, forecasts={}), tmp_path, tmp_path)


def test_unlike_planes_do_not_share_a_figure(names, tiny_grid, plane, tmp_path):
    write_example(make_example(plane), tmp_path / "run_1_efm")
    write_example(make_example(tiny_grid), tmp_path / "run_2_efm")
    with pytest.raises(UserError, match="unlike planes, Run 1 on 50 x 20 and Run 2 on 12 x 8"):
        draw(replace(names, spectra={}), tmp_path, tmp_path)


@pytest.mark.parametrize(
    ("time", "step", "first"),
    [
        ("dates", 1.0, "2000-01-01T00:10:00"),
        ("numbers", 1.0, "2000-01-01T00:10:00"),  # as the reference writes them: nanoseconds without units
        ("none", 7.0, "NaT"),
    ],
)
def test_leads_follow_the_time_axis(time, step, first, tiny_grid):
    data = make_example(tiny_grid)
    if time == "numbers":
        data = data.assign_coords(time=data["time"].values.astype("int64"))
    if time == "none":
        data = data.drop_vars("time")
    ours = as_ours(data, "example", 7.0)
    np.testing.assert_allclose(ours["lead_time"], step * np.arange(1, 5))
    assert str(ours["init_time"].values[0])[: len(first)] == first
    assert ours["rho_truth"].attrs["units"] == "1/cm3"
    assert set(ours.data_vars) == {f"{name}{kind}" for name in NAMES for kind in ("_truth", "_mean", "_spread")}
    np.testing.assert_array_equal(ours["vx_mean"][0], data["ens_mean"].sel(state_feature="vx"))


ODD = {
    "uneven times": (lambda data: data.isel(time=[0, 1, 3]), "time is not uniform"),
    "another axis": (lambda data: data.expand_dims("member"), "target has the axes member"),
    "no coordinate": (lambda data: data.drop_vars("x"), "has no coordinate x"),
    "no forecast": (lambda data: data[["target"]], "holds no forecast"),
    "half an ensemble": (lambda data: data.drop_vars("ens_std"), "holds one of ens_mean and ens_std"),
    "a variable twice": (
        lambda data: data.assign_coords(state_feature=["Bx", *NAMES[:-1]]), "names a variable twice",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("change", "message"), ODD.values(), ids=ODD)
def test_odd_examples_are_refused_by_name(change, message, tiny_grid):
    with pytest.raises(UserError) as error:
        as_ours(change(make_example(tiny_grid)), "example_1.zarr", 1.0)
    assert "example_1.zarr" in str(error.value)
    assert message in str(error.value)


def test_other_variables_and_holes_are_refused_by_name(names, tiny_grid, tmp_path, drawn):
    few = replace(names, spectra={}, forecasts={"Run 1": "run"})
    other = make_example(tiny_grid).assign_coords(state_feature=["Bx", "By", "Bq", *NAMES[3:]])
    path = write_example(other, tmp_path / "run")
    with pytest.raises(UserError, match=rf"{path} has no variable 'Bz'; valid: Bx"):
        draw(few, tmp_path, tmp_path)
    holed = make_example(tiny_grid)
    holed["ens_mean"][2, 5, 0, 0] = np.nan
    write_example(holed, tmp_path / "run")
    with pytest.raises(UserError, match="Run 1: Ez_mean holds 1 values that are no numbers at 3 s"):
        draw(few, tmp_path, tmp_path)
    with pytest.raises(UserError, match="rho is in 1/cm3, expected 1/m3"):
        draw(replace(few, variables={**UNITS, "rho": "1/m3"}), tmp_path, tmp_path)


def test_a_published_example_opens_as_our_forecasts_do(tiny_grid, tmp_path):
    """So that every picture of forecasts, and the animation, can be made of it."""
    path = write_example(make_example(tiny_grid), tmp_path)
    with opened(path) as file:
        assert (file.count, file.members, file.has_truth) == (1, 1, True)
        frame = file.frame(0, 2)
        assert frame.title.endswith("2000-01-01 00:10:00 + 2 s")
        np.testing.assert_array_equal(file.plane.grid.valid, tiny_grid.valid)
        expected = make_example(tiny_grid)["ens_std"].isel(time=1, state_feature=0).values
        np.testing.assert_allclose(frame.spread[:, 0], tiny_grid.to_nodes(expected))


def test_an_example_without_dates_says_its_lead_alone(tiny_grid, tmp_path):
    path = write_example(make_example(tiny_grid).drop_vars("time"), tmp_path)
    with opened(path, step_seconds=5.0) as file:
        assert file.title(0, 2) == "start + 10 s"
