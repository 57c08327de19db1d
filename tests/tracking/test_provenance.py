import subprocess

import pytest

from spacecast.tracking.provenance import git_commit, provenance


@pytest.fixture
def repository(tmp_path):
    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", "-C", str(tmp_path), *identity, *arguments], check=True, capture_output=True)

    git("init", "-q")
    (tmp_path / "code.py").write_text("a = 1\n")
    git("add", "code.py")
    git("commit", "-q", "-m", "first")
    return tmp_path


def test_commit_and_changes(repository):
    clean = git_commit(repository)
    assert len(clean) == 40
    (repository / "notes.txt").write_text("untracked files do not make it dirty")
    assert git_commit(repository) == clean
    (repository / "code.py").write_text("a = 2\n")
    assert git_commit(repository) == clean + "+dirty"


def test_an_installation_inside_a_foreign_repository_has_no_commit(repository):
    (repository / "site-packages").mkdir()
    assert git_commit(repository / "site-packages") == ""


def test_no_repository(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert git_commit(tmp_path) == ""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_commit(tmp_path) == ""


def test_tags_are_texts_and_empty_ones_are_left_out():
    tags = provenance(data_hash="d1", command=["spacecast-train", "seed=1", "name=a b"])
    assert tags["data_hash"] == "d1"
    assert tags["command"] == "spacecast-train seed=1 'name=a b'"
    assert "graph_hash" not in tags
    assert all(isinstance(value, str) and value for value in tags.values())
    assert {"version.spacecast", "version.torch", "version.python"} <= tags.keys()
