"""What holds for a forecast by construction."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from spacecast.core.errors import UserError
from spacecast.core.grid import Grid
from spacecast.core.spec import FeatureSpec
from spacecast.core.units import NKT, SPEED_TIMES_FIELD
from spacecast.nn.laws import GasLaw, IdealField
from spacecast.nn.potential import MagneticPotential
from spacecast.nn.smoothing import FourthDifference
from spacecast.nn.update import StateUpdate, make_update

STATE = ("Bx", "By", "Bz", "Ex", "Ey", "Ez", "vx", "vy", "vz", "rho", "P", "T")
LAWS = {"magnetic": "potential", "electric": "ideal", "state_law": "project"}


def plasma(tiny_spec, axes=("x", "z")):
    """Twelve variables with the signs and sizes of a plasma, and a range on each node."""
    mean = np.array([1, 2, -3, 0.1, 0.2, -0.1, -400, 5, -5, 4, 0.3, 2], dtype=np.float32)
    std = np.array([9, 3, 7, 0.5, 0.6, 0.7, 90, 40, 50, 3, 0.2, 1.5], dtype=np.float32)
    state = replace(tiny_spec.state, mean=mean, std=std)
    lower, upper = (np.tile(mean + sign * 2 * std, (tiny_spec.num_nodes, 1)) for sign in (-1, 1))
    lower[:, 9:] = 0.01 * mean[9:]
    grid = Grid(dict(zip(axes, tiny_spec.grid.coordinates.values(), strict=True)), tiny_spec.grid.valid)
    return replace(
        tiny_spec, grid=grid, state=state, diff_mean=0.01 * std, diff_std=0.05 * std, lower=lower, upper=upper,
        boundary=grid.positions[:, 0] > 11,
    )  # fmt: skip


@pytest.fixture(scope="session")
def spec(tiny_spec):
    return plasma(tiny_spec)


def physical(spec, state):
    """By name, in double precision."""
    values = state.double() * torch.as_tensor(spec.state.std) + torch.as_tensor(spec.state.mean)
    return dict(zip(spec.state.names, values.unbind(-1), strict=True))


def vector(values, letter):
    return torch.stack([values[f"{letter}{axis}"] for axis in "xyz"], dim=-1)


def without_divergence(spec, seed=0, batch=2, size=30.0):
    """Standardised states in which B in the plane is a curl, to rounding errors."""
    generator = torch.Generator().manual_seed(seed)
    state = 0.5 * torch.randn(batch, spec.num_nodes, 12, generator=generator)
    potential = size * torch.randn(batch, *spec.grid.shape, generator=generator, dtype=torch.float64)
    for component, name in zip(spec.grid.curl(potential), spec.grid.components("B"), strict=True):
        column = spec.state.index(name)
        nodes = component.flatten(-2)[..., spec.grid.cells]
        state[..., column] = (nodes - float(spec.state.mean[column])) / float(spec.state.std[column])
    return state


def divergence(spec, state):
    """On every stencil node, nT/R_E."""
    values = physical(spec, state)
    return spec.grid.divergence(*(values[name] for name in spec.grid.components("B")))


def rolled_out(spec, update, steps, size=1.0, field=30.0):
    """The state after so many steps of random outputs, driven at the boundary; `field` is the size of the potential."""
    previous = state = without_divergence(spec, size=field)
    driven = torch.as_tensor(spec.boundary)
    torch.manual_seed(1)
    for step in range(steps):
        output = size * torch.randn(state.shape[0] * spec.num_nodes, update.outputs)
        new = update.step(output, previous, state).state
        previous, state = state, update.drive(new, without_divergence(spec, seed=step, size=field), driven)
    return state


def test_without_a_constraint_nothing_changes(spec):
    update = make_update(spec, trend=0.3)
    before = StateUpdate(*map(torch.as_tensor, spec.increment_statistics), clamp=update.clamp, trend=0.3)
    torch.manual_seed(0)
    output, previous, state, truth = torch.randn(4, 2, spec.num_nodes, 12)
    assert update.constraints is None
    assert torch.equal(update(output, previous, state), before(output, previous, state))
    driven = torch.as_tensor(spec.boundary)
    assert torch.equal(update.drive(state, truth, driven), torch.where(driven[:, None], truth, state))


@pytest.mark.parametrize("trend", [0.0, 0.3])
def test_variables_that_nothing_holds_for_are_computed_as_they_were(spec, trend):
    """By all kinds of limits, though variable by variable."""
    limits = {"trend": trend, "lower": {"rho": 0.0, "vx": -600.0}, "upper": {"vx": 0.0, "By": 9.0}}
    plain, held = make_update(spec, **limits), make_update(spec, magnetic="potential", guard=100.0, **limits)
    torch.manual_seed(0)
    output, previous, state = torch.randn(3, 2, spec.num_nodes, 12)
    free = [column for column in range(12) if column not in (0, 2)]
    potential = torch.randn(2, spec.num_nodes, 1)
    found = held(torch.cat([output[..., free], potential], dim=-1), previous, state)
    torch.testing.assert_close(found[..., free], plain(output, previous, state)[..., free])


def test_the_network_puts_out_what_is_not_computed(spec):
    widths = [
        make_update(spec, magnetic=magnetic, electric=electric, state_law="project", predict_std=std).outputs
        for magnetic in ("free", "potential")
        for electric in ("free", "ideal")
        for std in (False, True)
    ]
    assert widths == [12, 24, 9, 21, 11, 23, 8, 20]


def test_standard_deviations_stay_those_of_all_variables(spec):
    update = make_update(spec, **LAWS, predict_std=True)
    state = without_divergence(spec)
    output = torch.randn(2 * spec.num_nodes, update.outputs)
    found = update.step(output, state, state)
    torch.testing.assert_close(found.std.flatten(0, 1), torch.nn.functional.softplus(output[:, -12:]))
    alone = make_update(spec, **LAWS).step(output[:, :-12], state, state)
    assert torch.equal(found.state, alone.state)
    assert alone.std is None


def test_nothing_of_it_lies_in_a_checkpoint(spec):
    assert not make_update(spec, **LAWS, smooth="always", guard=0.5).state_dict()


OPTIONS = [{}, {"smooth": "always"}, {"guard": 0.5}, {"trend": 0.5}, LAWS]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_the_divergence_of_a_forecast_stays_at_rounding_errors_everywhere(spec, options):
    """Beside Earth, at the edges and where driven and forecast cells meet, after many steps."""
    update = make_update(spec, **{"magnetic": "potential", **options})
    first, last = without_divergence(spec), rolled_out(spec, update, 100, size=0.3)
    assert divergence(spec, first).abs().max() < 1e-5
    assert divergence(spec, last).abs().max() < 1e-5
    assert (last - first)[:, spec.interior].std() > 0.3


def test_a_network_in_half_precision_makes_no_divergence(spec):
    update, state = make_update(spec, **LAWS, smooth="always"), without_divergence(spec)
    output = torch.randn(2 * spec.num_nodes, update.outputs).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        new = update.step(output, state, state).state
    assert new.dtype == torch.float32
    assert divergence(spec, new).abs().max() < 1e-5


@pytest.mark.parametrize("axes", [("x", "y"), ("y", "z"), ("z", "x"), ("z", "y")])
def test_on_planes_of_other_axes(tiny_spec, axes):
    spec = plasma(tiny_spec, axes)
    last = rolled_out(spec, make_update(spec, **LAWS), 20)
    assert divergence(spec, last).abs().max() < 1e-5


def test_a_potential_of_straight_lines_is_a_uniform_field_beside_earth_and_at_the_edges_too(spec):
    head = MagneticPotential(spec)
    x, z = torch.as_tensor(spec.grid.positions, dtype=torch.float32).unbind(-1)
    bx, bz = head.curl((2 * x - 3 * z)[None])
    torch.testing.assert_close(bx * spec.state.std[0], torch.full_like(bx, 3.0))
    torch.testing.assert_close(bz * spec.state.std[2], torch.full_like(bz, 2.0))


def test_outputs_of_order_one_make_increments_of_the_usual_size(spec):
    torch.manual_seed(0)
    bx, bz = MagneticPotential(spec)(torch.randn(200, spec.num_nodes))
    size = (torch.cat([bx * spec.state.std[0], bz * spec.state.std[2]]).square().mean() ** 0.5).item()
    usual = np.square(spec.diff_std[[0, 2]]).mean() ** 0.5
    assert 0.3 * usual < size < 1.5 * usual  # cells are 3 R_E long


def test_a_divergence_that_data_have_is_left_alone(spec):
    state = torch.randn(2, spec.num_nodes, 12)
    update = make_update(spec, magnetic="potential")
    new = state
    for _ in range(100):
        new = update(torch.zeros(2, spec.num_nodes, 11), new, new)
    torch.testing.assert_close(new[..., [0, 2]], state[..., [0, 2]], rtol=1e-4, atol=1e-5)


def test_the_electric_field_is_that_of_an_ideal_conductor(spec):
    values = physical(spec, rolled_out(spec, make_update(spec, **LAWS), 5))
    expected = -SPEED_TIMES_FIELD * torch.linalg.cross(vector(values, "v"), vector(values, "B"))
    inside = torch.as_tensor(spec.interior)
    torch.testing.assert_close(vector(values, "E")[:, inside], expected[:, inside], rtol=1e-5, atol=1e-5)


def test_the_law_of_gas_holds_and_nothing_falls_below_its_floor(spec):
    values = physical(spec, rolled_out(spec, make_update(spec, **LAWS), 30, size=5.0))
    inside = torch.as_tensor(spec.interior)
    pressure, density, temperature = (values[name][:, inside] for name in ("P", "rho", "T"))
    torch.testing.assert_close(pressure, NKT * density * temperature, rtol=1e-5, atol=1e-7)
    assert (density >= 0.019).all()
    assert (temperature >= 0.0099).all()
    assert (pressure > 0).all()


def in_other_units(spec):
    """The same plasma in tesla, metres per second and so on."""
    units = {"n": ("T", 1e-9), "m": ("V/m", 1e-3), "k": ("m/s", 1e3), "1": ("1/m3", 1e6), "nP": ("Pa", 1e-9)}
    units["MK"] = ("K", 1e6)
    found = [units.get(unit[:2]) or units[unit[0]] for unit in spec.state.units]
    factors = np.array([number for _, number in found], dtype=np.float32)
    state = FeatureSpec(
        STATE, tuple(unit for unit, _ in found), spec.state.mean * factors, spec.state.std * factors
    )
    changed = {name: getattr(spec, name) * factors for name in ("diff_mean", "diff_std", "lower", "upper")}
    return replace(spec, state=state, **changed)


def test_units_of_the_data_make_no_difference(spec):
    other = in_other_units(spec)
    assert other.state.units[::3] == ("T", "V/m", "m/s", "1/m3")
    one, two = (rolled_out(each, make_update(each, **LAWS, guard=0.5), 1) for each in (spec, spec))
    assert torch.equal(one, two)
    state = without_divergence(spec)
    output = torch.randn(2 * spec.num_nodes, 8)
    one, two = (make_update(each, **LAWS, guard=0.5).step(output, state, state).state for each in (spec, other))
    torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-4)


def test_the_change_that_meets_the_law_of_gas_is_the_smallest(spec):
    """In units of the increments, against a general minimiser."""
    law, columns = GasLaw(spec), [10, 9, 11]
    mean, std, size = (each[columns].astype(np.float64) for each in (spec.state.mean, spec.state.std, spec.diff_std))
    rng = np.random.default_rng(0)
    density, temperature = rng.uniform(2, 8, 5), rng.uniform(1, 4, 5)
    law_abiding = np.stack([NKT * density * temperature, density, temperature], axis=-1)
    for before in law_abiding + 0.7 * size * rng.normal(size=(5, 3)):
        variables = [torch.zeros(1, 1)] * 12
        for column, value in zip(columns, (before - mean) / std, strict=True):
            variables[column] = torch.full((1, 1), value, dtype=torch.float32)
        found = np.array([float(value) for value in law(variables)]) * std + mean
        least = minimize(
            lambda change: (change**2).sum(),
            np.zeros(3),
            constraints={
                "type": "eq",
                "fun": lambda change, before=before: np.subtract(*gas(before + size * change)) / size[0],
            },
        )
        assert np.isclose(*gas(found), rtol=1e-5)
        assert np.linalg.norm((found - before) / size) < 1.001 * least.fun**0.5 + 1e-4


def gas(values):
    """P and n k T."""
    return values[0], NKT * values[1] * values[2]


def test_a_law_of_forecasts_holds_outside_of_training_alone(spec):
    state = without_divergence(spec)
    output = torch.randn(2 * spec.num_nodes, 12)
    found = {}
    for law in ("free", "project", "forecasts"):
        update = make_update(spec, state_law=law, smooth="always")
        found[law] = [update.train(mode).step(output, state, state).state for mode in (True, False)]
    assert torch.equal(found["forecasts"][0], found["free"][0])
    assert torch.equal(found["forecasts"][1], found["project"][1])
    assert not torch.equal(*found["forecasts"])


def test_limits_of_single_variables_hold_for_the_projection_too(spec):
    update = make_update(spec, state_law="project", lower={"rho": 2.0, "T": 1.5}, upper={"T": 3.0})
    values = physical(spec, rolled_out(spec, update, 10, size=20.0))
    inside = torch.as_tensor(spec.interior)
    assert (values["rho"][:, inside] >= 2 - 1e-5).all()
    assert ((values["T"] >= 1.5 - 1e-5) & (values["T"] <= 3 + 1e-5))[:, inside].all()


def test_gradients_reach_every_output_and_are_finite(spec):
    update = make_update(spec, **LAWS, smooth="always", guard=0.5)
    state = without_divergence(spec).requires_grad_()
    output = torch.randn(2 * spec.num_nodes, update.outputs, requires_grad=True)
    new = update.step(output, state, state).state
    driven = torch.as_tensor(spec.boundary)
    update.drive(new, without_divergence(spec, seed=1), driven).square().sum().backward()
    for gradient in (output.grad, state.grad):
        assert torch.isfinite(gradient).all()
    assert (output.grad.abs().sum(dim=0) > 0).all()


def test_waves_of_two_cells_are_filtered_and_straight_lines_stay(spec):
    smooth = FourthDifference(spec.grid)
    x, z = torch.as_tensor(spec.grid.positions).unbind(-1)
    lines = torch.stack([torch.ones_like(x), x, z, 2 * x - z], dim=-1)[None].float()
    torch.testing.assert_close(smooth(lines), lines)
    wave = torch.cos(torch.pi * (x - x[0]) / 3)[None, :, None].float()
    two_cells_from_any_edge = np.isclose(np.abs(spec.grid.positions[:, 0]), 10.5)
    assert (smooth(wave)[:, two_cells_from_any_edge].abs() < 1e-5).all()


def test_the_filter_lets_no_wave_grow_and_its_gradient_is_its_own(spec):
    smooth = FourthDifference(spec.grid).double()
    matrix = smooth(torch.eye(spec.num_nodes, dtype=torch.float64)[None])[0]
    assert torch.linalg.eigvals(matrix).abs().max() < 1 + 1e-9
    values = torch.randn(1, spec.num_nodes, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(smooth, values)


def test_the_filter_may_depend_on_whether_there_is_a_previous_state(spec):
    torch.manual_seed(0)
    output, state = torch.randn(2, spec.num_nodes, 12), torch.randn(2, spec.num_nodes, 12)
    previous = torch.stack([torch.randn(spec.num_nodes, 12), state[1]])
    never, always, sometimes = (
        make_update(spec, smooth=smooth, guard=100.0)(output, previous, state)
        for smooth in ("none", "always", "without_previous")
    )
    assert torch.equal(sometimes, torch.stack([never[0], always[1]]))
    assert not torch.allclose(never[1], always[1], atol=1e-3)


@pytest.mark.parametrize("options", [{}, LAWS], ids=str)
def test_a_guard_keeps_values_near_their_range_whatever_is_put_out(spec, options):
    update = make_update(spec, **options, guard=0.5)
    inside = torch.as_tensor(spec.interior)
    last = rolled_out(spec, update, 50, size=20.0, field=10.0)
    values = physical(spec, last)
    by_curl = ("Bx", "Bz") if options else ()
    for column, name in enumerate(spec.state.names):
        low, high = (float(each[0, column]) for each in (spec.lower, spec.upper))
        spare = 0.5 * (high - low) + 1e-3
        if name in by_curl:
            spare += high - low
        if not (options and name[0] == "E"):
            assert (values[name][:, inside] >= low - spare).all(), name
            assert (values[name][:, inside] <= high + spare).all(), name
    if options:
        assert divergence(spec, last).abs().max() < 1e-5
        pressure, density, temperature = (values[name][:, inside] for name in ("P", "rho", "T"))
        torch.testing.assert_close(pressure, NKT * density * temperature, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("options", [{}, LAWS], ids=str)
def test_a_value_beyond_the_range_is_not_cut_by_a_guard(spec, options):
    """It may stay where it is or come back, but goes no further."""
    update, column = make_update(spec, **options, guard=0.1), spec.state.index("vx")
    beyond = torch.arange(spec.num_nodes) % 200 == 0
    state = torch.zeros(1, spec.num_nodes, len(spec.state))
    state[:, beyond, column] = 3 * update.constraints.high[column][beyond]
    for push in (-0.5, 0.0, 0.5):
        new = update.step(torch.full((1, spec.num_nodes, update.outputs), push), state, state).state[..., column]
        change = push * update.diff_std[column] + update.diff_mean[column]
        torch.testing.assert_close(new[:, beyond], state[:, beyond, column] + change.clamp(max=0.0))


def test_a_state_of_another_kind_moves_the_limits_of_a_guard(spec):
    """As far as all but a hundredth of its nodes need: so another density has forecasts of its own."""
    update, column = make_update(spec, guard=0.1), spec.state.index("vx")
    low, high = update.constraints.low, update.constraints.high
    share = torch.linspace(0, 1, spec.num_nodes)[torch.randperm(spec.num_nodes)]
    state = torch.zeros(1, spec.num_nodes, len(spec.state))
    state[..., column] = high[column] + share * (high - low)[column]
    new = update.step(torch.full((1, spec.num_nodes, update.outputs), 1e6), state, state).state
    most = (new - high.T)[..., column] / (high - low)[column]
    others = [each for each in range(len(spec.state)) if each != column]
    torch.testing.assert_close(most, torch.maximum(share, torch.tensor(0.99))[None], rtol=0, atol=0.01)
    torch.testing.assert_close(new[..., others], high.T[None, :, others])


def test_velocity_gives_way_where_the_electric_field_would_leave_its_range(spec):
    """By the drift across B that the excess means: Ohm's law holds, and what flows along B goes on to."""
    law, torch_generator = IdealField(spec), torch.Generator().manual_seed(0)
    state = 2 * torch.randn(3, spec.num_nodes, 12, generator=torch_generator, dtype=torch.float64)
    variables = list(state.unbind(-1))
    before = physical(spec, state)
    width = torch.rand(spec.num_nodes, 3, generator=torch_generator, dtype=torch.float64).T
    limits = [(-each, each) for each in width]
    for column, value in zip(law.velocity.columns, law.slowed(variables, law(variables), limits), strict=True):
        variables[column] = value
    field = law(variables)
    after = physical(spec, torch.stack(variables, dim=-1))
    magnetic, change = vector(before, "B"), vector(after, "v") - vector(before, "v")
    torch.testing.assert_close((change * magnetic).sum(-1), torch.zeros(3, spec.num_nodes).double(), rtol=0, atol=1e-6)
    std, old = torch.as_tensor(spec.state.std)[law.columns], law(state.unbind(-1))
    excess = torch.stack([value - value.clamp(*limit) for value, limit in zip(old, limits, strict=True)], -1) * std
    assert (excess.norm(dim=-1) > 1).sum() > 100
    square = magnetic.square().sum(-1, keepdim=True)
    across = excess - (excess * magnetic).sum(-1, keepdim=True) * magnetic / square
    weak = torch.as_tensor(spec.state.std)[law.magnetic.columns].square().sum()
    taken = (torch.stack(old, -1) - torch.stack(field, -1)) * std
    torch.testing.assert_close(taken, across * square / (square + weak), rtol=1e-4, atol=1e-6)
    inside = (excess == 0).all(dim=-1)
    torch.testing.assert_close(change[inside], torch.zeros_like(change[inside]))


