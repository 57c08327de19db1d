"""Jobs on a real Slurm: several nodes, arrays, time limits, requeues, preemption, cancellation, errors."""

import subprocess

import pytest
import torch
import yaml

from spacecast.training.checkpoint import load_checkpoint

TWO_MINUTES = ("launcher.hours=0.0333", "launcher.signal_seconds=20")


def slurm_state(job: str) -> str:
    """What Slurm says of a job: state, restarts and so on."""
    return subprocess.run(
        ["scontrol", "--oneliner", "show", "job", job], capture_output=True, text=True, timeout=60, check=True
    ).stdout


def weights(cluster, name: str) -> dict[str, torch.Tensor]:
    return load_checkpoint(cluster.root / name / "0" / "checkpoints" / "last.ckpt")["state_dict"]


def has_trained(cluster, name: str) -> bool:
    log = cluster.root / name / "0" / "train.log"
    return log.exists() and "epoch 1/" in log.read_text()


@pytest.fixture(scope="module")
def limited(cluster):
    """A run that needs more than its two minutes. It is submitted first and goes on beside the other tests."""
    module = cluster.root / "own_model.py"
    module.write_text((cluster.root / "slow_model.py").read_text())
    slow = ["model._target_=own_model.build", "model.seconds=1.0", "trainer.max_epochs=12"]
    assert cluster.train("limited", *TWO_MINUTES, *slow) == 0
    # whoever edits the code now does not change a job that waits or is started again
    module.write_text("raise RuntimeError('edited after the submission')\n")
    return "limited"


@pytest.mark.usefixtures("limited")
def test_two_nodes_train_one_model(cluster):
    assert cluster.train("pair", "launcher.nodes=2", "trainer.max_epochs=1", "launcher.wait=true") == 0
    assert cluster.status("pair")["state"] == "finished"
    plain = yaml.safe_load((cluster.root / "pair/0/config.yaml").read_text())
    assert (plain["trainer"]["num_nodes"], plain["trainer"]["devices"]) == (2, 1)
    job = cluster.job("pair")
    assert "NumNodes=2" in slurm_state(job)
    assert (cluster.root / "pair/jobs" / f"{job}_1_log.out").exists()
    # 16 windows in batches of 4 make four steps on one node, and two on each of two
    assert load_checkpoint(cluster.root / "pair/0/checkpoints/last.ckpt")["global_step"] == 2
    assert (cluster.root / "pair/0/scores.csv").exists()


def test_a_sweep_is_one_array(cluster, capsys):
    assert cluster.train("grid", "model.hidden_dim=4,8", "seed=1,2", "trainer.max_epochs=1") == 0
    assert "4 runs submitted" in capsys.readouterr().out
    assert len({cluster.job("grid", run).partition("_")[0] for run in range(4)}) == 1
    cluster.finish("grid")
    runs = cluster.tracked("grid")
    names = {f"hidden_dim={width} seed={seed}" for width in (4, 8) for seed in (1, 2)}
    assert {run.info.run_name for run in runs} == names
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert cluster.sweep("report", "grid") == 0
    assert "± " in (cluster.root / "grid/report.md").read_text()
    assert len((cluster.root / "grid/report.csv").read_text().splitlines()) == 5
    assert (cluster.root / "grid/report.png").stat().st_size > 5000


def test_a_requeued_job_goes_on(cluster):
    assert cluster.train("requeued", "model.seconds=0.5", "trainer.max_epochs=6") == 0
    cluster.wait(lambda: has_trained(cluster, "requeued"), 300)
    subprocess.run(["scontrol", "requeue", cluster.job("requeued")], timeout=60, check=True)
    cluster.finish("requeued")
    assert cluster.status("requeued")["restarts"] == 1
    assert len(cluster.tracked("requeued")) == 1
    assert "going on from" in (cluster.root / "requeued/0/train.log").read_text()


def test_a_preempted_job_goes_on(cluster):
    assert cluster.train("preempted", "model.seconds=0.5", "trainer.max_epochs=6") == 0
    cluster.wait(lambda: has_trained(cluster, "preempted"), 300)
    node = slurm_state(cluster.job("preempted")).partition(" NodeList=")[2].partition(" ")[0]
    urgent = ["sbatch", "-p", "urgent", "-w", node, "--exclusive", "-o", "/dev/null", "--wrap", "sleep 1"]
    subprocess.run(urgent, timeout=60, check=True, cwd=cluster.root)
    cluster.finish("preempted")
    assert cluster.status("preempted")["restarts"] >= 1
    assert len(cluster.tracked("preempted")) == 1


def test_a_cancelled_job_is_told_from_a_failed_one_and_can_be_resumed(cluster, capsys):
    assert cluster.train("cancelled", "model.seconds=0.5", "trainer.max_epochs=4") == 0
    cluster.wait(lambda: has_trained(cluster, "cancelled"), 300)
    subprocess.run(["scancel", cluster.job("cancelled")], timeout=60, check=True)
    cluster.wait(lambda: cluster.states("cancelled") == ["cancelled"], 60)
    assert cluster.sweep("status", "cancelled") == 0
    assert "1 cancelled" in capsys.readouterr().out
    assert [run.info.status for run in cluster.tracked("cancelled")] == ["KILLED"]
    assert cluster.sweep("resume", "cancelled", "launcher.hours=0.1", "trust=slow_model") == 0
    cluster.finish("cancelled")
    assert [run.info.status for run in cluster.tracked("cancelled")] == ["FINISHED"]


def test_what_waits_can_be_cancelled(cluster):
    assert cluster.train("waiting", "seed=1,2", "+launcher.sbatch.begin=now+600") == 0
    assert all(state.startswith("PENDING") for state in cluster.states("waiting"))
    assert cluster.sweep("cancel", "waiting") == 0
    cluster.wait(lambda: cluster.states("waiting") == ["cancelled"] * 2, 60)


def test_an_error_is_visible_everywhere(cluster, capsys):
    code = cluster.train("broken", "+model.fails=true", "launcher.wait=true")
    assert code == 1
    assert "run 0 failed: ArithmeticError: the model is broken" in capsys.readouterr().err
    status = cluster.status("broken")
    assert (status["state"], status["exit_code"]) == ("failed", 1)
    assert status["error"] == "ArithmeticError: the model is broken"
    assert "JobState=FAILED" in slurm_state(cluster.job("broken"))
    assert [run.info.status for run in cluster.tracked("broken")] == ["FAILED"]
    assert status["mlflow_run_id"] == cluster.tracked("broken")[0].info.run_id


def test_what_can_never_start_is_refused_at_once(cluster, capsys):
    assert cluster.train("impossible", "launcher.nodes=3") == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines == [lines[-1]]
    assert "launcher: Slurm refuses: " in lines[0]
    assert not (cluster.root / "impossible").exists()


def test_a_job_that_hits_its_time_limit_ends_as_if_it_had_not(cluster, limited):
    assert cluster.train("unlimited", "trainer.max_epochs=12") == 0
    cluster.finish("unlimited")
    cluster.finish(limited, seconds=900)
    assert cluster.status(limited)["restarts"] >= 1
    assert [run.info.status for run in cluster.tracked(limited)] == ["FINISHED"]
    interrupted, whole = weights(cluster, limited), weights(cluster, "unlimited")
    assert interrupted.keys() == whole.keys()
    assert all(torch.equal(interrupted[name], whole[name]) for name in whole)
