"""Submitit still has what `sweep/submitit_private.py` takes from it beyond its public interface."""

import importlib.util
import inspect
from importlib.metadata import version

import pytest

from spacecast.sweep.submitit_private import CONTROLLER, submission_script

pytest.importorskip("submitit")
CHANGED = f"submitit {version('submitit')} has changed within: adapt sweep/submitit_private.py, or hold submitit back; "


def test_the_watcher_of_a_local_job_is_known_by_its_module():
    from submitit.local import local

    assert importlib.util.find_spec(CONTROLLER) is not None, f"{CHANGED}there is no module {CONTROLLER}"
    assert CONTROLLER in inspect.getsource(local.start_controller), f"{CHANGED}jobs are not watched by {CONTROLLER}"


def test_the_script_for_sbatch_can_be_had_without_queueing_it(tmp_path, monkeypatch):
    from submitit import SlurmExecutor

    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    executor = SlurmExecutor(folder=tmp_path)
    executor.update_parameters(time=7, partition="night")
    assert hasattr(executor, "_make_submission_file_text"), f"{CHANGED}scripts for sbatch are made elsewhere"
    script = submission_script(executor).splitlines()
    assert {"#!/bin/bash", "#SBATCH --partition=night", "#SBATCH --time=7"} <= set(script), f"{CHANGED}{script}"


def test_a_job_that_ends_with_this_code_is_started_again():
    """It is public, and `sweep/attempt.py` relies on what it means to the watcher."""
    from submitit.local.local import LOCAL_REQUEUE_RETURN_CODE, Controller

    source = inspect.getsource(Controller)
    assert "LOCAL_REQUEUE_RETURN_CODE" in source, f"{CHANGED}code {LOCAL_REQUEUE_RETURN_CODE} requeues no local job"