def test_a_true_field_beyond_the_range_is_not_pulled_back_by_a_guard(spec):
    """A density that no training run had has another field: it stays where it is, with its divergence."""
    update = make_update(spec, **LAWS, guard=0.1)
    state = 3 * without_divergence(spec)
    free = make_update(spec, **LAWS)
    silence = torch.zeros(*state.shape[:2], update.outputs)
    columns = [spec.state.index(name) for name in ("Bx", "Bz")]
    held, plain = (each.step(silence, state, state).state[..., columns] for each in (update, free))
    beyond = (state > update.constraints.high.T) | (state < update.constraints.low.T)
    assert beyond[..., columns].any()
    torch.testing.assert_close(held, plain, rtol=0, atol=2e-2)
    assert divergence(spec, update.step(silence, state, state).state).abs().max() < 1e-4


def test_a_guard_of_the_potential_undoes_an_excess(spec):
    """A field that one node has left its range by comes back as far as a curl can bring it."""
    head, base = MagneticPotential(spec), torch.zeros(2, 2, spec.num_nodes)
    node = int(spec.grid.stencil[0, 10])
    base[0, 0, node] = 0.5
    low, high = torch.full((2, spec.num_nodes), -50.0), torch.full((2, spec.num_nodes), 50.0)
    high[0, node] = 0.0
    bx, _ = change = head.within(torch.zeros(2, spec.num_nodes), list(base), list(zip(low, high, strict=True)))
    assert -0.5 <= bx[0, node] < -0.45
    assert not any(component[1].any() for component in change)


