"""A checkpoint is read and held against its check sums once, and few modules lie between it and the first forecast."""

import sys
import zipfile
from collections import Counter
from pathlib import Path

import pytest
import torch

from spacecast.models.encode_process_decode import EncodeProcessDecode


@pytest.fixture
def trained(run, workplace, small, monkeypatch) -> Path:
    """A run folder."""
    monkeypatch.setattr("spacecast.plots.pictures.draw_pictures", lambda *_: [])
    assert run("spacecast-train", *small, "trainer.max_epochs=1", "paths.run_dir=trained").code == 0
    return workplace / "trained"


@pytest.fixture
def reads(monkeypatch) -> Counter:
    """How often each file has been read by torch, and how often checked."""
    counted, load, check = Counter(), torch.load, zipfile.ZipFile.testzip

    def counted_load(file, *words, **more):
        counted["read", Path(getattr(file, "name", file)).name] += 1
        return load(file, *words, **more)

    def counted_check(archive):
        counted["checked", Path(archive.filename).name] += 1
        return check(archive)

    monkeypatch.setattr(torch, "load", counted_load)
    monkeypatch.setattr(zipfile.ZipFile, "testzip", counted_check)
    return counted


def test_an_evaluation_reads_its_checkpoint_once(run, trained, reads):
    assert run("spacecast-evaluate", "checkpoint=trained", "logger=none", "paths.run_dir=again").code == 0
    assert reads == {("read", "best.ckpt"): 1, ("checked", "best.ckpt"): 1}


def test_a_training_reads_what_it_starts_from_once(run, small, trained, reads):
    """From another run, from weights, and from a checkpoint of its own."""
    for words in (["resume=trained/checkpoints/last.ckpt"], ["init_from=trained/checkpoints/last.ckpt"]):
        reads.clear()
        assert run("spacecast-train", *small, *words, f"paths.run_dir={words[0][:6]}").code == 0
        assert (reads["read", "last.ckpt"], reads["checked", "last.ckpt"]) == (1, 1)
    (trained / "run.json").unlink()  # as if it had not been scored
    reads.clear()
    assert run("spacecast-train", *small, "trainer.max_epochs=1", "paths.run_dir=trained").code == 0
    assert (reads["read", "last.ckpt"], reads["checked", "last.ckpt"]) == (1, 1)


class ArrivedError(Exception):
    """The first forecast step."""


def test_a_checkpoint_passes_few_files_on_its_way_to_the_first_forecast(run, trained, monkeypatch):
    """Modules at work while it is read, while its weights are taken over, and when the model makes its first step.

    Those of `process` are left out: they call the work of a command without being given anything of it.
    """
    passed, places = set(), Counter()

    def told(place, function):
        def watched(*words, **more):
            frame = sys._getframe(1)
            while frame is not None:
                passed.add(frame.f_globals.get("__name__", ""))
                frame = frame.f_back
            places[place] += 1
            if place == "step":
                raise ArrivedError
            return function(*words, **more)

        return watched

    monkeypatch.setattr(torch, "load", told("read", torch.load))
    monkeypatch.setattr(torch.nn.Module, "load_state_dict", told("weights", torch.nn.Module.load_state_dict))
    monkeypatch.setattr(EncodeProcessDecode, "step", told("step", None))
    result = run("spacecast-evaluate", "checkpoint=trained", "logger=none", "paths.run_dir=again")
    assert (result.code, "ArrivedError" in result.line) == (1, True)
    assert places == {"read": 1, "weights": 1, "step": 1}
    files = {name for name in passed if name.startswith("spacecast.") and not name.startswith("spacecast.process.")}
    files.add(EncodeProcessDecode.__module__)
    assert len(files) <= 12, sorted(files)
