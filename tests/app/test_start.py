"""Where a training starts, and when a folder is refused."""

import logging
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml

from spacecast.app.run_records import check_training_folder, is_finished, remember_scores, tracking_id
from spacecast.app.start import Start, check_former_defaults, check_start, find_start, take_weights
from spacecast.checkpoint.content import as_tensors, load_checkpoint
from spacecast.checkpoint.files import write_whole
from spacecast.checkpoint.formats import with_former_defaults
from spacecast.config.command import Inputs
from spacecast.config.compose import conf_dir
from spacecast.config.schema import Section, Train, typed
from spacecast.core.errors import UserError
from spacecast.core.spec import FeatureSpec
from spacecast.process.run_folder import add_facts


def checkpoint(number: int = 0) -> dict:
    """As much of a checkpoint as is looked at."""
    described = {
        "format": 1, "versions": {"spacecast": "1"}, "data_spec": {"data_hash": "d"}, "graph": {"hash": "g"},
    }  # fmt: skip
    return {"state_dict": {"w": torch.zeros(2)}, "spacecast": described, "progress": {"run_id": f"run{number}"}}


SECTIONS = ("trainer", "datastore", "graph", "model", "loss", "schedule", "optimizer", "data", "logger", "evaluation")


@pytest.fixture
def plain(tmp_path):
    """A configuration and a folder of a run that has got somewhere."""
    config = {
        "paths": {"run_dir": str(tmp_path / "run")},
        "model": {"hidden_dim": 8},
        "trainer": {"max_epochs": 5, "max_steps": -1},
        "schedule": {"epochs": 5},
        "logger": {"tracking_uri": "sqlite:////x/mlflow.db"},
        "evaluation": {"steps": 2},
        "resume": None,
        "init_from": None,
    }
    write_whole(checkpoint(), tmp_path / "run" / "checkpoints" / "last.ckpt")
    (tmp_path / "run" / "config.yaml").write_text(yaml.safe_dump(config))
    return config


def inputs(plain: dict) -> Inputs[Train]:
    """As a command receives a configuration; what does not matter here is empty."""
    sections = {name: {"_target_": "types.SimpleNamespace", **plain.get(name, {})} for name in SECTIONS}
    paths = {"project_dir": "/p", "data_dir": "/d", **plain["paths"]}
    whole = {**plain, **sections, "paths": paths, "seed": 1, "dry_run": False}
    return Inputs(typed(whole, Train), plain)


def start_of(plain: dict) -> Start:
    """Where a run starts."""
    given = inputs(plain)
    start = find_start(given.config, given.opened)
    assert list(given.opened) == [path for path in (start.checkpoint, start.weights) if path is not None]
    return start


def test_only_harmless_settings_may_change(plain):
    check_training_folder(inputs(plain))
    check_training_folder(inputs({**plain, "logger": {"tracking_uri": None}, "evaluation": {"steps": 9}}))
    check_training_folder(inputs({**plain, "trainer": {"max_epochs": 9, "max_steps": -1}}))
    with pytest.raises(UserError, match=r"holds a run with model.hidden_dim=8, here it is 9: .* init_from=") as caught:
        check_training_folder(inputs({**plain, "model": {"hidden_dim": 9}}))
    assert "\n" not in str(caught.value)
    longer = {"max_epochs": 9, "max_steps": -1}
    with pytest.raises(UserError, match=r"schedule.epochs=5, here it is 9"):
        check_training_folder(inputs({**plain, "trainer": longer, "schedule": {"epochs": 9}}))
    with pytest.raises(UserError, match=r"model.other=None, here it is 1 and 1 more"):
        check_training_folder(inputs({**plain, "model": {"other": 1}}))
    check_training_folder(inputs({**plain, "model": {}, "paths": {"run_dir": f"{plain['paths']['run_dir']}_new"}}))


