"""The pictures of the documentation: each is shown, and none is too large for a repository."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
IMAGES = ROOT / "docs" / "images"
PAGES = [ROOT / "README.md", *ROOT.glob("docs/*.md"), ROOT / "docs" / "tutorial.py"]
SHOWN = re.compile(r"!\[[^\]]{20,}\]\((?:docs/)?images/([^)]+)\)")  # with a text that says what is to be seen


def test_every_picture_is_shown_on_a_page():
    shown = {name for page in PAGES for name in SHOWN.findall(page.read_text())}
    stored = {path.relative_to(IMAGES).as_posix() for path in IMAGES.rglob("*.*")}
    assert stored - shown == set()
    assert shown <= stored


@pytest.mark.parametrize("name", [path.name for path in sorted(IMAGES.glob("mlflow_*.png"))])
def test_screenshots_are_small(name):
    assert (IMAGES / name).stat().st_size < 250_000
