"""Regions by analytic surfaces and by plasma: where they lie, in the simulated magnetosphere and by themselves."""

import math

import numpy as np
import pytest
import torch
from plasma_fixtures import NAMES, demo_plane, describe, plane, simulate

from spacecast.core.errors import UserError
from spacecast.core.grid import Grid
from spacecast.core.regions import nodes_within
from spacecast.evaluation.plasma import Columns, Plasma, PlasmaRegions
from spacecast.evaluation.surfaces import measures
from spacecast.formulas.physics import plasma_classes


@pytest.fixture(scope="module", params=[0.5, 2.0])
def magnetosphere(request):
    """A thin and a dense solar wind."""
    return simulate(request.param)


def test_surfaces_measure_by_their_distance_in_the_same_direction():
    grid = plane(np.arange(-40.0, 31), np.arange(-30.0, 31))
    found = measures(
        grid,
        {
            "magnetopause_standoff": 10,
            "magnetopause_flaring": 0.5,
            "bow_shock_standoff": 15,
            "bow_shock_eccentricity": 1,
        },
    )
    x, z = grid.positions.T
    on = {(10.0, 0.0): ("magnetopause", 1.0), (20.0, 0.0): ("magnetopause", 2.0), (15.0, 0.0): ("bow_shock", 1.0),
          (0.0, 30.0): ("bow_shock", 1.0), (-30.0, 0.0): ("magnetopause", 0.0)}  # fmt: skip
    for (at_x, at_z), (name, value) in on.items():
        node = np.flatnonzero((x == at_x) & (z == at_z))[0]
        assert found[name][node] == pytest.approx(value)
    np.testing.assert_array_equal(found["abs_z"], np.abs(z))
    assert all(np.isfinite(values).all() for values in found.values())


def test_bounds_by_surfaces_share_no_node_and_leave_none_out():
    grid = demo_plane()
    known = measures(grid)
    parts = [{"bow_shock_min": 1}, {"bow_shock_max": 1, "magnetopause_min": 1}, {"magnetopause_max": 1}]
    masks = [nodes_within(grid, bounds, "region", known) for bounds in parts]
    assert (np.sum(masks, axis=0) == 1).all()
    assert all(mask.any() for mask in masks)


def test_surfaces_need_the_axis_to_the_sun():
    assert set(measures(Grid({"x": np.arange(5.0), "y": np.arange(5.0)}, np.ones((5, 5))))) == {
        "magnetopause", "bow_shock",
    }  # fmt: skip
    assert set(measures(Grid({"y": np.arange(5.0), "z": np.arange(5.0)}, np.ones((5, 5))))) == {"abs_z"}


@pytest.mark.parametrize(
    ("surfaces", "message"),
    [
        ({"bow_shock_standof": 9}, "surfaces has no parameter 'bow_shock_standof'; did you mean 'bow_shock_standoff'"),
        ({"magnetopause_standoff": 0}, "evaluation.surfaces.magnetopause_standoff=0: give a number above 0$"),
        ({"bow_shock_eccentricity": -1}, "surfaces.bow_shock_eccentricity=-1: give a number above 0, or 0"),
        ({"bow_shock_standoff": math.inf}, "evaluation.surfaces.bow_shock_standoff=inf"),
    ],
)
def test_parameters_that_make_no_surface_are_refused(surfaces, message):
    with pytest.raises(UserError, match=message):
        measures(demo_plane(), surfaces)


def test_kinds_of_plasma_exclude_each_other():
    def kind(**changes):
        wind = {"density": 1.0, "speed": 1.0, "temperature": 1.0, "heat": 0.01, "beta": 1.5}
        values = (torch.tensor(value, dtype=torch.float64) for value in (wind | changes).values())
        return plasma_classes(*values).tolist()

    assert kind() == [True, False, False, False]
    assert kind(density=3.5, speed=0.2, temperature=25, heat=0.15) == [False, True, False, False]
    assert kind(density=0.6, speed=0.7, temperature=10, heat=0.1) == [False, True, False, False]  # expanded flank
    assert kind(density=0.1, speed=0.3, temperature=8, heat=0.1, beta=0.05) == [False, False, True, False]
    assert kind(density=0.2, speed=-0.5, temperature=90, heat=0.9, beta=20) == [False, False, False, True]
    assert kind(density=0.2, speed=2.0, temperature=90, heat=0.9, beta=math.inf) == [False, False, False, True]  # jet
    assert kind(temperature=math.nan) == [False] * 4
    assert kind(beta=math.nan) == [False] * 4