def test_keys_that_did_not_exist_when_a_run_began_had_their_defaults(plain, tmp_path):
    """A former default is no reason to go on in silence, nor are the keys of another constructor."""
    schedule = {"_target_": "spacecast.training.schedule.GraphFMSchedule", "epochs": 5}
    trainer = {"_target_": "pytorch_lightning.Trainer", "max_epochs": 5, "max_steps": -1}
    before = {**plain, "schedule": schedule, "trainer": trainer}
    (tmp_path / "run" / "config.yaml").write_text(yaml.safe_dump(before))
    new = {"warmup": 0.0, "final_lr_factor": 0.01}
    check_training_folder(inputs({**before, "schedule": {**schedule, **new}, "trainer": {**trainer, "ema": None}}))
    with pytest.raises(UserError, match=r"schedule.warmup=0.0, here it is 0.1:"):
        check_training_folder(inputs({**before, "schedule": {**schedule, "warmup": 0.1}}))
    with pytest.raises(UserError, match=r"trainer.ema=None, here it is 0.9:"):
        check_training_folder(inputs({**before, "trainer": {**trainer, "ema": 0.9}}))
    with pytest.raises(UserError, match=r"schedule.decay=None, here it is cosine:"):
        check_training_folder(inputs({**before, "schedule": {**schedule, "decay": "cosine"}}))
    other = {"_target_": "spacecast.training.schedule.ConstantSchedule", "epochs": 5, "warmup": 0.0}
    with pytest.raises(UserError, match=r"schedule._target_=.*GraphFMSchedule, here .*ConstantSchedule and 1 more"):
        check_training_folder(inputs({**before, "schedule": other}))


@pytest.mark.parametrize("trace", ["tracking.jsonl", "elsewhere.jsonl", "run.json"])
def test_a_run_that_died_before_its_first_checkpoint_goes_on_with_the_same_settings_only(plain, tmp_path, trace):
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    check_training_folder(inputs({**plain, "model": {"hidden_dim": 9}}))  # nobody has been told of a run
    plain["logger"]["journal"] = str(tmp_path / "run" / "elsewhere.jsonl")
    (tmp_path / "run" / trace).write_text('{"mlflow_run_id": "told"}')
    check_training_folder(inputs(plain))
    with pytest.raises(UserError, match=r"holds a run with model.hidden_dim=8, here it is 9: .* remove that folder$"):
        check_training_folder(inputs({**plain, "model": {"hidden_dim": 9}}))


def test_resume_takes_everything_and_init_from_the_weights(plain, tmp_path):
    old = tmp_path / "run"
    write_whole(checkpoint(1), old / "checkpoints" / "best.ckpt")
    fresh = {**plain, "paths": {"run_dir": str(tmp_path / "fresh")}}
    last, best = old / "checkpoints" / "last.ckpt", old / "checkpoints" / "best.ckpt"
    assert start_of(fresh) == Start()
    for source in (old, last):
        assert start_of({**fresh, "resume": str(source)}) == Start(last, False, None, "run0")
    assert start_of({**fresh, "init_from": str(old)}) == Start(weights=best, parent="run1")
    own = start_of({**plain, "resume": str(best)})
    assert (own.checkpoint, own.own) == (last, True)
    with pytest.raises(UserError, match="no checkpoint there"):
        start_of({**fresh, "resume": str(tmp_path)})
    with pytest.raises(UserError, match="give one of them"):
        check_training_folder(inputs({**fresh, "resume": str(old), "init_from": str(old)}))


def test_the_tracked_run_goes_on(plain, tmp_path):
    config = inputs(plain).config
    assert tracking_id(config, start_of(plain).parent) == {"run_id": "run0"}
    add_facts(tmp_path / "run", mlflow_run_id="told")
    assert tracking_id(config, "run0") == {"run_id": "told"}
    assert tracking_id(inputs({**plain, "logger": {"tracking_uri": None}}).config, "run0") == {}


