"""From a model to a forecast: standardised units, the roll-out, ensembles, the files of forecasts."""
