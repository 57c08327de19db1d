"""What the pictures of scores and of forecasts show, read from their figures; some are rendered and looked at."""

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from figure_contents import assert_a_whole_picture, bar_units, images, lines, panes, share_of
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text

from spacecast.core.errors import UserError
from spacecast.core.grid import Grid
from spacecast.core.spec import DataSpec, FeatureSpec
from spacecast.evaluation.metrics import METRICS, find
from spacecast.evaluation.scores import ScoreRow, Scores
from spacecast.forecast.writer import ForecastWriter
from spacecast.plots import canvas, colours, curves, cuts, divergence, forecasts, history, maps, pictures, plane
from spacecast.plots.picture import Choice, Picture, ScoredRun
from spacecast.plots.plane import Plane

NAMES = ("Bx", "By", "Bz", "rho", "T")
UNITS = {"Bx": "nT", "By": "nT", "Bz": "nT", "rho": "1/cm3", "T": "MK"}
TITLES = ["$B_x$ [nT]", "$B_y$ [nT]", "$B_z$ [nT]", r"$\rho$ [cm$^{-3}$]", "$T$ [MK]"]
LEADS = (10.0, 20.0, 30.0)
GREY, WHITE = (0x8D, 0x94, 0x9C), (255, 255, 255)


def value(metric: str, name: str, lead: float) -> float:
    """A score that no other has."""
    return len(metric) + NAMES.index(name) / 10 + lead / 1000 if name in NAMES else len(metric) / 100 + lead / 1000


def make_scores(*, members: int = 1, div: bool = False) -> Scores:
    """Scores of five variables at three leads."""
    metrics = ["rmse", "persistence_rmse", *(["member_rmse", "spread"] if members > 1 else [])]
    ratios = ["skill", *(["spread_skill_ratio"] if members > 1 else [])]
    rows = []
    for lead in LEADS:
        found = [(each, name, UNITS[name]) for each in metrics for name in NAMES]
        found += [(each, name, "1") for each in ratios for name in (*NAMES, "mean")]
        found += [(each, "B", "nT/R_E") for each in ("div_b", "div_b_truth") if div]
        rows += [ScoreRow(each, name, units, lead, "all", value(each, name, lead)) for each, name, units in found]
    ranks = np.arange(len(LEADS) * len(NAMES) * (members + 1)).reshape(len(LEADS), len(NAMES), -1)
    return Scores(tuple(rows), members=members, ranks=ranks if members > 1 else None)


def all_scores(members: int) -> Scores:
    """Scores of an ensemble by every metric there is, in two regions."""
    scores = make_scores(members=members)
    rows = []
    for metric in METRICS:
        names = [("B", "nT/R_E")] if metric.of == "B" else [(name, UNITS[name]) for name in NAMES]
        names += [("mean", "1")] if metric.averaged else []
        for name, units in names:
            units = "1" if metric.units == "1" else units
            places = [(lead, region) for lead in LEADS for region in ("all", "inner")]
            rows += [ScoreRow(metric.name, name, units, *place, value(metric.name, name, place[0])) for place in places]
    return replace(scores, rows=tuple(rows))


def curve(metric: str, name: str) -> list[float]:
    """Values of one line."""
    return [value(metric, name, lead) for lead in LEADS]


@pytest.fixture(scope="module")
def frames(tiny_spec) -> np.ndarray:
    """Truth and four members, physical units: (1 + member, node, state)."""
    rng = np.random.default_rng(2)
    values = rng.normal(size=(5, tiny_spec.num_nodes, 12)) * tiny_spec.state.std
    values[..., 9:] = np.abs(values[..., 9:])
    return values.astype(np.float32)


@pytest.fixture(scope="module")
def small_spec(tiny_spec) -> DataSpec:
    """The magnetic field alone."""
    kept = tiny_spec.state
    state = FeatureSpec(kept.names[:3], kept.units[:3], kept.mean[:3], kept.std[:3])
    return replace(tiny_spec, state=state, diff_mean=tiny_spec.diff_mean[:3], diff_std=tiny_spec.diff_std[:3])


@pytest.fixture
def scored(tiny_spec) -> ScoredRun:
    return ScoredRun(make_scores(members=4, div=True), Plane.of(tiny_spec))


@pytest.fixture
def coarse(monkeypatch) -> None:
    """Pictures of few pixels."""
    monkeypatch.setitem(canvas.STYLE, "savefig.dpi", 40)


def test_rmse_has_a_pane_per_variable_with_persistence(tiny_spec, tmp_path, drawn) -> None:
    assert curves.draw_rmse(ScoredRun(make_scores(), Plane.of(tiny_spec)), tmp_path / "rmse.png") == [
        tmp_path / "rmse.png"
    ]
    shown = panes(drawn[0])
    assert [axes.get_title() for axes in shown] == TITLES
    for name, axes in zip(NAMES, shown, strict=True):
        assert lines(axes) == {"persistence": curve("persistence_rmse", name), "forecast": curve("rmse", name)}
        assert [list(line.get_xdata()) for line in axes.lines] == [list(LEADS)] * 2
        assert axes.get_ylim()[0] == 0
    assert [axes.get_xlabel() for axes in shown] == ["lead time [s]"] * 5
    assert drawn[0].get_supylabel() == "RMSE"
    assert [text.get_text() for text in drawn[0].legends[0].get_texts()] == ["persistence", "forecast"]


