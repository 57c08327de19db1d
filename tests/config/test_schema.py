"""A configuration in plain types becomes one typed object, with each default in one place."""

import inspect
from pathlib import Path

import pytest
import pytorch_lightning as pl

from spacecast.config.complete import completed
from spacecast.config.compose import compose, conf_dir
from spacecast.config.schema import EvaluationSection, Graph, Train, TrainerSection, typed
from spacecast.core.errors import UserError
from spacecast.evaluation.evaluator import evaluate

PLACES = {"project_dir": "/p", "data_dir": "/p/data", "run_dir": "/p/run"}


def plain(*words: str) -> dict:
    """The configuration of a training as it is recorded."""
    from spacecast.app.train import COMMAND

    return completed(COMMAND, compose("train", words, conf_dir()), {})


def test_sections_paths_and_values():
    given = plain("trainer.max_epochs=7", "datastore.runs=[1,2]", "resume=/r", "paths.run_dir=/run", "seed=3")
    config = typed(given, Train)
    assert (config.paths.run_dir, config.resume, config.init_from) == (Path("/run"), Path("/r"), None)
    assert (config.trainer.max_epochs, config.trainer.checkpoint_minutes, config.seed) == (7, 15, 3)
    assert (config.datastore.root, config.datastore.runs) == (Path(given["datastore"]["root"]), [1, 2])
    assert (config.evaluation.split, config.evaluation.steps, config.evaluation.members) == (None, None, 1)
    assert config.model.content == given["model"]
    assert config.model.target == "spacecast.models.graph_unet.GraphUNet"
    assert config.launcher is None


@pytest.mark.parametrize(
    ("split", "label"), [("null", "test"), ("test", "test"), ("val", "scores_val"), ("train", "scores_train")]
)
def test_scores_never_share_a_name_with_what_a_training_records(split, label):
    config = typed(plain(f"evaluation.split={split}", "paths.run_dir=/run"), Train)
    assert config.evaluation.label == label


def test_what_a_section_leaves_out_is_what_its_constructor_takes_then():
    given = plain("paths.run_dir=/run")
    for section in ("trainer", "evaluation"):
        given[section] = {"_target_": given[section]["_target_"], "_partial_": True}
    config = typed(given, Train)
    lightning = inspect.signature(pl.Trainer).parameters
    for name in ("accelerator", "precision", "max_epochs", "max_steps"):
        assert getattr(config.trainer, name) == lightning[name].default
    ours = inspect.signature(evaluate).parameters
    for name in ("split", "runs", "steps", "members", "regions", "convert_units"):
        assert getattr(config.evaluation, name) == ours[name].default
    assert config.trainer.max_nonfinite_steps == 3


def own_evaluation(model: object, *, steps: int, weather: str = "fair") -> None:
    """Of a user: no split, no members."""


def test_sections_of_ones_own_need_nothing_of_ours():
    given = plain("paths.run_dir=/run")
    given["evaluation"] = {"_target_": f"{__name__}.own_evaluation", "_partial_": True, "steps": 3}
    given["datastore"] = {"_target_": "types.SimpleNamespace", "folders": ["a", "b"], "root": ["c"]}
    config = typed(given, Train)
    assert config.evaluation == EvaluationSection(content=given["evaluation"], steps=3)
    assert (config.datastore.root, config.datastore.holdout) == (["c"], None)
    assert config.datastore.build().folders == ["a", "b"]


def test_what_is_ours_of_a_section_is_not_handed_to_its_constructor():
    section = {"_target_": "types.SimpleNamespace", "root": "/x", "repository": "me/mine"}
    given = {"paths": PLACES, "datastore": section, "graph": {"_target_": "types.SimpleNamespace"}, "picture": None}
    config = typed(given, Graph)
    assert config.datastore.repository == "me/mine"
    assert vars(config.datastore.build()) == {"root": "/x"}
    assert vars(config.datastore.build(root="/y", more=1)) == {"root": "/y", "more": 1}
    assert config.datastore.build(_partial_=True).keywords == {"root": "/x"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"graph": None}, "graph: expected a section with _target_, found None"),
        ({"graph": {"levels": 3}}, "graph: expected a section with _target_"),
        ({"paths": {"data_dir": "/d"}}, "project_dir is missing from the configuration"),
        ({"datastore": {"_target_": "types.Nothing"}}, "datastore._target_: 'types.Nothing' does not exist"),
    ],
)
def test_a_record_that_something_else_has_written_is_a_mistake_in_one_line(change, message):
    built = {"_target_": "types.SimpleNamespace"}
    given = {"paths": PLACES, "datastore": built, "graph": built, "picture": None, "of another version": 1}
    assert typed(given, Graph).simulation is None
    with pytest.raises(UserError, match=message.replace("(", r"\(")):
        typed({**given, **change}, Graph)


def test_our_keys_are_not_lightnings():
    section = {"max_epochs": 3, "max_steps": 9, "global_batch": 2, "checkpoint_minutes": 1, "precision": "32-true"}
    assert TrainerSection(content=section, max_steps=9).keywords == {"max_epochs": 3, "precision": "32-true"}
    only_steps = TrainerSection(content={"max_epochs": None, "max_steps": 9}, max_steps=9)
    assert only_steps.keywords == {"max_epochs": -1}
    assert TrainerSection(content={"max_epochs": None}).keywords == {"max_epochs": None}
