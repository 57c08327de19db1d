"""What signals ask for, outside and inside a batch job."""

import os
import random
import signal

import numpy as np
import pytest
import torch

from spacecast.core.errors import UserError
from spacecast.process.exit_codes import Interrupted
from spacecast.process.signals import SIGNALS, Interruption, current
from spacecast.training.checkpointing import random_state, restore_random_state
from spacecast.training.trainer import accumulation

JOB = {"SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "spacecast"}


def send(name: str) -> None:
    os.kill(os.getpid(), getattr(signal, name))


@pytest.mark.parametrize("name", [number.name for number in SIGNALS])
@pytest.mark.parametrize("environment", [{}, {**JOB, "SLURM_JOB_NAME": "interactive"}])
def test_each_signal_ends_the_work_with_75(name, environment):
    before = signal.getsignal(getattr(signal, name))
    with pytest.raises(Interrupted) as end, Interruption(environment).listening():
        send(name)
    assert (end.value.code, end.value.name) == (75, name)
    assert signal.getsignal(getattr(signal, name)) is before


def test_deferred_it_is_only_a_note_and_a_second_interrupt_ends_at_once():
    with Interruption({}).listening() as interruption:
        assert current() is interruption
        with interruption.deferred():
            send("SIGTERM")
            send("SIGTERM")
            assert (interruption.leave, interruption.name) == (True, "SIGTERM")
            send("SIGINT")
            with pytest.raises(Interrupted) as end:
                send("SIGINT")
            assert end.value.code == 130
            with pytest.raises(Interrupted):
                interruption.check()
    assert current() is not interruption


def test_in_a_batch_job_the_scheduler_ends_it():
    handed = []
    before = signal.signal(signal.SIGUSR2, lambda number, frame: handed.append(number))
    try:
        with Interruption(JOB).listening() as interruption:
            for name in ("SIGTERM", "SIGUSR1"):
                interruption.save = False
                send(name)
                assert (interruption.save, interruption.leave) == (True, False)
            interruption.hand_over()
            assert handed == []
            with pytest.raises(Interrupted):
                send("SIGUSR2")
            interruption.hand_over()
        assert handed == [signal.SIGUSR2]
    finally:
        signal.signal(signal.SIGUSR2, before)


def test_the_signal_of_the_time_limit_may_be_another():
    with Interruption({**JOB, "SUBMITIT_PREEMPT_SIGNAL": "USR1"}).listening() as interruption:
        send("SIGUSR2")
        assert not interruption.leave
        with pytest.raises(Interrupted):
            send("SIGUSR1")


def test_random_numbers_go_on_where_they_were(tmp_path):
    device = torch.device("cpu")
    torch.save(random_state(device), tmp_path / "state")
    draws = []
    for _ in range(2):
        draws.append((random.random(), np.random.rand(), torch.rand(1).item(), random.gauss(0, 1)))  # noqa: NPY002
        restore_random_state(torch.load(tmp_path / "state", weights_only=True), device)
    assert draws[0] == draws[1]


def test_accumulation_follows_from_the_global_batch():
    assert accumulation(8, 2, 2) == 2
    assert accumulation(8, 8, 1) == 1
    with pytest.raises(UserError, match=r"no multiple of 4 = .* take 8 or 12"):
        accumulation(10, 2, 2)
    with pytest.raises(UserError, match="take 4"):
        accumulation(2, 4, 1)
    with pytest.raises(UserError, match="accumulate_grad_batches"):
        accumulation(8, 2, 2, typed=2)
