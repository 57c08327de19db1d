"""A forecast that is interrupted, killed or loses one of its processes: the same command ends with the same file."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import xarray as xr

WORDS = ["trainer.accelerator=cpu", "start=[1,4,8]", "members=4", "member_chunk=2", "statistics=only"]
LONGEST = 300.0  # seconds; only ends a test that hangs


@pytest.fixture
def forecast(run, untrained, tiny_data):
    """forecast("key=value", ...)."""
    return lambda *words: run("spacecast-forecast", *words_of(untrained, tiny_data), *words)


def words_of(untrained: Path, tiny_data: Path) -> list[str]:
    return [f"checkpoint={untrained / 'efm'}", f"paths.data_dir={tiny_data}", *WORDS]


def until(what) -> None:
    end = time.monotonic() + LONGEST
    while not what():
        assert time.monotonic() < end, "hangs"
        time.sleep(0.02)


def at_record(monkeypatch, number: int, act) -> None:
    """Do something when the so-many-th piece of the work is in the file, and not yet noted."""
    from spacecast.forecast.place import Place

    record, records = Place.record, []

    def told(place, unit, found):
        records.append(unit)
        if len(records) == number:
            act()
        record(place, unit, found)

    monkeypatch.setattr(Place, "record", told)


def assert_goes_on(forecast, workplace: Path) -> None:
    """Nothing is there; the same command again makes the file, and it is that of a forecast without interruption."""
    assert not (workplace / "a.zarr").exists()
    assert forecast("output=a.zarr").code == 0
    assert forecast("output=whole.zarr").code == 0
    one, two = (xr.load_dataset(workplace / name).drop_attrs() for name in ("a.zarr", "whole.zarr"))
    assert one.identical(two)
    assert {path.name for path in workplace.iterdir()} >= {"a.zarr", "whole.zarr"}
    assert not list(workplace.glob(".*"))


def test_a_signal_ends_it_and_the_same_command_goes_on(forecast, workplace, monkeypatch):
    with monkeypatch.context() as patch:
        at_record(patch, 3, lambda: os.kill(os.getpid(), signal.SIGTERM))
        result = forecast("output=a.zarr")
    assert result.code == 75
    assert result.line == "spacecast-forecast: error: interrupted by SIGTERM; the same command goes on"
    counted: list[int] = []
    with monkeypatch.context() as patch:
        at_record(patch, 1, lambda: counted.append(len(list(workplace.glob(".a.zarr.unfinished/done/*")))))
        assert_goes_on(forecast, workplace)
    assert counted == [2]  # so much was not made again


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code", "text"),
    [
        (signal.SIGKILL, 1, "process 2 of 2 was killed by SIGKILL"),
        (signal.SIGTERM, 75, "interrupted by SIGTERM; the same command goes on"),
    ],
)
def test_the_end_of_one_process_is_that_of_all(forecast, workplace, monkeypatch, number, code, text):
    def end_the_other() -> None:
        [other] = [child for child in psutil.Process().children() if "spacecast.process.peers" in child.cmdline()]
        other.send_signal(number)
        until(lambda: False)

    with monkeypatch.context() as patch:
        at_record(patch, 1, end_the_other)
        result = forecast("output=a.zarr", "trainer.devices=2")
    assert result.code == code
    assert text in result.line
    assert_goes_on(forecast, workplace)


@pytest.mark.slow
def test_a_killed_command_takes_its_processes_along_and_goes_on(forecast, workplace, untrained, tiny_data):
    program = [sys.executable, str(Path(__file__).with_name("held_forecast.py")), str(workplace / "here")]
    words = [*words_of(untrained, tiny_data), "output=a.zarr", "trainer.devices=2"]
    with (workplace / "log").open("w") as log:
        command = subprocess.Popen([*program, *words], stdout=log, stderr=log)
    until(lambda: (workplace / "here").exists() or command.poll() is not None)
    assert command.poll() is None, (workplace / "log").read_text()
    others = [psutil.Process(int(pid)) for pid in (workplace / "here").read_text().split()]
    assert len(others) == 1
    command.kill()
    command.wait()
    until(lambda: not any(other.is_running() and other.status() != psutil.STATUS_ZOMBIE for other in others))
    assert_goes_on(forecast, workplace)