def test_rmse_of_an_ensemble_has_its_mean_members_and_spread(scored, tmp_path, drawn) -> None:
    curves.draw_rmse(scored, tmp_path / "rmse.png")
    for name, axes in zip(NAMES, panes(drawn[0]), strict=True):
        metrics = ("persistence_rmse", "member_rmse", "rmse", "spread")
        labels = ("persistence", "member", "ensemble mean", "spread")
        assert lines(axes) == {text: curve(metric, name) for text, metric in zip(labels, metrics, strict=True)}


@pytest.mark.parametrize(
    ("draw", "metric", "label", "convert", "reference"),
    [
        (curves.draw_skill, "skill", "1 - RMSE / persistence", lambda skill: skill, 0),
        (curves.draw_ratio, "skill", "RMSE / persistence", lambda skill: 1 - skill, 1),
        (curves.draw_spread_skill, "spread_skill_ratio", "spread / skill", lambda ratio: ratio, 1),
    ],
)
def test_ratios_have_a_pane_per_variable_and_their_mean_beside_a_reference(
    draw, metric, label, convert, reference, scored, tmp_path, drawn
) -> None:
    draw(scored, tmp_path / "ratio.png")
    shown = panes(drawn[0])
    assert [axes.get_title() for axes in shown] == [*map(canvas.label, NAMES), "mean over variables"]
    # four in a row: only what has no pane below it names the axis
    assert [axes.get_xlabel() for axes in shown] == ["", "", *["lead time [s]"] * 4]
    assert drawn[0].get_supylabel() == label
    for name, axes in zip((*NAMES, "mean"), shown, strict=True):
        curves_shown = lines(axes)
        assert curves_shown.pop("reliable" if metric != "skill" else "persistence") == [reference] * 2
        text = "ensemble mean" if metric == "skill" else "ensemble"
        np.testing.assert_allclose(curves_shown[text], convert(np.array(curve(metric, name))))


def test_the_mean_over_variables_stands_beside_that_of_the_references(tiny_spec, tmp_path, drawn) -> None:
    """Of the ratios, as in the table of the terminal, in the chosen region."""
    scores = all_scores(3)
    run = ScoredRun(scores, Plane.of(tiny_spec))
    curves.draw_ratio(run, tmp_path / "ratio.png")
    shown = {axes.get_title(): lines(axes) for axes in panes(drawn[0])}
    for reference, (metric, _) in list(curves.REFERENCES.items())[1:]:
        ratios = [np.array(curve(metric, name)) / curve("persistence_rmse", name) for name in NAMES]
        np.testing.assert_allclose(shown[canvas.label("Bx")][reference], ratios[0])
        np.testing.assert_allclose(shown["mean over variables"][reference], np.mean(ratios, axis=0))
        np.testing.assert_allclose(shown["mean over variables"][reference], scores.references()[f"{reference}, mean"])


def test_several_runs_are_lines_of_their_own_beside_one_persistence(tiny_spec, tmp_path, drawn) -> None:
    one, two = (ScoredRun(make_scores(), Plane.of(tiny_spec), name=name) for name in ("one", "two"))
    curves.draw_rmse(replace(one, others=[two]), tmp_path / "rmse.png")
    for name, axes in zip(NAMES, panes(drawn[0]), strict=True):
        assert lines(axes).keys() == {"persistence", "one", "two"}
        assert lines(axes)["two"] == curve("rmse", name)


@pytest.mark.parametrize("draw", [curves.draw_rmse, curves.draw_ratio, divergence.draw_divergence])
def test_a_title_says_what_was_scored_where_all_runs_agree(draw, tiny_spec, tmp_path, drawn) -> None:
    known = replace(make_scores(div=True), windows=12, scored="run unseen, all frames")
    other = replace(known, scored="run 1, all frames")
    run, unlike = (ScoredRun(scores, Plane.of(tiny_spec), name="one") for scores in (known, other))
    two = replace(run, name="two")
    for shown in (run, replace(run, others=[two]), replace(run, others=[unlike])):
        draw(shown, tmp_path / "title.png")
    titles = [figure.get_suptitle().replace("\n", " ") for figure in drawn]
    assert titles == ["12 forecasts of run unseen, all frames"] * 2 + [""]


def test_a_title_names_the_part_of_the_plane_and_explains_bands(tiny_spec, tmp_path, drawn) -> None:
    ends = {f"rmse_{end}": (("variable", "lead_time"), np.ones((len(NAMES), len(LEADS)))) for end in ("low", "high")}
    scores = replace(all_scores(4), windows=1, scored="run 1", dataset=xr.Dataset(ends, {"variable": list(NAMES)}))
    run = ScoredRun(scores, Plane.of(tiny_spec), choice=Choice(region="inner"))
    curves.draw_rmse(run, tmp_path / "rmse.png")
    assert drawn[0].get_suptitle() == "1 forecast of run 1, region inner, bands: 95% intervals"


def test_a_metric_of_several_runs_has_a_line_for_each(small_spec, tmp_path, drawn) -> None:
    one, two = (ScoredRun(all_scores(4), Plane.of(small_spec), name=name) for name in ("one", "two"))
    curves.draw_metric(replace(one, others=[two]), tmp_path / "metric.png", find("crps"))
    assert lines(panes(drawn[0])[0]).keys() == {"one", "two", "perfect"}


