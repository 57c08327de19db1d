"""Names that configurations held before modules moved: they mean what they meant, and open no other door."""

import importlib
import importlib.util
from pathlib import Path

import pytest
from targets_of_before import TARGETS

from spacecast.config.compose import compose, conf_dir, job_part, to_plain
from spacecast.config.targets import MOVED, current_name, locate, with_current_names
from spacecast.config.trust import Trust, plain_sections
from spacecast.core.errors import UserError


@pytest.mark.parametrize(("section", "name"), TARGETS)
def test_every_target_of_before_is_found_and_may_stand_in_a_file(section, name):
    found = locate(name, section)
    assert found.__name__ == current_name(name).rpartition(".")[2]
    stored = plain_sections({section: {"_target_": name}}, "a checkpoint")
    Trust(folders=(conf_dir(),)).check(stored, "a checkpoint")
    assert locate(stored[section]["_target_"], section) is found


@pytest.mark.parametrize("before", MOVED)
def test_no_name_of_before_is_a_name_of_today(before):
    """Nothing new may come to stand under an old name; what it has become is there."""
    now = MOVED[before]
    assert current_name(now) == now
    assert not _exists(before)
    assert _exists(now)


def _exists(name: str) -> bool:
    """Whether a dotted name is that of a module, or of something in one."""
    owner, _, last = name.rpartition(".")
    try:
        if importlib.util.find_spec(name) is not None:
            return True
    except ModuleNotFoundError:
        pass
    return bool(owner) and _is_module(owner) and hasattr(importlib.import_module(owner), last)


def _is_module(name: str) -> bool:
    """Whether there is such a module."""
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def test_the_longest_name_counts_and_parts_of_words_do_not():
    assert current_name("spacecast.launch.lock.locked") == "spacecast.process.lock.locked"
    assert current_name("spacecast.launch.folder.Sweep") == "spacecast.sweep.folder.Sweep"
    for name in ("spacecast.metricsx", "spacecast", "own.spacecast.metrics", "", "..", "spacecast.metrics_of_mine"):
        assert current_name(name) == name


def test_targets_are_renamed_at_any_depth_and_nothing_else_is():
    inner = {"_target_": "spacecast.forecast.elbo.ElboObjective", "text": "spacecast.forecast.elbo", "number": 3}
    value = {"a": [inner, (1, inner)], "_target_": 7, "b": None}
    found = {**inner, "_target_": "spacecast.objectives.elbo.ElboObjective"}
    assert with_current_names(value) == {"a": [found, [1, found]], "_target_": 7, "b": None}
    assert inner["_target_"] == "spacecast.forecast.elbo.ElboObjective"


OWN = """# @package _global_
defaults:
  - override /loss: mine
launcher:
  _target_: spacecast.launch.launcher.Launcher
  cluster: local
  hours: 1.0
"""


def test_yaml_of_ones_own_and_words_may_name_them(tmp_path: Path):
    for group, name, text in (
        ("loss", "mine", "_target_: spacecast.forecast.objectives.ForecastObjective\n_partial_: true\nloss: mae\n"),
        ("experiment", "mine", OWN),
    ):
        (tmp_path / group).mkdir()
        (tmp_path / group / f"{name}.yaml").write_text(text)
    words = ["experiment=mine", "logger._target_=spacecast.app.assemble.no_logger", "logger=none"]
    plain = to_plain(job_part(compose("train", words, conf_dir(), tmp_path)))
    assert plain["loss"]["_target_"] == "spacecast.objectives.forecast.ForecastObjective"
    assert plain["launcher"]["_target_"] == "spacecast.sweep.launcher.Launcher"
    assert plain["logger"]["_target_"] == "spacecast.tracking.logger.no_logger"
    same = to_plain(job_part(compose("train", ["loss=mae", "logger=none"], conf_dir())))
    assert plain["loss"] == {name: same["loss"][name] for name in plain["loss"]}
    own = tmp_path / "model" / "mine.yaml"
    own.parent.mkdir()
    own.write_text("_target_: spacecast.losses.pointwise.mine\n")
    stored = plain_sections({"model": {"_target_": "spacecast.losses.pointwise.mine"}}, "x")
    Trust(folders=(tmp_path,)).check(stored, "x")


ROADS = {
    "another section's": ("graph", "spacecast.forecast.elbo.ElboObjective"),
    "something else there": ("loss", "spacecast.forecast.elbo.torch.load"),
    "the module itself": ("loss", "spacecast.forecast.elbo"),
    "a command": ("launcher", "spacecast.launch.launcher.subprocess.run"),
    "what nobody names": ("loss", "spacecast.losses.pointwise.mse"),
}


@pytest.mark.parametrize("case", ROADS)
def test_a_name_of_before_is_trusted_no_further_than_that_of_today(case):
    section, name = ROADS[case]
    trust = Trust(folders=(conf_dir(),))
    for spelling in (name, current_name(name)):
        with pytest.raises(UserError, match="no configuration group names it"):
            trust.check(plain_sections({section: {"_target_": spelling}}, "x"), "x")


@pytest.mark.parametrize("word", ["spacecast.forecast.elbo", "spacecast.objectives.elbo"])
def test_trust_may_be_given_by_either_name(word):
    stored = plain_sections({"graph": {"_target_": "spacecast.forecast.elbo.ElboObjective"}}, "x")
    Trust.of({"trust": word}, [conf_dir()]).check(stored, "x")
    with pytest.raises(UserError, match="no configuration group names it"):
        Trust.of({"trust": []}, [conf_dir()]).check(stored, "x")