def test_driven_cells_hold_the_truth_and_cells_beside_them_change_least(spec):
    """The change of B is that of the pseudo-inverse of the divergence; all cells of this plane may change."""
    boundary = spec.grid.positions[:, 0] > 5
    update, driven = make_update(replace(spec, boundary=boundary), **LAWS), torch.as_tensor(boundary)
    state, truth = without_divergence(spec), without_divergence(spec, seed=1)
    new = update.drive(state, truth, driven)
    assert torch.equal(new[:, driven], truth[:, driven])
    std = torch.as_tensor(spec.state.std)[[0, 2]]
    jump = torch.where(driven[:, None], truth - state, 0.0)[0][:, [0, 2]].double() * std
    unit = torch.eye(spec.num_nodes, dtype=torch.float64)
    matrix = torch.cat([spec.grid.divergence(unit, 0 * unit), spec.grid.divergence(0 * unit, unit)])
    wanted = -spec.grid.divergence(*jump.unbind(-1))[:, None]
    expected = torch.linalg.lstsq(matrix[~driven.repeat(2)].T, wanted, driver="gelsd").solution[:, 0]
    found = ((new - state)[0][:, [0, 2]].double() * std)[~driven].T.flatten()
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
    same = [column for column, name in enumerate(STATE) if name not in ("Bx", "Bz", "Ex", "Ey", "Ez")]
    assert torch.equal(new[:, ~driven][..., same], state[:, ~driven][..., same])


