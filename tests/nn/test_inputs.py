"""What a model is given: columns by hand, the last increment that may be absent, data that tendencies refuse."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from spacecast.core.errors import UserError
from spacecast.core.grid import Grid
from spacecast.core.spec import FeatureSpec
from spacecast.nn.inputs import GridInputs, output_of, previous_given


def states(spec, batch=3):
    torch.manual_seed(0)
    return torch.randn(2, batch, spec.num_nodes, len(spec.state))


@pytest.mark.parametrize("inputs", ["states", "increments", "stencil", "tendencies"])
@pytest.mark.parametrize("leads", [None, 0, 3])
@pytest.mark.parametrize("with_next", [False, True])
@pytest.mark.parametrize("neighbours", [False, True])
def test_it_says_how_many_columns_it_makes_and_holds_nothing_to_store(tiny_spec, inputs, leads, with_next, neighbours):
    columns = GridInputs(tiny_spec, inputs, previous_leads=leads, with_next=with_next, neighbours=neighbours)
    previous, state = states(tiny_spec)
    found = columns(previous, state, state[..., :0], state if with_next else None)
    assert found.shape == (3, tiny_spec.num_nodes, columns.channels)
    assert not columns.state_dict()


def test_tendencies_hold_the_stencil_and_more(tiny_spec):
    previous, state = states(tiny_spec)
    forcing = torch.randn(3, tiny_spec.num_nodes, 2)
    stencil, more, alone = (
        GridInputs(replace(tiny_spec, forcing=FeatureSpec(("a", "b"), ("1", "1"), *np.ones((2, 2)))), *arguments)(
            previous, state, forcing
        )
        for arguments in (("stencil",), ("tendencies",), ("increments",))
    )
    torch.testing.assert_close(more[..., : stencil.shape[-1]], stencil)
    torch.testing.assert_close(stencil[..., : alone.shape[-1]], alone)


def test_the_last_column_says_whether_there_is_a_previous_state(tiny_spec):
    previous, state = states(tiny_spec)
    previous = torch.where(torch.tensor([True, False, True])[:, None, None], previous, state)
    found = GridInputs(tiny_spec, "increments", previous_leads=2)(previous, state, state[..., :0])
    assert found[..., -1].mean(dim=1).tolist() == [1, 0, 1]
    assert found[..., -1].std(dim=1).tolist() == [0, 0, 0]
    assert not found[1, :, 12:].any()
    assert found[0, :, 12:24].any()


def test_without_previous_states_they_have_no_effect(tiny_spec):
    previous, state = states(tiny_spec)
    columns = GridInputs(tiny_spec, "stencil", previous_leads=0)
    one, other = (columns(each, state, state[..., :0]) for each in (previous, state))
    assert torch.equal(one, other)
    assert columns.channels == 5 * 12


def test_one_node_that_differs_makes_a_previous_state():
    state = torch.zeros(3, 4, 2)
    previous = state.clone()
    previous[1, 2, 0] = 1e-30
    assert previous_given(previous, state).tolist() == [False, True, False]


def test_each_item_has_its_own_output_network_and_only_that_learns_from_it():
    torch.manual_seed(0)
    one, alone, hidden = nn.Linear(4, 2), nn.Linear(4, 2), torch.randn(2 * 3, 4)
    found = output_of(one, alone, hidden, torch.tensor([True, False]))
    torch.testing.assert_close(found, torch.cat([one(hidden[:3]), alone(hidden[3:])]))
    found.sum().backward()
    torch.testing.assert_close(one.weight.grad[0], hidden[:3].sum(dim=0))
    torch.testing.assert_close(alone.weight.grad[0], hidden[3:].sum(dim=0))


def test_one_output_network_does_for_all():
    one, hidden = nn.Linear(4, 2), torch.randn(2 * 3, 4)
    torch.testing.assert_close(output_of(one, None, hidden, torch.tensor([True, False])), one(hidden))


def test_a_number_of_leads_below_0(tiny_spec):
    with pytest.raises(UserError, match="previous_leads is -1"):
        GridInputs(tiny_spec, previous_leads=-1)


def changed(spec, **variables):
    """The data with some variables called, measured or sized differently: name to (name, units, mean)."""
    rows = zip(spec.state.names, spec.state.units, spec.state.mean, strict=True)
    names, units, mean = zip(*(variables.get(name, (name, unit, size)) for name, unit, size in rows), strict=True)
    return replace(spec, state=FeatureSpec(names, units, np.array(mean), spec.state.std))


@pytest.mark.parametrize(
    ("name", "new", "said"),
    [
        ("vy", ("uy", "km/s", 1.0), "have no vy"),
        ("P", ("P", "furlong", 1.0), "needs P in nPa, not below 0: it is in 'furlong'"),
        ("rho", ("rho", "1/cm3", -0.5), "needs rho in 1/cm3, not below 0: it has a mean of -0.5"),
    ],
)
def test_data_that_lack_what_tendencies_need(tiny_spec, name, new, said):
    with pytest.raises(UserError, match=said) as refused:
        GridInputs(changed(tiny_spec, **{name: new}), "tendencies")
    assert "inputs=tendencies needs" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_another_plane_than_that_of_x_and_z(tiny_spec):
    grid = Grid(dict(zip("xy", tiny_spec.grid.coordinates.values(), strict=True)), tiny_spec.grid.valid)
    with pytest.raises(UserError, match="a plane of x and z"):
        GridInputs(replace(tiny_spec, grid=grid), "tendencies")


@pytest.mark.parametrize("new", [("heat", "MK", 1.0), ("T", "furlong", 1.0), ("T", "MK", -1.0)])
def test_the_temperature_may_be_missing(tiny_spec, new):
    without, spec = GridInputs(changed(tiny_spec, T=new), "tendencies"), GridInputs(tiny_spec, "tendencies")
    assert without.channels == spec.channels - 1


def test_nothing_waits_for_the_numbers_on_a_device(tiny_spec):
    """Tensors without numbers raise an error where one is looked at."""
    columns = GridInputs(tiny_spec, "tendencies", previous_leads=2).to("meta")
    previous, state = states(tiny_spec).to("meta")
    found = columns(previous, state, state[..., :0]).flatten(0, 1)
    one, alone = (nn.Linear(columns.channels, 5, device="meta") for _ in range(2))
    assert output_of(one, alone, found, previous_given(previous, state)).shape == (3 * tiny_spec.num_nodes, 5)
