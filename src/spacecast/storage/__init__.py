"""Zarr stores on disk: every number is what the file says it is, or is refused by name."""
