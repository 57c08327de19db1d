"""Small versions of every model of conf/model."""

import importlib
from pathlib import Path

import pytest
import torch
import yaml

FOLDER = Path(__file__).resolve().parents[2] / "conf" / "model"
SMALL = {"hidden_dim": 8, "decode_dim": 4, "latent_dim": 3, "processor_layers": 2}


def build(name, spec, graph, **overrides):
    """The model of one file of conf/model, small unless told otherwise; for `auto`, the constructor's default."""
    content = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
    keywords = {key: value for key, value in content.items() if value != "auto" or key == "execution"}
    keywords.pop("defaults", None)  # loss and scores that the model brings along
    module, _, target = keywords.pop("_target_").rpartition(".")
    assert keywords.pop("_partial_") is True
    small = {key: value for key, value in SMALL.items() if key in keywords}
    torch.manual_seed(0)
    return getattr(importlib.import_module(module), target)(spec, graph, **keywords | small | overrides)


@pytest.fixture(scope="session")
def build_model():
    """`build`."""
    return build


def states(spec, batch=2, seed=0):
    """X_{t-1}, X_t, X_{t+1} and forcing of a batch, standardised."""
    torch.manual_seed(seed)
    shape = batch, spec.num_nodes
    return *torch.randn(3, *shape, len(spec.state)), torch.randn(*shape, len(spec.forcing))


@pytest.fixture(scope="session")
def draw_states():
    """`states`."""
    return states
