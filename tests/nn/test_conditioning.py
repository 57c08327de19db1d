"""Noise that scales and shifts normalised channels."""

import itertools

import numpy as np
import pytest
import torch

from spacecast.core.errors import UserError
from spacecast.core.grid import Grid
from spacecast.nn.conditioning import Lattice, NoiseConditioning, noise_weights, scale_and_shift


def test_scale_and_shift_are_those_of_the_batch_item_or_of_the_row():
    values, (scale, shift) = torch.randn(6, 4), torch.randn(2, 2, 3, 4)
    each = scale_and_shift(values, torch.cat([scale, shift], dim=-1))
    torch.testing.assert_close(each, (1 + scale.flatten(0, 1)) * values + shift.flatten(0, 1))
    alike = scale_and_shift(values, torch.cat([scale[:, :1], shift[:, :1]], dim=-1))
    for item in range(2):
        rows = slice(3 * item, 3 * item + 3)
        torch.testing.assert_close(alike[rows], (1 + scale[item, :1]) * values[rows] + shift[item, :1])
    assert scale_and_shift(values, None) is values
    assert torch.equal(scale_and_shift(values, torch.zeros(2, 1, 8)), values)


def test_interpolation_is_bilinear_up_to_the_norm_of_its_weights(tiny_grid):
    """A linear field of the lattice comes out linear, once divided by what a constant comes out as."""
    lattice = Lattice(tiny_grid, 4, [tiny_grid.positions])
    counts = [4, 3]  # for 12 x 8 cells: 0, 4, 8, 12 and 0, 4, 8
    assert lattice.num_points == 12
    points = [
        tiny_grid.coordinates[axis][0] + 4 * size * np.arange(count)
        for axis, size, count in zip(tiny_grid.axes, tiny_grid.spacing, counts, strict=True)
    ]
    x, z = (torch.as_tensor(each, dtype=torch.float32).flatten() for each in np.meshgrid(*points, indexing="ij"))
    values = torch.stack([torch.ones_like(x), 2 * x - 3 * z + 1], dim=-1)[None]
    one, linear = lattice(values, 0)[0].unbind(-1)
    expected = torch.as_tensor(tiny_grid.positions @ [2, -3] + 1, dtype=torch.float32)
    torch.testing.assert_close(linear / one, expected, atol=1e-4, rtol=1e-5)


def test_interpolated_noise_is_standard_normal_at_every_node_and_smooth(tiny_grid):
    beyond = np.array([[-100.0, 0.0], [0.0, 0.0], [99.0, 99.0]])
    lattice = Lattice(tiny_grid, 4, [tiny_grid.positions, beyond])
    noise = torch.randn(4000, lattice.num_points, 1, generator=torch.Generator().manual_seed(0))
    for nodes in (0, 1):
        field = lattice(noise, nodes)[..., 0]
        torch.testing.assert_close(field.std(dim=0), torch.ones(field.shape[1]), atol=0.05, rtol=0)
        assert field.mean(dim=0).abs().max() < 0.08
    field = lattice(noise, 0)[..., 0]
    beside = torch.as_tensor(tiny_grid.neighbours[0])
    correlation = (field * field[:, beside]).mean(dim=0)
    assert correlation.min() > 0.75  # next cells
    x = tiny_grid.positions[:, 0]
    far = (field[:, x.argmin()] * field[:, x.argmax()]).mean()
    assert abs(far) < 0.06


def test_a_grid_of_three_axes_has_a_lattice_too():
    grid = Grid({"x": np.arange(5.0), "y": np.arange(4.0), "z": np.arange(3.0)}, np.ones((5, 4, 3), dtype=bool))
    lattice = Lattice(grid, 2, [grid.positions])
    assert lattice.num_points == 3 * 3 * 2
    number = np.ravel_multi_index((2, 2, 2), grid.shape)  # a cell that lies on the point (1, 1, 1)
    values = torch.arange(18.0)[None, :, None]
    assert float(lattice(values, 0)[0, number, 0]) == np.ravel_multi_index((1, 1, 1), (3, 3, 2))


