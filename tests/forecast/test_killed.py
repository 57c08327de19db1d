"""Forecasts in a process of their own that is killed: nobody could have tidied up."""

import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from spacecast.forecast.run import write_forecast
from spacecast.process.lock import InUseError

PROGRAM = """
import pickle, runpy, signal, sys
from pathlib import Path
from spacecast.core.spec import DataSpec
from spacecast.forecast.run import write_forecast

fakes, spec, output, steps = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
fakes = runpy.run_path(fakes)
frames = fakes["Frames"](DataSpec.from_dict(pickle.loads(Path(spec).read_bytes())))

def wait(done, total):
    if done >= steps:
        signal.pause()

options = {"starts": [frames.start(3), frames.start(4)], "steps": 3, "members": 4, "member_chunk": 2}
write_forecast(fakes["Drift"](noise=0.1), frames, output, statistics="beside", progress=wait, **options)
"""
PATIENCE = 120  # seconds, for whatever machine


@pytest.mark.slow
def test_a_killed_forecast_goes_on_and_ends_in_the_same_file(frames, fakes, tmp_path) -> None:
    """Killed twice, each time within a unit, once that before it is recorded."""
    options = {"starts": [frames.start(3), frames.start(4)], "steps": 3, "members": 4, "member_chunk": 2}
    options["statistics"] = "beside"
    spec, output, done = tmp_path / "spec", tmp_path / "x.zarr", tmp_path / ".x.zarr.unfinished" / "done"
    spec.write_bytes(pickle.dumps(frames.spec.to_dict()))
    arguments = [sys.executable, "-c", PROGRAM, Path(__file__).with_name("conftest.py"), spec, output]
    for record, steps, end in ((0, 8, signal.SIGKILL), (1, 10, signal.SIGTERM)):
        child = subprocess.Popen([*map(str, arguments), str(steps)])
        try:
            wait_for(done / f"{record:06d}.json", child)
            with pytest.raises(InUseError, match=rf"in use by process {child.pid}; wait for it"):
                write_forecast(fakes.Drift(noise=0.1), frames, output, **options)
            assert child.poll() is None
        finally:
            child.send_signal(end)
            child.wait(timeout=PATIENCE)
        assert not output.exists()
        assert len(list(done.iterdir())) == record + 1
    model = fakes.Drift(noise=0.1)
    write_forecast(model, frames, output, **options)
    assert len(model.rows) == 2 * 3  # the units that were not done
    whole = write_forecast(fakes.Drift(noise=0.1), frames, tmp_path / "whole", **options)
    files = [
        {str(file.relative_to(path)): file for file in path.rglob("*") if file.is_file()} for path in (whole, output)
    ]
    assert files[0].keys() == files[1].keys()
    for name, file in files[0].items():
        assert file.read_bytes() == files[1][name].read_bytes(), name
    assert not done.parent.exists()


def wait_for(path: Path, child: subprocess.Popen) -> None:
    """Return when a file is there; the child must live until then."""
    end = time.monotonic() + PATIENCE
    while not path.exists():
        assert child.poll() is None, "the child ended before"
        assert time.monotonic() < end
        time.sleep(0.01)
