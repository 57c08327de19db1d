"""The folder of a run."""

from spacecast.app.runs import discard_run


def test_a_run_that_never_began_leaves_the_current_folder(tmp_path, monkeypatch):
    folder = tmp_path / "empty"
    run_dir = folder / "runs" / "mine"
    run_dir.mkdir(parents=True)
    (run_dir / "config.yaml").touch()
    (run_dir / "train.log").touch()
    monkeypatch.chdir(folder)
    discard_run(run_dir)
    assert list(folder.iterdir()) == []


def test_a_run_that_got_somewhere_stays(tmp_path):
    (tmp_path / "scores.csv").touch()
    discard_run(tmp_path)
    assert (tmp_path / "scores.csv").exists()