@pytest.mark.parametrize("sizes", [{"global": 5}, {"local": 3}, {"global": 5, "local": 3, "every": 3}])
def test_noise_is_drawn_once_for_all_layers_the_global_numbers_first(tiny_grid, sizes):
    layers = [(0, 4), (1, 6), (0, 2)]
    mesh = tiny_grid.positions[::7]
    conditioning = NoiseConditioning(sizes, tiny_grid, [tiny_grid.positions, mesh], layers)
    features = sizes.get("global", 0) + sizes.get("local", 0)
    assert [tuple(weight.shape) for weight in conditioning.maps] == [(8, features), (12, features), (4, features)]
    assert noise_weights(torch.nn.Sequential(conditioning)) == ["0.maps.0", "0.maps.1", "0.maps.2"]
    drawn = []

    def draw(like):
        drawn.append(torch.randn_like(like))
        return drawn[-1]

    state = torch.zeros(2, tiny_grid.num_nodes, 12)
    assert all(not condition.any() for condition in conditioning(state, draw))
    with torch.no_grad():
        for weight in conditioning.maps:
            weight.normal_()
    drawn.clear()
    conditions = list(conditioning(state, draw))
    rows = [tiny_grid.num_nodes, len(mesh), tiny_grid.num_nodes] if "local" in sizes else [1, 1, 1]
    assert [condition.shape[1] for condition in conditions] == rows
    assert [len(each) for each in drawn] == [2] * len(sizes.keys() & {"global", "local"})
    if "global" in sizes:
        assert drawn[0].shape[1:] == (1, 5)
    noise = [drawn[0].expand(-1, rows[1], -1)] if "global" in sizes else []
    noise += [conditioning.lattice(drawn[-1], 1)] if "local" in sizes else []
    expected = torch.cat(noise, dim=-1) @ conditioning.maps[1].T
    torch.testing.assert_close(conditions[1], expected)
    differ = [not torch.equal(one[0], one[1]) for one in conditions]
    assert all(differ)


@pytest.mark.parametrize(
    ("sizes", "fault"),
    [
        ({}, "neither global nor local"),
        ({"global": 0, "local": 0}, "neither global nor local"),
        ({"globl": 3}, "unknown kind 'globl'; did you mean 'global'"),
        ({"local": 3, "every": 0}, "every is 0"),
    ],
)
def test_noise_that_is_none_or_unknown_is_refused(tiny_grid, sizes, fault):
    with pytest.raises(UserError, match=fault):
        NoiseConditioning(sizes, tiny_grid, [tiny_grid.positions], [(0, 4)])


def test_weights_of_each_position_are_of_the_points_around_it(tiny_grid):
    """By brute force."""
    lattice = Lattice(tiny_grid, 4, [tiny_grid.positions])
    counts, origin = (4, 3), [tiny_grid.coordinates[axis][0] for axis in tiny_grid.axes]
    places = (tiny_grid.positions - origin) / (4 * np.array(tiny_grid.spacing))
    matrix = np.zeros((len(places), 12))
    for node, place in enumerate(places):
        for point in itertools.product(*map(range, counts)):
            weight = np.prod(np.maximum(0, 1 - np.abs(place - point)))
            matrix[node, np.ravel_multi_index(point, counts)] = weight
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    found = lattice(torch.eye(12)[None], 0)[0]
    torch.testing.assert_close(found, torch.as_tensor(matrix, dtype=torch.float32), atol=1e-5, rtol=0)


@pytest.fixture
def conditioning(tiny_grid):
    conditioning = NoiseConditioning({"global": 2, "local": 3}, tiny_grid, [tiny_grid.positions], [(0, 4)])
    torch.nn.init.normal_(conditioning.maps[0])
    return conditioning


def test_noise_is_scaled_in_forecasts_and_not_in_training(tiny_grid, conditioning):
    state = torch.zeros(2, tiny_grid.num_nodes, 12)
    [before] = conditioning(state, torch.ones_like)
    assert conditioning.scale(1.5) == 1.5
    assert conditioning.scale(0.5) == 0.75
    assert torch.equal(*conditioning(state, torch.ones_like), before)
    torch.testing.assert_close(*conditioning.eval()(state, torch.ones_like), 0.75 * before)
    assert conditioning.scale(1e9) == 4
    assert conditioning.scale(1e-9) == 0.25


def test_the_amplitude_is_saved_with_the_weights_and_is_1_where_they_know_of_none(conditioning):
    conditioning.scale(2.0)
    weights = {name: value.clone() for name, value in conditioning.state_dict().items()}
    conditioning.load_state_dict({name: value for name, value in weights.items() if name != "amplitude"})
    assert float(conditioning.amplitude) == 1
    conditioning.load_state_dict(weights)
    assert float(conditioning.amplitude) == 2
