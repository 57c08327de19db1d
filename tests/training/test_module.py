import logging
from functools import partial
from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader
from wave_training import QUIET, STEPS, fit, make_module, waves

from spacecast.checkpoint.content import find_checkpoint, load_checkpoint, model_weights
from spacecast.core.errors import UserError
from spacecast.core.types import LossTerms, StepOutput
from spacecast.forecast.standardize import Standardizer
from spacecast.models.encode_process_decode import EncodeProcessDecode
from spacecast.models.persistence import Persistence
from spacecast.nn.conditioning import NoiseConditioning
from spacecast.objectives.ensemble import EnsembleObjective
from spacecast.training.checkpoint_io import SelfDescription
from spacecast.training.module import ForecastModule
from spacecast.training.schedule import EnsembleSchedule
from spacecast.training.trainer import ProgressLines


@pytest.fixture
def loader(tiny_spec):
    return DataLoader(waves(tiny_spec, 8), batch_size=4)


def test_training_learns_a_wave(tiny_spec, tiny_graph, loader):
    trainer = fit(make_module(tiny_spec, tiny_graph, epochs=40), loader, epochs=40)
    assert float(trainer.callback_metrics["val/rmse_ratio"]) < 0.6


def test_persistence_scores_exactly_one(tiny_spec, tiny_graph, loader):
    module = make_module(tiny_spec, tiny_graph, Persistence(tiny_spec, tiny_graph))
    trainer = pl.Trainer(**QUIET)
    [scores] = trainer.validate(module, loader, verbose=False)
    assert scores["val/rmse_ratio"] == pytest.approx(1.0)
    errors = torch.stack([batch.target[-1] - batch.initial[1] for batch in waves(tiny_spec, 8)])
    rmse = errors[:, tiny_spec.interior, 9].square().mean().sqrt()
    assert scores["val_rmse/rho"] == pytest.approx(float(rmse), rel=1e-5)


class Walk(torch.nn.Module):
    """Persistence with noise, and an objective of a user's own that says how many members the validation draws."""

    def __init__(self, members=None) -> None:
        super().__init__()
        self.size = torch.nn.Parameter(torch.tensor(0.1))
        self.drawn = []
        if members is not None:
            self.members = members

    def prepare(self):
        return None

    def step(self, previous, state, forcing, prepared):
        self.drawn.append(len(state))
        return StepOutput(state + self.size * torch.randn_like(state), None)

    def forward(self, model, batch, stage):
        return LossTerms(self.size.square(), {})


@pytest.mark.parametrize("members", [None, 1, 5])
def test_the_objective_says_how_many_members_the_validation_draws(tiny_spec, tiny_graph, loader, members):
    model = Walk(members)
    module = make_module(tiny_spec, tiny_graph, model, objective=model)
    trainer = pl.Trainer(**QUIET)
    [scores] = trainer.validate(module, loader, verbose=False)
    assert set(model.drawn) == {4 * (members or 1)}
    assert module.monitor == ("val/crps_ratio" if members == 5 else "val/rmse_ratio")
    assert ("val/crps_ratio" in scores) == ("val/spread_skill" in scores) == (members == 5)


class Several(Walk):
    """An objective that returns the terms given."""

    def __init__(self, names) -> None:
        super().__init__()
        self.names = names

    def forward(self, model, batch, stage):
        return LossTerms(self.size.square(), {name: torch.tensor(float(n)) for n, name in enumerate(self.names)})


@pytest.mark.parametrize(
    ("terms", "recorded"),
    [
        (["loss"], {}),
        (["loss", "div"], {"train/error": 0.0, "train/div": 1.0}),
        (["reconstruction"], {"train/reconstruction": 0.0}),
        (["reconstruction", "kl", "crps"], {"train/reconstruction": 0.0, "train/kl": 1.0, "train/crps": 2.0}),
    ],
)
def test_each_term_of_the_loss_is_recorded_beside_the_total(terms, recorded, tiny_spec, tiny_graph, loader):
    objective = Several(terms)
    trainer = fit(make_module(tiny_spec, tiny_graph, objective, objective), loader)
    found = {name: float(value) for name, value in trainer.logged_metrics.items() if name.startswith("train/")}
    assert found.pop("train/loss") < 0.02
    assert {name: found[name] for name in found.keys() - {"train/rollout_steps", "train/lr_factor"}} == recorded


@pytest.mark.parametrize("members", [0, 2.5, "two"])
def test_members_that_are_no_number_of_members_are_refused(tiny_spec, tiny_graph, members):
    with pytest.raises(UserError, match=r"loss: Walk.members is .*; give a positive whole number"):
        make_module(tiny_spec, tiny_graph, objective=Walk(members))


def test_learning_rate_is_the_schedule_whatever_the_optimizer_remembers(tiny_spec, tiny_graph, loader):
    module = make_module(tiny_spec, tiny_graph, epochs=4, final_lr_factor=0.5)
    rates = []

    class Spy(pl.Callback):
        def on_before_optimizer_step(self, trainer, pl_module, optimizer):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.param_groups[0]["lr"] = 123.0  # as a stale checkpoint would have it

    fit(module, loader, epochs=2, callbacks=[Spy()])
    expected = [3e-3 * module.schedule.at(progress).lr_factor for progress in (0, 0.5, 1, 1.5)]
    assert rates == pytest.approx(expected)


