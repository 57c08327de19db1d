"""The published figures of scores: what is read, what is drawn, and what is said of the rest."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from figure_contents import panes
from published_files import ENSEMBLE, NAMES, SINGLE, UNITS, table, write_model

from spacecast.app.plot_paper import published
from spacecast.core.errors import UserError
from spacecast.core.types import ScoreRow
from spacecast.evaluation.scores import Scores
from spacecast.plots import canvas
from spacecast.plots.paper_figure import Notes
from spacecast.plots.paper_names import PaperNames, read_names
from spacecast.plots.paper_scores import ScoreFigures
from spacecast.plots.paper_tables import Tables, read_table


@pytest.fixture(scope="module")
def names() -> PaperNames:
    return read_names(published(), published(), "models")


@pytest.fixture(scope="module")
def metrics(names, tmp_path_factory) -> Path:
    """Every folder that the published figures name."""
    folder = tmp_path_factory.mktemp("metrics")
    families = (names.grid, names.divergence, names.crps)
    models = {model for family in families for members in family.values() for model in members.values()}
    for model in sorted(models | {*names.members.values(), *names.steps.values()}):
        write_model(folder, model, ENSEMBLE if "efm" in model else SINGLE)
    write_model(folder, names.divergence_truth, ("div_b",))
    return folder


def only(names: PaperNames, *kept: str) -> PaperNames:
    """Names of some figures."""
    sections = ("grid", "divergence", "crps", "members", "steps")
    return replace(names, **{each: {} for each in sections if each not in kept})


def curves(axes) -> list[list[float]]:
    return [list(line.get_ydata()) for line in axes.lines]


def draw(names, folder, drawn, tmp_path, **options) -> tuple[list[str], list[str]]:
    """Names of what is drawn, and what is said."""
    notes = Notes()
    figures = ScoreFigures(names, folder, notes, **options).figures()
    for figure in figures:
        assert figure.draw([tmp_path / f"{figure.name}.png"]) == [tmp_path / f"{figure.name}.png"]
    return [figure.name for figure in figures], notes.lines


def test_every_published_figure_of_scores_is_drawn(names, metrics, tmp_path, drawn):
    found, lines = draw(names, metrics, drawn, tmp_path)
    assert found == [
        "metrics_grid_1", "metrics_grid_2", "div_loss_comparison", "crps_loss_comparison", "ens_norm_diff",
        "rmse_1s_2s_3s",
    ]  # fmt: skip
    assert lines == []
    assert [len(panes(figure)) for figure in drawn] == [18, 18, 3, 12, 12, 12]
    assert all(axes.get_ylabel() and axes.lines for figure in drawn for axes in panes(figure))


@pytest.mark.parametrize(("size", "across"), [("column", 2), ("slide", 3)])
def test_a_column_or_a_slide_has_few_variables_beside_each_other(size, across, names, metrics, tmp_path, drawn):
    now = canvas.SIZES[size]
    with canvas.sized(size):
        found, _ = draw(only(names, "grid", "members", "steps"), metrics, drawn, tmp_path)
    grids = [name for name in found if name.startswith("metrics_grid")]
    assert grids == [f"metrics_grid_{number + 1}" for number in range(12 // across)]
    assert {"ens_norm_diff_1", "ens_norm_diff_2", "rmse_1s_2s_3s_1", "rmse_1s_2s_3s_2"} < set(found)
    of_first = [(axes.get_title(), axes.get_ylabel().split(" [")[0]) for axes in panes(drawn[0])]
    variables = ["$B_x$", "$B_y$", "$B_z$"][:across]
    assert of_first == [(name, metric) for metric in ("RMSE", "CRPS", "spread / skill") for name in variables]
    if size == "slide":
        sizes = [(*figure.get_size_inches(), figure.legends[0]._ncols) for figure in drawn]
        assert all((width, height) == pytest.approx((10.0, 5.6)) and columns >= 3 for width, height, columns in sizes)
    for figure in drawn:
        width, height = figure.get_size_inches()
        assert width <= now.width + 1e-6
        assert height <= (now.height or 9.0) + 1e-6


def test_the_grid_has_the_rmse_of_six_models_and_the_scores_of_three_ensembles(names, metrics, tmp_path, drawn):
    draw(only(names, "grid"), metrics, drawn, tmp_path)
    rmse, crps, ratio = panes(drawn[0])[:3]
    assert [axes.get_ylabel() for axes in (rmse, crps, ratio)] == ["RMSE [nT]", "CRPS [nT]", "spread / skill"]
    kinds = {"Graph-FM": "rmse", "Graph-EFM": "ens_rmse"}
    models = [(model, kinds[family]) for family, members in names.grid.items() for model in members.values()]
    assert curves(rmse) == [list(table(*each)[:, 0]) for each in models]
    ensembles = list(names.grid["Graph-EFM"].values())
    assert curves(crps) == [list(table(model, "crps_ens")[:, 0]) for model in ensembles]
    assert curves(ratio)[:3] == [list(table(model, "spsk_ratio")[:, 0]) for model in ensembles]
    assert curves(ratio)[3:] == [[1, 1]]  # is reliable, and lies among these values
    assert list(rmse.lines[0].get_xdata()) == [1, 2, 3]
    titles = [axes.get_title() for figure in drawn for axes in panes(figure)[::3]]
    assert titles[:4] == ["$B_x$", "$B_y$", "$B_z$", "$E_x$"]
    assert titles[9] == r"$\rho$"
    looks = {text.get_text() for text in drawn[0].legends[0].get_texts()}
    assert looks == {f"{family}, {name}" for family, members in names.grid.items() for name in members}
    drawn_as = {(line.get_color(), line.get_linestyle()) for line in rmse.lines}
    assert len(drawn_as) == 6


def test_the_rmse_of_one_member_is_drawn_on_demand(names, metrics, tmp_path, drawn):
    draw(only(names, "grid"), metrics, drawn, tmp_path, member_rmse=True)
    model = names.grid["Graph-EFM"]["simple"]
    assert curves(panes(drawn[0])[0])[3] == list(table(model, "rmse")[:, 0])


def test_steps_are_seconds_apart_and_changes_are_those_from_the_smallest_ensemble(names, metrics, tmp_path, drawn):
    draw(only(names, "steps", "members"), metrics, drawn, tmp_path)
    change, steps = panes(drawn[0])[0], panes(drawn[1])[0]
    assert [list(line.get_xdata()) for line in steps.lines] == [[1, 2, 3], [2, 4, 6], [3, 6, 9]]
    two, five = (table(names.members[size], "ens_rmse")[:, NAMES.index("Bz")] for size in (2, 5))
    np.testing.assert_allclose(curves(change)[:2], [[0, 0, 0], 100 * (five / two - 1)])
    assert (change.get_title(), change.get_ylabel()) == ("$B_z$, RMSE", "change [%]")


def test_what_is_missing_is_told_and_the_rest_is_drawn(names, tmp_path, drawn):
    folder = tmp_path / "metrics"
    few = replace(only(names, "grid", "members"), grid={"A": {"one": "a", "two": "b"}, "B": {"one": "c"}})
    write_model(folder, "a", SINGLE)
    write_model(folder, "c", ("ens_rmse",))
    found, lines = draw(few, folder, drawn, tmp_path)
    assert found == ["metrics_grid_1", "metrics_grid_2"]
    assert len(curves(panes(drawn[0])[0])) == 2
    assert f"metrics_grid: {folder / 'b'} is not there" in lines
    assert f"metrics_grid: {folder / 'c' / 'test_crps_ens.csv'} is not there" in lines
    assert not any(str(folder / "a") in line for line in lines)  # single forecasts have no such scores
    assert lines[-1] == "ens_norm_diff is not drawn: none of its scores is there"
    assert sum("metrics_grid" in line for line in lines) == 3


def test_metrics_that_no_model_has_leave_no_empty_panels(names, tmp_path, drawn):
    write_model(tmp_path / "metrics", "a", SINGLE)
    draw(replace(only(names, "grid"), grid={"A": {"one": "a"}}), tmp_path / "metrics", drawn, tmp_path)
    assert [[axes.get_title() for axes in panes(figure)] for figure in drawn] == [
        ["$B_x$", "$B_y$", "$B_z$", "$E_x$", "$E_y$", "$E_z$"],
        ["$v_x$", "$v_y$", "$v_z$", r"$\rho$", "$P$", "$T$"],
    ]


def test_changes_need_the_smallest_ensemble(names, metrics, tmp_path, drawn):
    few = replace(only(names, "members"), members={2: "nowhere", 5: names.members[5]})
    found, lines = draw(few, metrics, drawn, tmp_path)
    assert found == []
    assert "ens_norm_diff: no change of rmse without the ensemble of 2 members" in lines


def test_divergence_has_a_line_for_each_weight_and_the_truth(names, metrics, tmp_path, drawn):
    draw(only(names, "divergence"), metrics, drawn, tmp_path)
    shown = panes(drawn[0])[2]
    models = [model for members in names.divergence.values() for model in members.values()]
    expected = [table(model, "div_b")[:, 0] for model in (*models, names.divergence_truth)]
    np.testing.assert_allclose(curves(shown), expected)
    assert (shown.get_title(), shown.get_ylabel()) == ("as in the files", r"mean $|\nabla\cdot B|$")


def test_div_b_that_is_the_same_for_all_models_is_that_of_the_truth(names, reference_dir, tmp_path, drawn):
    models = {"simple": "graph_fm_simple", "multiscale": "graph_fm_multiscale"}
    found = replace(only(names), divergence={"Graph-FM": models}, divergence_truth=None)
    drawn_names, lines = draw(found, reference_dir / "trained", drawn, tmp_path)
    assert drawn_names == ["div_loss_comparison"]
    assert lines == ["div_loss_comparison: div B is the same in all 2 tables: it is that of the truth"]


ODD = {
    "too few columns": ("1," * 10 + "1\n", "row 1: 11 columns, expected 12"),
    "too many columns": ("1," * 12 + "1\n", "row 1: 13 columns, expected 12"),
    "a row cut off": ("1," * 11 + "1\n1,2\n", "row 2: 2 columns"),
    "a header": (",".join(NAMES) + "\n", "row 1, Bx: 'Bx' is no number"),
    "nan": ("1," * 3 + "nan" + ",1" * 8 + "\n", "row 1, Ex: nan is no finite number"),
    "infinite": ("1," * 11 + "inf\n", "row 1, T: inf is no finite number"),
    "empty": ("", "is empty"),
    "signs that move a cursor": ("\x1b[2J," + "1," * 10 + "1\n", r"'\x1b[2J' is no number"),
}


@pytest.mark.parametrize(("text", "message"), ODD.values(), ids=ODD)
def test_odd_tables_are_refused_by_name(text, message, tmp_path):
    path = tmp_path / "test_rmse.csv"
    path.write_text(text)
    with pytest.raises(UserError) as error:
        read_table(path, UNITS, 1.0)
    assert str(path) in str(error.value)
    assert message in str(error.value)
    assert "\x1b" not in str(error.value)


def test_bytes_that_are_no_text_are_refused(tmp_path):
    path = tmp_path / "test_rmse.csv"
    path.write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(UserError, match="is no table of numbers"):
        read_table(path, UNITS, 1.0)


@pytest.fixture
def own_run(tmp_path) -> Path:
    """A run folder: RMSE and CRPS of two variables, div B."""
    rows = []
    for lead in (10.0, 20.0):
        for metric, unit in (("rmse", "nT"), ("crps", "nT")):
            rows += [ScoreRow(metric, name, unit, lead, "all", len(metric) + lead) for name in ("Bx", "Bz")]
            rows += [ScoreRow(metric, "Bx", unit, lead, "tail", -1.0)]
        rows += [ScoreRow(metric, "B", "nT/R_E", lead, "all", lead / 100) for metric in ("div_b", "div_b_truth")]
    folder = tmp_path / "runs" / "mine"
    Scores(tuple(rows)).write_csv(folder / "scores.csv")
    axes = ("lead_time", "region", "variable")
    values = np.full((2, 2, 3), np.nan)
    values[:, :, :2] = np.array([14.0, 24.0])[:, None, None]
    divergence = np.full((2, 2, 3), np.nan)
    divergence[:, :, 2] = np.array([0.1, 0.2])[:, None]
    own, gradient = {"units": "of the variable"}, {"units": "of B, per R_E"}
    content = dict.fromkeys(("rmse", "crps"), (axes, values, own))
    content |= dict.fromkeys(("div_b", "div_b_truth"), (axes, divergence, gradient))
    coordinates = {
        "lead_time": ("lead_time", [10.0, 20.0], {"units": "s"}), "region": ["all", "tail"],
        "variable": ["Bx", "Bz", "B"], "variable_units": ("variable", ["nT", "nT", "nT/R_E"]),
    }  # fmt: skip
    xr.Dataset(content, coordinates).to_netcdf(folder / "scores.nc")
    return folder


@pytest.mark.parametrize("file", ["scores.csv", "scores.nc"])
def test_a_run_stands_in_for_published_tables(file, own_run):
    for other in {"scores.csv", "scores.nc"} - {file}:
        (own_run / other).unlink()
    tables = Tables(own_run.parent, UNITS)
    rmse, divergence = (tables.read("mine", metric, 1.0) for metric in ("rmse", "div_b"))
    assert list(rmse.leads) == [10, 20]
    assert {name: list(curve) for name, curve in rmse.curves.items()} == {"Bx": [14, 24], "Bz": [14, 24]}
    assert dict(rmse.units) == {"Bx": "nT", "Bz": "nT"}
    assert (list(divergence.curves["B"]), divergence.units["B"]) == ([0.1, 0.2], "nT/R_E")
    assert not rmse.published
    assert tables.read("mine", "spread_skill_ratio", 1.0) is None
    assert list(tables.absent.values()) == [f"{own_run / file} has no spread_skill_ratio"]
    assert not tables.is_single("mine")


def test_divergence_of_runs_has_its_units_and_its_truth(names, own_run, tmp_path, drawn):
    mine = replace(only(names), divergence={"mine": {"weight 1": "mine"}}, divergence_truth=None)
    _, lines = draw(mine, own_run.parent, drawn, tmp_path)
    shown = panes(drawn[0])[2]
    assert shown.get_ylabel() == r"mean $|\nabla\cdot B|$ [nT/$R_E$]"
    assert curves(shown) == [[0.1, 0.2], [0.1, 0.2]]
    assert lines == []


def test_every_figure_of_scores_is_drawn_of_runs_and_steps_are_held_against_their_leads(
    names, own_run, tmp_path, drawn
):
    shutil.copytree(own_run, own_run.with_name("other"))
    pair = {"mine": {"one": "mine"}, "theirs": {"one": "other"}}
    runs = replace(
        only(names), grid=pair, divergence=pair, divergence_truth=None, crps=pair, members={2: "mine", 5: "other"},
        steps={10: "mine", 20: "other"}, few=("Bz",), variables={"Bx": "nT", "Bz": "nT"},
    )  # fmt: skip
    found, lines = draw(runs, own_run.parent, drawn, tmp_path)
    assert found == [
        "metrics_grid_1", "div_loss_comparison", "crps_loss_comparison", "ens_norm_diff", "rmse_10s_20s",
    ]  # fmt: skip
    assert all(len(axes.lines) >= 2 for figure in drawn for axes in panes(figure) if axes.axison)
    path = own_run.with_name("other") / "scores.nc"
    assert f"rmse_10s_20s: the first lead of {path} is 10 s, not 20 s" in lines
    assert not any("first lead" in line and str(own_run) in line for line in lines)


def test_published_and_own_div_b_do_not_share_an_axis(names, own_run, tmp_path, drawn):
    write_model(own_run.parent, "theirs", SINGLE)
    both = replace(only(names), divergence={"A": {"one": "mine", "two": "theirs"}}, divergence_truth=None)
    with pytest.raises(UserError, match=r"test_div_b\.csv and .*scores\.nc are in different units"):
        draw(both, own_run.parent, drawn, tmp_path)


def test_variables_that_a_run_has_not_are_told(names, own_run, tmp_path, drawn):
    mine = replace(only(names), grid={"mine": {"one": "mine"}})
    _, lines = draw(mine, own_run.parent, drawn, tmp_path)
    assert f"metrics_grid: {own_run / 'scores.nc'} has no By" in lines


MISTAKES = {
    "unknown key": ({"gird": {}}, "unknown key 'gird'; did you mean 'grid'?"),
    "a list of folders": ({"grid": ["a"]}, "grid: expected names with folders"),
    "a folder that is a list": ({"forecasts": {"Run 1": [1]}}, "forecasts.Run 1: expected the name of a folder"),
    "an ensemble of one": ({"members": {1: "a"}}, "an ensemble of 1 members"),
    "a step below zero": ({"steps": {-1: "a"}}, "steps: expected a positive number"),
    "a lead that is a word": ({"map_seconds": "late"}, "map_seconds: expected a positive number, found 'late'"),
    "a variable that is none": ({"few": ["By", "Bq"]}, "few names 'Bq'; valid: Bx"),
}


@pytest.mark.parametrize(("content", "message"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_in_the_names_are_told(content, message):
    with pytest.raises(UserError) as error:
        read_names(content, published(), "mine.yaml")
    assert str(error.value).startswith("mine.yaml: ")
    assert message in str(error.value)


def test_sections_of_folders_are_not_filled_in(names):
    mine = read_names({"grid": {"A": {"one": "a"}}, "steps": {"2": "b", 1: 3}}, published(), "mine.yaml")
    assert (mine.members, mine.crps, mine.forecasts, mine.divergence_truth) == ({}, {}, {}, None)
    assert (mine.variables, mine.few) == (names.variables, names.few)
    assert list(mine.steps.items()) == [(1, "3"), (2, "b")]
