"""The shell blocks of README and docs/, and how they are run: as they stand, or as the comment above a block says.

A comment names programs and the words that are added to each command of theirs:

    <!-- test: spacecast-train dry_run=true; make --dry-run -->

`spacecast` stands for every command of spacecast. `<!-- test: as in FILE -->` says which other test runs a block.
"""

import re
import shlex
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/*.md"))]
BLOCK = re.compile(
    r"(?:^<!-- test: (?P<how>[^\n]*) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
ELSEWHERE = "as in "
PROGRAMS = ("spacecast", "make", "pip", "git", "python", "mlflow", "hf", "srun", "sbatch", "eval", "jupytext")


class Block(NamedTuple):
    """A fenced block: its page, the number of its first line, its language, what is in it, how it is run."""

    page: str
    line: int
    language: str
    text: str
    how: str

    @property
    def elsewhere(self) -> str:
        """The file that runs it instead, from the root; empty where there is none."""
        return self.how.removeprefix(ELSEWHERE) if self.how.startswith(ELSEWHERE) else ""

    @property
    def added(self) -> dict[str, list[str]]:
        """The words that each program is given besides."""
        rules = [] if self.elsewhere else [shlex.split(rule) for rule in self.how.split(";") if rule.strip()]
        return {program: words for program, *words in rules}

    def words(self, program: str) -> list[str]:
        """The words that a command is given besides."""
        family = program.partition("-")[0] if program.startswith("spacecast-") else program
        return [*self.added.get(family, []), *(self.added.get(program, []) if program != family else [])]


def blocks(page: Path) -> list[Block]:
    """All blocks of a page, in order."""
    text = page.read_text()
    name = page.relative_to(ROOT).as_posix()
    return [
        Block(name, text.count("\n", 0, match.start()) + 1, match["language"], match["text"], match["how"] or "")
        for match in BLOCK.finditer(text)
    ]


def commands(text: str) -> list[str]:
    """The lines of a block, continued ones joined, comments and empty ones left out."""
    joined = text.replace("\\\n", " ").splitlines()
    return [line for line in (re.sub(r"(^|\s)#.*", "", line).strip() for line in joined) if line]


def is_ours(command: str) -> bool:
    """Whether a line is one command of spacecast, with nothing for a shell to do."""
    return command.startswith("spacecast-") and not re.search(r"[|&;<>$]", command)


def steps(block: Block) -> list[list[str]]:
    """Commands in groups that run together: one of spacecast alone, what needs a shell with its neighbours."""
    groups: list[list[str]] = []
    for command in commands(block.text):
        if is_ours(command) or not groups or is_ours(groups[-1][0]):
            groups.append([command])
        else:
            groups[-1].append(command)
    return groups


def in_a_shell(lines: list[str], block: Block) -> str:
    """A script in which the programs of the comment are given their words besides."""
    functions = [
        f'{program}() {{ command {program} "$@" {shlex.join(words)}; }}' for program, words in block.added.items()
        if not program.startswith("spacecast")
    ]  # fmt: skip
    return "\n".join(["set -eu -o pipefail", *functions, *lines])
