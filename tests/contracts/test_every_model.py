"""What holds for every model of conf/model with what it brings along. How models compute is in tests/models."""

import pytest
import torch
from torch import nn

from spacecast.app.auto import decided
from spacecast.core.protocols import StepModel
from spacecast.core.types import Batch, Stage

SMALL = {"hidden_dim": 8, "latent_dim": 3, "processor_layers": 1}


@pytest.fixture
def config(model_member, composed):
    return composed(f"model={model_member}")


@pytest.fixture
def model(config, tiny_spec, tiny_graph) -> nn.Module:
    torch.manual_seed(0)
    small = {name: value for name, value in SMALL.items() if name in config.model.content}
    return decided(config.model, tiny_spec, None).build(**small)(spec=tiny_spec, graph=tiny_graph)


def windows(spec, batch=2, leads=4) -> Batch:
    """Standardised noise."""
    states = torch.randn(batch, 2 + leads, spec.num_nodes, len(spec.state), generator=torch.Generator().manual_seed(1))
    forcing = torch.zeros(batch, leads, spec.num_nodes, 0)
    return Batch(states[:, :2], states[:, 2:], forcing, torch.zeros(batch, 2, dtype=torch.long))


def test_it_is_a_step_model(model, model_member, tiny_spec):
    assert isinstance(model, StepModel)
    batch = windows(tiny_spec)
    output = model.step(batch.initial[:, 0], batch.initial[:, 1], batch.forcing[:, 0], model.prepare())
    assert output.state.shape == batch.target[:, 0].shape
    assert torch.isfinite(output.state).all()


def test_its_own_loss_and_schedule_train_it(model, config, model_member, tiny_spec):
    """In every stage, a step of the optimiser makes the loss of the same windows and the same chance smaller."""
    if not list(model.parameters()):
        pytest.skip("it has no parameters")
    model, objective, schedule = model.double(), config.loss.build()(tiny_spec), config.schedule.build()
    if isinstance(objective, nn.Module):
        objective.double()
    *states, numbers = windows(tiny_spec)
    batch = Batch(*(part.double() for part in states), numbers)

    def loss(stage: Stage) -> torch.Tensor:
        torch.manual_seed(3)
        return objective(model, batch, stage).total

    for epoch in range(config.trainer.max_epochs):
        stage = schedule.at(epoch)
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-6)
        before = loss(stage)
        before.backward()
        optimizer.step()
        optimizer.zero_grad()
        assert torch.isfinite(before)
        assert loss(stage) < before


def test_as_many_members_are_scored_as_it_can_draw(model, config, model_member, tiny_spec):
    """An ensemble of a deterministic model would be the same forecast again and again."""
    batch = windows(tiny_spec)
    arguments = batch.initial[:, 0], batch.initial[:, 1], batch.forcing[:, 0]
    with torch.no_grad():
        one, other = (model.step(*arguments, model.prepare()).state for _ in range(2))
    assert (config.evaluation.members > 1) == (not torch.equal(one, other))