@pytest.mark.parametrize("draw", [curves.draw_rmse, curves.draw_ratio, divergence.draw_divergence])
def test_runs_of_other_leads_are_shown_beside_each_other(draw, tiny_spec, tmp_path, drawn) -> None:
    scores = make_scores(div=True)
    short = replace(scores, rows=tuple(row for row in scores.rows if row.lead_s <= LEADS[0]))
    one, two = (
        ScoredRun(scores, Plane.of(tiny_spec), name=name) for scores, name in ((scores, "long"), (short, "short"))
    )
    for first, second in ((one, two), (two, one)):
        draw(replace(first, others=[second]), tmp_path / "scores.png")
    for figure in drawn:
        found = {line.get_label(): list(line.get_xdata()) for line in panes(figure)[0].lines}
        assert (found["long"], found["short"]) == (list(LEADS), [LEADS[0]])


def test_divergence_stands_beside_that_of_the_truth(scored, tmp_path, drawn) -> None:
    divergence.draw_divergence(scored, tmp_path / "divergence.png")
    [axes] = panes(drawn[0])
    assert lines(axes) == {"truth": curve("div_b_truth", "B"), "forecast": curve("div_b", "B")}
    assert axes.get_ylabel() == r"mean $|\nabla\cdot B|$ [nT/$R_E$]"
    assert axes.get_yscale() == "log"


def test_ranks_are_shares_at_three_leads_beside_what_is_reliable(scored, tmp_path, drawn) -> None:
    curves.draw_ranks(scored, tmp_path / "ranks.png")
    shown = panes(drawn[0])
    assert [axes.get_title() for axes in shown] == [canvas.label(name) for name in NAMES]
    assert shown[-1].get_xlabel() == "rank among 4 members"
    for number, axes in enumerate(shown):
        steps = {patch.get_label(): patch.get_data().values for patch in axes.patches}
        assert list(steps) == ["lead 10 s", "lead 20 s", "lead 30 s"]
        for counts, heights in zip(scored.scores.ranks[:, number], steps.values(), strict=True):
            np.testing.assert_allclose(heights, counts / counts.sum() * 5)
        assert lines(axes) == {"reliable": [1, 1]}


@pytest.mark.parametrize("what", ["rmes", ["rmse", "rmes"]])
def test_an_unknown_picture_is_refused_with_the_nearest(what) -> None:
    with pytest.raises(UserError, match=r"what=rmes: there is no such picture; did you mean 'rmse'\?"):
        pictures.chosen_pictures(what)


def test_pictures_are_chosen_by_name_all_or_those_of_an_evaluation() -> None:
    known = pictures.known_pictures()
    assert [each.name for each in pictures.chosen_pictures(["cuts", "rmse", "cuts"])] == ["cuts", "rmse"]
    assert len(pictures.chosen_pictures("all")) == len(known)
    assert {each.name for each in pictures.chosen_pictures(None)} == {
        name for name, each in known.items() if each.always
    }


def test_lines_of_a_dipole_are_contours_of_its_potential(tiny_spec) -> None:
    """A_y = m x / r^2 has Bx = 2 m x z / r^4 and Bz = m (z^2 - x^2) / r^4; far from Earth, as cells are wide."""
    spacing = np.arange(-29.5, 30)
    x, z = np.meshgrid(spacing, spacing, indexing="ij")
    grid = Grid({"x": spacing, "z": spacing}, np.hypot(x, z) > 4)
    squared = x**2 + z**2
    bx, bz = 1000 * 2 * x * z / squared**2, 1000 * (z**2 - x**2) / squared**2
    found = plane.flux_function(grid, grid.to_nodes(bx), grid.to_nodes(bz))
    far = np.hypot(x, z) > 8
    wanted = 1000 * x / squared
    assert np.abs((found - wanted)[far] - np.mean((found - wanted)[far])).max() < 0.05 * np.abs(wanted[far]).max()


def test_a_divergence_that_is_exactly_zero_stands_on_the_axis(scored, tmp_path, drawn) -> None:
    rows = [row._replace(value=0.0) if row.metric == "div_b_truth" else row for row in scored.scores.rows]
    run = replace(scored, scores=replace(scored.scores, rows=tuple(rows)))
    divergence.draw_divergence(run, tmp_path / "divergence.png")
    [axes] = panes(drawn[0])
    assert lines(axes)["truth"] == [0, 0, 0]
    assert axes.get_yscale() == "symlog"
    assert axes.get_ylim()[0] < 0 < axes.get_ylim()[1]
    to_axes = axes.transData - axes.transAxes
    heights = [to_axes.transform((20, value))[1] for value in (0, *curve("div_b", "B"))]
    assert 0 < heights[0] < heights[1] < heights[3] < 1


def test_a_value_that_is_no_number_leaves_the_axes_of_a_history_alone(tmp_path, drawn) -> None:
    (tmp_path / "metrics.csv").write_text("epoch,step,train/loss\n0,0,nan\n0,1,100\n0,2,1\n")
    history.draw_history(ScoredRun(records=tmp_path / "metrics.csv"), tmp_path / "history.png")
    assert panes(drawn[0])[0].get_yscale() == "log"


