"""What `make site` adds to docs/: pages from the root, formulas as MathML, the tutorial, the API reference.

mkdocs calls the functions by their names (`hooks` in mkdocs.yml).
"""

import re
from html import unescape
from pathlib import Path
from typing import Any

import jupytext
from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "spacecast"
FROM_ROOT = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
TUTORIAL = {"tutorial.py": "tutorial.md"}
RENAMED = FROM_ROOT | TUTORIAL
AS_THEY_ARE = ("LICENSE", "CITATION.cff")
FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.+?)\\[)\]]</\1>', re.DOTALL)
LINK = re.compile(r"(?<=\]\()(?:\.\./)?(?:docs/)?([^)#:\s]+)(?=[)#])")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """The pages of the API reference come last."""
    pages = [{"Overview": "api/index.md"}, *({name: f"api/{name}.md"} for name in packages())]
    config.nav.append({"API": pages})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that no file of docs/ holds."""
    pages = {name: (ROOT / source).read_text() for source, name in FROM_ROOT.items()}
    tutorial = jupytext.read(ROOT / "docs" / "tutorial.py")
    pages["tutorial.md"] = "\n\n".join(_shown(cell) for cell in tutorial.cells)
    pages["api/index.md"] = overview()
    pages |= {f"api/{name}.md": reference(name) for name in packages()}
    pages |= {name: (ROOT / name).read_text() for name in AS_THEY_ARE}
    for name, content in pages.items():
        files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Links between pages of the root and of docs/ as they are on the site, which is flat."""
    if "/" in page.file.src_uri:
        return markdown
    return LINK.sub(lambda match: RENAMED.get(match[1], match[1]), markdown)


def on_page_content(html: str, **_: Any) -> str:
    """Formulas of LaTeX as MathML, which browsers show by themselves."""
    return FORMULA.sub(lambda match: _mathml(unescape(match[2]), "block" if match[1] == "div" else "inline"), html)


def packages() -> list[str]:
    """The packages of spacecast, by name."""
    return sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))


def modules(package: str) -> list[str]:
    """The modules of a package, dotted, those that begin with an underscore left out."""
    found = sorted(path.stem for path in (PACKAGE / package).glob("[!_]*.py"))
    return [f"spacecast.{package}.{name}" for name in found]


def overview() -> str:
    """The page that lists the packages, and what `import spacecast` offers."""
    rows = [f"| [`{name}`]({name}.md) | {_first_line(PACKAGE / name / '__init__.py')} |" for name in packages()]
    table = "\n".join(["| Package | What it holds |", "|---|---|", *rows])
    return f"# API reference\n\nWritten from the docstrings.\n\n{table}\n\n::: spacecast\n"


def reference(package: str) -> str:
    """The page of a package: each of its modules with everything that is public."""
    parts = [f"## {name.rpartition('.')[2]}\n\n::: {name}\n    options:\n      show_root_heading: false\n"
             for name in modules(package)]  # fmt: skip
    return "\n".join([f"# spacecast.{package}\n\n{_first_line(PACKAGE / package / '__init__.py')}\n", *parts])


def _first_line(path: Path) -> str:
    """The first line of the docstring of a module."""
    found = re.match(r'"""(.+?)(?:"""|\n)', path.read_text())
    return found[1] if found else ""


def _shown(cell: Any) -> str:
    """A cell of a notebook as Markdown."""
    return cell.source if cell.cell_type == "markdown" else f"```python\n{cell.source}\n```"


def _mathml(formula: str, display: str) -> str:
    """A formula on a line of its own, which scrolls where the page is narrow, or within a line."""
    made = convert(formula.strip(), display=display)
    return f'<div style="overflow-x: auto; margin: 1em 0">{made}</div>' if display == "block" else made
