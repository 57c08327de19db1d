"""A copy of the code and of conf/ in the sweep folder: what is edited later does not reach queued or requeued jobs."""

import importlib.util
import shutil
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import spacecast

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
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    package = Path(spacecast.__file__).parent
    shutil.copytree(package, partial / package.name, ignore=_LEFT_OUT)
    shutil.copytree(conf, partial / package.name / "conf", ignore=_LEFT_OUT, dirs_exist_ok=True)
    for module in own_modules(plain):
        if module.is_dir():
            shutil.copytree(module, partial / module.name, ignore=_LEFT_OUT)
        else:
            shutil.copy2(module, partial)
    partial.rename(target)
    return target


def own_modules(plain: Mapping[str, Any]) -> list[Path]:
    """Top-level modules and packages behind `_target_` that are neither installed nor spacecast's."""
    installed = [Path(path).resolve() for name, path in sysconfig.get_paths().items() if name.endswith("lib")]
    found = []
    for name in sorted({target.partition(".")[0] for target in _targets(plain)} - set(sys.stdlib_module_names)):
        spec = importlib.util.find_spec(name)
        if name == "spacecast" or spec is None or spec.origin is None:
            continue
        origin = Path(spec.origin).resolve()
        if not any(origin.is_relative_to(folder) for folder in installed):
            found.append(origin.parent if origin.name == "__init__.py" else origin)
    return found


def _targets(node: Any) -> Iterator[str]:
    """Every `_target_` in a configuration."""
    if isinstance(node, Mapping):
        if isinstance(node.get("_target_"), str):
            yield node["_target_"]
        for value in node.values():
            yield from _targets(value)
    elif isinstance(node, (list, tuple)):
        for value in node:
            yield from _targets(value)