def test_checkpoint_is_plain_complete_and_gives_the_same_forecast(tiny_spec, tiny_graph, loader, tmp_path):
    module = make_module(tiny_spec, tiny_graph)
    config = {"model": {"hidden_dim": 16}, "seed": 1}
    trainer = fit(module, loader, callbacks=[SelfDescription(config, tiny_spec, tiny_graph)])
    (tmp_path / "checkpoints").mkdir()
    trainer.save_checkpoint(tmp_path / "checkpoints" / "best.ckpt")
    content = load_checkpoint(tmp_path)
    assert content["spacecast"]["config"] == config
    assert content["spacecast"]["graph"]["hash"] == tiny_graph.content_hash
    spec = type(tiny_spec).from_dict(content["spacecast"]["data_spec"])
    assert spec.state.names == tiny_spec.state.names
    fresh = EncodeProcessDecode(spec, tiny_graph, hidden_dim=16, processor_layers=1, inputs="increments")
    fresh.load_state_dict(model_weights(content))
    batch = Standardizer(spec).batch(next(iter(loader)))
    arguments = (batch.initial[:, 0], batch.initial[:, 1], batch.forcing[:, 0])
    one, other = (model.step(*arguments, model.prepare()).state for model in (fresh, module.model))
    assert torch.equal(one, other)


def test_lines_of_progress_tell_the_length_of_the_rollout(tiny_spec, tiny_graph, loader, caplog):
    """The loss grows with it, and nothing else says why."""
    caplog.set_level(logging.INFO)
    fit(make_module(tiny_spec, tiny_graph), loader, callbacks=[ProgressLines(seconds=0.0)])
    lines = [line for line in caplog.messages if line.startswith("epoch 1/1, ")]
    assert len(lines) == 3
    assert all(f"train/rollout_steps {STEPS}" in line for line in lines)


class Hostile:
    def __reduce__(self):
        return (print, ("executed",))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"not a checkpoint", "cannot be read|refused"),
        ({"state_dict": {}}, "not a checkpoint of spacecast"),
        ({"state_dict": {}, "spacecast": {}}, "not a checkpoint of spacecast"),
        ({"state_dict": {}, "spacecast": 3}, "not a checkpoint of spacecast"),
        ({"state_dict": {}, "spacecast": {"format": 99, "versions": {"spacecast": "9.9"}}}, "upgrade"),
        ({"state_dict": {}, "spacecast": Hostile()}, "refused"),
    ],
)
def test_bad_checkpoints_are_refused_in_one_line(tmp_path, content, message, capsys):
    path = tmp_path / "x.ckpt"
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    with pytest.raises(UserError, match=message) as caught:
        load_checkpoint(path)
    assert "\n" not in str(caught.value)
    assert "executed" not in capsys.readouterr().out


def test_truncated_checkpoint(tmp_path, tiny_spec, tiny_graph, loader):
    trainer = fit(make_module(tiny_spec, tiny_graph), loader)
    path = tmp_path / "x.ckpt"
    trainer.save_checkpoint(path)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(UserError, match="cannot be read"):
        load_checkpoint(path)


def test_missing_checkpoint_says_where_to_look(tmp_path):
    with pytest.raises(UserError, match=r"checkpoints/best\.ckpt"):
        find_checkpoint(tmp_path)


class Noisy(torch.nn.Module):
    """Persistence and noise of its own for each variable."""

    draws = True

    def __init__(self, spec) -> None:
        super().__init__()
        self.bias = torch.nn.Parameter(torch.zeros(()))
        self.noise = NoiseConditioning({"local": 3}, spec.grid, [spec.grid.positions], [(0, 6)])
        torch.nn.init.normal_(self.noise.maps[0], std=0.05)

    def prepare(self):
        return None

    def step(self, previous, state, forcing, prepared, draw=torch.randn_like):
        [noise] = self.noise(state, draw)
        return StepOutput(state + self.bias + noise, None)


def ensemble_module(spec, lr: float, **schedule):
    torch.manual_seed(0)
    plan = EnsembleSchedule(4, switches=(0, 4), **schedule)
    optimizer = partial(torch.optim.SGD, lr=lr)
    return ForecastModule(Noisy(spec), EnsembleObjective(spec), plan, optimizer, spec, validation_steps=STEPS)


def test_noise_of_forecasts_is_scaled_until_the_spread_is_the_error(tiny_spec, loader):
    module = ensemble_module(tiny_spec, 0.0)
    trainer = fit(module, loader, epochs=4)
    amplitude = float(module.model.noise.amplitude)
    assert not 0.9 < amplitude < 1.1
    assert 0.25 < amplitude < 4
    assert float(trainer.callback_metrics["val/spread_skill_first_lead"]) == pytest.approx(1, abs=0.1)
    assert float(trainer.callback_metrics["val/noise_amplitude"]) == pytest.approx(amplitude)
    [scores] = trainer.validate(module, loader, verbose=False)
    assert float(module.model.noise.amplitude) == amplitude
    assert [name for name in module.state_dict() if "amplitude" in name] == ["model.noise.amplitude"]
    assert "val/noise_amplitude" not in scores


@pytest.mark.parametrize(("factor", "groups"), [(1.0, 1), (10.0, 2)])
def test_weights_of_the_noise_have_a_learning_rate_of_their_own(tiny_spec, factor, groups):
    module = ensemble_module(tiny_spec, 0.5, noise_lr_factor=factor)
    module.trainer = SimpleNamespace(optimizers=[module.configure_optimizers()], num_training_batches=4)
    module.trainer.accumulate_grad_batches, module.trainer.current_epoch = 1, 0
    module.on_train_batch_start(None, 2)
    rates = [group["lr"] for group in module.trainer.optimizers[0].param_groups]
    wanted = 0.5 * module.schedule.at(0.5).lr_factor
    assert rates == pytest.approx([wanted, factor * wanted][:groups])
    weights = [weight for group in module.trainer.optimizers[0].param_groups for weight in group["params"]]
    assert {id(each) for each in weights} == {id(each) for each in module.model.parameters()}
    assert weights[-1] is module.model.noise.maps[0]
