"""Command line applications: the only package that knows Hydra."""