def test_stages_of_a_training_are_marked_where_they_began(tmp_path, drawn) -> None:
    """Three epochs of ten steps; half an epoch is half its steps, and what was not come to is left out."""
    rows = [f"{epoch},{10 * epoch + step},{1 + step}" for epoch in range(3) for step in (4, 9)]
    (tmp_path / "metrics.csv").write_text("\n".join(["epoch,step,train/loss", *rows]))
    stages = [(1, "2 steps"), (1.5, "CRPS"), (7, "div B")]
    run = ScoredRun(records=tmp_path / "metrics.csv", stages=stages)
    history.draw_history(run, tmp_path / "history.png")
    [axes] = panes(drawn[0])
    marks = {text.get_text(): text.xy[0] for text in axes.texts}
    assert marks == {"2 steps": 10, "CRPS": 15}
    assert [line.get_xdata()[0] for line in axes.lines[1:]] == [10, 15]
    assert axes.lines[0].get_label() == "train/loss"


def test_a_history_shows_each_term_of_the_loss_from_when_on_it_counts(tmp_path, drawn) -> None:
    head = "epoch,step,train/loss,train/reconstruction,train/kl,train/crps,train/lr_factor"
    rows = ["0,1,3,3,,,1", "0,2,2.5,2,0.5,,1", "0,3,3.5,2,0.5,1,1"]
    (tmp_path / "metrics.csv").write_text("\n".join([head, *rows, ""]))
    history.draw_history(ScoredRun(records=tmp_path / "metrics.csv"), tmp_path / "history.png")
    [axes] = panes(drawn[0])
    assert {line.get_label(): [*line.get_xdata()] for line in axes.lines} == {
        "train/loss": [1, 2, 3], "train/reconstruction": [1, 2, 3], "train/kl": [2, 3], "train/crps": [3],
    }  # fmt: skip


@pytest.mark.parametrize("name", ["metrics.csv", "tracking.jsonl"])
def test_records_of_a_training_are_read_from_a_table_or_a_journal(name, tmp_path) -> None:
    texts = {
        "metrics.csv": "epoch,step,train/loss,val/rmse_ratio\n0,4,2.0,\n0,9,1.0,\n0,9,,0.5\n",
        "tracking.jsonl": '{"time":1,"params":{}}\n{"time":1,"metrics":[["train/loss",2.0,4],["train/epoch",0,4]]}\n'
        '{"time":2,"metrics":[["train/loss",1.0,9],["val/rmse_ratio",0.5,9],["train/epoch",0,9]]}\n{"time":3,"metr',
    }
    (tmp_path / name).write_text(texts[name])
    found = history.read_records(history.records_of(tmp_path))
    assert {name: values.tolist() for name, values in found.items()} == {
        "train/loss": [[4, 2], [9, 1]], "val/rmse_ratio": [[9, 0.5]], "train/epoch": [[4, 0], [9, 0]],
    }  # fmt: skip


def test_a_value_that_a_journal_does_not_know_is_not_a_number(tmp_path) -> None:
    (tmp_path / "tracking.jsonl").write_text('{"time":1,"metrics":[["test/rmse_ratio",null,0],["train/loss",2.0,4]]}\n')
    found = history.read_records(tmp_path / "tracking.jsonl")
    assert np.isnan(found["test/rmse_ratio"][0, 1])
    assert found["train/loss"].tolist() == [[4, 2]]


def test_maps_show_a_field_on_its_plane(tiny_spec, frames, tmp_path, drawn) -> None:
    """Earth lies in the cells without plasma, the boundary under a veil; axes have names and units."""
    state = frames[0].copy()
    maps.draw_fields(Plane.of(tiny_spec), state, tmp_path / "fields.png", variables=["Bz", "rho"], title="run 1")
    assert drawn[0].get_suptitle() == "run 1"
    shown = panes(drawn[0])
    assert [axes.get_title() for axes in shown] == ["$B_z$", r"$\rho$"]
    assert bar_units(drawn[0]) == ["nT", "cm$^{-3}$"]
    assert len(drawn[0].axes) == 4  # a colour bar for each
    assert [axes.xaxis.get_visible() for axes in shown] == [True, True]
    assert [axes.yaxis.get_visible() for axes in shown] == [True, False]
    assert (shown[0].get_xlabel(), shown[0].get_ylabel()) == ("$x$ [$R_E$]", "$z$ [$R_E$]")
    for name, axes in zip(("Bz", "rho"), shown, strict=True):
        earth, field, veil = images(axes)
        expected = tiny_spec.grid.to_field(state[:, tiny_spec.state.index(name)]).T
        np.testing.assert_array_equal(np.ma.filled(field.get_array(), np.nan), expected)
        np.testing.assert_array_equal(np.ma.getmaskarray(field.get_array()), ~tiny_spec.grid.valid.T)
        np.testing.assert_array_equal(np.ma.getmaskarray(earth.get_array()), tiny_spec.grid.valid.T)
        boundary = tiny_spec.grid.to_field(tiny_spec.boundary.astype(float), fill=0.0).T
        np.testing.assert_array_equal(veil.get_alpha(), 0.5 * boundary)
        assert {image.origin for image in axes.images} == {"lower"}
        # the edges of the outermost cells, in R_E
        assert {tuple(image.get_extent()) for image in axes.images} == {(-18, 18, -12, 12)}
        assert (axes.get_xlim(), axes.get_ylim()) == ((-18, 18), (-12, 12))
        day, night = [patch for patch in axes.patches if patch.r == 1.0]
        assert (day.theta1, night.theta1) == (-90, 90)  # the Sun is at positive x
        assert (day.get_facecolor()[:3], night.get_facecolor()[:3]) == ((1, 1, 1), (0, 0, 0))


