"""ended: calls are remembered for two minutes, in bounds, and forgotten a few at a time; events are bounded too."""

from __future__ import annotations

import pytest

from tests.lua.ledger import MINUTE, T0, Ledger

KEEP = 2 * MINUTE


def _fill(pool: Ledger, count: int, ended_ms: int, name: str = "old") -> None:
    pool.client.zadd(pool.keys["ended"], {f"{name}{n}": ended_ms for n in range(count)})


@pytest.mark.parametrize(("age", "left"), [(KEEP - 1, 10), (KEEP, 2), (KEEP + 1, 2)])
def test_a_call_is_remembered_for_two_minutes_to_the_millisecond(pool: Ledger, age: int, left: int) -> None:
    """A release adds two marks (its own call and the one that granted), and forgets at most four for each."""
    pool.grant("a", {"cpu": 1})
    pool.client.delete(pool.keys["ended"])
    _fill(pool, 10, T0 - age)
    pool.release("a")
    assert len([call for call in pool.index("ended") if call.startswith("old")]) == left


def test_the_oldest_go_first(pool: Ledger) -> None:
    """And none that is young enough."""
    pool.grant("a", {"cpu": 1})
    pool.client.delete(pool.keys["ended"])
    _fill(pool, 3, T0 - KEEP - 5, "oldest")
    _fill(pool, 3, T0 - KEEP + 1, "young")
    pool.release("a")
    kept = {call.rstrip("0123456789") for call in pool.index("ended")} - {"call-"}
    assert kept == {"young"}


@pytest.mark.parametrize(("before", "left"), [(7, 7), (8, 8), (9, 8), (10, 8), (30, 22)])
def test_the_count_is_bounded_whatever_the_age(pool: Ledger, before: int, left: int) -> None:
    """Here at most ten: what is added takes the place of the oldest, and an excess shrinks by four for each added."""
    pool.grant("a", {"cpu": 1})
    pool.client.delete(pool.keys["ended"])
    pool.client.zadd(pool.keys["ended"], {f"young{n:02}": T0 - 1000 + n for n in range(before)})
    pool.release("a", bounds={"ENDED_MAX": 10})
    kept = sorted(call for call in pool.index("ended") if call.startswith("young"))
    assert kept == [f"young{n:02}" for n in range(before - left, before)]


def test_a_call_that_adds_no_mark_forgets_none(pool: Ledger) -> None:
    """The hot path pays nothing."""
    pool.client.delete(pool.keys["ended"])
    _fill(pool, 10, T0 - KEEP - 1)
    pool.grant("a", {"cpu": 1})
    assert len(pool.index("ended")) == 10


def test_events_are_trimmed_to_about_ten_thousand(newest: Ledger) -> None:
    """MAXLEN ~ trims by whole nodes of a hundred entries."""
    newest.create({"cpu": 10})
    with newest.client.pipeline(transaction=False) as pipe:
        for _ in range(10_300):
            pipe.xadd(newest.keys["events"], {"kind": "granted"})
        pipe.execute()
    newest.grant("a", {"cpu": 1})
    assert 10_000 <= newest.client.xlen(newest.keys["events"]) <= 10_100
    newest.release("a")
    assert 10_000 <= newest.client.xlen(newest.keys["events"]) <= 10_100
