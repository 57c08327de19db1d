"""Checkpoint files: whole or absent, whatever happens while they are written."""

import errno
import logging
import os

import pytest
import torch

from spacecast.core.errors import UserError
from spacecast.training.files import WholeFiles, newest, read_whole, remove_partial, write_whole


def content(number: int) -> dict:
    described = {"format": 1, "versions": {"spacecast": "1"}}
    return {"state_dict": {"w": torch.full((1000,), number)}, "spacecast": described, "number": number}


def numbers(folder) -> dict:
    return {path.name: torch.load(path)["number"] for path in sorted(folder.iterdir())}


def test_the_one_before_is_kept_and_the_best_is_a_second_name(tmp_path):
    options = {"keep": tmp_path / "previous.ckpt"}
    for number in range(3):
        also = {"also": tmp_path / "best.ckpt"} if number == 0 else {}
        write_whole(content(number), tmp_path / "last.ckpt", **options, **also)
    assert numbers(tmp_path) == {"best.ckpt": 0, "last.ckpt": 2, "previous.ckpt": 1}


def test_without_links_names_are_copies(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EPERM, "no links")

    monkeypatch.setattr(os, "link", refuse)
    test_the_one_before_is_kept_and_the_best_is_a_second_name(tmp_path)


def test_a_full_disk_costs_a_warning_and_no_file(tmp_path, monkeypatch, caplog):
    files = WholeFiles()
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


def damage(path, kind: str) -> None:
    data = bytearray(path.read_bytes())
    if kind == "truncated":
        data = data[: len(data) // 2]
    elif kind == "empty":
        data = bytearray()
    else:
        data[len(data) // 2] ^= 1  # one bit in the middle of the tensor, which torch.load takes without a word
    path.write_bytes(data)


@pytest.mark.parametrize("kind", ["truncated", "empty", "one bit"])
def test_a_damaged_checkpoint_is_recognised_and_the_one_before_used(tmp_path, kind, caplog):
    for number in range(2):
        write_whole(content(number), tmp_path / "last.ckpt", keep=tmp_path / "previous.ckpt")
    path, found = newest(tmp_path)
    assert (path.name, found["number"]) == ("last.ckpt", 1)
    damage(tmp_path / "last.ckpt", kind)
    with pytest.raises(UserError, match="cannot be read"):
        read_whole(tmp_path / "last.ckpt")
    with caplog.at_level(logging.WARNING):
        path, found = newest(tmp_path)
    assert (path.name, found["number"]) == ("previous.ckpt", 0)
    assert "looking for the one before" in caplog.text
    damage(tmp_path / "previous.ckpt", kind)
    with pytest.raises(UserError, match=r"no checkpoint in .* can be read"):
        newest(tmp_path)


def test_leftovers_of_a_killed_process_are_removed(tmp_path):
    write_whole(content(1), tmp_path / "last.ckpt")
    (tmp_path / ".last.ckpt.123").write_bytes(b"half")
    remove_partial(tmp_path)
    assert numbers(tmp_path) == {"last.ckpt": 1}
    assert newest(tmp_path / "elsewhere") is None
