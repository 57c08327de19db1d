import inspect
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from spacecast.evaluation.evaluator import evaluate

CONF = Path(__file__).resolve().parents[2] / "conf"


@pytest.mark.parametrize("name", sorted(path.stem for path in (CONF / "evaluation").glob("*.yaml")))
def test_every_evaluation_config_binds_to_evaluate(name: str) -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose(overrides=[f"+evaluation={name}"])
    call = instantiate(config.evaluation)
    assert call.func is evaluate
    assert type(call.keywords["regions"]) is dict
    inspect.signature(evaluate).bind(None, None, **call.keywords)
    assert call.keywords["steps"] == 10
    assert (call.keywords.get("members", 1) > 1) == (name == "ensemble")
