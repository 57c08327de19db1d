"""Runs that are hit by signals at any moment end as if nothing had happened."""

import json
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from spacecast.checkpoint.content import load_checkpoint

Runner = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def run_and_interrupt(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    """run_and_interrupt(words, hits=[([event, event after it], signal)]) -> exit code and events."""
    folder = tmp_path_factory.mktemp("runs")
    script = Path(__file__).with_name("run_and_interrupt.py")
    options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, str(script), str(folder)], **options) as process:

        def start(words: list[str], hits: Any = (), *, direct: bool = False, **more: Any) -> dict[str, Any]:
            order = {"words": words, "hits": list(hits), "direct": direct, "log": str(folder / "log"), **more}
            process.stdin.write(json.dumps(order) + "\n")
            process.stdin.flush()
            answer = json.loads(process.stdout.readline())
            text = (folder / "log").read_text()
            (folder / "log").unlink()
            return {**answer, "log": text, "folder": folder}

        yield start
        process.stdin.close()


EPOCHS, BATCHES = 7, 4
MODELS = {
    "graph_fm": [
        "loss=mse", "loss.input_noise=0.3", "schedule=graph_fm", "schedule.switches=[0.3,0.6]", "trainer.ema=0.8",
    ],
    "noise": [
        "model.noise={global: 3, local: 2}", "loss=ensemble_crps", "schedule=ensemble_rollout",
        "schedule.switches=[0.3,0.6]",
    ],
    "own_states": [
        "schedule=own_states", "schedule.pool_from=0.3", "schedule.pool_size=3", "schedule.max_age=5",
        "schedule.rollout_steps=2", "loss.input_noise=0.3", "trainer.ema=0.8", "data.workers=1",
    ],
    "graph_efm": [
        "model=graph_efm", "model.latent_dim=4", "model.decode_dim=8", "model.prior=learned", "loss=elbo",
        "loss.kl_weight=0.1", "loss.crps_weight=1", "loss.div_weight=0.1",
        "schedule=graph_efm", "schedule.switches=[0.15,0.4,0.6,0.85]", "evaluation=deterministic",
    ],
}  # fmt: skip


def words_of(small: list[str], model: str, run_dir: str) -> list[str]:
    """A short training with a checkpoint after every step."""
    options = [f"trainer.max_epochs={EPOCHS}", "data.limit_windows=8", "data.batch_size=2", "evaluation.windows=1"]
    options += ["trainer.checkpoint_minutes=0", f"paths.run_dir={run_dir}"]
    kept = [word for word in small if not word.startswith(("trainer.max_epochs", "data.limit_w", "data.batch_size"))]
    return [*kept, *options, *MODELS[model]]


