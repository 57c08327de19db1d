"""What holds for every optimiser of conf/optimizer."""

import torch


def quadratic(weights: torch.Tensor) -> torch.Tensor:
    """A bowl with its least value, 0, at 1."""
    return (torch.arange(1.0, 5.0) * (weights - 1).square()).sum()


def descend(optimizer: torch.optim.Optimizer, weights: torch.Tensor, steps: int) -> list[float]:
    """Values before each step and after the last."""
    values = []
    for _ in range(steps):
        optimizer.zero_grad()
        value = quadratic(weights)
        value.backward()
        optimizer.step()
        values.append(value.item())
    return [*values, quadratic(weights).item()]


def test_it_is_made_from_parameters_with_its_learning_rate(optimizer_member, composed):
    section = composed(f"optimizer={optimizer_member}").optimizer
    optimizer = section.build()([torch.zeros(4, requires_grad=True)])
    assert isinstance(optimizer, torch.optim.Optimizer)
    assert all(group["lr"] == section.content["lr"] > 0 for group in optimizer.param_groups)


def test_every_step_goes_down_a_bowl(optimizer_member, composed):
    weights = torch.zeros(4, requires_grad=True)
    values = descend(composed(f"optimizer={optimizer_member}").optimizer.build()([weights]), weights, 20)
    assert values == sorted(values, reverse=True)
    assert values[-1] < values[0]


def test_one_that_goes_on_from_its_state_takes_the_same_steps(optimizer_member, composed):
    make = composed(f"optimizer={optimizer_member}").optimizer.build()
    whole, parts = torch.zeros(4, requires_grad=True), torch.zeros(4, requires_grad=True)
    expected = descend(make([whole]), whole, 6)
    first = make([parts])
    found = descend(first, parts, 3)
    second = make([parts])
    second.load_state_dict(first.state_dict())
    found = found[:-1] + descend(second, parts, 3)
    assert found == expected
    assert torch.equal(whole, parts)
