"""What holds for every logger of conf/logger."""

import pytest

from spacecast.tracking.logger import log_params, log_tags


@pytest.fixture
def logger(logger_member, composed, tmp_path):
    """Without a store, where it has one: all stays in the journal. None: nothing is tracked."""
    section = composed(f"logger={logger_member}").logger
    places = {"tracking_uri": None, "journal": str(tmp_path / "tracking.jsonl"), "save_dir": str(tmp_path)}
    return section.build(**{name: place for name, place in places.items() if name in section.content})


def test_what_it_is_told_is_in_the_run_folder(logger, logger_member, tmp_path):
    log_params(logger, {"model": {"hidden_dim": 77}})
    log_tags(logger, {"colour": "green"})
    if logger is None:
        assert not list(tmp_path.iterdir())
        return
    logger.log_metrics({"train/loss": 0.125}, step=3)
    logger.save()
    logger.finalize("success")
    written = "".join(path.read_text() for path in tmp_path.rglob("*") if path.is_file())
    assert "train/loss" in written
    assert "0.125" in written