def disc(x, z, radius, x0=0.0, z0=0.0):
    return np.hypot(x[:, None] - x0, z[None, :] - z0) < radius


HOLES = {
    "none": lambda x, z: disc(x, z, 0),
    "large": lambda x, z: disc(x, z, 8),
    "at an edge": lambda x, z: disc(x, z, 5, x0=-16.5),
    "two": lambda x, z: disc(x, z, 4, x0=-9) | disc(x, z, 4, x0=6, z0=3),
    "all but a frame": lambda x, z: (np.abs(x[:, None]) < 16) & (np.abs(z) < 10),
}


@pytest.mark.parametrize("hole", HOLES)
def test_the_plane_may_have_holes_of_any_kind(tiny_spec, hole):
    grid = tiny_spec.grid
    valid = ~HOLES[hole](grid.coordinates["x"], grid.coordinates["z"])
    grid = Grid(grid.coordinates, valid)
    zeros = np.zeros((grid.num_nodes, len(tiny_spec.static)), dtype=np.float32)
    data = replace(tiny_spec, grid=grid, static_values=zeros, boundary=grid.positions[:, 0] > 11)
    spec = plasma(data)
    last = rolled_out(spec, make_update(spec, **LAWS, guard=0.5), 20)
    assert torch.isfinite(last).all()
    assert not divergence(spec, last).numel() or divergence(spec, last).abs().max() < 1e-5


