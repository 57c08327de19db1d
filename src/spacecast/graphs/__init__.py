"""Mesh graphs: build, check, cache."""
