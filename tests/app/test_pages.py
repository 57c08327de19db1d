"""Every shell block of README and docs/ is run, as it stands or as the comment above it says (pages.py)."""

import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest
from pages import PAGES, PROGRAMS, ROOT, Block, blocks, commands, in_a_shell, is_ours, steps

from spacecast.app import sweep
from spacecast.process.status import write_status
from spacecast.sweep.folder import Sweep, name_runs

AS_A_READER = ("README.md", "docs/quickstart.md")  # what stands without a comment there is run by tests/test_readme.py
SHELL = [block for page in PAGES for block in blocks(page) if block.language == "bash"]
SBATCH = "#!/bin/bash\necho 'Submitted batch job 42'\n"
SCONTROL = '#!/bin/bash\necho "MaxArraySize            = 1001"\n'


def here(page: str) -> list[Block]:
    """The blocks of a page that are run in this file."""
    found = [block for block in SHELL if block.page == page and not block.elsewhere]
    return [block for block in found if block.how or page not in AS_A_READER]


RUN_HERE = [page for page in dict.fromkeys(block.page for block in SHELL) if here(page)]


def write_program(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(stat.S_IRWXU)


@pytest.fixture
def place(request, workplace, untrained, tiny_data, monkeypatch) -> Path:
    """A folder in which the names that pages use in place of a reader's own are there: runs, data, a repository.

    `sbatch` takes jobs and does nothing with them.
    """
    monkeypatch.setenv("SPACECAST_DATA", str(tiny_data))
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))
    monkeypatch.setenv("MPLBACKEND", "Agg")
    folders = [f"{workplace}/bin", str(Path(sys.executable).parent), os.environ["PATH"]]
    monkeypatch.setenv("PATH", os.pathsep.join(folders))
    for name, text in {"sbatch": SBATCH, "srun": SBATCH, "scontrol": SCONTROL, "squeue": "#!/bin/bash\n"}.items():
        write_program(workplace / "bin" / name, text)
    for name in ("runs/DATE/RUN", "RUN", "runs/b"):
        shutil.copytree(untrained / "efm", workplace / name)
    for name in ("runs/a", "runs/c", "runs/first", "runs/second"):
        shutil.copytree(untrained / "fm", workplace / name)
    data = tiny_data / "magnetosphere"
    (workplace / "now.zarr").symlink_to(data / "run_1.zarr")
    made = finished_sweep(workplace / "runs/DATE/TIME_sweep", untrained / "fm" / "checkpoints")
    (workplace / "DIR").symlink_to(made if request.param == "docs/slurm.md" else data)
    for name in ("src", "conf", "scripts"):
        (workplace / name).symlink_to(ROOT / name)
    for name in ("Makefile", "README.md", "LICENSE", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, workplace)
    shutil.copytree(ROOT / "docs" / "cluster_template", workplace / "docs" / "cluster_template")
    git = ["git", "-c", "user.name=me", "-c", "user.email=me@example.org"]
    subprocess.run([*git, "init", "--quiet", "URL"], cwd=workplace, check=True)
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, workplace / "URL")
    for words in (["add", "--all"], ["commit", "--quiet", "--message=first"]):
        subprocess.run([*git, *words], cwd=workplace / "URL", check=True)
    return workplace


def finished_sweep(folder: Path, checkpoints: Path) -> Path:
    """A sweep of two seeds that is done, with these checkpoints and two scores each."""
    from spacecast.evaluation.scores import ScoreRow, Scores

    made = Sweep(folder, "spacecast.app.train:COMMAND", tuple(name_runs([["seed=1"], ["seed=2"]])))
    made.write()
    for number, run in enumerate(made.runs):
        names = (("rmse", "Bx"), ("skill", "mean"))
        rows = [ScoreRow(metric, name, "1", 10.0, "all", 0.5 + number / 10) for metric, name in names]
        Scores(tuple(rows)).write_csv(made.run_dir(run) / "scores.csv")
        write_status(made.run_dir(run), state="finished")
        shutil.copytree(checkpoints, made.run_dir(run) / "checkpoints")
    return folder


def do(run: Callable, line: str, block: Block) -> None:
    """One command of spacecast, in this process."""
    program, *words = shlex.split(line)
    words += block.words(program)
    where = f"{block.page}, line {block.line}: {line}"
    if program == "spacecast-sweep":
        with pytest.raises(SystemExit) as end:
            sweep.main(words)
        assert end.value.code == 0, where
        return
    command = import_module(f"spacecast.app.{program.removeprefix('spacecast-')}").COMMAND
    result = run(command, *words)
    assert result.code == 0, f"{where}\n{result.err}"


@pytest.mark.slow
@pytest.mark.parametrize("place", RUN_HERE, indirect=True)
def test_the_shell_blocks_of_a_page_run(request, run, place):
    page = request.node.callspec.params["place"]
    for block in here(page):
        for lines in steps(block):
            if is_ours(lines[0]):
                do(run, lines[0], block)
                continue
            done = subprocess.run(
                ["bash", "-c", in_a_shell(lines, block)], cwd=place, capture_output=True, text=True, timeout=1200
            )
            assert done.returncode == 0, f"{page}, line {block.line}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"


def test_a_block_with_commands_is_marked_as_one():
    """So that it is run, and shown with colours."""
    shown = [block for page in PAGES for block in blocks(page) if block.language in ("", "text")]
    begins = re.compile(rf"({'|'.join(PROGRAMS)})\b")
    unmarked = [block for block in shown if any(begins.match(line) for line in commands(block.text))]
    assert [f"{block.page}, line {block.line}" for block in unmarked] == []


def test_what_another_test_runs_is_said_to_be_run_there():
    elsewhere = {block.elsewhere for block in SHELL if block.elsewhere}
    assert elsewhere
    assert [name for name in elsewhere if not (ROOT / name).is_file()] == []


def test_a_comment_adds_words_to_the_programs_that_it_names():
    text, how = "make demo  # all\nspacecast-train \\\n  seed=1\n", "spacecast a=1; make -n; spacecast-train b"
    block = Block("page", 1, "bash", text, how)
    assert steps(block) == [["make demo"], ["spacecast-train    seed=1"]]
    assert block.words("spacecast-train") == ["a=1", "b"]
    assert block.words("spacecast-graph") == ["a=1"]
    assert 'make() { command make "$@" -n; }' in in_a_shell(["make demo"], block)
