"""A copy of the code and of conf/ in the sweep folder: what is edited later does not reach queued or requeued jobs."""

import importlib.util
import shutil
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import spacecast
from spacecast.config.trust import targets
from spacecast.core.errors import UserError
from spacecast.process.files import atomic_write, remove_leftovers

START = Path("spacecast", "sweep", "start.py")  # how jobs start Python, in a snapshot; see there
_LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.pyc", ".*")


def snapshot(target: Path, conf: Path, plain: Mapping[str, Any]) -> Path:
    """Copy the package, conf/ and the user's own modules; a finished copy is left as it is.

    Args:
        target: folder to make; put in front of PYTHONPATH it replaces the installed package.
        conf: configuration folder in use.
        plain: a configuration, whose `_target_` name modules of the user's.

    """
    if target.is_dir():
        return target
    remove_leftovers(target.parent, target.name)
    package = Path(spacecast.__file__).parent
    with atomic_write(target) as partial:
        shutil.copytree(package, partial / package.name, ignore=_LEFT_OUT)
        shutil.copytree(conf, partial / package.name / "conf", ignore=_LEFT_OUT, dirs_exist_ok=True)
        for module in own_modules(plain):
            if module.is_dir():
                shutil.copytree(module, partial / module.name, ignore=_LEFT_OUT)
            else:
                shutil.copy2(module, partial)
    return target


def check_code(code: Path, conf: Path, trusted: Sequence[str]) -> None:
    """Make sure that a snapshot that jobs are about to run is the code that is installed here, or is trusted.

    Configuration groups may differ: jobs compose nothing, what they run has been recorded. What Python has compiled
    there is removed, for it need not belong to the code beside it.

    Args:
        code: from `snapshot`; nothing is done where there is none.
        conf: configuration folder in use.
        trusted: names of modules that the user trusts.

    Raises:
        UserError: a module in it is another one than here, or it is of a version whose jobs start in another way.

    """
    if not code.is_dir():
        return
    if not (code / START).is_file():
        raise UserError(
            f"{code} holds an earlier version of spacecast, whose jobs this one cannot start: use that version, or "
            "remove the folder, and the code that is installed here takes its place"
        )
    for path in [*code.rglob("__pycache__")]:
        shutil.rmtree(path)
    for entry in sorted(code.iterdir()):
        name = entry.name.partition(".")[0]
        if not name or any(word.partition(".")[0] == name for word in trusted):
            continue
        ours, theirs = _installed(name, entry, conf), _contents(entry)
        differ = [path for path in {*ours, *theirs} if ours.get(path) != theirs.get(path) and not _is_group(name, path)]
        if other := min(differ, default=None):
            raise UserError(
                f"{entry} differs from what is installed here (first in {other}), and jobs would run it: "
                f"add trust={name} if this snapshot is yours"
            )


def _is_group(name: str, path: str) -> bool:
    """Whether a file of a module is a member of a configuration group, which is not code; those of logging are."""
    return name == "spacecast" and path.startswith("conf/") and path.endswith(".yaml") and path[5:11] != "hydra/"


def _installed(name: str, entry: Path, conf: Path) -> dict[str, bytes]:
    """Files of the module here that a part of a snapshot is a copy of; none where there is no such module."""
    if name == "spacecast":
        package = Path(spacecast.__file__).parent
        copied = {f"conf/{path}": content for path, content in _contents(conf).items()}
        return _contents(package) | copied if entry.is_dir() else {}
    spec = importlib.util.find_spec(name) if name.isidentifier() else None
    if spec is None or spec.origin is None:
        return {}
    origin = Path(spec.origin)
    return _contents(origin.parent if origin.name == "__init__.py" else origin)


def _contents(place: Path) -> dict[str, bytes]:
    """Every file of a folder by its path in it, or the file, without hidden ones, which Python never imports."""
    if place.is_file():
        return {place.name: place.read_bytes()}
    files = {path.relative_to(place): path for path in place.rglob("*") if path.is_file()}
    unseen = {name for name in files if any(part.startswith(".") or part == "__pycache__" for part in name.parts)}
    return {name.as_posix(): path.read_bytes() for name, path in files.items() if name not in unseen}


def own_modules(plain: Mapping[str, Any]) -> list[Path]:
    """Top-level modules and packages behind `_target_` that are neither installed nor spacecast's."""
    installed = [Path(path).resolve() for name, path in sysconfig.get_paths().items() if name.endswith("lib")]
    found = []
    named = {str(target).partition(".")[0] for _, target in targets(plain, "")}
    for name in sorted(named - set(sys.stdlib_module_names)):
        spec = importlib.util.find_spec(name)
        if name == "spacecast" or spec is None or spec.origin is None:
            continue
        origin = Path(spec.origin).resolve()
        if not any(origin.is_relative_to(folder) for folder in installed):
            found.append(origin.parent if origin.name == "__init__.py" else origin)
    return found