def test_finished_means_scored_in_the_way_that_is_asked_for(plain, tmp_path):
    (tmp_path / "run" / "scores.csv").touch()
    config = inputs(plain).config
    assert not is_finished(config)
    remember_scores(config)
    assert is_finished(config)
    assert not is_finished(inputs({**plain, "evaluation": {"steps": 3}}).config)
    assert not is_finished(inputs({**plain, "trainer": {"max_epochs": 6, "max_steps": -1}}).config)


def test_a_key_that_did_not_exist_when_a_run_was_scored_had_its_default(plain, tmp_path):
    (tmp_path / "run" / "scores.csv").touch()
    before = {"_target_": "spacecast.evaluation.evaluator.evaluate", "_partial_": True, "steps": 3}

    def now(**keys):
        return inputs({**plain, "evaluation": {**before, **keys}}).config

    remember_scores(now())
    assert is_finished(now(thresholds=[-1, 1, 2]))
    assert not is_finished(now(thresholds=[0]))
    assert not is_finished(now(members=6))


def test_a_run_scored_by_an_earlier_version_is_finished_but_for_what_is_asked_since(plain, tmp_path):
    (tmp_path / "run" / "scores.csv").touch()
    evaluation = yaml.safe_load((conf_dir() / "evaluation" / "deterministic.yaml").read_text())
    new = ("surfaces", "plasma_regions", "thresholds")
    then = {name: value for name, value in evaluation.items() if name not in new}
    then["regions"] = {name: then["regions"][name] for name in ("inner", "dayside", "tail")}
    remember_scores(inputs({**plain, "evaluation": then}).config)

    def finished(**changes):
        return is_finished(inputs({**plain, "evaluation": {**evaluation, **changes}}).config)

    assert finished()
    assert not finished(plasma_regions=True)
    assert not finished(surfaces={**evaluation["surfaces"], "bow_shock_standoff": 14.0})
    assert not finished(regions={**evaluation["regions"], "mine": {"r_max": 8}})
    assert not finished(regions={"inner": {"r_max": 10}})
    assert not finished(steps=11)
    remember_scores(inputs({**plain, "evaluation": {**evaluation, "regions": then["regions"]}}).config)  # of today
    assert not finished()


def parts(data_hash: str, graph_hash: str = "g") -> SimpleNamespace:
    """As much of the parts of a run as is looked at."""
    return SimpleNamespace(spec=SimpleNamespace(data_hash=data_hash), graph=SimpleNamespace(content_hash=graph_hash))


def made_with(folder: Path, data_hash: str) -> tuple[Start, dict]:
    """A start from a checkpoint of these data and of the graph g, and what is in it."""
    facts = {"data_spec": {"data_hash": data_hash}, "graph": {"hash": "g"}}
    return Start(checkpoint=folder / "last.ckpt"), {folder / "last.ckpt": {"spacecast": facts}}


def test_data_are_held_against_the_hash_in_the_checkpoint(tmp_path, caplog):
    start, read = made_with(tmp_path, "v2:a")
    check_start(start, parts("v2:a"), read)
    assert not caplog.records
    with pytest.raises(UserError, match=r"was made with other data than there are now: .*use init_from"):
        check_start(start, parts("v2:b"), read)
    with pytest.raises(UserError, match="was made with other graph"):
        check_start(start, parts("v2:a", "h"), read)


