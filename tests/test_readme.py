"""What README and docs say is true: blocks marked bash are run; every command, file and key that is named exists."""

import importlib.util
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "conf/local/README.md", *sorted(ROOT.glob("docs/*.md"))]
NOT_HERE = ("NAME", "mine", "conf/local/default.yaml", "runs/")  # placeholders, and what a user makes


class Block(NamedTuple):
    """A fenced block of a page, and how the comment above it says that it is run; nothing: as it stands."""

    page: str
    language: str
    text: str
    how: str


def blocks() -> list[Block]:
    fence = re.compile(r"(?:^<!-- test: ([^\n]*) -->\n)?^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
    found = [(page.name, match) for page in PAGES for match in fence.finditer(page.read_text())]
    return [Block(page, match[2], match[3], match[1] or "") for page, match in found]


def commands() -> list[str]:
    """Every spacecast command line in any block, comments removed. The worked examples have a test of their own."""
    shown = [block for block in blocks() if (block.page, block.language) != ("extend.md", "bash")]
    texts = [block.text.replace("\\\n", " ") for block in shown]
    lines = [line.partition(" #")[0].strip() for text in texts for line in text.splitlines()]
    found = [re.match(r"(?:srun (?:-\S+ )*)?(spacecast-\w+.*)", line) for line in lines]
    return sorted({match[1] for match in found if match})


def named() -> set[str]:
    """Everything in backticks outside fenced blocks."""
    texts = [re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL) for page in PAGES]
    return {match for text in texts for match in re.findall(r"`([^`\n]+)`", text)}


@pytest.fixture(scope="module")
def everything():
    """The configuration of train and evaluate with every group member's keys, as dotted names."""
    import yaml

    keys = set()
    for path in (ROOT / "conf").rglob("*.yaml"):
        parts = path.relative_to(ROOT / "conf").parts[:-1]
        group = "" if not parts or parts[0] == "experiment" else parts[0] + "."
        keys |= {f"{group}{key}" for key in yaml.safe_load(path.read_text()) or {}}
    return keys


@pytest.mark.slow
def test_what_stands_without_a_comment_runs_as_it_stands(tmp_path):
    """Quick start, README and tutorial, in one folder and in order, as a reader would; all they make stays there."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SPACECAST")}
    environment |= {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    found = [block for block in blocks() if block.language in ("bash", "python") and not block.how]
    quick = [block for block in found if block.page == "quickstart.md"]
    front = [block for block in found if block.page == "README.md"]
    tutorial = Block("tutorial.py", "python", (ROOT / "docs" / "tutorial.py").read_text(), "")
    assert len(quick) >= 5
    assert len(front) >= 3
    scores = [block for block in found if block.page == "evaluation.md" and block.language == "python"]
    for block in [*quick, *front, *scores, tutorial]:
        program = ["bash", "-eu", "-c"] if block.language == "bash" else [sys.executable, "-c"]
        done = subprocess.run(
            [*program, block.text], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=1200
        )
        assert done.returncode == 0, f"{block.text}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    for name in ("config.yaml", "checkpoints/best.ckpt", "checkpoints/last.ckpt", "scores.csv", "train.log"):
        assert (tmp_path / "runs" / "smoke" / name).is_file()
    pictures = re.findall(r"\(images/tutorial/(\w+\.png)\)", tutorial.text)
    assert pictures
    assert {path.name for path in (tmp_path / "tutorial").iterdir()} == set(pictures)


@pytest.mark.parametrize("line", commands())
def test_every_command_line_composes(line):
    """Groups, members and keys exist. What the lines do is tested in tests/app, and by the block above."""
    from spacecast.config.compose import compose, conf_dir

    program, *words = shlex.split(line)
    if program == "spacecast-sweep":
        from spacecast.app.sweep import parser

        parser().parse_args(words)
        return
    name = "plot_paper" if words[:1] == ["paper"] else program.removeprefix("spacecast-")
    command = importlib.import_module(f"spacecast.app.{name}").COMMAND
    assert command.name == program
    if "--help" in words:
        return
    if "--info" in words:
        words = []
    several = "-m" in words
    words = [word for word in command.rewrite(words) if not word.startswith("-") and word != "job"]
    if words == ["key=a,b,c", "other=1,2"]:
        return  # a pattern, not a command
    folders = re.findall(r"--config-dir=(\S+)", line)
    user_conf = ROOT / folders[0] if folders else None
    compose(command.config, [word.partition(",")[0] if several else word for word in words], conf_dir(), user_conf)


def test_every_make_target_exists():
    targets = set(re.findall(r"^\.PHONY: (\S+)", (ROOT / "Makefile").read_text(), re.MULTILINE))
    texts = "\n".join(page.read_text() for page in PAGES)
    used = set(re.findall(r"(?:^|`)make ([a-z-]+)", texts, re.MULTILINE))
    assert used
    assert used <= targets


def test_every_file_exists():
    missing = []
    for name in named():
        path = name.partition(" ")[0]
        if re.match(r"(src|conf|docs|tests|scripts)/", path) and not any(word in path for word in NOT_HERE):
            missing += [path] if not (ROOT / path).exists() else []
        if re.fullmatch(r"(app|core|forecast|tracking|data|graphs|models)/\w+(\.py)?", path):
            missing += [path] if not (ROOT / "src/spacecast" / path).with_suffix(".py").exists() else []
    assert not missing


def test_every_link_leads_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
            if not target.startswith("http"):
                assert (page.parent / target.partition("#")[0]).exists(), f"{page.name}: {target}"


def test_every_key_exists(everything):
    groups = {key.partition(".")[0] for key in everything if "." in key}
    keys = {re.split(r"[=\s]", name.lstrip("+"))[0] for name in named()}
    shape = re.compile(r"[a-z]+\.(?!(py|safetensors)$)[a-z_]+")
    keys = {key for key in keys if shape.fullmatch(key) and key.partition(".")[0] in groups}
    assert len(keys) > 20
    free = {"simulation.frames", "trainer.limit_val_batches"}  # given with a plus sign
    assert keys - everything - free == set()


def test_every_group_member_exists():
    for name in named():
        match = re.fullmatch(r"([a-z]+)=([a-z_]+)", name)
        if match and (ROOT / "conf" / match[1]).is_dir() and match[2] not in ("mine", "null"):
            assert (ROOT / "conf" / match[1] / f"{match[2]}.yaml").is_file(), name


def test_the_tables_of_the_configuration_are_those_of_conf():
    spec = importlib.util.spec_from_file_location("configuration_doc", ROOT / "scripts" / "configuration_doc.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    page = module.PAGE.read_text()
    assert module.render(page) == page, "run: make docs"
    assert "`model.hidden_dim`" in page
