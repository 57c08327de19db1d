"""What holds for every file of conf/hydra: how commands log."""

import logging.config

import pytest
import yaml

from spacecast.config.compose import conf_dir


@pytest.fixture
def logging_of(hydra_member, tmp_path):
    """The configuration of the logs, its file in an empty folder; what loggers there were is there afterwards."""
    text = (conf_dir() / "hydra" / f"{hydra_member}.yaml").read_text()
    text = text.replace("${hydra.runtime.output_dir}", str(tmp_path)).replace("${hydra.job.name}", "train")
    names = [None, "spacecast", "py.warnings"]
    before = [(log, log.handlers[:], log.level, log.propagate) for log in map(logging.getLogger, names)]
    yield yaml.safe_load(text.replace("ext://sys.stdout", "ext://sys.__stdout__"))
    for log, handlers, level, propagate in before:
        for handler in log.handlers:
            if handler not in handlers:
                handler.close()
        log.handlers[:], log.level, log.propagate = handlers, level, propagate
    logging.Logger.manager._clear_cache()


def test_the_terminal_shows_what_the_package_says_and_a_run_keeps_it(logging_of, hydra_member, tmp_path):
    logging.config.dictConfig(logging_of)
    root, ours, others = (logging.getLogger(name) for name in (None, "spacecast.app.train", "lightning"))
    assert ours.isEnabledFor(logging.INFO)
    assert not others.isEnabledFor(logging.INFO)
    assert [type(handler) for handler in root.handlers][:1] == [logging.StreamHandler]
    ours.info("a fact of the run")
    logging.getLogger("py.warnings").warning("old-fashioned")
    kept = hydra_member.endswith("spacecast")
    texts = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert texts.keys() == ({"train.log"} if kept else set())
    if kept:
        assert "INFO spacecast.app.train: a fact of the run" in texts["train.log"]
        assert "old-fashioned" in texts["train.log"]
