"""Figures that are looked at instead of written."""

import sys
from pathlib import Path

import pytest
from matplotlib.figure import Figure

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def drawn(monkeypatch) -> list[Figure]:
    """Figures in the order of their drawing; none is rendered."""
    figures: list[Figure] = []

    def keep(figure: Figure, path: Path) -> None:
        figures.append(figure)
        path.touch()

    monkeypatch.setattr(Figure, "savefig", keep)
    return figures
