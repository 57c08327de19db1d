"""Both kinds of installation carry and find conf/."""

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CONF = {str(path.relative_to(ROOT / "conf")) for path in (ROOT / "conf").rglob("*.yaml") if "local" not in path.parts}
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
FIND = "from spacecast.config.compose import conf_dir; print(conf_dir())"


def _run(command: list, **options) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    _run([*PIP, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, ROOT])
    (path,) = folder.glob("spacecast-*.whl")
    return path


def _project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def _name(requirement: str) -> str:
    return re.sub(r"[-_.]+", "-", re.split(r"[<>=!~\[; ]", requirement)[0]).lower()


def test_the_wheel_holds_code_configuration_licence_and_commands(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {f"spacecast/conf/{path}" for path in CONF} <= set(names)
    assert "spacecast/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not any(name.startswith(("tests", "docs")) or "__pycache__" in name for name in names)
    (entry,) = (name for name in names if name.endswith("entry_points.txt"))
    scripts = zipfile.ZipFile(wheel).read(entry).decode()
    assert all(script in scripts for script in _project()["scripts"])


def test_settings_of_one_machine_stay_out_of_a_wheel(tmp_path):
    for name in ("src", "conf"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "default.yaml"))
    for name in ("pyproject.toml", "README.md", "LICENSE", ".gitignore"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "conf/local/default.yaml").write_text("paths: {data_dir: /scratch/me}\n")
    _run([*PIP, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", tmp_path / "dist", tmp_path])
    (built,) = (tmp_path / "dist").glob("spacecast-*.whl")
    names = zipfile.ZipFile(built).namelist()
    assert [name for name in names if "conf/local" in name] == ["spacecast/conf/local/README.md"]


def test_an_installed_wheel_finds_its_configuration_from_any_folder(wheel, tmp_path):
    target = tmp_path / "site"
    _run([*PIP, "install", "--no-deps", "--no-compile", "--target", target, wheel])
    code = f"import sys; sys.path.insert(0, {str(target)!r}); {FIND}"
    code += "; from spacecast.config.compose import compose; print(compose('train', [], conf_dir()).seed)"
    place, seed = _run([sys.executable, "-c", code], cwd=tmp_path).split()
    assert Path(place) == target / "spacecast" / "conf"
    assert seed == "1"


def test_an_editable_installation_finds_the_configuration_of_the_repository(tmp_path):
    assert Path(_run([sys.executable, "-c", FIND], cwd=tmp_path).strip()) == ROOT / "conf"


def test_every_command_exists():
    import importlib

    for target in _project()["scripts"].values():
        module, _, function = target.partition(":")
        assert callable(getattr(importlib.import_module(module), function))


def test_constraints_are_exact_complete_and_name_no_place():
    lines = (ROOT / "constraints.txt").read_text().split()
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in lines)
    pinned = {_name(line) for line in lines}
    assert len(pinned) == len(lines)
    project = _project()
    wanted = {_name(line) for line in [*project["dependencies"], *project["optional-dependencies"]["dev"]]}
    assert wanted <= pinned
    assert "torch==2.13.0" in lines


def test_the_installed_versions_are_the_pinned_ones():
    from importlib.metadata import PackageNotFoundError, version

    wrong = []
    for line in (ROOT / "constraints.txt").read_text().split():
        name, _, pin = line.partition("==")
        try:
            found = version(name).partition("+")[0]
        except PackageNotFoundError:
            continue  # a constraint installs nothing
        if found != pin:
            wrong.append(f"{name} {found}, pinned {pin}")
    assert not wrong


@pytest.mark.parametrize("pattern", ["pyproject.toml", "constraints.txt", "Makefile", ".ci/*", "*.md", "docs/**/*.md"])
def test_no_file_names_a_package_index_or_a_path_of_one_machine(pattern):
    found = re.compile(r"index-url|find-links|://[\w.]*(pypi|pytorch)\.|file://|/work/|/home/|/root/|/opt/")
    assert [path.name for path in ROOT.glob(pattern) if found.search(path.read_text())] == []


def test_make_help_lists_every_target():
    phony = set(re.findall(r"^\.PHONY: (\S+)", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert phony == set(re.findall(r"^  make (\S+)", _run(["make", "-C", ROOT, "help"]), re.MULTILINE))
    assert {"help", "install", "demo", "test", "test-fast", "check", "clean"} <= phony


def test_the_citation_file_names_this_version_and_licence():
    import yaml

    import spacecast

    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == spacecast.__version__
    assert citation["license"] == _project()["license"]
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    for reference in citation["references"]:
        assert reference["authors"]
        assert reference["url"].startswith("https://arxiv.org/abs/")
