"""Where a run comes from: the code, the data, the command and the machine."""

import os
import platform
import shlex
import socket
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import spacecast

PACKAGES = ("torch", "pytorch-lightning", "numpy", "mllam-data-prep", "mlflow")


def provenance(data_hash: str = "", graph_hash: str = "", command: list[str] | None = None) -> dict[str, str]:
    """Tags that say how to repeat a run.

    Args:
        data_hash: content hash of the data set.
        graph_hash: content hash of the mesh graph.
        command: the command line; default `sys.argv`.

    Returns:
        `git_commit` (with `+dirty` when files differ from it; absent outside a repository), `data_hash`, `graph_hash`,
        `command`, `host` and `version.<package>`; empty ones are left out.

    """
    words = command if command is not None else [Path(sys.argv[0]).name, *sys.argv[1:]]
    commit = git_commit(Path(spacecast.__file__).parent)
    tags = {
        "git_commit": commit,
        "mlflow.source.git.commit": commit.partition("+")[0],
        "mlflow.source.name": words[0],
        "mlflow.user": os.environ.get("USER", ""),
        "data_hash": data_hash,
        "graph_hash": graph_hash,
        "command": shlex.join(words)[:5000],
        "host": socket.gethostname(),
        "version.python": platform.python_version(),
        "version.spacecast": spacecast.__version__,
    }
    tags |= {f"version.{name}": _version(name) for name in PACKAGES}
    return {name: value for name, value in tags.items() if value}


def git_commit(folder: Path) -> str:
    """Commit of the repository that tracks a folder, `+dirty` appended when tracked files were changed, else empty."""
    if not _git(folder, "ls-files", "--", "."):
        return ""  # an installation inside somebody's repository is not that repository's code
    commit = _git(folder, "rev-parse", "HEAD")
    return commit + ("+dirty" if commit and _git(folder, "status", "--porcelain", "--untracked-files=no") else "")


def _git(folder: Path, *arguments: str) -> str:
    """Output of a git command, empty when it fails or git is absent."""
    try:
        command = ["git", "-C", str(folder), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _version(package: str) -> str:
    """Installed version, empty when absent."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
