"""Frames of the simulated magnetosphere, and descriptions of data on planes of any kind."""

from dataclasses import replace

import numpy as np
import torch

from spacecast.core.grid import Grid
from spacecast.core.spec import DataSpec, FeatureSpec
from spacecast.core.units import expected_units
from spacecast.simulation.magnetosphere import VARIABLES, cell_centres, frames, space_mask
from spacecast.simulation.parameters import PRESETS

NAMES = tuple(VARIABLES)


def describe(grid, names=NAMES, units=None, mean=None, std=None, boundary=None):
    """A description of data of some variables; not standardised unless statistics are given."""
    count = len(names)
    mean = np.zeros(count) if mean is None else mean
    std = np.ones(count) if std is None else std
    units = units or tuple(expected_units(name) for name in names)
    empty = FeatureSpec.empty()
    nothing, nowhere = np.zeros((grid.num_nodes, 0)), np.zeros(grid.num_nodes, dtype=bool)
    boundary = nowhere if boundary is None else boundary
    state = FeatureSpec(names, units, mean, std)
    return DataSpec(grid, state, empty, empty, np.zeros(count), np.ones(count), nothing, boundary, 10.0)


def plane(x, z, radius=3.85):
    """An x-z plane without the cells inside Earth."""
    return Grid({"x": x, "z": z}, np.hypot(x[:, None], z) > radius)


def demo_plane():
    """The cells of the simulated magnetosphere, 180 x 120 of half an Earth radius."""
    return plane(np.arange(-59.75, 30, 0.5), np.arange(-29.75, 30, 0.5))


def simulate(density):
    """Description and states (frame, node, variable) of four frames of the smallest simulation."""
    parameters = replace(PRESETS["tiny"], frames=4, density=density)
    grid = Grid(dict(zip("xz", cell_centres(parameters), strict=True)), space_mask(parameters))
    states = grid.to_nodes(np.stack(list(frames(parameters)))).swapaxes(-2, -1)
    flat = states.reshape(-1, len(NAMES)).astype(float)
    boundary = grid.positions[:, 0] >= 27
    spec = describe(grid, mean=flat.mean(axis=0), std=flat.std(axis=0), boundary=boundary)
    return spec, torch.as_tensor(states.copy())
