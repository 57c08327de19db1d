"""An evaluation that several processes share: the same files as of one, and the same ends."""

import csv
from pathlib import Path

import pytest
import xarray as xr

WORDS = [
    "logger=none", "trainer.accelerator=cpu", "evaluation.split=all", "evaluation.steps=2", "evaluation.windows=5",
    "evaluation.batch_size=2", "evaluation.examples=1",
]  # fmt: skip


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch):
    monkeypatch.setattr("spacecast.plots.pictures.draw_pictures", lambda *_: [])


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_two_processes_score_like_one(run, workplace, untrained):
    for devices in (1, 2):
        words = [f"checkpoint={untrained / 'efm'}", f"trainer.devices={devices}", f"paths.run_dir={devices}", *WORDS]
        result = run("spacecast-evaluate", *words)
        assert (result.code, result.err) == (0, "")
        assert result.out.count("run folder: ") == 1
    one, two = workplace / "1", workplace / "2"
    assert files(one) == files(two)
    assert (one / "scores.csv").read_text() == (two / "scores.csv").read_text()
    assert any(float(row["value"]) > 0 for row in csv.DictReader((one / "scores.csv").open()))
    for name in ("scores.nc", "examples.zarr"):
        assert xr.load_dataset(one / name).identical(xr.load_dataset(two / name))


def test_devices_that_are_not_there_are_refused_before_anything_is_tracked(run, workplace, untrained, tiny_data):
    words = [f"checkpoint={untrained / 'fm'}", "trainer.accelerator=tpu", f"paths.data_dir={tiny_data}"]
    result = run("spacecast-evaluate", *words, "paths.run_dir=never")
    assert result.code == 2
    assert "trainer: " in result.line
    assert list(workplace.iterdir()) == []