def test_truth_and_forecast_share_their_colours_and_the_error_has_its_own(tiny_spec, frames, tmp_path, drawn) -> None:
    columns = {"truth": frames[0], "forecast": 3 * frames[1], "error": 3 * frames[1] - frames[0]}
    maps.draw_comparison(Plane.of(tiny_spec), columns, tmp_path / "maps.png", variables=NAMES)
    shown = panes(drawn[0])
    headings = [(f"{canvas.label(name)}, truth", "forecast", "error") for name in NAMES]
    assert bar_units(drawn[0]) == [canvas.unit_text(UNITS[name]) for name in NAMES for _ in range(2)]
    assert [axes.get_title().strip() for axes in shown] == [text for three in headings for text in three]
    assert len(drawn[0].axes) - len(shown) == 2 * len(NAMES)  # colour bars: one is shared
    for number, name in enumerate(NAMES):
        truth, forecast, error = (images(axes)[1] for axes in shown[3 * number : 3 * number + 3])
        assert truth.get_clim() == forecast.get_clim()
        assert truth.get_cmap() == forecast.get_cmap()
        index = tiny_spec.state.index(name)
        for image, field in zip((truth, forecast, error), columns.values(), strict=True):
            found = tiny_spec.grid.to_nodes(np.ma.filled(image.get_array(), np.nan).T)
            np.testing.assert_array_equal(found, field[:, index])
        both = np.concatenate([columns["truth"][:, index], columns["forecast"][:, index]])
        assert np.mean((both >= truth.get_clim()[0]) & (both <= truth.get_clim()[1])) > 0.98
        low, high = error.get_clim()
        assert low == -high
        assert error.get_cmap().name == "RdBu_r"
    assert len({images(axes)[1].get_clim() for axes in shown}) > len(NAMES)


def test_where_states_are_logarithmic_their_errors_are_too(tiny_spec, frames, tmp_path, drawn) -> None:
    """Down to a thirtieth of the largest, so that the error of thin plasma is seen beside that of dense plasma."""
    state = frames[0].copy()
    state[:, 9] = np.geomspace(0.01, 10, len(state))
    for factor, scale in ((1.5, "symlog"), (1 + 1e-5, "linear")):
        forecast = np.where(np.arange(len(state))[:, None] % 2, state * factor, state / factor)
        columns = {"truth": state, "forecast": forecast, "error": forecast - state}
        maps.draw_comparison(Plane.of(tiny_spec), columns, tmp_path / "maps.png", variables=["rho"])
        truth, _, error = (images(axes)[1] for axes in panes(drawn[-1]))
        assert truth.norm(0.1) == pytest.approx((truth.norm(0.01) + truth.norm(1.0)) / 2, abs=0.01)
        assert error.get_clim()[0] == -error.get_clim()[1]
        assert error.norm(0) == 0.5
        high = error.get_clim()[1]
        assert (error.norm(0.1 * high) > 0.6) == (scale == "symlog")
        ticks = [text.get_text() for text in drawn[-1].axes[-1].get_yticklabels()]
        assert len(set(ticks)) == len(ticks)


def test_a_spread_starts_from_zero(tiny_spec, frames, tmp_path, drawn) -> None:
    columns = {"truth": frames[0], "ensemble mean": frames[1:].mean(axis=0), "spread": frames[1:].std(axis=0)}
    maps.draw_comparison(Plane.of(tiny_spec), columns, tmp_path / "spread.png", variables=["Bz"])
    spread = images(panes(drawn[0])[2])[1]
    assert spread.get_clim()[0] == 0
    assert 0 < spread.get_clim()[1] <= columns["spread"][:, 2].max()


@pytest.mark.parametrize("size", list(canvas.SIZES))
def test_what_a_plane_shows_and_the_units_beside_it_do_not_meet(size, tiny_spec, frames, tmp_path, drawn) -> None:
    columns = {"truth": frames[0], "ensemble mean": frames[1:].mean(axis=0), "spread": frames[1:].std(axis=0)}
    with canvas.sized(size):
        maps.draw_comparison(Plane.of(tiny_spec), columns, tmp_path / "maps.png", variables=["Ex", "Ey", "Ez"])
    [figure] = drawn
    figure.draw_without_rendering()  # which puts titles in their places
    heads = [axes.title.get_window_extent() for axes in panes(figure) if axes.get_title() == "ensemble mean"]
    units = [axes._left_title.get_window_extent() for axes in figure.axes if axes.get_title(loc="left") == "mV/m"]
    assert (len(heads), len(units)) == (3, 6)
    assert not [head for head in heads for unit in units if head.overlaps(unit)]


@pytest.mark.parametrize(("size", "words"), [(1.0, "nT"), (1e-7, "$10^{-7}$ nT")])
def test_a_power_of_ten_of_all_numbers_of_a_bar_stands_before_the_units(
    size, words, tiny_spec, frames, tmp_path, drawn
) -> None:
    spread = np.full_like(frames[0], 3 * size)
    columns = {"truth": frames[0], "ensemble mean": frames[1], "spread": spread}
    maps.draw_comparison(Plane.of(tiny_spec), columns, tmp_path / "spread.png", variables=["Bz"])
    assert bar_units(drawn[0]) == ["nT", words]
    bar = drawn[0].axes[-1]
    assert bar.yaxis.get_major_formatter().get_offset() == ""
    assert float(bar.get_yticklabels()[-1].get_text()) == pytest.approx(bar.get_yticks()[-1] / size)


