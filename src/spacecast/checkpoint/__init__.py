"""Checkpoint files, ours and those of the published reference: write, find, check, read, convert."""
