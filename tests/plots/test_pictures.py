import numpy as np
import pytest

from spacecast.core.errors import UserError
from spacecast.evaluation.scores import Row, Scores
from spacecast.forecast.writer import ExampleWriter
from spacecast.plots import canvas, curves, examples, maps

PNG = b"\x89PNG"
NAMES = ("Bx", "By", "Bz")


@pytest.fixture(autouse=True)
def _coarse(monkeypatch) -> None:
    monkeypatch.setitem(canvas.STYLE, "savefig.dpi", 40)


@pytest.fixture(scope="module")
def frames(tiny_spec) -> np.ndarray:
    """Truth and four members, physical units: (1 + member, node, state)."""
    rng = np.random.default_rng(2)
    values = rng.normal(size=(5, tiny_spec.num_nodes, 12)) * tiny_spec.state.std
    values[..., 9:] = np.abs(values[..., 9:])
    return values.astype(np.float32)


@pytest.fixture(scope="module")
def scores(tiny_spec) -> Scores:
    rows = []
    for lead in (10.0, 20.0):
        for name, units in zip(NAMES, tiny_spec.state.units, strict=False):
            metrics = ("rmse", "persistence_rmse", "member_rmse", "spread")
            rows += [Row(metric, name, units, lead, "all", lead) for metric in metrics]
        for metric in ("skill", "spread_skill_ratio"):
            rows += [Row(metric, name, "1", lead, "all", 0.6) for name in (*NAMES, "mean")]
        rows += [Row(metric, "B", "nT/R_E", lead, "all", 0.1) for metric in ("div_b", "div_b_truth")]
    return Scores(tuple(rows))


def check(path) -> None:
    """A whole picture and nothing else."""
    assert path.read_bytes().startswith(PNG)
    assert path.stat().st_size > 1500
    assert not [entry for entry in path.parent.iterdir() if entry.name.startswith(".")]


def test_maps_are_drawn(tiny_spec, frames, tmp_path) -> None:
    few, many = {"variables": ["Bz"], "title": "a title"}, {"variables": ["Bx", "vx", "rho", "P", "T"]}
    check(maps.draw_fields(tiny_spec, frames[0], tmp_path / "new" / "fields.png", variables=["Bz", "rho"]))
    check(maps.draw_maps(tiny_spec, frames[0], frames[1], tmp_path / "maps.png", **many))
    check(maps.draw_ensemble(tiny_spec, frames[0], frames[1:], tmp_path / "ensemble.png", **few))


def test_a_perfect_forecast_and_a_constant_field_are_drawn(tiny_spec, frames, tmp_path) -> None:
    constant = np.zeros_like(frames[0])
    check(maps.draw_maps(tiny_spec, frames[0], frames[0], tmp_path / "perfect.png", variables=["rho"]))
    check(maps.draw_maps(tiny_spec, constant, constant, tmp_path / "constant.png", variables=["By"]))


def test_curves_are_drawn(scores, tmp_path) -> None:
    for draw in (curves.draw_curves, curves.draw_skill, curves.draw_spread_skill, curves.draw_divergence):
        check(draw(scores, tmp_path / f"{draw.__name__}.png", title="a title"))
    check(curves.draw_ranks(np.ones((2, 3, 5), dtype=int), scores, tmp_path / "ranks.png", lead=1))


@pytest.mark.parametrize("members", [1, 4])
def test_examples_are_drawn(tiny_spec, frames, tmp_path, members: int) -> None:
    start = np.array([np.datetime64("2000-01-01T00:10:00")])
    with ExampleWriter(tmp_path / "examples.zarr", tiny_spec, start, 2, members) as writer:
        for lead in range(2):
            writer.write(0, lead, frames[1 : 1 + members], frames[0])
    options = {"variables": ["Bz", "rho"]}
    paths = examples.draw_examples(tmp_path / "examples.zarr", tiny_spec, tmp_path / "pictures", **options)
    expected = ["example_0_lead_2.png", "example_0_lead_2_ensemble.png"][: 1 + (members > 1)]
    assert [path.name for path in paths] == expected
    for path in paths:
        check(path)
    with pytest.raises(UserError, match="leads 1 to 2"):
        examples.draw_examples(tmp_path / "examples.zarr", tiny_spec, tmp_path, leads=[3])


def test_signed_fields_diverge_about_zero_and_positive_ones_do_not() -> None:
    signed = canvas.colours(np.array([-1.0, 2.0, 5.0]))
    assert (signed.cmap, signed.low) == ("RdBu_r", -signed.high)
    positive = canvas.colours(np.array([1.0, 2.0, 5.0]), np.array([-0.1, 3.0]))
    assert positive.cmap == "viridis"
    assert positive.low < positive.high
    assert canvas.colours(np.full(4, 3.0)).high > 3.0
    assert canvas.colours(np.full(4, np.nan)).high == 1.0


def test_labels_are_those_of_a_paper() -> None:
    assert canvas.label("Bx", "nT") == "$B_x$ [nT]"
    assert canvas.label("rho", "1/cm3") == r"$\rho$ [cm$^{-3}$]"
    assert canvas.label("T") == "$T$"
    assert canvas.label("proton_flux", "nT/R_E") == "proton_flux [nT/$R_E$]"


def test_pictures_leave_the_callers_style_alone(scores, tmp_path) -> None:
    import matplotlib as mpl
    from matplotlib import pyplot

    before = dict(mpl.rcParams)
    curves.draw_divergence(scores, tmp_path / "divergence.pdf")
    assert dict(mpl.rcParams) == before
    assert not pyplot.get_fignums()
