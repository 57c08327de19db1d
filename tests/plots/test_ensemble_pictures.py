"""What the pictures of ensembles show: members, and the latent variable of a model."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from figure_contents import bar_units, images, panes
from torch.distributions import Normal, kl_divergence

from spacecast.forecast.writer import ForecastWriter
from spacecast.plots import canvas, latents, members
from spacecast.plots.picture import Choice, ScoredRun
from spacecast.plots.plane import Plane


@pytest.fixture
def states(tiny_spec) -> np.ndarray:
    """Truth and eight members, (1 + member, node, state)."""
    values = np.random.default_rng(3).normal(size=(9, tiny_spec.num_nodes, 12)) * tiny_spec.state.std
    return values.astype(np.float32)


def write(folder: Path, spec, states: np.ndarray, count: int) -> ScoredRun:
    """A run with one example of one lead, of so many members."""
    start = np.array(["2000-01-01T00:10:00"], dtype="datetime64[ns]")
    with ForecastWriter(folder / "examples.zarr", spec, start, 1, count) as writer:
        writer.write(0, 0, states[1 : 1 + count], states[0])
    choice = Choice(variables=["Bz"], field_lines=True)
    return ScoredRun(plane=Plane.of(spec), examples=folder / "examples.zarr", choice=choice)


def test_members_stand_beside_truth_mean_and_spread(tiny_spec, states, tmp_path, drawn) -> None:
    run = write(tmp_path, tiny_spec, states, 8)
    assert members.draw_members(run, tmp_path / "members.png") == [tmp_path / "members_0_lead_1_Bz.png"]
    shown = panes(drawn[0])
    headings = [axes.get_title().strip() for axes in shown]
    assert headings == ["$B_z$, truth", "ensemble mean", "spread", *(f"member {each}" for each in range(1, 7))]
    assert drawn[0].get_suptitle().replace("\n", " ").endswith("6 of 8 members")
    assert bar_units(drawn[0]) == ["nT"] * 9
    fields = [states[0], states[1:].mean(axis=0), states[1:].std(axis=0, ddof=1), *states[1:7]]
    for axes, field in zip(shown, fields, strict=True):
        found = tiny_spec.grid.to_nodes(np.ma.filled(images(axes)[1].get_array(), np.nan).T)
        np.testing.assert_allclose(found, field[:, 2], rtol=1e-4, atol=1e-4)
    limits = [images(axes)[1].get_clim() for axes in shown]
    assert len({limit for number, limit in enumerate(limits) if number != 2}) == 1
    assert limits[2][0] == 0


def test_a_single_forecast_has_no_members_to_draw(tiny_spec, states, tmp_path, drawn) -> None:
    assert members.draw_members(write(tmp_path, tiny_spec, states, 1), tmp_path / "members.png") == []
    assert drawn == []


def make_latents(nodes: int = 30, width: int = 5) -> latents.Latents:
    """The posterior knows most of the fourth component."""
    rng = np.random.default_rng(0)
    prior = np.stack([np.zeros((nodes, width)), np.ones((nodes, width))])
    mean = rng.normal(size=(nodes, width)) * np.array([0.1, 0.2, 0.1, 2.0, 0.3])
    posterior = np.stack([mean, rng.uniform(0.5, 1.0, size=(nodes, width))])
    samples = rng.normal(size=(2, nodes, width))
    return latents.Latents(rng.uniform(-10, 10, size=(nodes, 2)), prior, posterior, samples, "run 1")


def test_information_is_the_divergence_of_the_posterior_from_the_prior() -> None:
    found = make_latents()
    prior, posterior = (Normal(*torch.as_tensor(kind)) for kind in (found.prior, found.posterior))
    np.testing.assert_allclose(latents.divergence(found), kl_divergence(posterior, prior), rtol=1e-10)
    assert (latents.divergence(found._replace(posterior=found.prior)) == 0).all()


@pytest.mark.parametrize("size", ["page", "column"])
def test_the_component_that_the_posterior_knows_most_of_is_drawn(size, tiny_spec, tmp_path, drawn) -> None:
    found = make_latents()
    run = ScoredRun(plane=Plane.of(tiny_spec), latents=lambda: found)
    with canvas.sized(size):
        assert latents.draw_latents(run, tmp_path / "latents.png") == [tmp_path / "latents.png"]
    assert "component 4 of 5" in drawn[0].get_suptitle().replace("\n", " ")
    shown = {axes.get_title(): axes.collections[0] for axes in panes(drawn[0])}
    kinds = {"prior": (*found.prior, found.samples[0]), "posterior": (*found.posterior, found.samples[1])}
    assert len(shown) == 6
    for who, fields in kinds.items():
        for what, field in zip(("mean", "std. dev.", "a sample"), fields, strict=True):
            dots = shown[f"{who}, {what}"]
            np.testing.assert_array_equal(dots.get_array(), field[:, 3])
            np.testing.assert_array_equal(dots.get_offsets(), found.positions)
            assert dots.get_clim() == shown[f"prior, {what}"].get_clim()


def test_a_model_without_a_latent_variable_has_no_such_picture(tiny_spec, tmp_path, drawn) -> None:
    run = ScoredRun(plane=Plane.of(tiny_spec))
    for each in (run, replace(run, latents=lambda: None), replace(run, plane=None, latents=make_latents)):
        assert latents.draw_latents(each, tmp_path / "latents.png") == []
    assert drawn == []
