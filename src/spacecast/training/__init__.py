"""Training: module, schedules, checkpoints."""
