"""Animations: what moves, and the files that are written."""

import logging
import stat
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from published_files import make_example, write_example

from spacecast.core.errors import UserError
from spacecast.core.spec import DataSpec
from spacecast.forecast.writer import ForecastWriter
from spacecast.plots import animation, animation_files
from spacecast.plots.animation import draw_animation
from spacecast.plots.forecasts import opened
from spacecast.plots.picture import Choice, ScoredRun
from spacecast.plots.plane import Plane

LEADS = 3
PALETTE = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)


@pytest.fixture(autouse=True)
def _coarse(monkeypatch):
    """Frames of few pixels, and no ffmpeg unless a test brings one."""
    monkeypatch.setattr(animation, "DPI", 30)
    monkeypatch.setenv("PATH", "/nonexistent")


def write_run(folder: Path, spec: DataSpec, members: int = 1, *, truth: bool = True, examples: int = 1) -> ScoredRun:
    """A run with example forecasts that change from lead to lead."""
    rng = np.random.default_rng(3)
    starts = np.array(["2000-01-01T00:10", "2000-01-01T00:20"], dtype="datetime64[ns]")[:examples]
    with ForecastWriter(folder / "examples.zarr", spec, starts, LEADS, members, truth=truth) as writer:
        for example in range(examples):
            for lead in range(LEADS):
                states = np.abs(rng.normal(size=(members + 1, spec.num_nodes, 12)) * (1 + lead)).astype(np.float32)
                writer.write(example, lead, states[1:], states[0] if truth else None)
    choice = Choice(variables=["rho", "Bz"], fps=5.0)
    return ScoredRun(plane=Plane.of(spec), examples=folder / "examples.zarr", name="run", choice=choice)


def titles(monkeypatch) -> list[list[str]]:
    """Titles of the panes of each animation that is made."""
    found: list[list[str]] = []
    made = animation.Scene

    def keep(planes, file, example, panes):
        found.append([pane.axes.get_title() for pane in panes])
        return made(planes, file, example, panes)

    monkeypatch.setattr(animation, "Scene", keep)
    return found


def frames(path: Path) -> list[np.ndarray]:
    """Colours of the frames of a GIF."""
    with Image.open(path) as image:
        found = []
        for number in range(image.n_frames):
            image.seek(number)
            found.append(np.asarray(image.convert("RGB")).astype(int))
        return found


