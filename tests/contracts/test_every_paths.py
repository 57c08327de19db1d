"""What holds for every file of conf/paths."""

from pathlib import Path

from spacecast.config.compose import compose, conf_dir, job_part, to_plain


def test_everything_lies_below_the_folder_of_the_project_and_each_run_has_its_own(paths_member, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SPACECAST_DATA", raising=False)
    found = [to_plain(job_part(compose("train", [f"paths={paths_member}"], conf_dir())))["paths"] for _ in range(2)]
    for paths in found:
        assert Path(paths["project_dir"]) == tmp_path
        assert all(Path(place).is_relative_to(tmp_path) for place in paths.values())
    assert found[0]["run_dir"] != found[1]["run_dir"]
    assert not list(tmp_path.iterdir())


def test_the_environment_moves_the_data_alone(paths_member, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SPACECAST_DATA", str(tmp_path / "elsewhere"))
    paths = to_plain(job_part(compose("train", [f"paths={paths_member}"], conf_dir())))["paths"]
    assert paths["data_dir"] == str(tmp_path / "elsewhere")
    assert Path(paths["run_dir"]).is_relative_to(tmp_path / "runs")
