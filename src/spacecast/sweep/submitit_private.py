"""What sweeps need of submitit beyond its public interface, here and nowhere else; a test tells when it changes."""

from typing import Any

CONTROLLER = "submitit.local._local"
"""Module of the process that watches over a job of this machine: its name in a command line tells that process from all
others, and submitit gives away no more than the number of it, or of the shell around it.
"""


def submission_script(executor: Any) -> str:
    """The script that an executor would hand to sbatch, for a rehearsal: publicly it writes one only to queue it."""
    return str(executor._make_submission_file_text("true", "rehearsal"))
