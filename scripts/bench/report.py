"""What was measured, as lines of a Markdown table."""

from pathlib import Path
from typing import Any

from cases import CASES

HEAD = """\
| case | cells | hidden | CPU seconds | memory [MiB] | floor [s] | time / floor | reference / ours: time | memory |
|---|---|---|---|---|---|---|---|---|"""
BEGIN, END = "<!-- table: scripts/bench/run.py -->", "<!-- end of table -->"


def line(row: dict[str, Any]) -> str:
    """A row; what could not be measured says why."""
    case, ours, reference = CASES[row["case"]], row["ours"], row.get("reference")
    size = row["size"].replace("x", " x ") if case.sizes else ""
    cells = [case.what, size, str(row["width"] or "")]
    if "failed" in ours:
        return _joined([*cells, ours["failed"].replace("|", "/"), "", "", "", "", ""])
    floor = ours.get("floor") or 0.0
    cells += [_short(ours["seconds"]), f"{ours['memory'] / 2**20:.0f}", _short(floor)]
    cells.append(_short(ours["seconds"] / floor) if floor else "")
    if reference is None:
        return _joined([*cells, "", ""])
    if "failed" in reference:
        return _joined([*cells, reference["failed"].replace("|", "/"), ""])
    memory = f"{reference['memory'] / ours['memory']:.2f}" if ours["memory"] > 2**22 else ""
    return _joined([*cells, f"{reference['seconds'] / ours['seconds']:.2f}", memory])


def _short(value: float) -> str:
    """Three digits."""
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


def _joined(cells: list[str]) -> str:
    """Cells of a row."""
    return f"| {' | '.join(cells)} |"


def table(rows: list[dict[str, Any]]) -> str:
    """All rows in the order of the cases."""
    order = list(CASES)

    def place(row: dict[str, Any]) -> tuple[int, int, int]:
        return order.index(row["case"]), int(row["size"].split("x")[0]), row["width"] or 0

    return "\n".join([HEAD, *map(line, sorted(rows, key=place))])


def write_between_markers(page: Path, rows: list[dict[str, Any]], machine: str) -> None:
    """Put the table into a page.

    Raises:
        SystemExit: the page has no place for it.
    """
    before, after = around(page, BEGIN, END)
    page.write_text(f"{before}{table(rows)}\n\n{machine}\n{after}")


def around(page: Path, begin: str, end: str) -> tuple[str, str]:
    """What stands in a page before a table and behind it, the lines that mark its place included.

    Raises:
        SystemExit: the page has no place for it.
    """
    text = page.read_text()
    if begin not in text or end not in text:
        raise SystemExit(f"{page} has no lines {begin} and {end}, between which the table belongs")
    return f"{text.split(begin)[0]}{begin}\n", f"{end}{text.split(end)[1]}"