def test_without_a_boundary_there_is_no_veil(tiny_grid, tiny_spec, frames, tmp_path, drawn) -> None:
    spec = replace(tiny_spec, boundary=np.zeros(tiny_grid.num_nodes, dtype=bool))
    maps.draw_fields(Plane.of(spec), frames[0], tmp_path / "fields.png", variables=["Bz"])
    assert len(images(panes(drawn[0])[0])) == 2


def write_examples(folder: Path, spec: DataSpec, frames: np.ndarray, members: int, count: int = 2) -> Path:
    """Examples of two leads; the second example and the second lead differ from the first by known factors."""
    start = np.array(["2000-01-01T00:10:00", "2000-01-01T00:20:00"], dtype="datetime64[ns]")
    with ForecastWriter(folder / "examples.zarr", spec, start[:count], 2, members, {"runs": ["b"] * count}) as writer:
        for example in range(count):
            for lead in range(2):
                shown = (1 + example) * (1 + 2 * lead) * frames[..., : len(spec.state.names)]
                writer.write(example, lead, shown[1 : 1 + members], shown[0])
    return folder / "examples.zarr"


def test_titles_name_the_wind_at_the_beginning_at_all_leads(tiny_spec, frames, tmp_path) -> None:
    with forecasts.opened(write_examples(tmp_path, tiny_spec, frames, 4), Plane.of(tiny_spec)) as file:
        wind = frames[0][tiny_spec.boundary, 9].mean()
        for example in (0, 1):
            found = {file.frame(example, lead).title.partition(", 2000")[0] for lead in (1, 2)}
            assert found == {f"run b, solar wind {(1 + example) * wind:.2g} cm$^{{-3}}$"}
            assert file.title(example).startswith(found.pop())


def test_a_cut_that_is_driven_at_both_ends_is_grey_there_alone(tiny_spec, frames, tmp_path, drawn) -> None:
    x = tiny_spec.grid.coordinates["x"]
    spec = replace(tiny_spec, boundary=(np.abs(tiny_spec.grid.positions[:, 0] - x.mean()) > 0.4 * np.ptp(x)))
    examples = write_examples(tmp_path, spec, frames, 1, count=1)
    cuts.draw_cuts(ScoredRun(make_scores(), Plane.of(spec), examples), tmp_path / "cuts.png")
    middle, half = x.mean(), (x[1] - x[0]) / 2
    spans = [patch for patch in panes(drawn[0])[0].patches if patch.get_facecolor()[:3] == to_rgb(canvas.BASELINE)]
    ends = [(patch.get_x(), patch.get_x() + patch.get_width()) for patch in spans]
    assert len(ends) == 2
    assert ends[0][0] == pytest.approx(x[0] - half)
    assert ends[0][1] < middle < ends[1][0]
    assert ends[1][1] == pytest.approx(x[-1] + half)


def test_a_legend_has_what_any_pane_shows_once() -> None:
    with canvas.new_figure(4, 2) as figure:
        first, second = figure.subplots(1, 2)
        first.plot([0, 1], label="truth")
        second.plot([0, 1], label="truth")
        second.axvspan(0, 1, label="driven")
        canvas.add_legend(figure)
        assert [text.get_text() for text in figure.legends[0].get_texts()] == ["truth", "driven"]


@pytest.mark.parametrize("size", ["column", "slide"])
def test_pictures_for_papers_and_talks_are_as_large_as_these_and_hold_few_variables(
    size, small_spec, tiny_spec, frames, tmp_path, drawn
) -> None:
    run = ScoredRun(make_scores(), Plane.of(tiny_spec), write_examples(tmp_path, tiny_spec, frames, 1, count=1))
    with canvas.sized(size):
        paths = maps.draw_examples(run, tmp_path / "examples.png")
        curves.draw_rmse(run, tmp_path / "rmse.png")
    names = ("Bx_By_Bz", "Ex_Ey_Ez", "vx_vy_vz", "rho_P_T")
    assert [path.name for path in paths] == [f"example_0_lead_2_{name}.png" for name in names]
    most = {"column": (3.4, 20), "slide": (10, 5.6)}[size]
    for figure in drawn:
        assert figure.get_figwidth() <= most[0] + 0.01
        assert figure.get_figheight() <= most[1] + 0.01
    assert [len(panes(figure)) for figure in drawn] == [9, 9, 9, 9, 5]
    letters = {text.get_fontsize() for figure in drawn for text in figure.findobj(Text) if text.get_text()}
    assert min(letters) > 4.5


def test_more_rows_than_a_slide_has_room_for_are_refused(tiny_spec) -> None:
    with canvas.sized("slide"), pytest.raises(UserError, match="12 rows of maps have no room on one slide"):
        plane.new_planes(Plane.of(tiny_spec), 12, 3, [1, 2], "title").__enter__()


