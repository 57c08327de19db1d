"""Checkpoint files: whole or absent, whatever happens while they are written."""

import errno
import logging
import os
import zipfile

import pytest
import torch

from spacecast.checkpoint.content import load_checkpoint
from spacecast.checkpoint.files import bring_best, newest, write_whole
from spacecast.core.errors import UserError
from spacecast.process.files import remove_leftovers


def content(number: int) -> dict:
    described = {"format": 1, "versions": {"spacecast": "1"}, "config": {}}
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

    write_whole(content(7), tmp_path / "linked" / "last.ckpt", also=tmp_path / "linked" / "best.ckpt")
    assert (tmp_path / "linked" / "last.ckpt").samefile(tmp_path / "linked" / "best.ckpt")
    monkeypatch.setattr(os, "link", refuse)
    write_whole(content(8), tmp_path / "copied" / "last.ckpt", also=tmp_path / "copied" / "best.ckpt")
    assert not (tmp_path / "copied" / "last.ckpt").samefile(tmp_path / "copied" / "best.ckpt")
    write_whole(content(9), tmp_path / "copied" / "last.ckpt", keep=tmp_path / "copied" / "previous.ckpt")
    assert numbers(tmp_path / "copied") == {"best.ckpt": 8, "last.ckpt": 9, "previous.ckpt": 8}


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
        load_checkpoint(tmp_path / "last.ckpt")
    with caplog.at_level(logging.WARNING):
        path, found = newest(tmp_path)
    assert (path.name, found["number"]) == ("previous.ckpt", 0)
    assert "looking for the one before" in caplog.text
    damage(tmp_path / "previous.ckpt", kind)
    with pytest.raises(UserError, match=r"no checkpoint in .* can be read"):
        newest(tmp_path)


def in_directory(path, name: str, field: int) -> int:
    """Place in a file of a field of an entry of the archive's directory, which comes last in the file."""
    return path.read_bytes().rindex(b"PK\x01\x02", 0, path.read_bytes().rindex(name.encode())) + field


@pytest.mark.parametrize(
    ("field", "bit"),
    [
        (38, 0x10),  # external attributes: a folder
        (8, 0x01),  # flags: encrypted
        (8, 0x20),  # a patch
        (10, 0x08),  # compressed
        (10, 0x10),  # compressed in a way that is not known
        (22, 0x01),  # longer than it is
        (25, 0x01),
        (20, 0x01),
        (16, 0x01),  # its check sum
        (46, 0x80),  # its name: no text
    ],
)
def test_a_damaged_directory_is_recognised_and_the_one_before_used(tmp_path, field, bit):
    """Torch leaves memory as it is where the directory takes a tensor for a folder."""
    for number in range(2):
        write_whole(content(number), tmp_path / "last.ckpt", keep=tmp_path / "previous.ckpt")
    path = tmp_path / "last.ckpt"
    data, place = bytearray(path.read_bytes()), in_directory(path, "data/0", field)
    data[place] ^= bit
    path.write_bytes(data)
    with pytest.raises(UserError, match="cannot be read") as caught:
        load_checkpoint(path)
    assert "\n" not in str(caught.value)
    assert newest(tmp_path)[0].name == "previous.ckpt"


def test_no_changed_byte_changes_what_is_read(tmp_path):
    """Anywhere in the directory and in the end of the file: refused, or without effect."""
    path = tmp_path / "last.ckpt"
    write_whole(content(3), path)
    good = path.read_bytes()
    start = zipfile.ZipFile(path).start_dir
    for place in range(start, len(good)):
        path.write_bytes(good[:place] + bytes([good[place] ^ (1 << place % 8)]) + good[place + 1 :])
        try:
            found = load_checkpoint(path)
        except UserError:
            continue
        assert torch.equal(found["state_dict"]["w"], content(3)["state_dict"]["w"]), place


def test_the_best_of_another_run_comes_along_when_it_is_the_one_that_is_known_of(tmp_path, caplog):
    parent, folder = tmp_path / "parent", tmp_path / "own"
    last = parent / "last.ckpt"
    assert not bring_best(last, folder, 0.5)
    write_whole(content(1) | {"progress": {"best": 0.5}}, last, also=parent / "best.ckpt")
    assert not bring_best(last, folder, 0.6)
    assert not (folder / "best.ckpt").exists()
    assert bring_best(last, folder, 0.5)
    assert numbers(folder) == {"best.ckpt": 1}
    assert bring_best(folder / "best.ckpt", folder, 0.5)
    assert numbers(folder) == {"best.ckpt": 1}
    damage(parent / "best.ckpt", "truncated")
    with caplog.at_level(logging.WARNING):
        assert not bring_best(last, tmp_path / "other", 0.5)
    assert "is not taken over" in caplog.text


def test_leftovers_of_a_killed_process_are_removed(tmp_path):
    write_whole(content(1), tmp_path / "last.ckpt")
    (tmp_path / ".last.ckpt.partial-123.ckpt").write_bytes(b"half")
    remove_leftovers(tmp_path, "*.ckpt")
    assert numbers(tmp_path) == {"last.ckpt": 1}
    assert newest(tmp_path / "elsewhere") is None