REGIONS = {
    "a strip": lambda x, z, r: x > 14,
    "a wide strip": lambda x, z, r: x > 5,
    "a side": lambda x, z, r: z < -7,
    "two sides": lambda x, z, r: (x > 11) | (z > 9),
    "around Earth": lambda x, z, r: r < 7,
    "all edges": lambda x, z, r: (np.abs(x) > 14) | (np.abs(z) > 9),
}


@pytest.mark.parametrize("region", REGIONS)
def test_the_seam_of_any_region_is_free_of_divergence(spec, region):
    """Also where it is another one than in training."""
    update = make_update(spec, magnetic="potential")
    driven = torch.as_tensor(REGIONS[region](*spec.grid.positions.T, spec.grid.radius))
    state, truth = without_divergence(spec), without_divergence(spec, seed=1)
    spliced = torch.where(driven[:, None], truth, state)
    assert divergence(spec, spliced).abs().max() > 0.1
    assert divergence(spec, update.drive(state, truth, driven)).abs().max() < 1e-5


def test_a_seam_that_was_built_for_inference_serves_training(spec):
    update = make_update(spec, magnetic="potential")
    driven = torch.as_tensor(spec.grid.positions[:, 1] > 9)
    state, truth = without_divergence(spec), without_divergence(spec, seed=1)
    with torch.inference_mode():
        update.drive(state, truth, driven)
    state.requires_grad_()
    update.drive(state, truth, driven).square().sum().backward()
    assert state.grad.abs().sum() > 0


