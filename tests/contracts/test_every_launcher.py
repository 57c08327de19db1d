"""What holds for every launcher of conf/launcher."""

from spacecast.sweep.launcher import Launcher


def test_it_builds_and_asks_for_a_time_in_which_runs_can_save(launcher_member, composed):
    """Without one, runs are done here, one after the other."""
    section = composed(f"launcher={launcher_member}").launcher
    if section is None:
        assert launcher_member == "local"
        return
    launcher = section.build()
    assert isinstance(launcher, Launcher)
    assert launcher.minutes * 60 > 2 * launcher.signal_seconds > 0
    assert launcher.parallel >= 1
    assert launcher.max_restarts >= 1


def test_what_the_trainer_needs_is_asked_for(launcher_member, composed):
    """Nothing stands in two places unless somebody types it."""
    section = composed(f"launcher={launcher_member}").launcher
    if section is not None:
        assert section.content["nodes"] is None
        assert section.content["gpus_per_node"] is None
