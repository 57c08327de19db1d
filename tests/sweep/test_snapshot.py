"""The code in the sweep folder is the code of the day of submission."""

import subprocess
import sys
from pathlib import Path

import spacecast
from spacecast.sweep.snapshot import own_modules, snapshot


def test_the_copy_is_complete_and_goes_before_the_installed_package(tmp_path):
    conf = tmp_path / "conf"
    conf.mkdir()
    (conf / "train.yaml").write_text("a: 1\n")
    code = snapshot(tmp_path / "code", conf, {})
    assert not list(code.rglob("*.pyc"))
    script = "import spacecast, spacecast.core.grid; from spacecast.config.compose import conf_dir; print(conf_dir())"
    found = subprocess.run(
        [sys.executable, "-c", script], env={"PYTHONPATH": str(code)}, capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == str(code / "spacecast" / "conf")


def test_a_later_edit_changes_nothing(tmp_path):
    conf = tmp_path / "conf"
    conf.mkdir()
    (conf / "train.yaml").write_text("a: before\n")
    code = snapshot(tmp_path / "code", conf, {})
    (conf / "train.yaml").write_text("a: after\n")
    assert snapshot(tmp_path / "code", conf, {}) == code
    assert (code / "spacecast" / "conf" / "train.yaml").read_text() == "a: before\n"


def test_modules_of_the_user_travel_along(tmp_path, monkeypatch):
    (tmp_path / "my_model.py").write_text("class Net: ...\n")
    package = tmp_path / "my_losses"
    package.mkdir()
    (package / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    plain = {
        "model": {"_target_": "my_model.Net"},
        "loss": {"_target_": "spacecast.objectives.forecast.Any", "parts": [{"_target_": "my_losses.One"}]},
        "trainer": {"_target_": "pytorch_lightning.Trainer"},
        "other": {"_target_": "pathlib.Path"},
    }
    assert own_modules(plain) == [package, tmp_path / "my_model.py"]
    conf = tmp_path / "conf"
    conf.mkdir()
    code = snapshot(tmp_path / "code", conf, plain)
    assert (code / "my_model.py").exists()
    assert (code / "my_losses" / "__init__.py").exists()
    assert (code / "spacecast" / "__init__.py").read_text() == Path(spacecast.__file__).read_text()
