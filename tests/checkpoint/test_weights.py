"""Weights of a checkpoint in a model."""

import pytest
import torch

from spacecast.checkpoint.content import load_weights
from spacecast.core.errors import UserError


def test_weights_of_another_model_are_refused():
    model, other = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
    load_weights(model, other.state_dict(), "x")
    assert torch.equal(model.weight, other.weight)
    with pytest.raises(UserError, match=r"weights of best\.ckpt do not fit: weight has shape \(2, 4\), here \(2, 3\);"):
        load_weights(model, torch.nn.Linear(4, 2).state_dict(), "best.ckpt")
    with pytest.raises(UserError, match="lack bias, which this model has"):
        load_weights(model, torch.nn.Linear(3, 2, bias=False).state_dict(), "best.ckpt")
    with pytest.raises(UserError, match="have bias, which this model lacks"):
        load_weights(torch.nn.Linear(3, 2, bias=False), model.state_dict(), "best.ckpt")
