import errno
import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spacecast.core.errors import UserError
from spacecast.tracking import journal as module
from spacecast.tracking.delivered import note_delivered, one_at_a_time, read_delivered, without_password
from spacecast.tracking.journal import Journal, read_summary, summarise


def records(path: Path) -> list[dict]:
    with Journal(path, writing=False) as reader:
        return [record for found, _ in reader.pieces() for record in found]


def steps(path: Path) -> list[int]:
    return [step for record in records(path) for _, _, step in record.get("metrics", ())]


def start(journal: Journal, run: str = "r", **changes) -> None:
    told = {"run": run, "experiment": "e", "name": "n", "store": "s", "tags": {}, "host": "h", "pid": 1, "job": None}
    journal.append(start={**told, **changes})


def test_what_is_appended_is_read_in_order(tmp_path):
    with Journal(tmp_path / "new" / "tracking.jsonl") as journal:
        for step in range(5):
            journal.append(metrics=[["a", 0.1, step], ["b", None, step]])
        found, end = journal.read(0)
        assert end == journal.size == (tmp_path / "new" / "tracking.jsonl").stat().st_size
    assert [record["metrics"][0][2] for record in found] == [0, 1, 2, 3, 4]
    assert records(tmp_path / "new" / "tracking.jsonl") == found
    for line in (tmp_path / "new" / "tracking.jsonl").read_text().splitlines():
        assert json.loads(line, parse_constant=pytest.fail)["time"] > 1e12  # strict JSON: no NaN


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(st.text(max_size=60), max_size=12), piece=st.integers(1, 200), cuts=st.lists(st.integers(1, 40)))
def test_pieces_and_writes_of_any_size_give_the_same_lines(texts, piece, cuts, monkeypatch):
    """The disk takes some bytes of each write, or none."""
    write, sizes = os.write, iter(cuts)

    def grudging(file: int, data: bytes) -> int:
        size = next(sizes, len(data))
        if size % 5 == 0:
            raise OSError(errno.ENOSPC, "full")
        return write(file, bytes(data[:size]))

    with monkeypatch.context() as patch, Journal(None) as journal:
        patch.setattr(module, "PIECE", piece)
        patch.setattr(os, "write", grudging)
        for text in texts:
            journal.append(tags={"t": text})
        assert [record["tags"]["t"] for found, _ in journal.pieces() for record in found] == texts


def test_a_full_disk_warns_once_and_what_it_does_not_take_is_kept(caplog):
    journal = Journal(Path("/dev/full"))
    for step in range(3):
        journal.append(metrics=[["a", 1.0, step]])
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "/dev/full cannot be written (No space left on device); training goes on" in caplog.text
    assert [record["metrics"][0][2] for record in journal.read(0)[0]] == [0, 1, 2]


def test_a_disk_that_has_room_again_gets_everything_in_order(tmp_path, monkeypatch):
    journal = Journal(tmp_path / "tracking.jsonl")

    def full(*_):
        raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        for step in range(3):
            journal.append(metrics=[["a", 1.0, step]])
        assert steps(tmp_path / "tracking.jsonl") == []
    journal.append(metrics=[["a", 1.0, 3]])
    assert steps(tmp_path / "tracking.jsonl") == [0, 1, 2, 3]


def test_memory_is_bounded_when_the_disk_takes_nothing(monkeypatch):
    monkeypatch.setattr(module, "SPARE", 200)
    journal = Journal(Path("/dev/full"))
    for step in range(100):
        journal.append(metrics=[["a", 1.0, step]])
    assert journal.size <= 200
    assert [record["metrics"][0][2] for record in journal.read(0)[0]] == list(range(len(journal.read(0)[0])))


def test_a_place_that_cannot_be_written_costs_a_warning(tmp_path, caplog):
    (tmp_path / "file").touch()
    journal = Journal(tmp_path / "file" / "tracking.jsonl")
    journal.append(tags={"a": "b"})
    assert journal.read(0)[0][0]["tags"] == {"a": "b"}
    assert len(caplog.records) == 1


