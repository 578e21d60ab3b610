"""Backfill and batches that wait as one: when all of a batch can start, and when it is let through as a whole."""

from __future__ import annotations

import pytest

from tests.scripts.gangs import Gang, enter
from tests.scripts.ledger import MINUTE, T0, Ledger
from tests.scripts.test_backfill import LATE, SOON, START, foreseen, permit, request, short
from tests.scripts.waiting import wait

__all__ = ["short"]


@pytest.fixture
def busy(pool: Ledger) -> Ledger:
    """Of cpu 3 are free, 2 more from four seconds on, 3 from ten on, and 2 from fourteen on."""
    permit(pool)
    for name, cpu, ttl in (("a", 2, SOON), ("b", 3, START), ("c", 2, LATE)):
        pool.grant(name, {"cpu": cpu}, ttl=ttl)
    return pool


@pytest.mark.parametrize(("last", "goes"), [(START, True), (START + 1, False), (0, False)])
def test_a_gang_is_let_through_whole_if_all_of_it_ends_in_time(short: Ledger, last: int, goes: bool) -> None:
    """Its latest hard end counts; with a member that has none it waits."""
    short.configure("change", promises="queue_policy=strict queue_backfill=")
    lines = tuple(
        short.want(name, {"cpu": cpu}, wait=MINUTE, lifetime=lifetime)
        for name, cpu, lifetime in (("x", 1, SOON), ("y", 2, last))
    )
    gang = Gang(short, lines, ())
    assert gang.hear() == ["waiting", "waiting"]
    permit(short)
    assert request(short, 0) == "queued", "it looks at the line"
    assert short.waiting == (["first"] if goes else ["first", "x"])
    filled = [one["id"] for one in short.events if one.get("reason") == "backfilled"]
    assert filled == (["x", "y"] if goes else [])
    assert "waiting_passes" not in short.account
    if goes:
        assert gang.hear() == ["replayed", "replayed"]
        assert short.record("y")["ends_ms"] == str(T0 + START)


def test_a_gang_that_leads_starts_when_all_of_it_fits(busy: Ledger) -> None:
    """Each of its members alone would fit sooner; who stands behind it starts after all of it."""
    enter(busy, {"x": {"cpu": 4}, "y": {"cpu": 4}}, ttl=0)
    assert foreseen(busy, 2) == (2, LATE)
    assert request(busy, 1, START + 1) == "queued"
    assert request(busy, 3, START) == "granted"
    wait(busy, "second", {"cpu": 2})
    assert busy.list_waiters(starts=1)[7::6] == [T0 + START, T0 + LATE]


def test_each_member_starts_in_its_own_scope(busy: Ledger) -> None:
    """The pool alone has room sooner."""
    busy.set_quota("t", {"memory": (10, 0, "-")})
    busy.grant("mine", {"memory": 8}, ttl=LATE, scope="t")
    lines = [busy.want("x", {"cpu": 4}, wait=MINUTE), busy.want("y", {"memory": 3}, wait=MINUTE, scope="t")]
    assert Gang(busy, tuple(lines), ()).hear() == ["waiting", "waiting"]
    assert busy.list_waiters(starts=1)[7] == T0 + LATE
    assert request(busy, 1, LATE + 1) == "queued"
    assert request(busy, 1, LATE) == "granted"


def test_a_live_member_that_ends_before_the_start_has_to_fit_again(pool: Ledger) -> None:
    """Its own room is no room for the others."""
    permit(pool)
    pool.grant("x", {"cpu": 3}, ttl=SOON)
    pool.grant("other", {"cpu": 2}, ttl=START)
    enter(pool, {"x": {"cpu": 3}, "y": {"cpu": 7}}, ttl=SOON)
    assert pool.list_waiters(starts=1)[7] == T0 + START
    assert request(pool, 1, START + 1) == "queued"
    assert request(pool, 1, START) == "granted"


def test_a_gang_of_which_one_member_is_held_back_does_not_lead(short: Ledger) -> None:
    """It has no start of its own, though its first could soon have its room."""
    short.grant("m", {"memory": 60}, ttl=SOON)
    enter(short, {"x": {"memory": 60}, "y": {"cpu": 1}}, ttl=0)
    assert request(short, 1, START) == "granted"
