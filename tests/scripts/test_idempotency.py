"""ended: calls are remembered for two minutes, in bounds, and forgotten a few at a time; events are bounded too."""

from __future__ import annotations

import pytest

from tests.scripts.ledger import MINUTE, T0, Ledger

KEEP = 2 * MINUTE

EVERY = 32
"""Revisions between two looks at the old ones."""


def _fill(pool: Ledger, count: int, ended_ms: int, name: str = "old") -> None:
    pool.client.zadd(pool.keys["ended"], {f"{name}{n:03}": ended_ms for n in range(count)})


def _before_a_look(pool: Ledger) -> None:
    """A grant, after which the next change is one at which old marks are looked for."""
    pool.grant("a", {"cpu": 1})
    pool.client.delete(pool.keys["ended"])
    pool.client.hset(pool.keys["pool"], "revision", EVERY * (pool.revision // EVERY + 1) - 1)


def _kept(pool: Ledger) -> set[str]:
    return {call.rstrip("0123456789") for call in pool.index("ended")} - {"call-"}


@pytest.mark.parametrize(("age", "kept"), [(KEEP - 1, {"old"}), (KEEP, set()), (KEEP + 1, set())])
def test_a_call_is_remembered_for_two_minutes_to_the_millisecond(pool: Ledger, age: int, kept: set[str]) -> None:
    """Every 32nd revision those that are old enough are forgotten."""
    _before_a_look(pool)
    _fill(pool, 10, T0 - age)
    pool.release("a")
    assert _kept(pool) == kept


def test_old_calls_are_looked_for_every_32nd_revision(pool: Ledger) -> None:
    """In between the hot path pays nothing."""
    pool.client.delete(pool.keys["ended"])
    _fill(pool, 10, T0 - KEEP - 1)
    looked = 0
    for n in range(2 * EVERY):
        pool.grant("a", {"cpu": 1})
        pool.release("a")
        looked += not any(call.startswith("old") for call in pool.index("ended"))
        if looked == 1:
            _fill(pool, 10, T0 - KEEP - 1, "new")
            assert n < EVERY // 2 + 1
    assert looked > EVERY // 2
    assert _kept(pool) == set()


def test_in_between_nobody_looks(pool: Ledger) -> None:
    """After a look, thirty-one changes leave old marks alone, and the next one does not."""
    _before_a_look(pool)
    pool.release("a")
    assert pool.revision % EVERY == 0
    _fill(pool, 3, T0 - KEEP - 1)
    for n in range(EVERY - 1):
        pool.grant(f"b{n}", {"memory": 1})
        assert "old" in _kept(pool)
    pool.grant("last", {"memory": 1})
    assert _kept(pool) == set()


def test_more_is_forgotten_than_can_be_added(pool: Ledger) -> None:
    """Or the marks would grow for ever: 32 changes add at most five each in a pool with a recovery grace."""
    _before_a_look(pool)
    _fill(pool, 999, T0 - KEEP - 5)
    pool.release("a")
    forgotten = 999 - len([call for call in pool.index("ended") if call.startswith("old")])
    assert forgotten >= 5 * EVERY


def test_the_oldest_go_first(pool: Ledger) -> None:
    """And none that is young enough."""
    _before_a_look(pool)
    _fill(pool, 3, T0 - KEEP - 5, "oldest")
    _fill(pool, 3, T0 - KEEP + 1, "young")
    pool.release("a")
    assert _kept(pool) == {"young"}


@pytest.mark.parametrize(("before", "left"), [(7, 7), (8, 8), (9, 8), (10, 8), (30, 8)])
def test_the_count_is_bounded_whatever_the_age(pool: Ledger, before: int, left: int) -> None:
    """Here at most ten: what is added takes the place of the oldest."""
    _before_a_look(pool)
    pool.client.zadd(pool.keys["ended"], {f"young{n:02}": T0 - 1000 + n for n in range(before)})
    pool.release("a", bounds={"ENDED_MAX": 10})
    kept = sorted(call for call in pool.index("ended") if call.startswith("young"))
    assert kept == [f"young{n:02}" for n in range(before - left, before)]


def test_undone_calls_that_change_nothing_are_bounded_too(pool: Ledger) -> None:
    """They take no revision: each looks for old ones itself."""
    pool.client.delete(pool.keys["ended"])
    _fill(pool, 10, T0 - KEEP - 1)
    pool.undo(("unheard", "nothing"))
    assert _kept(pool) == {"unheard"}


@pytest.mark.parametrize("verb", ["grant", "release"])
def test_events_are_trimmed_to_about_ten_thousand(newest: Ledger, verb: str) -> None:
    """MAXLEN ~ trims by whole nodes of a hundred entries."""
    newest.create({"cpu": 10})
    newest.grant("a", {"cpu": 1})
    with newest.client.pipeline(transaction=False) as pipe:
        for _ in range(10_300):
            pipe.xadd(newest.keys["events"], {"kind": "granted"})
        pipe.execute()
    if verb == "grant":
        newest.grant("b", {"cpu": 1})
    else:
        newest.release("a")
    assert 10_000 <= newest.client.xlen(newest.keys["events"]) <= 10_100
