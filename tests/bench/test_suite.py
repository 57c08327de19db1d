"""The parts of the suite: floors by hand, lines of the table, failures that are told."""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch


def test_the_floor_of_a_product_is_the_longer_of_two_times(bench):
    machine = bench("machine")
    one, other = torch.ones(20, 30), torch.ones(30, 40)
    flops, moved = 2 * 20 * 30 * 40, 4 * (20 * 30 + 30 * 40 + 20 * 40)
    for peaks, seconds in ((machine.Peaks(1.0, 1e9), flops), (machine.Peaks(1e9, 1.0), moved)):
        found = machine.floor_of(lambda: torch.relu(one @ other) + 1, peaks)
        assert found == {"floor": pytest.approx(seconds), "flops": flops, "bytes": moved}


def test_the_floor_of_a_gather_is_its_bytes(bench):
    machine = bench("machine")
    rows, places = torch.ones(10, 8), torch.tensor([1, 2, 3])
    found = machine.floor_of(lambda: rows.index_select(0, places), machine.Peaks(1e9, 2.0))
    assert found["bytes"] == 4 * 80 + 8 * 3 + 4 * 24
    assert found["floor"] == found["bytes"] / 2


def test_memory_is_what_comes_on_top(bench):
    """An array of 64 MB that is touched and gone again, each time, in a process that has kept no memory before."""
    folder = Path(bench("machine").__file__).parent
    act = "import torch, machine; print(*machine.measure(lambda: torch.ones(2**24), 1))"
    done = subprocess.run([sys.executable, "-c", act], cwd=folder, capture_output=True, text=True, check=True)
    seconds, median, memory = map(float, done.stdout.split())
    assert 60e6 < memory < 200e6
    assert 0 < seconds <= median


def test_the_memory_of_a_command_is_its_own(bench):
    """Not that of this process, which has loaded torch."""
    seconds, memory = bench("cases").child([sys.executable, "-I", "-S", "-c", "pass"])
    assert seconds > 0
    assert 2e6 < memory < 60e6
    with pytest.raises(SystemExit, match="ended with status 3"):
        bench("cases").child([sys.executable, "-I", "-S", "-c", "import sys; sys.exit(3)"])


def row(**changes) -> dict:
    ours = {"seconds": 2.0, "median": 2.1, "memory": 100 * 2**20, "floor": 0.5}
    return {"case": "step-flat", "size": "240x160", "width": 64, "ours": ours} | changes


def test_lines_of_the_table(bench):
    report = bench("report")
    what = "| training step, flat Graph-FM, roll-out of 4 | 240 x 160 | 64 | 2 | 100 | 0.5 | 4 |"
    assert report.line(row()) == f"{what}  |  |"
    reference = {"seconds": 5.0, "median": 5.0, "memory": 150 * 2**20}
    assert report.line(row(reference=reference)) == f"{what} 2.50 | 1.50 |"
    assert report.line(row(reference={"failed": "MemoryError"})) == f"{what} MemoryError |  |"
    assert "killed" in report.line(row(ours={"failed": "killed"}))


def test_the_table_goes_between_its_markers_and_nowhere_else(bench, tmp_path):
    report, page = bench("report"), tmp_path / "speed.md"
    page.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    for _ in range(2):
        report.write_between_markers(page, [row(size="1006x671"), row()], "a machine")
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert text.index("240 x 160") < text.index("1006 x 671")
    page.write_text("no markers")
    with pytest.raises(SystemExit, match="between which the table belongs"):
        report.write_between_markers(page, [], "a machine")


def test_words_of_the_command(bench):
    run = bench("run")
    assert run.parsed([]).sizes == [(60, 40), (120, 80)]
    assert run.parsed(["--full"]).sizes[-1] == (1006, 671)
    assert run.parsed(["--full", "--sizes", "30x20"]).sizes == [(30, 20)]
    with pytest.raises(argparse.ArgumentTypeError, match="no size such as"):
        run.size_of("big")


def test_a_measurement_in_its_own_process(bench, tmp_path):
    task = {"case": "graph", "size": [60, 40], "width": None, "work": str(tmp_path), "reference": None}
    found = bench("run").in_process({**task, "repetitions": 1})
    assert found["seconds"] >= found["floor"] > 0


def test_both_sides_take_turns_and_rows_are_kept(bench, tmp_path, monkeypatch, capsys):
    run, sides = bench("run"), []

    def in_process(task):
        sides.append(task["reference"] and "reference")
        return {"seconds": 1.0 + len(sides), "memory": 10 * 2**20, "floor": 0.1}

    monkeypatch.setattr(run, "in_process", in_process)
    path, words = tmp_path / "bench.json", ["--sizes", "60x40", "--widths", "8", "--rounds", "2"]
    options = run.parsed([*words, "--cases", "rollout", "step-default", "--reference", str(tmp_path)])
    run.run(options, tmp_path, path)
    assert sides == [None, "reference", None, "reference", None, None]  # there is no default model over there
    first, second = json.loads(path.read_text())["rows"]
    assert (first["ours"]["seconds"], first["reference"]["seconds"]) == (2.0, 3.0)
    assert first["ours_rounds"] == [2.0, 4.0]
    assert "reference" not in second
    run.run(run.parsed([*words, "--cases", "rollout", "--add"]), tmp_path, path)
    rows = json.loads(path.read_text())["rows"]
    assert [row["case"] for row in rows] == ["step-default", "rollout"]
    assert "reference" not in rows[1]  # measured anew
    assert capsys.readouterr().out.count("roll-out of 4 steps") == 2


def test_what_fails_is_told(bench, tmp_path):
    """A reference that is none."""
    run = bench("run")
    options = run.parsed(["--cases", "graph", "--sizes", "60x40", "--reference", str(tmp_path)])
    task = {"case": "graph", "size": [60, 40], "width": None, "work": str(tmp_path), "repetitions": 0}
    assert "no package neural_lam" in run.in_process({**task, "reference": str(options.reference)})["failed"]
