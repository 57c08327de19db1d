"""The folder of a run: its configuration, its facts, and its removal when the run never began."""

import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from spacecast.process.files import read_json, write_json, write_text
from spacecast.process.lock import FILE as LOCK_FILE
from spacecast.process.logs import close_logs

CONFIG_FILE, FACTS_FILE = "config.yaml", "run.json"


def write_config(plain: Mapping[str, Any], run_dir: Path) -> None:
    """Record the resolved configuration as `config.yaml`, text as it is: `${...}` in it has no meaning any more."""
    text = yaml.dump(dict(plain), Dumper=_Dumper, default_flow_style=False, allow_unicode=True, sort_keys=False)
    write_text(run_dir / CONFIG_FILE, text)


class _Dumper(yaml.SafeDumper):
    """Plain values alone, each written out, so that every reader of YAML finds the same ones."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - the signature of yaml.Dumper
        """Write what occurs twice twice."""
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    """Text, in quotes where other readers than PyYAML, such as Hydra, would take it for a number: 1e3."""
    try:
        float(text)
    except ValueError:
        return dumper.represent_str(text)
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="'")


_Dumper.add_representer(str, _text)


def read_facts(run_dir: Path) -> dict[str, Any]:
    """What `add_facts` has noted; nothing where there is no run."""
    return read_json(run_dir / FACTS_FILE)


def add_facts(run_dir: Path, **facts: Any) -> None:
    """Note in `run.json` what a run must know when it goes on.

    `mlflow_run_id` and `tracking_uri`: where it is tracked. `scored`: where it ended and how it was scored. `diverged`:
    why it was given up. `training_seconds`: how long it has trained, validation included. None takes a fact back.
    """
    known = read_facts(run_dir) | facts
    write_json(run_dir / FACTS_FILE, {name: fact for name, fact in known.items() if fact is not None})


def separate_journal(logger: Mapping[str, Any]) -> dict[str, Any]:
    """The section `logger` for a run that does not go on with the one recorded in its folder, but is another."""
    journal = logger.get("journal")
    if not journal or not Path(journal).exists():
        return dict(logger)
    return {**logger, "journal": str(Path(journal).with_stem(f"{Path(journal).stem}-{uuid.uuid4().hex[:8]}"))}


def moved_paths(value: Any, before: str, now: str) -> Any:
    """A plain value in which paths at or below one folder are at or below another."""
    if isinstance(value, dict):
        return {key: moved_paths(entry, before, now) for key, entry in value.items()}
    if isinstance(value, list):
        return [moved_paths(entry, before, now) for entry in value]
    inside = isinstance(value, str) and (value == before or value.startswith(f"{before}/"))
    return f"{now}{value[len(before) :]}" if inside else value


def discard_run(run_dir: Path, *also: str) -> None:
    """Remove a run folder that holds nothing but its configuration, its log and `also`, and the empty folders above."""
    files = list(run_dir.iterdir()) if run_dir.is_dir() else []
    if any(file.name not in (CONFIG_FILE, LOCK_FILE, *also) and file.suffix != ".log" for file in files):
        return
    close_logs(run_dir)
    for file in files:
        file.unlink(missing_ok=True)
    for folder in (run_dir, *run_dir.parents[:2]):
        if not folder.is_dir() or any(folder.iterdir()) or folder == Path.cwd():
            break
        folder.rmdir()