def same(one: Any, other: Any) -> bool:
    """Whether two nested values hold the same numbers, bit for bit."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def assert_same_end(folder: Path, one: str, other: str) -> None:
    """Weights, optimiser, random numbers, counters and scores of two runs are the same."""
    for name in ("last", "previous", "best"):
        first, second = (load_checkpoint(folder / run / "checkpoints" / f"{name}.ckpt") for run in (one, other))
        assert first.keys() == second.keys()
        for key in first.keys() - {"spacecast", "loops", "callbacks"}:  # run folders and times of the day
            assert same(first[key], second[key]), (name, key)
    assert (folder / one / "scores.csv").read_bytes() == (folder / other / "scores.csv").read_bytes()


# Where a kill comes: at the start of a step, after it, and at each stage of writing its checkpoint.
MOMENTS = ([], ["stepped"], ["save"], ["half"], ["written"], ["in place"], ["saved"])


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_killed_at_any_moment_it_ends_with_the_same_weights(model, run_and_interrupt, small):
    """Ten kills each, one or more in every epoch and so in every stage, during steps, saves and validations."""
    whole = run_and_interrupt(words_of(small, model, f"{model}_whole"), direct=True)
    assert whole["code"] == 0, whole["log"]
    steps = [event for event in whole["events"] if event.startswith("batch")]
    assert len(steps) == EPOCHS * BATCHES

    draw = random.Random(model)
    one_each = [epoch * BATCHES + draw.randrange(BATCHES) for epoch in range(EPOCHS)]
    steps = sorted([*one_each, *draw.sample([step for step in range(len(steps)) if step not in one_each], 3)])
    kinds = [*MOMENTS, *draw.choices(MOMENTS, k=len(steps) - len(MOMENTS) - 1)]
    draw.shuffle(kinds)
    epochs = [step // BATCHES for step in steps]
    kinds.insert(draw.choice([epochs.index(epoch + 1) - 1 for epoch in range(EPOCHS - 1)]), ["validate"])
    words = words_of(small, model, f"{model}_killed")
    for step, kind in zip(steps, kinds, strict=True):
        then = [f"stepped {step}" if event == "stepped" else event for event in kind]
        result = run_and_interrupt(words, [([f"batch {step}", *then], "SIGKILL")], direct=True)
        assert result["code"] == -9, (step, kind, result["log"])
    result = run_and_interrupt(words, direct=True)
    assert result["code"] == 0, result["log"]
    assert "going on from" in result["log"]
    assert_same_end(result["folder"], f"{model}_whole", f"{model}_killed")
    assert not list((result["folder"] / f"{model}_killed" / "checkpoints").glob(".*"))


def tracked_words(small: list[str], run_dir: str, epochs: int = 2) -> list[str]:
    """A short run that MLflow tracks."""
    words = words_of([word for word in small if word != "logger=none"], "graph_fm", run_dir)
    return [*words, f"trainer.max_epochs={epochs}", "logger.system_metrics_seconds=0", "trainer.log_every_n_steps=1"]


def tracked_run(folder: Path, run_dir: str) -> Any:
    """The MLflow run of a run folder, and the steps of its loss."""
    from spacecast.tracking.store import load_mlflow

    facts = json.loads((folder / run_dir / "run.json").read_text())
    client = load_mlflow().MlflowClient(facts["tracking_uri"])
    steps = [point.step for point in client.get_metric_history(facts["mlflow_run_id"], "train/loss")]
    return client.get_run(facts["mlflow_run_id"]), steps


@pytest.mark.slow
def test_signals_save_and_end_with_75_and_the_same_command_goes_on(run_and_interrupt, small):
    """Each signal, at a step, in a validation and in the scoring; one MLflow run all along."""
    words = tracked_words(small, "signals")
    words[words.index("trainer.checkpoint_minutes=0")] = "trainer.checkpoint_minutes=null"
    moments = [("batch 1", "SIGTERM"), ("batch 3", "SIGINT"), ("validate", "SIGUSR1"), ("score", "SIGUSR2")]
    runs = set()
    for number, (event, name) in enumerate(moments):
        result = run_and_interrupt(words, [([event], name)], direct=number > 0)
        assert result["code"] == 75, result["log"]
        assert f"interrupted by {name}; the same command with paths.run_dir=" in result["log"]
        run, steps = tracked_run(result["folder"], "signals")
        assert (run.info.status, run.data.tags["interrupted"]) == ("KILLED", name)
        runs.add(run.info.run_id)
        file = result["folder"] / "signals" / "checkpoints" / "last.ckpt"
        assert load_checkpoint(file)["global_step"] == (2, 4, 4, 8)[number]
        assert len(steps) == len(set(steps)) == (2, 4, 4, 8)[number]
    result = run_and_interrupt(words)
    assert result["code"] == 0, result["log"]
    run, steps = tracked_run(result["folder"], "signals")
    assert (run.info.status, runs) == ("FINISHED", {run.info.run_id})
    assert sorted(steps) == list(range(8))

    result = run_and_interrupt(words)
    assert (result["code"], result["events"]) == (0, []), result["log"]
    assert "this run is finished" in result["log"]
    rescored = run_and_interrupt([*words, "evaluation.steps=1"])
    assert (rescored["code"], rescored["events"]) == (0, ["data", "score"]), rescored["log"]


@pytest.mark.slow
def test_eight_runs_at_once_on_a_fresh_store_lose_nothing(run_and_interrupt, small):
    words = [*tracked_words(small, "x", epochs=1), "logger.tracking_uri=sqlite:///fresh/mlflow.db"]
    result = run_and_interrupt(
        [], together=[[*words, f"seed={seed}", f"paths.run_dir=fresh{seed}"] for seed in range(8)]
    )
    assert result["codes"] == [0] * 8, result["log"]
    for seed in range(8):
        run, steps = tracked_run(result["folder"], f"fresh{seed}")
        assert (run.info.status, run.data.params["seed"]) == ("FINISHED", str(seed))
        assert sorted(steps) == list(range(BATCHES))


@pytest.mark.slow
def test_signals_outside_of_training_and_twice_end_at_once(run_and_interrupt, small):
    words = words_of(small, "graph_fm", "outside")
    result = run_and_interrupt(words, [(["data"], "SIGTERM")])
    assert result["code"] == 75, result["log"]
    result = run_and_interrupt(words, [(["batch 0"], "SIGINT"), (["save"], "SIGINT")])
    assert result["code"] == 130, result["log"]
    assert not list((result["folder"] / "outside" / "checkpoints").glob(".*"))


@pytest.mark.slow
def test_two_devices_train_like_one_and_go_on_after_a_signal_to_one_of_them(run_and_interrupt, small):
    """Equal global batch, equal weights; each window is validated once, 5 of them by 2 processes."""
    words = [*words_of(small, "graph_fm", "one"), "loss.input_noise=0", "data.limit_windows=9"]
    words += ["trainer.max_epochs=2", "trainer.global_batch=4", "data.batch_size=2", "data.limit_val_windows=null"]
    words += ["trainer.precision=64-true"]  # AdamW takes steps of one size, however small the gradient that is rounded
    one = run_and_interrupt(words, direct=True)
    two = [*words, "trainer.devices=2", "paths.run_dir=two"]
    assert run_and_interrupt(two, direct=True)["codes"] == [0, 0]
    folder = one["folder"]
    first, second = (load_checkpoint(folder / run / "checkpoints" / "last.ckpt") for run in ("one", "two"))
    assert first["global_step"] == second["global_step"] == 4
    assert second["progress"]["best"] == pytest.approx(first["progress"]["best"], rel=1e-6)
    for name, weight in first["state_dict"].items():
        torch.testing.assert_close(second["state_dict"][name], weight, rtol=1e-7, atol=1e-9)
    assert {path.name for path in (folder / "one").iterdir()} == {path.name for path in (folder / "two").iterdir()}

    interrupted = [*words, "trainer.devices=2", "paths.run_dir=interrupted"]
    result = run_and_interrupt(interrupted, [(["batch 2"], "SIGTERM")], direct=True)
    assert result["codes"] == [75, 0], result["log"]
    assert run_and_interrupt(interrupted, direct=True)["codes"] == [0, 0]
    assert_same_end(folder, "two", "interrupted")


@pytest.mark.slow
def test_two_shards_train_like_one_process_and_go_on_after_a_signal(run_and_interrupt, small):
    """Weights, averages and the score that chooses the best checkpoint; the best one is scored in one process."""
    words = [*words_of(small, "graph_fm", "unsharded"), "loss.input_noise=0", "model.magnetic=free"]
    words += ["model.state_law=free", "trainer.max_epochs=2", "trainer.precision=32-true"]
    one = run_and_interrupt(words, direct=True)
    sharded = [*words, "trainer.devices=2", "trainer.shards=2"]
    assert run_and_interrupt([*sharded, "paths.run_dir=sharded"], direct=True)["codes"] == [0, 0]
    folder = one["folder"]
    first, second = (load_checkpoint(folder / run / "checkpoints" / "last.ckpt") for run in ("unsharded", "sharded"))
    assert first["global_step"] == second["global_step"] == 8
    assert second["progress"]["best"] == pytest.approx(first["progress"]["best"], rel=1e-4)
    assert first["state_dict"].keys() == second["state_dict"].keys()
    for name, weight in first["state_dict"].items():
        torch.testing.assert_close(second["state_dict"][name], weight, rtol=1e-4, atol=1e-5)
    assert {path.name for path in (folder / "unsharded").iterdir()} == {p.name for p in (folder / "sharded").iterdir()}

    interrupted = [*sharded, "paths.run_dir=sharded_interrupted"]
    result = run_and_interrupt(interrupted, [(["batch 2"], "SIGTERM")], direct=True)
    assert result["codes"] == [75, 0], result["log"]
    assert run_and_interrupt(interrupted, direct=True)["codes"] == [0, 0]
    assert_same_end(folder, "sharded", "sharded_interrupted")


@pytest.mark.slow
def test_each_of_two_devices_has_states_of_its_own_and_goes_on_with_them(run_and_interrupt, small):
    """Hit within the second epoch, the first with own states; the second process reads ahead as well."""
    words = [*words_of(small, "own_states", "pools"), "trainer.devices=2", "trainer.max_epochs=3"]
    words += ["data.limit_val_windows=2"]
    whole = run_and_interrupt(words, direct=True)
    assert whole["codes"] == [0, 0], whole["log"]
    interrupted = [*words, "paths.run_dir=pools_interrupted"]
    result = run_and_interrupt(interrupted, [(["batch 2"], "SIGTERM")], direct=True)
    assert result["codes"] == [75, 0], result["log"]
    assert run_and_interrupt(interrupted, direct=True)["codes"] == [0, 0]
    folder = whole["folder"]
    assert_same_end(folder, "pools", "pools_interrupted")
    one, other = load_checkpoint(folder / "pools" / "checkpoints" / "last.ckpt")["own_states"]
    assert one["states"].shape == other["states"].shape
    assert not torch.equal(one["states"], other["states"])


@pytest.mark.slow
def test_two_devices_bear_parameters_without_a_gradient(run_and_interrupt, small):
    """Without KL and CRPS the prior has none."""
    words = [*words_of(small, "graph_efm", "efm"), "trainer.devices=2", "trainer.max_epochs=2", "data.limit_windows=4"]
    words += ["schedule.switches=[0.5,1,1,1]", "data.limit_val_windows=2"]
    result = run_and_interrupt(words, direct=True)
    assert result["codes"] == [0, 0], result["log"]


@pytest.mark.slow
def test_resume_goes_on_in_another_folder_and_init_from_starts_anew(run_and_interrupt, small):
    words = [*words_of(small, "graph_fm", "first"), "trainer.max_epochs=1"]
    assert run_and_interrupt([*words, "schedule.epochs=2"], direct=True)["code"] == 0
    longer = [*words, "trainer.max_epochs=2", "schedule.epochs=2"]
    whole = run_and_interrupt([*longer, "paths.run_dir=whole"], direct=True)
    resumed = run_and_interrupt([*longer, "paths.run_dir=resumed", "resume=first"], direct=True)
    assert (whole["code"], resumed["code"]) == (0, 0), resumed["log"]
    assert "batch 4" in resumed["events"]
    assert "batch 3" not in resumed["events"]
    assert_same_end(whole["folder"], "whole", "resumed")

    start = run_and_interrupt(
        [*longer, "paths.run_dir=started", "init_from=first"], [(["batch 0"], "SIGTERM")], direct=True
    )
    assert (start["code"], "batch 0" in start["events"]) == (75, True), start["log"]
    assert "weights of " in start["log"]
    again = run_and_interrupt([*longer, "paths.run_dir=started", "init_from=first", "resume=null"], direct=True)
    assert ("going on from" in again["log"], "batch 0" in again["events"]) == (True, False)
