"""Write the tables of docs/configuration.md from conf/ and the metrics (`make docs`), so that they cannot rot."""

import re
import sys
from pathlib import Path
from typing import NamedTuple

import yaml

from spacecast.evaluation import metrics

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "configuration.md"
BEGIN, END = "<!-- tables: written by `make docs` from the comments in conf/ -->\n", "<!-- end of tables -->\n"


class Key(NamedTuple):
    """One key of a YAML file."""

    name: str
    value: str
    meaning: str


class Member(NamedTuple):
    """One file of a group: what it is and its keys."""

    name: str
    summary: str
    keys: list[Key]


def read_member(path: Path, folder: Path) -> Member:
    """Take a YAML file apart: the comment on top, and each key with the comment at it, but for `# not DEFAULT: why`."""
    values = yaml.safe_load(path.read_text()) or {}
    summary, comment, keys = "", "", []
    for line in path.read_text().splitlines():
        match = re.match(r"(\w+):(.*)$", line)
        if line.startswith("#"):
            text = line.lstrip("# ").rstrip()
            comment = f"{comment} {text}".strip() if not text.startswith("@package") else ""
            continue
        if match and match[1][0] != "_" and match[1] not in ("defaults", "hydra", path.parent.name):
            behind = re.search(r"\s#\s*(.*)$", match[2])
            meaning = behind[1] if behind and not behind[1].startswith("not ") else comment
            keys.append(Key(match[1], _show(values[match[1]]), meaning))
        elif not keys:
            summary = summary or comment
        comment = ""
    return Member(str(path.relative_to(folder).with_suffix("")), summary, keys)


def _show(value: object) -> str:
    """A value as one types it."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_show(inner)}" for key, inner in value.items()) + "}"
    text = "[" + ", ".join(_show(item) for item in value) + "]" if isinstance(value, list) else str(value)
    return {"None": "null", "True": "true", "False": "false"}.get(text, text)


def group_section(folder: Path, default: str | None) -> str:
    """Members of a group and the table of their keys, the default member's first."""
    paths = sorted(folder.rglob("*.yaml"), key=lambda path: (path.stem != default, path))
    members = [read_member(path, folder) for path in paths]
    lines = [f"### {folder.name}", ""]
    for name, summary, _ in members:
        note = " (default)" if name == default else ""
        lines.append(f"- `{folder.name}={name}`{note}" + (f": {summary}" if summary else ""))
    rows: dict[str, tuple[Key, list[str]]] = {}
    for member in members:
        for key in member.keys:
            rows.setdefault(key.name, (key, []))[1].append(member.name)
    if rows and default is not None:
        lines += ["", "| Key | Default | Meaning |", "|---|---|---|"]
    for key, owners in rows.values() if default is not None else ():
        only = "" if default in owners or len(owners) == len(members) else f" ({', '.join(owners)} only)"
        meaning = (key.meaning + only).strip().replace("|", "\\|")
        lines.append(f"| `{folder.name}.{key.name}` | `{key.value}` | {meaning} |")
    return "\n".join([*lines, ""])


def tables() -> str:
    """All groups in the order of train.yaml."""
    defaults: dict[str, str | None] = {}
    for entry in yaml.safe_load((ROOT / "conf" / "train.yaml").read_text())["defaults"]:
        if isinstance(entry, dict):
            ((name, member),) = entry.items()
            defaults[name.removeprefix("optional ")] = member
    defaults["simulation"] = "magnetosphere"
    folders = {path.name: path for path in (ROOT / "conf").iterdir() if path.is_dir() and list(path.glob("*.yaml"))}
    order = [name for name in defaults if name in folders and name != "local"]
    order += sorted(folders.keys() - set(order) - {"local", "hydra"})
    return "\n".join(group_section(folders[name], defaults.get(name)) for name in order)


def metric_table() -> str:
    """All metrics of `scores.csv`."""
    units = {"variable": "of the variable", "1": "1", "gradient": "of B, per R_E"}
    members = {"mean": "its mean", "each": "its members", "none": ""}
    lines = ["## Metrics", "", "In `scores.csv`, by lead, region and variable; `mean` is that over the variables.", ""]
    lines += ["| Metric | Meaning | Units | Perfect | Of an ensemble |", "|---|---|---|---|---|"]
    for metric in metrics.METRICS:
        best = "none" if metric.best is None else f"{metric.best:g}"
        label = metric.label.replace("|", "\\|")
        lines.append(f"| `{metric.name}` | {label} | {units[metric.units]} | {best} | {members[metric.members]} |")
    return "\n".join([*lines, ""])


def render(page: str) -> str:
    """The page with its tables written anew."""
    head, _, rest = page.partition(BEGIN)
    tail = rest.partition(END)[2]
    return f"{head}{BEGIN}\n{tables()}\n{metric_table()}\n{END}{tail}"


if __name__ == "__main__":
    PAGE.write_text(render(PAGE.read_text()))
    sys.stdout.write(f"{PAGE.relative_to(ROOT)}\n")
