"""Scores of forecasts: the metrics, their accumulation over windows, the table."""
