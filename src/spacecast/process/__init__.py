"""What every process of spacecast needs: signals, exit codes, files, locks, logs, progress, the folder of a run."""
