"""Data sets: raw runs to prepared ones, read as windows, inspected."""