def test_what_comes_after_the_close_goes_nowhere(tmp_path):
    journal = Journal(tmp_path / "tracking.jsonl")
    journal.close()
    with (tmp_path / "other").open("w") as other:
        journal.append(tags={"a": "b"})
        assert other.tell() == 0
    assert (tmp_path / "other").read_text() == (tmp_path / "tracking.jsonl").read_text() == ""


def test_an_unfinished_line_is_skipped_and_the_next_process_begins_a_new_one(tmp_path):
    path = tmp_path / "tracking.jsonl"
    with Journal(path) as journal:
        journal.append(metrics=[["a", 1.0, 1]])
    with path.open("a") as file:
        file.write('{"time":5,"metrics":[["a",1')
    assert steps(path) == [1]
    with Journal(path) as journal:
        journal.append(metrics=[["a", 1.0, 2]])
    assert steps(path) == [1, 2]


KILLED = """
import sys
from pathlib import Path
from spacecast.tracking.journal import Journal
journal = Journal(Path(sys.argv[1]))
step = 0
while True:
    journal.append(metrics=[["a", 1.0, step]])
    print(step, flush=True)
    step += 1
"""


def test_a_killed_process_loses_nothing_that_it_has_appended(tmp_path):
    path = tmp_path / "tracking.jsonl"
    with subprocess.Popen([sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if int(line) == 500:
                break
        process.send_signal(signal.SIGKILL)
        said = [500, *map(int, process.stdout.read().split("\n")[:-1])]
    found = steps(path)
    assert found == list(range(len(found)))
    assert len(found) > said[-1]


def test_the_story_is_that_of_the_first_start_and_the_last_process(tmp_path):
    path = tmp_path / "tracking.jsonl"
    with Journal(path) as journal:
        start(journal, store="here", pid=1)
        journal.append(metrics=[["a", 2.0, 5], ["a", 1.0, 4], ["b", None, 1]])
        journal.append(end="KILLED")
    assert read_summary(path).ended == "KILLED"
    with Journal(path) as journal:
        start(journal, experiment="other", name="other", store="there", pid=2)
        summary = summarise(journal)
        journal.append(metrics=[["a", 3.0, 5]])
    assert (summary.run, summary.experiment, summary.name, summary.store) == ("r", "e", "n", "there")
    assert (summary.ended, summary.process["pid"]) == ("", 2)
    assert {name: point[0] for name, point in summary.latest.items()} == {"a": 5, "b": 1}
    summary = read_summary(path)
    assert summary.latest["a"][2] == 3.0
    assert summary.began <= summary.process["time"] <= summary.last


def test_places_are_noted_for_each_store_without_passwords(tmp_path, caplog):
    path = tmp_path / "tracking.jsonl"
    assert read_delivered(path, "sqlite:////a/b.db") == ("", 0)
    note_delivered(path, "postgresql://me:secret@host:1/db", "r1", 10)
    note_delivered(path, "sqlite:////a/b.db", "r2", 20)
    assert read_delivered(path, "postgresql://me:secret@host:1/db") == ("r1", 10)
    assert read_delivered(path, "sqlite:////a/b.db") == ("r2", 20)
    assert "secret" not in (tmp_path / "tracking.json").read_text()
    assert without_password("http://host:5000") == "http://host:5000"
    (tmp_path / "tracking.json").write_text("{")
    assert read_delivered(path, "sqlite:////a/b.db") == ("", 0)
    note_delivered(tmp_path / "absent" / "tracking.jsonl", "s", "r", 1)
    note_delivered(None, "s", "r", 1)
    assert not caplog.records


def test_one_at_a_time_holds_the_lock_and_none_is_needed_where_it_cannot_be_made(tmp_path):
    path = tmp_path / "tracking.jsonl"

    def refused() -> bool:
        with pytest.raises(UserError, match=r"tracking\.jsonl is in use by this process; try again later"):
            one_at_a_time(path, 0.1).__enter__()
        return True

    with one_at_a_time(path, 1.0), ThreadPoolExecutor(1) as another:
        assert another.submit(refused).result()
    places = path, tmp_path / "absent" / "tracking.jsonl", None
    with one_at_a_time(places[0], 0.1), one_at_a_time(places[1], 0.1), one_at_a_time(places[2], 0.1):
        pass
