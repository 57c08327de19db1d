import logging

import pytest

from spacecast.tracking.outbox import Outbox, Record


class FakeStore:
    def __init__(self):
        self.error: Exception | None = None
        self.got: list[str] = []
        self.tries = 0

    def deliver(self, record: Record) -> None:
        self.tries += 1
        if self.error:
            raise self.error
        if record.method == "bad":
            raise ValueError("bad record")
        self.got.append(record.method)


@pytest.fixture
def store() -> FakeStore:
    return FakeStore()


def _outbox(store: FakeStore, **options) -> Outbox:
    return Outbox(store.deliver, lambda error: isinstance(error, ValueError), **{"retry_seconds": 0.0, **options})


def test_records_arrive_in_order(store):
    outbox = _outbox(store)
    for name in "abc":
        outbox.send(Record(name, {}))
    assert store.got == ["a", "b", "c"]
    assert not outbox.waiting


def test_nothing_is_lost_while_the_store_is_away_and_it_warns_once(store, caplog):
    outbox = _outbox(store)
    store.error = ConnectionError("gone\nsecond line")
    with caplog.at_level(logging.WARNING):
        for name in "abc":
            outbox.send(Record(name, {}))
    assert len(caplog.records) == 1
    assert "gone" in caplog.text
    assert "second line" not in caplog.text
    store.error = None
    outbox.send(Record("d", {}))
    assert store.got == ["a", "b", "c", "d"]
    assert "takes records again" in caplog.text


def test_a_store_that_is_down_is_left_alone_for_a_while(store):
    outbox = _outbox(store, retry_seconds=60.0)
    store.error = TimeoutError()
    for name in "abc":
        outbox.send(Record(name, {}))
    assert store.tries == 1
    assert not outbox.flush()
    assert store.tries == 2


def test_a_refused_record_does_not_block_the_others(store, caplog):
    outbox = _outbox(store)
    outbox.send(Record("bad", {}))
    outbox.send(Record("a", {}))
    assert store.got == ["a"]
    assert "refused bad: bad record" in caplog.text


def test_memory_is_bounded(store):
    outbox = _outbox(store, limit=2)
    store.error = OSError("disk full")
    for name in "abc":
        outbox.send(Record(name, {}))
    assert [record.method for record in outbox.waiting] == ["b", "c"]
