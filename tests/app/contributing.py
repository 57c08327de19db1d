"""The worked examples of docs/extend.md: their files, edits and commands."""

import re
from pathlib import Path
from typing import NamedTuple

PAGE = Path(__file__).parents[2] / "docs" / "extend.md"


class Examples(NamedTuple):
    """files by path; edits, pairs of a path and the texts before and after; commands in order."""

    files: dict[str, str]
    edits: list[tuple[str, str, str]]
    commands: list[str]


def examples() -> Examples:
    """Read the page. A block with code begins with the path of its file, a diff names it, a command line may go on."""
    found = Examples({}, [], [])
    for language, text in re.findall(r"^```(\w+)\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL):
        if language in ("python", "yaml"):
            path, _, rest = text.removeprefix("# ").partition("\n")
            found.files[path] = rest
        elif language == "diff":
            head, *hunks = text.split("@@\n")
            for hunk in hunks:
                lines = hunk.splitlines(keepends=True)
                before, after = ("".join(line[1:] for line in lines if line[0] != sign) for sign in "+-")
                found.edits.append((head.removeprefix("--- ").strip(), before, after))
        elif language == "bash":
            found.commands.extend(text.replace("\\\n", " ").splitlines())
    return found


def write_files(folder: Path, beginning: str = "") -> Path:
    """Write the files whose path begins so."""
    for name, text in examples().files.items():
        if name.startswith(beginning):
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    return folder


def edit_files(folder: Path) -> None:
    """Make the edits; each must fit at one place."""
    for name, before, after in examples().edits:
        text = (folder / name).read_text()
        assert text.count(before) == 1, f"{name} has not once:\n{before}"
        (folder / name).write_text(text.replace(before, after))
