"""Jobs on a real Slurm: several nodes, arrays, time limits, requeues, preemption, cancellation, errors."""

import subprocess

import pytest
import torch
import yaml

from spacecast.checkpoint.content import load_checkpoint

TWO_MINUTES = ("launcher.hours=0.0333", "launcher.signal_seconds=20")


def slurm_state(job: str) -> str:
    """What Slurm says of a job: state, restarts and so on."""
    return subprocess.run(
        ["scontrol", "--oneliner", "show", "job", job], capture_output=True, text=True, timeout=300, check=True
    ).stdout


def weights(cluster, name: str) -> dict[str, torch.Tensor]:
    return load_checkpoint(cluster.root / name / "0" / "checkpoints" / "last.ckpt")["state_dict"]


def finish_after_restart(cluster, name: str) -> None:
    """What started again has ended the process that was held: only then there is nobody else to be released."""
    cluster.wait(lambda: cluster.status(name).get("restarts", 0) >= 1)
    cluster.release(name)
    cluster.finish(name)


def slurm(*words: str) -> None:
    subprocess.run(words, timeout=300, check=True)


# Runs that something happens to. Each goes on beside the other tests, which ask for it only at their end.


@pytest.fixture(scope="module")
def preempted(cluster):
    """A run whose node a more urgent job has taken. It comes first, for the other one wants the node for itself."""
    cluster.hold("preempted", "seed=1")
    cluster.wait(lambda: cluster.is_held("preempted"))
    node = slurm_state(cluster.job("preempted")).partition(" NodeList=")[2].partition(" ")[0]
    slurm("sbatch", "-p", "urgent", "-w", node, "--exclusive", "-o", "/dev/null", "--wrap", "true")
    cluster.wait(lambda: "JobState=RUNNING" not in slurm_state(cluster.job("preempted")))
    return "preempted"


@pytest.fixture(scope="module")
def limited(cluster, preempted):
    """A run that its time limit has ended: it waits until the test has seen that."""
    module = cluster.root / "own_model.py"
    module.write_text((cluster.root / "gated_model.py").read_text())
    cluster.hold("limited", "seed=1", *TWO_MINUTES, "model._target_=own_model.build")
    # whoever edits the code now does not change a job that waits or is started again
    module.write_text("raise RuntimeError('edited after the submission')\n")
    return "limited"


@pytest.fixture(scope="module")
def cancelled(cluster, preempted):
    """A run that waits to be cancelled."""
    cluster.hold("cancelled")
    return "cancelled"


@pytest.fixture(scope="module")
def requeued(cluster, limited, cancelled):
    """A run that the administrator has put back into the queue. All that is to be held has been submitted by then."""
    cluster.hold("requeued", "seed=1")
    cluster.wait(lambda: cluster.is_held("requeued"))
    slurm("scontrol", "requeue", cluster.job("requeued"))
    return "requeued"


@pytest.mark.usefixtures("requeued")
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
    assert cluster.train("grid", "seed=1,2") == 0
    assert "2 runs submitted" in capsys.readouterr().out
    assert len({cluster.job("grid", run).partition("_")[0] for run in range(2)}) == 1
    cluster.finish("grid")
    runs = cluster.tracked("grid")
    assert {run.info.run_name for run in runs} == {"seed=1", "seed=2"}
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert cluster.sweep("report", "grid") == 0
    assert "± " in (cluster.root / "grid/report.md").read_text()
    assert len((cluster.root / "grid/report.csv").read_text().splitlines()) == 3
    assert (cluster.root / "grid/report.png").stat().st_size > 5000


def test_a_cancelled_job_is_told_from_a_failed_one_and_can_be_resumed(cluster, capsys, cancelled):
    cluster.wait(lambda: cluster.is_held(cancelled))
    slurm("scancel", cluster.job(cancelled))
    cluster.wait(lambda: cluster.states(cancelled) == ["cancelled"])
    assert cluster.sweep("status", cancelled) == 0
    assert "1 run, 1 cancelled" in capsys.readouterr().out
    assert [run.info.status for run in cluster.tracked(cancelled)] == ["KILLED"]
    cluster.release(cancelled)
    assert cluster.sweep("resume", cancelled, "launcher.hours=0.1", "trust=gated_model") == 0
    cluster.finish(cancelled)
    assert [run.info.status for run in cluster.tracked(cancelled)] == ["FINISHED"]


def test_more_runs_than_an_array_takes_are_queued_and_can_be_cancelled(cluster, capsys):
    """The sandbox takes four."""
    words = ("seed=range(6)", "launcher.parallel=2", "+launcher.sbatch.begin=now+36000")
    assert cluster.train("waiting", *words) == 0
    assert len({cluster.job("waiting", run).partition("_")[0] for run in range(6)}) == 2
    assert "Dependency=afterany:" in slurm_state(cluster.job("waiting", 5))
    assert cluster.states("waiting") == ["queued"] * 6
    assert cluster.sweep("cancel", "waiting") == 0
    assert "6 runs cancelled" in capsys.readouterr().out
    cluster.wait(lambda: cluster.states("waiting") == ["cancelled"] * 6)


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


@pytest.mark.parametrize("what", ["preempted", "requeued"])
def test_a_job_that_is_started_again_goes_on(cluster, request, what):
    name = request.getfixturevalue(what)
    finish_after_restart(cluster, name)
    assert len(cluster.tracked(name)) == 1
    assert "going on from" in (cluster.root / name / "0/train.log").read_text()


def test_a_job_that_hits_its_time_limit_goes_on(cluster, limited):
    cluster.wait(lambda: cluster.status(limited).get("restarts", 0) >= 1)
    longer = ["scontrol", "update", f"JobId={cluster.job(limited)}", "TimeLimit=30"]  # enough for any machine
    subprocess.run(longer, timeout=300, check=False)  # a fast one may have finished
    finish_after_restart(cluster, limited)
    assert [run.info.status for run in cluster.tracked(limited)] == ["FINISHED"]


def test_runs_that_were_interrupted_end_as_if_they_had_not_been(cluster, preempted, requeued, limited):
    whole = weights(cluster, "grid")  # of the same seed
    for name in (preempted, requeued, limited):
        interrupted = weights(cluster, name)
        assert interrupted.keys() == whole.keys()
        assert all(torch.equal(interrupted[key], whole[key]) for key in whole), name