def test_no_seam_where_nothing_or_everything_is_driven(spec):
    update = make_update(spec, magnetic="potential")
    state, truth = without_divergence(spec), without_divergence(spec, seed=1)
    nodes = torch.zeros(spec.num_nodes, dtype=torch.bool)
    assert torch.equal(update.drive(state, truth, nodes), state)
    assert torch.equal(update.drive(state, truth, ~nodes), truth)


def without(spec, *names):
    """Data that lack some variables."""
    kept = [column for column, name in enumerate(spec.state.names) if name not in names]
    state = FeatureSpec(
        tuple(spec.state.names[column] for column in kept),
        tuple(spec.state.units[column] for column in kept),
        spec.state.mean[kept],
        spec.state.std[kept],
    )
    return replace(spec, state=state, diff_mean=spec.diff_mean[kept], diff_std=spec.diff_std[kept], lower=None)


def renamed(spec, name, unit):
    """Data with another unit of one variable."""
    column = spec.state.index(name)
    units = (*spec.state.units[:column], unit, *spec.state.units[column + 1 :])
    return replace(spec, state=replace(spec.state, units=units))


def test_data_that_lack_what_is_needed_are_refused_by_name(spec):
    block = Grid({axis: np.arange(4.0) for axis in "xyz"}, np.ones((4, 4, 4), dtype=bool))
    cases = (
        ("potential needs Bx and Bz, the data have no Bz; set model.magnetic=free", without(spec, "Bz"), {}),
        ("potential needs a plane, the grid has the axes x, y, z; set", replace(spec, grid=block), {}),
        ("potential needs Bx and Bz in one unit, found 'nT' and 'T'", renamed(spec, "Bz", "T"), {}),
        ("ideal needs vx, vy.*; the data have no vy .*; set model.electric=free", without(spec, "vy"), LAWS),
        ("ideal needs Ey in mV/m, or .*, found 'furlong'; set model.electric", renamed(spec, "Ey", "furlong"), LAWS),
        ("project needs P, rho, T; the data have no T .*; set model.state_law=free", without(spec, "T"), LAWS),
        ("guard needs the range .* set model.guard=null", replace(spec, lower=None), {"guard": 0.5}),
        ("model.guard=-1: expected a share", spec, {"guard": -1.0}),
        ("potential computes Bx: take its limit out of model.lower", spec, {"lower": {"Bx": 0.0}}),
        ("ideal computes Ey: take its limit out of", spec, {**LAWS, "upper": {"Ey": 0.0}}),
        ("model.smooth=sometimes is unknown; valid: none, always, without_previous", spec, {"smooth": "sometimes"}),
        ("model.electric=idea is unknown; did you mean 'ideal'", spec, {"electric": "idea"}),
    )
    for message, data, options in cases:
        with pytest.raises(UserError, match=message):
            make_update(data, **{"magnetic": "potential", **options})
