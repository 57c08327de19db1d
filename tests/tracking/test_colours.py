"""Colours of runs: no two of the newest ones have the same."""

from types import SimpleNamespace

import pytest

from spacecast.tracking.colours import COLOUR, COLOURS, give_colour


class Store:
    """Runs by age, and their tags."""

    def __init__(self) -> None:
        self.runs: dict[str, dict[str, str]] = {}

    def search_runs(self, _, order_by, max_results):
        assert order_by == ["attributes.start_time DESC"]
        newest = list(reversed(self.runs))[:max_results]
        return [
            SimpleNamespace(info=SimpleNamespace(run_id=name), data=SimpleNamespace(tags=self.runs[name]))
            for name in newest
        ]

    def set_tag(self, run_id, name, value):
        self.runs[run_id][name] = value


@pytest.fixture
def store() -> Store:
    return Store()


def colours(store: Store) -> list[str]:
    return [tags[COLOUR] for tags in store.runs.values() if COLOUR in tags]


def test_as_many_runs_as_there_are_colours_have_different_ones_and_then_they_come_again(store):
    for number in range(25):
        store.runs[f"run-{number}"] = {}
        give_colour(store, "1", f"run-{number}")
    given = colours(store)
    assert given[: len(COLOURS)] == list(COLOURS)
    assert all(len(set(given[start : start + len(COLOURS)])) == len(COLOURS) for start in range(15))


def test_runs_that_are_made_at_the_same_time_take_different_colours(store):
    """All are there before any of them has a colour."""
    store.runs = {name: {} for name in ("d", "a", "c", "b")}
    before = {name: dict(tags) for name, tags in store.runs.items()}
    taken = []
    for name in before:
        store.runs = {each: dict(tags) for each, tags in before.items()}
        give_colour(store, "1", name)
        taken += colours(store)
    assert len(set(taken)) == 4


def test_a_run_older_than_the_newest_ones_has_a_colour_too(store):
    store.runs = {"old": {}, **{f"run-{number}": {COLOUR: colour} for number, colour in enumerate(COLOURS)}}
    give_colour(store, "1", "old")
    assert store.runs["old"][COLOUR] in COLOURS


def test_colours_that_somebody_picked_and_runs_without_one_are_no_hindrance(store):
    store.runs = {"a": {COLOUR: "#123456"}, "b": {}, "z": {}}
    give_colour(store, "1", "z")
    assert store.runs["z"][COLOUR] in COLOURS
    assert store.runs["b"] == {}