def test_a_forecast_moves_beside_the_truth(tiny_spec, tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    shown = titles(monkeypatch)
    run = write_run(tmp_path, tiny_spec)
    path = tmp_path / "figures" / "animation.gif"
    assert draw_animation(run, path) == [path]
    assert list(path.parent.iterdir()) == [path]
    assert shown == [[r"$\rho$, truth", "forecast", "error", "$B_z$, truth", "forecast", "error"]]
    with Image.open(path) as image:
        assert (image.format, image.n_frames, image.info["loop"], image.info["duration"]) == ("GIF", LEADS, 0, 200)
    moving = frames(path)
    assert all(np.abs(one - other).max() > 50 for one, other in pairwise(moving))
    assert (moving[0][0] == 255).all()  # the margin is white
    assert "no animation.mp4: ffmpeg is not installed" in caplog.text


def test_what_does_not_change_stays_as_it_is(tiny_spec, tmp_path):
    """Colour bars, axes and Earth are the same in all frames, and so are the limits of the colours."""
    run = write_run(tmp_path, tiny_spec)
    draw_animation(run, tmp_path / "animation.gif")
    moving = np.stack(frames(tmp_path / "animation.gif"))
    rows, columns = moving.shape[1:3]
    bars = moving[:, rows // 4 : rows // 2, int(columns * 0.97) :]
    assert np.ptp(bars, axis=0).max() == 0


def test_frames_are_the_fields_of_their_lead(tiny_spec, tmp_path):
    run = write_run(tmp_path, tiny_spec)
    seen = []

    class Kept(animation.Scene):
        def frame(self, lead):
            colours = super().frame(lead)
            seen.append((lead, self.title.get_text(), [pane.image.get_array().copy() for pane in self.panes]))
            return colours

    original, animation.Scene = animation.Scene, Kept
    try:
        draw_animation(run, tmp_path / "animation.gif")
    finally:
        animation.Scene = original
    with opened(run.examples, run.plane) as file:
        for lead, title, images in seen[-LEADS:]:
            frame = file.frame(0, lead)
            assert title.endswith(f"2000-01-01 00:10:00 + {10 * lead} s")
            index = run.plane.index("Bz")
            expected = (frame.truth, frame.mean, frame.mean - frame.truth)
            for image, field in zip(images[3:], expected, strict=True):
                shown = tiny_spec.grid.to_nodes(np.ma.filled(image, np.nan).T)
                np.testing.assert_allclose(shown, field[:, index], rtol=1e-6)
    assert [lead for lead, _, _ in seen[-LEADS:]] == [1, 2, 3]


def test_an_ensemble_shows_its_mean_and_its_spread(tiny_spec, tmp_path, monkeypatch):
    shown = titles(monkeypatch)
    run = write_run(tmp_path, tiny_spec, members=3)
    draw_animation(replace(run, choice=Choice(variables=["Bz"])), tmp_path / "animation.gif")
    assert shown == [["$B_z$, truth", "ensemble mean", "ensemble spread"]]


@pytest.mark.parametrize(("members", "headings"), [(1, ["forecast"]), (3, ["ensemble mean", "ensemble spread"])])
def test_a_forecast_without_truth_stands_alone(members, headings, tiny_spec, tmp_path, monkeypatch):
    shown = titles(monkeypatch)
    run = write_run(tmp_path, tiny_spec, members, truth=False)
    draw_animation(replace(run, choice=Choice(variables=["vx"])), tmp_path / "animation.gif")
    assert shown == [["$v_x$, " + headings[0], *headings[1:]]]


def test_each_forecast_and_the_leads_that_are_chosen(tiny_spec, tmp_path):
    run = write_run(tmp_path, tiny_spec, examples=2)
    chosen = replace(run, choice=Choice(variables=["Bz"], leads=[1, 3]))
    paths = draw_animation(chosen, tmp_path / "animation.gif")
    assert [path.name for path in paths] == ["animation_0.gif", "animation_1.gif"]
    assert [len(frames(path)) for path in paths] == [2, 2]
    with pytest.raises(UserError, match="no lead 4"):
        draw_animation(replace(run, choice=Choice(leads=[4])), tmp_path / "animation.gif")
    with pytest.raises(UserError, match="no variable 'Bq'"):
        draw_animation(replace(run, choice=Choice(variables=["Bq"])), tmp_path / "animation.gif")


def test_a_published_example_moves_too(tiny_grid, tmp_path, monkeypatch):
    shown = titles(monkeypatch)
    path = write_example(make_example(tiny_grid), tmp_path)
    with opened(path) as file:
        run = ScoredRun(plane=file.plane, examples=path, choice=Choice(variables=["P"]))
    draw_animation(run, tmp_path / "animation.gif")
    assert shown == [["$P$, truth", "ensemble mean", "ensemble spread"]]
    assert len(frames(tmp_path / "animation.gif")) == 4


def test_there_is_nothing_to_move_without_forecasts(tmp_path):
    assert draw_animation(ScoredRun(), tmp_path / "animation.gif") == []


def bring_ffmpeg(folder: Path, monkeypatch, script: str) -> None:
    """A stand-in for ffmpeg, in Python so that it needs nothing else in PATH."""
    program = folder / "bin" / "ffmpeg"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\nimport sys\nfrom pathlib import Path\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(program.parent))


def colours(count: int = 3) -> list[np.ndarray]:
    """Frames of an odd number of pixels."""
    return [np.full((11, 7, 3), 40 * number % 256, dtype=np.uint8) for number in range(count)]


def test_ffmpeg_is_given_every_frame(tmp_path, monkeypatch):
    bring_ffmpeg(
        tmp_path, monkeypatch, "Path(sys.argv[-1]).write_bytes(sys.stdin.buffer.read() + repr(sys.argv).encode())"
    )
    path = tmp_path / "films" / "storm.gif"
    assert animation_files.write_animation(iter(colours()), PALETTE, path, 12.5) == [path, path.with_suffix(".mp4")]
    told = path.with_suffix(".mp4").read_bytes()
    assert told.startswith(b"".join(frame.tobytes() for frame in colours()))
    assert all(word in told for word in (b"'rgb24'", b"'7x11'", b"'12.5'", b"'yuv420p'", b"pad="))
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["storm.gif", "storm.mp4"]


@pytest.mark.parametrize("reads", ["sys.stdin.buffer.read()", "pass"])
def test_an_ffmpeg_that_fails_costs_the_film_alone(reads, tmp_path, monkeypatch, caplog):
    bring_ffmpeg(tmp_path, monkeypatch, f"{reads}\nprint('Unknown encoder', file=sys.stderr)\nsys.exit(3)")
    path = tmp_path / "films" / "storm.gif"
    path.parent.mkdir()
    path.with_suffix(".mp4").write_bytes(b"before")
    assert animation_files.write_animation(iter(colours(200)), PALETTE, path, 10) == [path]
    assert "no storm.mp4: ffmpeg ended with 3: Unknown encoder" in caplog.text
    assert path.with_suffix(".mp4").read_bytes() == b"before"
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["storm.gif", "storm.mp4"]


def test_an_animation_that_breaks_off_leaves_nothing(tmp_path, monkeypatch):
    bring_ffmpeg(tmp_path, monkeypatch, "Path(sys.argv[-1]).write_bytes(sys.stdin.buffer.read())")

    def broken():
        yield from colours(2)
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        animation_files.write_animation(broken(), PALETTE, tmp_path / "films" / "storm.gif", 10)
    assert list((tmp_path / "films").iterdir()) == []
