"""Runs elsewhere: the folder of a sweep, submission by submitit, and what the scheduler knows of the jobs."""
