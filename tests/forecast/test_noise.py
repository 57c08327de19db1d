"""Noise as a function of seed, initial time, member and lead: whatever goes together, each member is the same."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from spacecast.core.errors import UserError
from spacecast.core.protocols import draws
from spacecast.core.types import Batch, StepOutput
from spacecast.forecast.forecaster import Forecaster, check_ensemble
from spacecast.forecast.noise import Draws, milliseconds, stream
from spacecast.models.encode_process_decode import EncodeProcessDecode
from spacecast.models.graph_efm import GraphEFM
from spacecast.models.persistence import Persistence

TIMES = np.datetime64("2000-01-01T00:00:10") + np.arange(3) * np.timedelta64(10, "s")
STEPS = 4


class Noisy(nn.Module):
    """Adds its noise to the state, unchanged: a forecast shows what was drawn."""

    def prepare(self):
        pass

    def step(self, previous, state, forcing, prepared, draw=torch.randn_like):
        return StepOutput(state + draw(state), None)


class Global(Noisy):
    """The same with the global generator."""

    def step(self, previous, state, forcing, prepared):
        return StepOutput(state + torch.randn_like(state), None)


def batch_of(spec, windows=3, steps=STEPS, dtype=torch.float32):
    generator = torch.Generator().manual_seed(1)
    initial = torch.randn(windows, 2, spec.num_nodes, len(spec.state), generator=generator, dtype=dtype)
    target = torch.zeros(windows, steps, spec.num_nodes, len(spec.state), dtype=dtype)
    nothing = torch.zeros(windows, steps, spec.num_nodes, 0, dtype=dtype)
    return Batch(initial, target, nothing, torch.zeros(windows, 2, dtype=torch.int64))


@torch.inference_mode()
def forecast(model, spec, batch, times=TIMES, **options):
    """(window, member, lead, node, state)."""
    forecaster = Forecaster(model, spec, torch.device("cpu"), **options)
    return torch.stack(list(forecaster.leads(batch, batch.forcing.shape[1], times)), dim=2)


def test_streams_are_functions_of_their_four_numbers_and_never_meet() -> None:
    numbers = list(itertools.product((0, 1), (-1, 0, 978307200000), (0, 1, 2), (0, 1, 2)))
    drawn = np.stack([stream(*each).standard_normal(1000) for each in numbers])
    again = np.stack([stream(*each).standard_normal(1000) for each in reversed(numbers)])[::-1]
    np.testing.assert_array_equal(drawn, again)
    assert len(np.unique(drawn)) == drawn.size
    correlation = np.corrcoef(drawn)[np.triu_indices(len(numbers), k=1)]
    assert np.abs(correlation).max() < 5 / np.sqrt(1000)
    assert drawn.mean() == pytest.approx(0, abs=4 / np.sqrt(drawn.size))
    assert drawn.std() == pytest.approx(1, abs=4 / np.sqrt(2 * drawn.size))


def test_seeds_beyond_32_bits_and_times_before_1970_count() -> None:
    time = milliseconds(np.datetime64("1859-09-01"))
    drawn = [stream(*each, 0, 0).standard_normal() for each in ((0, time), (2**32, time), (0, -time))]
    assert len(set(drawn)) == 3


@pytest.mark.parametrize("unit", ["ns", "s"])
def test_a_time_is_its_milliseconds(unit: str) -> None:
    stamps = np.array(["2000-01-01T00:00:01"], f"datetime64[{unit}]")
    assert milliseconds(stamps).tolist() == milliseconds([946684801000]).tolist() == [946684801000]


def test_draws_follow_one_another_and_take_the_type_asked_for() -> None:
    def make():
        return Draws([stream(0, 0, member, 0) for member in (4, 9)])

    draws = make()
    first, second = draws(torch.zeros(2, 5)), draws(torch.zeros(2, 3, 2, dtype=torch.float64))
    whole = np.stack([stream(0, 0, member, 0).standard_normal(11, dtype=np.float32) for member in (4, 9)])
    np.testing.assert_array_equal(first, whole[:, :5])
    np.testing.assert_array_equal(second.flatten(1), whole[:, 5:])
    assert (first.dtype, second.dtype) == (torch.float32, torch.float64)


@pytest.mark.parametrize("chunk", [1, 2, 6, 50])
def test_members_are_the_same_in_chunks_of_any_size(tiny_spec, chunk: int) -> None:
    batch = batch_of(tiny_spec)
    whole = forecast(Noisy(), tiny_spec, batch, members=6, member_chunk=6, seed=3)
    assert torch.equal(forecast(Noisy(), tiny_spec, batch, members=6, member_chunk=chunk, seed=3), whole)
    assert torch.equal(forecast(Noisy(), tiny_spec, batch, members=4, member_chunk=chunk, seed=3), whole[:, :4])
    noise = whole.diff(dim=2)[..., tiny_spec.interior, :]
    assert len(noise.unique()) > 0.99 * noise.numel()  # no two draws are alike


def test_members_are_the_same_whichever_windows_go_together(tiny_spec) -> None:
    batch = batch_of(tiny_spec)
    whole = forecast(Noisy(), tiny_spec, batch, members=2)
    for row in range(3):
        alone = Batch(*(field[row : row + 1] for field in batch))
        assert torch.equal(forecast(Noisy(), tiny_spec, alone, TIMES[row : row + 1], members=2)[0], whole[row])


def test_seed_and_initial_time_make_the_noise_and_nothing_else(tiny_spec) -> None:
    batch = batch_of(tiny_spec)
    before = torch.get_rng_state()
    one, two, later = (
        forecast(Noisy(), tiny_spec, batch, TIMES + np.timedelta64(shift, "s"), seed=seed, members=2)
        for seed, shift in ((1, 0), (2, 0), (1, 10))
    )
    assert torch.equal(before, torch.get_rng_state())
    inside = tiny_spec.interior
    assert (one != two)[..., inside, :].double().mean() > 0.99
    noise = [(each[:, :, 0] - batch.initial[:, None, 1])[:, :, inside] for each in (one, later)]
    torch.testing.assert_close(noise[0][1:], noise[1][:-1], atol=1e-5, rtol=0)  # the same initial times


def test_a_forecast_goes_on_from_any_lead(tiny_spec) -> None:
    batch = batch_of(tiny_spec, windows=1)
    forecaster = Forecaster(Noisy(), tiny_spec, torch.device("cpu"), seed=5)
    with torch.inference_mode():
        whole = torch.stack(list(forecaster.rows(batch, STEPS, [7], [2])))
        rest = batch._replace(initial=whole[:2].movedim(0, 1), target=batch.target[:, 2:], forcing=batch.forcing[:, 2:])
        assert torch.equal(torch.stack(list(forecaster.rows(rest, STEPS - 2, [7], [2], first_lead=2))), whole[2:])


@pytest.mark.parametrize("leads", [0, 1, 3])
def test_a_forecast_that_goes_on_knows_for_which_leads_previous_states_are_given(tiny_spec, tiny_graph, leads) -> None:
    torch.manual_seed(0)
    model = EncodeProcessDecode(tiny_spec, tiny_graph, hidden_dim=8, processor_layers=1, previous_leads=leads)
    batch = batch_of(tiny_spec, windows=1)
    forecaster = Forecaster(model, tiny_spec, torch.device("cpu"))
    with torch.inference_mode():
        whole = torch.stack(list(forecaster.rows(batch, STEPS, [7], [0])))
        rest = batch._replace(initial=whole[:2].movedim(0, 1), target=batch.target[:, 2:], forcing=batch.forcing[:, 2:])
        assert torch.equal(torch.stack(list(forecaster.rows(rest, STEPS - 2, [7], [0], first_lead=2))), whole[2:])
        other = torch.stack(list(forecaster.rows(rest, STEPS - 2, [7], [0])))
    assert torch.equal(other, whole[2:]) == (leads == 0)


@pytest.mark.parametrize("prior", ["learned", "constant"])
def test_graph_efm_gives_the_same_members_in_any_chunks(tiny_spec, tiny_graph, prior: str) -> None:
    """With noise of observations; in double precision, for another number of rows is another order of sums."""
    torch.manual_seed(0)
    options = {"hidden_dim": 8, "latent_dim": 3, "processor_layers": 1, "prior": prior, "observation_noise": 0.1}
    model = GraphEFM(tiny_spec, tiny_graph, **options, lower=None).double().eval()
    batch = batch_of(tiny_spec, windows=2, dtype=torch.float64)
    whole = forecast(model, tiny_spec, batch, TIMES[:2], members=6, member_chunk=6)
    assert whole.std(dim=1)[..., tiny_spec.interior, :].min() > 1e-4
    for members, chunk in ((6, 1), (6, 4), (3, 2)):
        part = forecast(model, tiny_spec, batch, TIMES[:2], members=members, member_chunk=chunk)
        torch.testing.assert_close(part, whole[:, :members], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("noise", [{"global": 4}, {"global": 2, "local": 3}])
def test_noise_of_conditioned_layers_gives_the_same_members_in_any_chunks(tiny_spec, tiny_graph, noise) -> None:
    torch.manual_seed(0)
    options = {"hidden_dim": 8, "processor_layers": 1, "lower": None, "noise": noise}
    model = EncodeProcessDecode(tiny_spec, tiny_graph, **options).double().eval()
    with torch.no_grad():
        for weight in model.noise.parameters():
            weight.normal_(std=0.1)
    batch = batch_of(tiny_spec, windows=2, dtype=torch.float64)
    before = torch.get_rng_state()
    whole = forecast(model, tiny_spec, batch, TIMES[:2], members=5, member_chunk=5)
    assert torch.equal(before, torch.get_rng_state())
    assert whole.std(dim=1)[..., tiny_spec.interior, :].amax(dim=-1).min() > 1e-4
    for members, chunk in ((5, 1), (5, 3), (3, 2)):
        part = forecast(model, tiny_spec, batch, TIMES[:2], members=members, member_chunk=chunk)
        torch.testing.assert_close(part, whole[:, :members], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("said", "drawing"), [(None, True), (True, True), (False, False)])
def test_several_members_are_of_models_that_draw(said, drawing) -> None:
    model = Noisy()
    if said is not None:
        model.draws = said
    assert draws(model) == drawing
    assert not draws(Global())
    assert not draws(Persistence(None, None))
    check_ensemble(Persistence(None, None), 1, "")
    if drawing:
        check_ensemble(model, 3, "give one")
    else:
        with pytest.raises(UserError, match=r"members=3: Noisy draws nothing, .*; give one"):
            check_ensemble(model, 3, "give one")


def test_a_model_that_draws_from_the_global_generator_is_a_function_of_the_same_numbers(tiny_spec) -> None:
    batch = batch_of(tiny_spec)
    before = torch.get_rng_state()
    whole = forecast(Global(), tiny_spec, batch, members=5, member_chunk=2)
    torch.rand(3)
    assert torch.equal(forecast(Global(), tiny_spec, batch, members=5, member_chunk=2), whole)
    assert torch.equal(forecast(Global(), tiny_spec, batch, members=4, member_chunk=2), whole[:, :4])
    torch.set_rng_state(before)
    noise = whole.diff(dim=2)[..., tiny_spec.interior, :]
    assert len(noise.unique()) > 0.99 * noise.numel()
