"""Every key of every member of every group of before is a key of today, in records and in YAML of one's own."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from spacecast.app.train import COMMAND
from spacecast.config.check import check_config
from spacecast.config.compose import compose, conf_dir, job_part, to_plain
from spacecast.config.targets import with_current_names
from spacecast.config.trust import Trust

MEMBERS = yaml.safe_load(Path(__file__).with_name("members_of_before.yaml").read_text())


@pytest.fixture(scope="module")
def composed() -> dict[str, Any]:
    """The configuration of a training of today."""
    return to_plain(job_part(compose("train", [], conf_dir())))


@pytest.mark.parametrize(("group", "member"), [(group, member) for group in MEMBERS for member in MEMBERS[group]])
def test_a_section_of_before_is_one_of_today(group, member, composed):
    section = with_current_names(MEMBERS[group][member])
    check_config({**composed, group: section}, COMMAND.schema)
    Trust(folders=(conf_dir(),)).check({group: section}, "a checkpoint")
