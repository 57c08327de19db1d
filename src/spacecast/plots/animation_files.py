"""Frames into files that move: GIF by pillow, and MP4 where ffmpeg is installed."""

import logging
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import IO

import numpy as np

from spacecast.process.files import atomic_write

log = logging.getLogger(__name__)

COLOURS = 256  # of a GIF
EVEN = "pad=ceil(iw/2)*2:ceil(ih/2)*2:color=white"  # players want even numbers of pixels


def write_animation(frames: Iterator[np.ndarray], colours: np.ndarray, path: Path, fps: float) -> list[Path]:
    """Write frames as a GIF and, where ffmpeg is installed, as an MP4 beside it.

    Both appear whole or not at all. An MP4 that ffmpeg cannot make costs a warning.

    Args:
        frames: one at least, each of shape (row, column, 3), uint8; taken one by one.
        colours: of all frames of the GIF, at most 256, shape (colour, 3), uint8; others are shown by the nearest.
        path: of the GIF.
        fps: frames per second; a GIF counts in hundredths of a second.

    Returns:
        The paths.

    """
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    palette = Image.new("P", (1, 1))
    palette.putpalette(colours[:COLOURS].astype(np.uint8).tobytes())
    film, first = path.with_suffix(".mp4"), next(frames)
    with atomic_write(path) as partial, _maybe_film(film, first.shape, fps) as video:

        def indexed() -> "Iterator[Image.Image]":
            for frame in chain([first], frames):
                if video is not None:
                    video.write(frame)
                image = Image.fromarray(np.ascontiguousarray(frame))
                yield image.quantize(palette=palette, dither=Image.Dither.NONE)

        images = indexed()
        hundredths = max(round(100 / fps), 2)
        opening = next(images)
        opening.save(partial, format="GIF", save_all=True, append_images=images, duration=10 * hundredths, loop=0)
    return [path, *([film] if video is not None and video.done else [])]


class _FilmError(Exception):
    """Ffmpeg has not made the file."""


@dataclass
class Film:
    """An MP4 that ffmpeg writes, frame by frame.

    Args:
        pipe: to ffmpeg.
        done: whether the file is there.

    """

    pipe: IO[bytes]
    done: bool = False

    def write(self, frame: np.ndarray) -> None:
        """Add a frame; where ffmpeg has ended, that is told at the end."""
        with suppress(BrokenPipeError):
            self.pipe.write(frame.tobytes())


@contextmanager
def _maybe_film(path: Path, shape: tuple[int, ...], fps: float) -> Iterator[Film | None]:
    """A film of frames (row, column, 3), where there is ffmpeg; it appears when the block ends well."""
    program = shutil.which("ffmpeg")
    if program is None:
        log.info("no %s: ffmpeg is not installed", path.name)
        yield None
        return
    words = [program, "-loglevel", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24"]
    words += ["-s", f"{shape[1]}x{shape[0]}", "-r", f"{fps:g}", "-i", "-", "-an", "-vf", EVEN]
    words += ["-pix_fmt", "yuv420p", "-movflags", "+faststart"]
    with suppress(_FilmError), atomic_write(path) as partial, tempfile.TemporaryFile() as errors:
        process = subprocess.Popen([*words, str(partial)], stdin=subprocess.PIPE, stdout=errors, stderr=errors)
        assert process.stdin is not None
        film = Film(process.stdin)
        try:
            yield film
        except BaseException:
            process.kill()
            raise
        finally:
            with suppress(BrokenPipeError):
                process.stdin.close()
            code = process.wait()
        film.done = code == 0 and partial.is_file()
        if not film.done:
            errors.seek(0)
            told = errors.read(1000).decode(errors="replace").strip().splitlines()
            log.warning("no %s: ffmpeg ended with %d%s", path.name, code, f": {told[0]}" if told else "")
            raise _FilmError
