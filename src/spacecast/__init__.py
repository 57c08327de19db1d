"""spacecast: graph-based neural forecasting of the near-Earth plasma."""

__version__ = "0.1.0"
