"""The documentation as a site: built strictly, whole, and without a network when it is read."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "spacecast"
MADE = {"index.md", "contributing.md", "changelog.md", "tutorial.md"}  # of files that are not pages of docs/
LOADS = re.compile(
    r"""<(?:script|img|iframe|source|video|audio|embed|link(?![^>]*rel="?canonical))\b[^>]*?\b(?:src|href|srcset)="""
    r"""["']?((?:https?:)?//[^"'\s>]+)""",
    re.IGNORECASE,
)
CSS_LOADS = re.compile(r"""(?:url\(\s*["']?|@import\s+["'])((?:https?:)?//[^"')\s]+)""")

NOT_WHOLE = """() => [
    ...[...document.images].filter(each => !each.naturalWidth).map(each => each.src),
    ...[...document.querySelectorAll('article .md-typeset__scrollwrap')]
        .filter(each => each.scrollWidth > each.clientWidth + 1).map(each => each.innerText.slice(0, 60)),
]"""


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The site, as `make site` builds it: any warning, a dead link or anchor for one, is an error."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def named_pages(entry: Any) -> list[str]:
    """Every page that a part of the navigation names, in order."""
    if isinstance(entry, str):
        return [entry]
    parts = entry.values() if isinstance(entry, dict) else entry
    return [page for part in parts for page in named_pages(part)]


def not_in_the_navigation(pages: set[str], nav: Any) -> list[str]:
    """Pages that no entry leads to."""
    return sorted(pages - set(named_pages(nav)))


def loads(html: str) -> list[str]:
    """What a page, or the styles in it, fetches from elsewhere when it is opened."""
    return [*LOADS.findall(html), *CSS_LOADS.findall(html)]


def public_names(path: Path) -> list[str]:
    """Dotted names of the classes and functions of a module, and of their methods."""
    module = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
    names = []
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            inside = node.body if isinstance(node, ast.ClassDef) else []
            methods = [part.name for part in inside if isinstance(part, ast.FunctionDef)]
            public = ["", *(f".{name}" for name in methods if not name.startswith("_"))]
            names += [f"{module}.{node.name}{part}" for part in public]
    return names


def test_every_page_is_in_the_navigation():
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]
    pages = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert not_in_the_navigation(pages, nav) == [], "name these pages in `nav` of mkdocs.yml"
    assert set(named_pages(nav)) <= pages | MADE
    assert len(named_pages(nav)) == len(set(named_pages(nav)))


def test_a_page_that_is_missing_from_the_navigation_is_named():
    nav = [{"Home": "index.md"}, {"Use": [{"One": "one.md"}, "two.md"]}]
    assert not_in_the_navigation({"index.md", "one.md", "two.md", "three.md"}, nav) == ["three.md"]


@pytest.mark.parametrize(
    ("html", "found"),
    [
        ('<script src="https://cdn.example/a.js"></script>', ["https://cdn.example/a.js"]),
        ("<link rel=stylesheet href=//fonts.example/css>", ["//fonts.example/css"]),
        ("<style>@import 'https://fonts.example/css'; a {b: url(https://c.example/d.png)}</style>", 2),
        ('<a href="https://arxiv.org">a link</a> <img src="images/a.png">', []),
        ('<link rel="canonical" href="https://example.org/">', []),
    ],
)
def test_what_counts_as_loaded_from_a_network(html, found):
    assert loads(html) == found if isinstance(found, list) else len(loads(html)) == found


@pytest.mark.slow
def test_no_page_loads_anything_from_a_network(site):
    pages = {path.relative_to(site).as_posix(): path.read_text() for path in site.rglob("*.html")}
    assert len(pages) > 30
    found = {name: loads(text) for name, text in pages.items() if loads(text)}
    assert found == {}
    assert not any('class="mermaid"' in text for text in pages.values())  # its program would come from a network
    styles = [path.read_text() for path in site.rglob("*.css")]
    assert [found for text in styles for found in CSS_LOADS.findall(text)] == []


@pytest.mark.slow
def test_pages_are_whole_in_a_browser(site, browser_page):
    """Every picture is there, and no table is wider than the page of a small laptop."""
    failed: list[str] = []
    browser_page.set_default_timeout(0)
    pages = sorted(path.name for path in site.glob("*.html") if path.name != "404.html")
    assert len(pages) > 20
    for name in pages:
        browser_page.goto(f"file://{site / name}")
        failed += [f"{name}: {what}" for what in browser_page.evaluate(NOT_WHOLE)]
    assert failed == []


@pytest.mark.slow
def test_no_formula_is_left_as_it_was_typed(site):
    texts = [path.read_text() for path in site.glob("*.html")]
    assert not any("arithmatex" in text for text in texts)


@pytest.mark.slow
def test_the_reference_holds_everything_that_is_public(site):
    missing = []
    for package in sorted(path.parent for path in PACKAGE.glob("*/__init__.py")):
        anchors = set(re.findall(r'id="?(spacecast\.[\w.]+)', (site / "api" / f"{package.name}.html").read_text()))
        modules = [path for path in package.glob("*.py") if not path.name.startswith("_")]
        missing += [name for path in modules for name in public_names(path) if name not in anchors]
    assert missing == []
    assert 'id="spacecast.load"' in (site / "api" / "index.html").read_text()


@pytest.mark.slow
def test_pages_open_from_the_disk(site):
    assert (site / "index.html").is_file()
    assert 'href="evaluation.html#physics"' in (site / "index.html").read_text()  # README links to a section of docs/
    assert (site / "images" / "forecast.png").is_file()
    assert not list(site.rglob("*.py"))
