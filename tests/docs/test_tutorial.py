"""The tutorial opens as a notebook. tests/test_readme.py runs it as a script."""

from pathlib import Path

import jupytext

SCRIPT = Path(__file__).parents[2] / "docs" / "tutorial.py"


def test_the_tutorial_opens_as_a_notebook_and_comes_back_as_it_was():
    notebook = jupytext.read(SCRIPT)
    kinds = [cell.cell_type for cell in notebook.cells]
    assert kinds[0] == "markdown"
    assert min(kinds.count("markdown"), kinds.count("code")) >= 5
    assert "spacecast.load" in "".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    again = jupytext.reads(jupytext.writes(notebook, fmt="ipynb"), fmt="ipynb")
    assert [cell.source for cell in again.cells] == [cell.source for cell in notebook.cells]


def test_its_pictures_are_stored_for_its_page():
    text = SCRIPT.read_text()
    drawn = {line.partition('pictures / "')[2].partition('"')[0] for line in text.splitlines() if "savefig" in line}
    stored = {path.name for path in (SCRIPT.parent / "images" / "tutorial").iterdir()}
    assert drawn == stored
