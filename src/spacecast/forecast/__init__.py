"""From a model to a forecast: scaling, roll-out, objectives."""