def test_a_default_that_was_another_one_is_not_taken_over_in_silence(tmp_path):
    """A model of one's own YAML, which leaves keys to the constructor, is not continued as another model."""
    target = "spacecast.models.graph_efm.GraphEFM"
    recorded = {"_target_": target, "_partial_": True, "hidden_dim": 8, "processor_layers": 1, "inputs": "states"}
    recorded |= {"latent_dim": None, "prior": "learned"}
    file, config = tmp_path / "last.ckpt", SimpleNamespace(model=Section(content=recorded))
    facts = {"format": 1, "config": with_former_defaults({"model": recorded, "seed": 1}, 1)}
    with pytest.raises(UserError, match=r"^model.lower is not in .* was null when .* resume=\S+ model.lower=null in"):
        check_former_defaults(config, Start(checkpoint=file), {file: {"spacecast": facts}})
    for fits in ({"format": 2, "config": {"model": recorded}}, {**facts, "config": {"model": {"_target_": "own.M"}}}):
        check_former_defaults(config, Start(checkpoint=file), {file: {"spacecast": fits}})
    given = SimpleNamespace(model=Section(content={**recorded, "lower": None}))
    check_former_defaults(given, Start(checkpoint=file), {file: {"spacecast": facts}})
    check_former_defaults(config, Start(), {})


def test_a_section_that_was_null_has_no_former_defaults(tmp_path):
    """A training that began without a launcher may go on with one."""
    file, config = tmp_path / "last.ckpt", SimpleNamespace(launcher=Section(content={"_target_": "any.Launcher"}))
    facts = {"format": 1, "config": {"launcher": None}}
    check_former_defaults(config, Start(checkpoint=file), {file: {"spacecast": facts}})


@pytest.mark.parametrize("before", ["0123456789abcdef", ""])
def test_a_hash_of_another_kind_is_no_reason_to_refuse(tmp_path, caplog, before):
    """Checkpoints made before hashes of data covered all bytes go on; the graph is compared all the same."""
    start, read = made_with(tmp_path, before)
    with caplog.at_level(logging.WARNING):
        check_start(start, parts("v2:a"), read)
    assert "last.ckpt holds no hash that these data can be compared by" in caplog.text
    with pytest.raises(UserError, match="was made with other graph"):
        check_start(start, parts("v2:a", "h"), read)


@pytest.fixture
def weights(tmp_path, tiny_spec):
    """A checkpoint of a linear layer that was trained on the tiny data."""
    content = checkpoint()
    content["spacecast"]["data_spec"] = as_tensors(tiny_spec.to_dict())
    content["state_dict"] = {f"model.{name}": value for name, value in torch.nn.Linear(2, 2).state_dict().items()}
    write_whole(content, tmp_path / "best.ckpt")
    return Start(weights=tmp_path / "best.ckpt")


def opened(start: Start) -> dict:
    """What was read to find the start."""
    return {start.weights: load_checkpoint(start.weights)}


def test_weights_start_a_training_on_data_of_the_same_variables_only(weights, tiny_spec):
    """Columns of the weights belong to variables in an order."""
    state = tiny_spec.state
    order = [1, 0, *range(2, 12)]
    names, units = (tuple(entries[index] for index in order) for entries in (state.names, state.units))
    swapped = replace(tiny_spec, state=FeatureSpec(names, units, state.mean, state.std))
    with pytest.raises(UserError, match=r"state variables are Bx, By, .* those of the data By, Bx, .* same order"):
        take_weights(weights, SimpleNamespace(spec=swapped, model=torch.nn.Linear(2, 2)), opened(weights))
    model = torch.nn.Linear(2, 2)
    take_weights(weights, SimpleNamespace(spec=tiny_spec, model=model), opened(weights))
    assert torch.equal(model.weight, torch.load(weights.weights)["state_dict"]["model.weight"])


def test_weights_may_start_a_training_of_another_step_which_is_told(weights, tiny_spec, caplog):
    units = tuple("T" if unit == "nT" else unit for unit in tiny_spec.state.units)  # standardised, no unit matters
    other = replace(tiny_spec, step_seconds=20.0, state=replace(tiny_spec.state, units=units))
    take_weights(weights, SimpleNamespace(spec=other, model=torch.nn.Linear(2, 2)), opened(weights))
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        "init_from: the model forecasts steps of 10 s, the data have one frame every 20 s"
    ]
