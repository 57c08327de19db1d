"""A miniature global magnetosphere, 2-D MHD."""

from spacecast.simulation.generate import DENSITIES, generate
from spacecast.simulation.parameters import PRESETS, Parameters, get_parameters

__all__ = ["DENSITIES", "PRESETS", "Parameters", "generate", "get_parameters"]
