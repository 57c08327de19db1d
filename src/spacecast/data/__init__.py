"""Data sets: prepare, check, read."""
