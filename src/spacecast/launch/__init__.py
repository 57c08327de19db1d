"""Launchers for clusters."""
