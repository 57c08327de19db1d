"""One set of words for states, whatever Slurm or an older file says."""

import json
import os
import socket

import pytest

from spacecast.process import status
from spacecast.process.lock import holder, locked
from spacecast.sweep import queue

WORDS = {
    "PENDING": status.QUEUED, "CONFIGURING": status.QUEUED, "REQUEUED": status.QUEUED, "REQUEUE_HOLD": status.QUEUED,
    "SUSPENDED": status.QUEUED, "SPECIAL_EXIT": status.QUEUED, "A_WORD_OF_TOMORROW": status.QUEUED,
    "RUNNING": status.RUNNING, "COMPLETING": status.RUNNING, "STAGE_OUT": status.RUNNING,
}  # fmt: skip


@pytest.mark.parametrize("word", WORDS)
def test_words_of_slurm_are_translated(word):
    assert queue._translated(word, "None")[0] == WORDS[word]


def test_what_a_job_waits_for_is_told_as_slurm_says_it():
    assert queue._translated("PENDING", "Priority") == ("queued", "Priority")
    assert queue._translated("REQUEUE_HOLD", "job_requeued_in_held_state") == ("queued", "requeue hold")


@pytest.mark.parametrize("word", ["RUNNING", "Finished", "failed"])
def test_older_files_are_read_whatever_the_letters(tmp_path, word):
    (tmp_path / status.FILE).write_text(json.dumps({"state": word, "job": "7"}))
    assert status.read_status(tmp_path) == {"state": word.lower(), "job": "7"}


def test_asking_who_is_at_work_ends_no_lock(tmp_path):
    assert holder(tmp_path) is None
    with locked(tmp_path):
        assert holder(tmp_path) == "this process"
    (tmp_path / ".lock").write_text(f"{2**22 + 1} elsewhere\n")
    assert holder(tmp_path) == f"process {2**22 + 1} on elsewhere"


def test_the_note_of_a_process_that_was_killed_names_nobody(tmp_path):
    note = tmp_path / ".lock"
    note.write_text(f"{2**22 + 1} {socket.gethostname()}\n")
    assert holder(tmp_path) is None
    note.write_text(f"{os.getpid()} {socket.gethostname()}\n")
    os.utime(note, (0, 0))  # before this process began: its number was another one's
    assert holder(tmp_path) is None
    note.write_text("")
    assert holder(tmp_path) is None