@pytest.mark.parametrize("members", [1, 4])
def test_examples_are_drawn_at_their_last_lead(members: int, small_spec, frames, tmp_path, drawn) -> None:
    store = write_examples(tmp_path, small_spec, frames, members)
    run = ScoredRun(make_scores(), Plane.of(small_spec), store)
    paths = maps.draw_examples(run, tmp_path / "figures" / "examples.png")
    kinds = ["", "_ensemble"][: 1 + (members > 1)]
    assert [path.name for path in paths] == [
        f"example_{number}_lead_2{kind}.png" for number in (0, 1) for kind in kinds
    ]
    assert all(path.parent == tmp_path / "figures" and path.exists() for path in paths)
    titles = [figure.get_suptitle() for figure in drawn]
    assert titles == [f"run b, 2000-01-01 00:{clock}:00 + 20 s" for clock in (10, 20) for _ in kinds]
    truth, ensemble = 6 * frames[0], 6 * frames[1 : 1 + members]  # of the second example, at the second lead
    mean = ensemble.mean(axis=0)
    expected = {"": (truth, mean, mean - truth), "_ensemble": (truth, mean, ensemble.std(axis=0, ddof=members > 1))}
    for kind, figure in zip(kinds, drawn[-len(kinds) :], strict=True):
        shown = panes(figure)
        assert len(shown) == 9
        for place, axes in enumerate(shown):
            found = small_spec.grid.to_nodes(np.ma.filled(images(axes)[1].get_array(), np.nan).T)
            np.testing.assert_allclose(found, expected[kind][place % 3][:, place // 3], rtol=1e-4, atol=1e-4)


def test_every_picture_is_drawn_whole_and_the_same_again(small_spec, frames, tmp_path, coarse) -> None:
    """All of an ensemble with examples that is scored by every metric in several regions."""
    run = ScoredRun(all_scores(4), Plane.of(small_spec), write_examples(tmp_path, small_spec, frames, 4, count=1))
    first, again = (pictures.draw_pictures(run, tmp_path / name) for name in ("first", "again"))
    names = {path.name for path in first}
    without = ("examples", "maps", "history")
    wanted = {f"{each.name}.png" for each in pictures.chosen_pictures(None) if each.name not in without}
    endings = [f"{kind}{name}" for kind in ("", "_ensemble") for name in ("", "_Bz")]
    assert names == wanted | {f"example_0_lead_2{ending}.png" for ending in endings}
    assert {path.name for path in (tmp_path / "first").iterdir()} == names
    for one, other in zip(first, again, strict=True):
        assert_a_whole_picture(one)
        assert one.read_bytes() == other.read_bytes()


@pytest.mark.parametrize(
    ("name", "members", "best"), [("crps", "each", 0.0), ("skill", "mean", 1.0), ("div_b", "each", 0.0)]
)
def test_a_metric_may_have_a_picture_of_its_own(name, members, best, small_spec, tmp_path, drawn) -> None:
    """A pane per variable and one of their mean, beside what is perfect."""
    metric = find(name)
    curves.draw_metric(ScoredRun(all_scores(4), Plane.of(small_spec)), tmp_path / "metric.png", metric)
    text = {"each": "members", "mean": "ensemble mean"}[members]
    shown = panes(drawn[0])
    titles = {"crps": TITLES, "skill": [*map(canvas.label, NAMES), "mean"], "div_b": ["B [nT/$R_E$]"]}[name]
    assert [axes.get_title() for axes in shown] == titles
    assert drawn[0].get_supylabel() == metric.label
    variables = {"crps": NAMES, "skill": (*NAMES, "mean"), "div_b": ("B",)}[name]
    for variable, axes in zip(variables, shown, strict=True):
        assert lines(axes) == {text: curve(name, variable), "perfect": [best, best]}
    curves.draw_metric(ScoredRun(make_scores(), Plane.of(small_spec)), tmp_path / "metric.png", find("crps"))
    assert len(drawn) == 1


def test_pictures_without_something_to_draw_are_left_out(tiny_spec, tmp_path, drawn) -> None:
    found = pictures.draw_pictures(ScoredRun(make_scores(), Plane.of(tiny_spec)), tmp_path)
    assert [path.name for path in found] == ["rmse.png", "skill.png"]
    found = pictures.draw_pictures(ScoredRun(make_scores(div=True), Plane.of(tiny_spec)), tmp_path)
    assert [path.name for path in found] == ["rmse.png", "skill.png", "divergence.png"]


@pytest.mark.parametrize("error", [ValueError, RuntimeError, OSError])
def test_a_picture_that_fails_costs_a_warning(error, scored, tmp_path, drawn, monkeypatch, caplog) -> None:
    def fail(run: ScoredRun, path: Path) -> list[Path]:
        raise error("no room")

    known = dict(pictures.known_pictures()) | {"skill": Picture("skill", "", fail)}
    monkeypatch.setattr(pictures, "known_pictures", lambda: known)
    with caplog.at_level(logging.WARNING, logger="spacecast"):
        found = pictures.draw_pictures(scored, tmp_path)
    assert [path.name for path in found] == ["rmse.png", "spread_skill.png", "ranks.png", "divergence.png"]
    assert caplog.messages == ["picture skill was not drawn: no room"]


def test_what_is_no_number_is_white_and_earth_is_grey(tiny_spec, frames, tmp_path, coarse) -> None:
    shares = []
    for number, nodes in enumerate((0, tiny_spec.num_nodes // 2, tiny_spec.num_nodes)):
        state = frames[0].copy()
        state[:nodes] = np.nan
        path = maps.draw_fields(Plane.of(tiny_spec), state, tmp_path / f"{number}.png", variables=["Bz"])
        shares.append((share_of(path, WHITE), share_of(path, GREY)))
    white, grey = np.array(shares).T
    assert white[0] + 0.1 < white[1] < white[2] - 0.1
    assert (grey > 0.01).all()
    assert np.ptp(grey) < 0.01


def test_a_forecast_without_numbers_is_drawn_beside_its_truth(tiny_spec, frames, tmp_path, drawn) -> None:
    for broken in (np.full_like(frames[0], np.nan), np.where(frames[1] > 0, np.inf, frames[1])):
        columns = {"truth": frames[0], "forecast": broken, "error": broken - frames[0]}
        maps.draw_comparison(Plane.of(tiny_spec), columns, tmp_path / "maps.png", variables=["Bz"])
        for axes in panes(drawn[-1]):
            assert np.isfinite(images(axes)[1].get_clim()).all()


def test_a_perfect_forecast_and_a_constant_field_have_colours(tiny_spec, frames, tmp_path, drawn) -> None:
    zero = np.zeros_like(frames[0])
    for columns in ({"t": frames[0], "f": frames[0], "e": zero}, {"t": zero, "f": zero, "e": zero}):
        maps.draw_comparison(Plane.of(tiny_spec), columns, tmp_path / "maps.png", variables=["rho"])
        for axes in panes(drawn[-1]):
            low, high = images(axes)[1].get_clim()
            assert low < high


def test_signed_fields_diverge_about_zero_and_positive_ones_do_not() -> None:
    signed = colours.colour_scale(np.array([-1.0, 2.0, 5.0]))
    assert (signed.cmap, signed.low) == ("RdBu_r", -signed.high)
    positive = colours.colour_scale(np.array([1.0, 2.0, 5.0]), np.array([-0.1, 3.0]))
    assert positive.cmap == "viridis"
    assert positive.low < positive.high
    assert colours.colour_scale(np.full(4, 3.0)).high > 3.0
    assert colours.colour_scale(np.full(4, np.nan)).high == 1.0


def test_the_strong_field_near_earth_does_not_drown_the_rest() -> None:
    field = np.r_[np.linspace(-1, 1, 999), 1e4]
    assert colours.colour_scale(field).high <= 1.01


@pytest.mark.parametrize(("count", "columns"), [(1, 1), (4, 4), (5, 5), (6, 4), (12, 4), (13, 5)])
def test_panes_leave_few_places_empty(count, columns) -> None:
    assert canvas.columns_for(count) == columns


def test_a_long_title_is_broken_at_commas() -> None:
    title = "run unseen, solar wind 1 cm$^{-3}$, 2000-01-01 00:00:10 + 1000 s"
    assert canvas.wrapped(title, 9.0) == title
    assert canvas.wrapped(title, 3.2) == "run unseen, solar wind 1 cm$^{-3}$,\n2000-01-01 00:00:10 + 1000 s"
    assert canvas.wrapped(title, 0.1) == title.replace(", ", ",\n")


def test_a_legend_has_as_many_columns_as_there_is_room_for() -> None:
    texts = ["persistence", "climatology", "linear extrapolation", "forecast"]
    assert [canvas.legend_columns(texts, width) for width in (0.1, 3.4, 8.4, 100)] == [1, 2, 4, 4]


def test_a_label_is_as_small_as_its_axis_asks_for() -> None:
    assert canvas.fitting("RMSE", 1.0) == 8.0
    assert canvas.fitting("rank of the truth among 6 members", 1.0) == pytest.approx(8 / (33 * 0.55 * 8 / 72))


def test_labels_are_those_of_a_paper() -> None:
    assert canvas.label("Bx", "nT") == "$B_x$ [nT]"
    assert canvas.label("rho", "1/cm3") == r"$\rho$ [cm$^{-3}$]"
    assert canvas.label("T") == "$T$"
    assert canvas.label("proton_flux", "nT/R_E") == "proton_flux [nT/$R_E$]"


def test_planes_lie_beside_each_other_in_true_proportion(tiny_spec) -> None:
    with plane.new_planes(Plane.of(tiny_spec), 2, 3, [2], None) as planes:
        boxes = {
            (row, column): planes.plane(row, column, labelled=(True, True)).get_position()
            for row in range(2)
            for column in range(3)
        }
        across, up = planes.size
    for box in boxes.values():
        assert box.width * across / (box.height * up) == pytest.approx(1.5)
        assert 0 <= box.x0 < box.x1 <= 1
        assert 0 <= box.y0 < box.y1 <= 1
    assert boxes[0, 0].x1 < boxes[0, 1].x0
    assert boxes[0, 0].y0 > boxes[1, 0].y1


def test_pictures_leave_the_callers_style_alone(scored, tmp_path) -> None:
    import matplotlib as mpl
    from matplotlib import pyplot

    before = dict(mpl.rcParams)
    divergence.draw_divergence(scored, tmp_path / "divergence.pdf")
    assert (tmp_path / "divergence.pdf").read_bytes().startswith(b"%PDF")
    assert dict(mpl.rcParams) == before
    assert not pyplot.get_fignums()


def test_a_picture_that_cannot_be_finished_leaves_nothing(scored, tmp_path, monkeypatch) -> None:
    def break_off(figure: Figure, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError("disk full")

    (tmp_path / "divergence.png").write_bytes(b"before")
    monkeypatch.setattr(Figure, "savefig", break_off)
    with pytest.raises(OSError, match="disk full"):
        divergence.draw_divergence(scored, tmp_path / "divergence.png")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"divergence.png": b"before"}
