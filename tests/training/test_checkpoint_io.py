"""Checkpoints that cannot be written cost a warning, and wait for room."""

import errno
import logging
import os

import torch

from spacecast.training.checkpoint_io import AtomicCheckpointIO


def content(number: int) -> dict:
    described = {"format": 1, "versions": {"spacecast": "1"}, "config": {}}
    return {"state_dict": {"w": torch.full((1000,), number)}, "spacecast": described, "number": number}


def numbers(folder) -> dict:
    return {path.name: torch.load(path)["number"] for path in sorted(folder.iterdir())}


def test_a_full_disk_costs_a_warning_and_no_file(tmp_path, monkeypatch, caplog):
    files = AtomicCheckpointIO()
    options = {"keep": tmp_path / "previous.ckpt"}
    files.save_checkpoint(content(1), tmp_path / "last.ckpt", options)
    assert files.written

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with caplog.at_level(logging.WARNING):
        files.save_checkpoint(content(2), tmp_path / "last.ckpt", options)
    assert not files.written
    assert "No space left on device" in caplog.text
    assert numbers(tmp_path) == {"last.ckpt": 1}


def test_a_best_one_that_was_not_written_waits_in_memory_as_it_was(tmp_path, monkeypatch):
    files, later = AtomicCheckpointIO(), content(1)
    best = tmp_path / "best.ckpt"

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        files.save_checkpoint(later, tmp_path / "last.ckpt", {"also": best})
        assert not files.write_waiting(best)
    later["state_dict"]["w"] += 1  # as training does
    files.save_checkpoint({**later, "number": 2}, tmp_path / "last.ckpt")
    assert numbers(tmp_path) == {"last.ckpt": 2}
    assert files.write_waiting(best)
    assert numbers(tmp_path) == {"best.ckpt": 1, "last.ckpt": 2}
    assert torch.load(best)["state_dict"]["w"].eq(1).all()
    best.unlink()
    assert files.write_waiting(best)
    assert not best.exists()
