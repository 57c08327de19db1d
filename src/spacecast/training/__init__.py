"""Training: Lightning module, schedules, trainer, the checkpoints of a run."""