def test_plasmas_of_the_simulated_magnetosphere_are_where_they_should_be(magnetosphere):
    spec, states = magnetosphere
    regions = PlasmaRegions(spec, upstream_from=16)
    masks = regions.masks(states).numpy()
    assert masks.shape == (len(states), 4, spec.num_nodes)
    assert (masks.sum(axis=1) <= 1).all()
    assert not masks[:, :, spec.boundary].any()
    x, z = spec.grid.positions.T
    wind, _, lobes, sheet = masks.any(axis=0)
    everywhere = {name: mask.all(axis=0) for name, mask in zip(regions.names, masks.swapaxes(0, 1), strict=True)}
    assert everywhere["solar_wind_by_plasma"][(x > 24) & spec.interior].all()
    assert x[wind].min() > -10
    subsolar = (np.abs(z) < 2) & (x > 10.5) & (x < 12.5)
    assert everywhere["magnetosheath_by_plasma"][subsolar].all()
    assert x[lobes | sheet].max() < 0
    tail = (x < -20) & (x > -50)
    assert everywhere["lobes_by_plasma"][tail & (np.abs(z) > 5) & (np.abs(z) < 12)].all()
    assert everywhere["plasma_sheet_by_plasma"][tail & (np.abs(z) < 1)].all()
    assert not sheet[tail & (np.abs(z) > 5)].any()
    inner = spec.grid.radius < 10
    assert not (lobes | sheet)[inner].any()


def test_regions_move_with_the_plasma(magnetosphere):
    spec, states = magnetosphere
    first = PlasmaRegions(spec, 16).masks(states)
    assert (first[0] != first[-1]).any()
    alone = PlasmaRegions(spec, 16).masks(states[2:3])
    assert torch.equal(alone[0], first[2])


def test_no_wind_no_regions(magnetosphere):
    spec, states = magnetosphere
    still = states.clone()
    still[..., NAMES.index("vx")] = 0
    assert not PlasmaRegions(spec, 16).masks(still).any()


def test_data_without_the_variables_or_without_the_wind_are_refused():
    grid = demo_plane()
    with pytest.raises(UserError, match=r"evaluation.plasma_regions needs 2 more variables, .*: T, By; set it to fal"):
        PlasmaRegions(describe(grid, ("rho", "vx", "P", "Bx", "Bz")), 16)
    units = ("furlong",) * len(NAMES)
    with pytest.raises(UserError, match="needs 7 more variables"):
        PlasmaRegions(describe(grid, NAMES, units), 16)
    with pytest.raises(UserError, match=r"needs the solar wind: the grid ends at x = 9.5 R_E.*evaluation.surfaces.bow"):
        PlasmaRegions(describe(plane(np.arange(-59.5, 10), np.arange(-29.5, 30))), 16)


def test_variables_are_read_in_published_units():
    grid = plane(np.arange(-5.0, 6), np.arange(-5.0, 6))
    spec = describe(grid, ("T", "P"), ("K", "Pa"), np.array([2e6, 3e-9]), np.array([1e5, 1e-9]))
    columns = Columns.find(spec, ("P", "T"))
    states = torch.tensor([[1.0, -1.0]])
    torch.testing.assert_close(columns.scaled(states), torch.tensor([[2.0, 2.1]], dtype=torch.float64))
    physical = torch.tensor([[4e6, 5e-10]])
    torch.testing.assert_close(columns.physical(physical), torch.tensor([[0.5, 4.0]], dtype=torch.float64))
    assert Columns.find(spec, ("rho",)) is None
    assert Columns.find(describe(grid, ("rho",), ("parsec",)), ("rho",)) is None


def test_what_a_small_plane_has_no_place_for_is_said(caplog):
    caplog.set_level("INFO")
    x = np.arange(-11.0, 12)
    plasma = Plasma(describe(plane(x, x)))
    assert (plasma.rectangle, plasma.flux, plasma.boundaries) == (None, False, [])
    spectra = "the grid has no place for power spectra (on 16 x 16 cells without Earth, found 8 x 23)"
    lines = "distance of boundaries (on the axis from x = 6 R_E), reconnected flux (on the axis up to x = -10 R_E)"
    assert caplog.messages == [f"{spectra}, {lines}"]
    Plasma(describe(plane(x, x), ("vx",)))  # which shows neither
    assert caplog.messages[1:] == [spectra]
    Plasma(describe(demo_plane()))
    assert len(caplog.messages) == 2
