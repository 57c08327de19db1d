"""Checkpoints of an earlier format mean the constructors' defaults of their time."""

import copy

import pytest
import torch

from spacecast.checkpoint.content import load_checkpoint
from spacecast.checkpoint.formats import FORMAT, FORMER_DEFAULTS, with_former_defaults
from spacecast.config.targets import locate
from spacecast.core.errors import UserError

NETWORK = "spacecast.models.encode_process_decode.EncodeProcessDecode"


def test_keys_that_are_missing_have_the_defaults_of_then():
    config = {"model": {"_target_": NETWORK, "hidden_dim": 16}, "seed": 1, "loss": {"_target_": "own.Loss", "a": 1}}
    before = copy.deepcopy(config)
    filled = with_former_defaults(config, 1)
    assert filled["model"] == {**before["model"], "processor_layers": 4, "inputs": "states", "lower": None}
    assert {name: filled[name] for name in ("seed", "loss")} == {name: before[name] for name in ("seed", "loss")}
    assert config == before
    assert with_former_defaults(config, FORMAT) == before


def test_what_has_moved_since_is_known_by_the_name_of_then():
    config = {"loss": {"_target_": "spacecast.forecast.elbo.ElboObjective"}}
    assert with_former_defaults(config, 1)["loss"]["crps_weight"] == 0.0


@pytest.mark.parametrize("target", FORMER_DEFAULTS)
def test_the_table_names_keywords_that_there_are(target):
    import inspect

    parameters = inspect.signature(locate(target, "table")).parameters
    for name, value in FORMER_DEFAULTS[target].items():
        assert parameters[name].default != value


@pytest.mark.parametrize(("written", "layers"), [(1, 4), (FORMAT, None)])
def test_a_checkpoint_is_completed_when_it_is_read(tmp_path, written, layers):
    facts = {"format": written, "versions": {"spacecast": "0"}, "config": {"model": {"_target_": NETWORK}}}
    torch.save({"state_dict": {}, "spacecast": facts}, tmp_path / "last.ckpt")
    model = load_checkpoint(tmp_path / "last.ckpt")["spacecast"]["config"]["model"]
    assert model.get("processor_layers") == layers


@pytest.mark.parametrize("entry", [{"format": "2", "versions": {}}, {"format": None, "versions": {}}, {"format": 1}, 3])
def test_a_format_that_is_no_number_is_no_checkpoint_of_ours(tmp_path, entry):
    torch.save({"state_dict": {}, "spacecast": entry}, tmp_path / "own.ckpt")
    with pytest.raises(UserError, match="is not a checkpoint of spacecast"):
        load_checkpoint(tmp_path / "own.ckpt")
