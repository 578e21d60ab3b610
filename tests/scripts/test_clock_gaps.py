"""A gap of the pool's clock: a lease that was live through it is given its time, once, and never without need."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.scripts.ledger import MINUTE, T0, Ledger, fields

SECOND = 1000
HOUR = 60 * MINUTE

FROM = T0 + MINUTE
TO = T0 + MINUTE + HOUR
"""The gap of these tests: an hour in which nobody came, a minute after the first grant."""


def gap(pool: Ledger) -> None:
    """Nobody wrote to the pool for an hour; it is over now."""
    pool.client.hset(pool.key("pool"), mapping={"gap_from_ms": FROM, "gap_to_ms": TO})
    pool.now = TO


# -- what is spared ----------------------------------------------------------------------------------------------------


def _reclaim(pool: Ledger) -> bool:
    return "x" in pool.reclaim()[2:]


def _make_room(pool: Ledger) -> bool:
    return bool(pool.allocate(pool.want("n", {"cpu": 9}, ttl=0))[0][0] == "granted")


def _ask_for_it(pool: Ledger) -> bool:
    return bool(pool.allocate(pool.want("x", {"cpu": 3}))[0][0] != "conflict")


WAYS: dict[str, Callable[[Ledger], bool]] = {"reclaim": _reclaim, "room": _make_room, "id": _ask_for_it}


@pytest.mark.parametrize("way", WAYS)
def test_a_lease_that_was_live_through_a_gap_is_spared_once(pool: Ledger, way: str) -> None:
    """Its deadline is moved by the gap's length; the next time it is over."""
    pool.grant("x", {"cpu": 2}, ttl=30 * MINUTE)
    gap(pool)
    assert not WAYS[way](pool)
    assert pool.index("deadlines")["x"] == T0 + 30 * MINUTE + HOUR
    assert (pool.record("x")["gap_ms"], pool.kinds.count("deferred")) == (str(FROM), 1)
    pool.now = T0 + 30 * MINUTE + HOUR - 1
    assert not WAYS[way](pool)
    pool.now += 1
    assert WAYS[way](pool)


@pytest.mark.parametrize(("ttl", "spared"), [(MINUTE, False), (MINUTE + 1, True)])
def test_what_was_over_when_the_gap_began_is_not_spared(pool: Ledger, ttl: int, spared: bool) -> None:
    """At its deadline it is over; a millisecond later it was live."""
    pool.grant("x", {"cpu": 2}, ttl=ttl)
    gap(pool)
    assert _reclaim(pool) is not spared


def test_a_lease_that_is_over_with_the_gap_s_time_as_well_is_not_spared(pool: Ledger) -> None:
    """It is looked at long after."""
    pool.grant("x", {"cpu": 2}, ttl=30 * MINUTE)
    gap(pool)
    pool.now = T0 + 30 * MINUTE + HOUR
    assert _reclaim(pool)
    assert "deferred" not in pool.kinds


@pytest.mark.parametrize("shorten", [0, 1])
@pytest.mark.parametrize("ttl", [30 * MINUTE, 2 * HOUR])
def test_what_was_renewed_since_the_gap_is_not_given_its_time(pool: Ledger, ttl: int, shorten: int) -> None:
    """What went before its last renewal is none of its business, however the deadline came to be."""
    pool.grant("x", {"cpu": 2}, ttl=2 * HOUR)
    gap(pool)
    assert pool.renew(pool.renew_line("x", ttl=ttl, shorten=shorten))[0][0] == "renewed"
    pool.now = pool.index("deadlines")["x"]
    assert _reclaim(pool)


@pytest.mark.parametrize("way", ["existing", "replayed"])
def test_what_somebody_was_told_since_the_gap_is_not_given_its_time(pool: Ledger, way: str) -> None:
    """An answer asserts it as a renewal does, also where it moves nothing."""
    line = pool.want("x", {"cpu": 2}, ttl=2 * HOUR)
    pool.allocate(line)
    gap(pool)
    again = line.again() if way == "replayed" else pool.want("x", {"cpu": 2}, ttl=SECOND)
    assert pool.allocate(again)[0][0] == way
    pool.now = pool.index("deadlines")["x"]
    assert _reclaim(pool)


@pytest.mark.parametrize(("before_end", "spared"), [(1, True), (0, False)])
def test_what_was_renewed_before_the_gap_was_over_is_spared(pool: Ledger, before_end: int, spared: bool) -> None:
    """When the pool was last seen is known to a second only."""
    pool.grant("x", {"cpu": 2}, ttl=MINUTE)
    pool.now = TO - before_end
    pool.renew("x")
    gap(pool)
    pool.now += MINUTE
    assert _reclaim(pool) is not spared


def test_a_renewal_after_it_was_spared_makes_it_as_any_other(pool: Ledger) -> None:
    """The mark goes, and what it is told is its own deadline."""
    pool.grant("x", {"cpu": 2}, ttl=30 * MINUTE)
    gap(pool)
    assert not _reclaim(pool)
    pool.now = T0 + 30 * MINUTE + HOUR
    assert pool.renew("x")[0][2] == pool.now + 30 * MINUTE
    assert "gap_ms" not in pool.record("x")


# -- what is spared and belongs to several -----------------------------------------------------------------------------


def test_an_undone_call_takes_nothing_from_what_was_spared(pool: Ledger) -> None:
    """The deadline that the others were told lies in the gap."""
    one, other = (pool.want("x", {"cpu": 2}, ttl=ttl) for ttl in (30 * MINUTE, 20 * MINUTE))
    pool.allocate(one)
    pool.now += SECOND
    pool.allocate(other)
    gap(pool)
    assert not _reclaim(pool)
    assert pool.undo((other.call, "x")) == [["left"]]
    assert pool.index("deadlines") == {"x": T0 + 30 * MINUTE + HOUR}
    assert not _reclaim(pool)


def test_a_repeat_of_what_lapsed_in_a_gap_needs_no_sparing(pool: Ledger) -> None:
    """It asserts it: the deadline is its own again."""
    line = pool.want("x", {"cpu": 2}, ttl=30 * MINUTE)
    pool.allocate(line)
    gap(pool)
    assert fields(pool.allocate(line.again())[0][1:])["deadline_ms"] == TO + 30 * MINUTE
    assert "gap_ms" not in pool.record("x")
    pool.now = TO + 30 * MINUTE
    assert _reclaim(pool)


@pytest.mark.parametrize("way", ["reclaim", "room"])
def test_a_grace_that_began_after_the_gap_is_given_none_of_its_time(pool: Ledger, way: str) -> None:
    """Whatever was told of the allocation before."""
    for _ in range(2):
        pool.allocate(pool.want("x", {"cpu": 2}, ttl=2 * HOUR))
        pool.now += SECOND
    gap(pool)
    pool.begin_release(pool.begin_release_line("x", SECOND))
    pool.now += SECOND
    assert WAYS[way](pool)


# -- what makes no gap -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["existing", "replayed", "renewed"])
def test_whoever_asserts_what_lives_shows_that_the_pool_is_in_use(pool: Ledger, way: str) -> None:
    """Or a loop that does nothing else would look like an idle pool, and make a gap."""
    pool.now = 0
    line = pool.want("x", {"cpu": 2}, ttl=HOUR)
    pool.allocate(line)
    seen = int(pool.account["clock_ms"])
    pool.client.hincrby(pool.key("pool"), "clock_ms", -1500)
    if way == "existing":
        assert pool.allocate(pool.want("x", {"cpu": 2}))[0][0] == way
    elif way == "replayed":
        assert pool.allocate(line.again())[0][0] == way
    else:
        assert pool.renew("x")[0][0] == way
    assert int(pool.account["clock_ms"]) >= seen


@pytest.mark.parametrize("ttl", [2 * HOUR, 0])
@pytest.mark.parametrize("way", ["another", "a repeat"])
def test_what_one_caller_changes_after_a_gap_takes_its_time_from_nobody_else(pool: Ledger, way: str, ttl: int) -> None:
    """Two share a lease through a gap; a call that is undone afterwards used to leave them the deadline before it."""
    lines = [pool.want("x", {"cpu": 2}, ttl=30 * MINUTE) for _ in range(2)]
    for line in lines:
        pool.allocate(line)
    gap(pool)
    last = lines[1].again() if way == "a repeat" else pool.want("x", {"cpu": 2})
    words = list(last.words)
    words[1] = ttl
    assert pool.allocate(last.again(words=tuple(words)))[0][0] == "existing"
    assert pool.undo((last.call, "x")) == [["left"]]
    assert pool.index("deadlines") == {"x": T0 + 30 * MINUTE + HOUR}
    assert not _reclaim(pool)
    assert not _make_room(pool)


def test_an_undone_call_leaves_the_others_what_they_were_told_and_the_gap(pool: Ledger) -> None:
    """Not its own later deadline: nobody believes in that any more."""
    pool.allocate(pool.want("x", {"cpu": 2}, ttl=20 * MINUTE))
    longer = pool.want("x", {"cpu": 2}, ttl=30 * MINUTE)
    pool.allocate(longer)
    gap(pool)
    assert not _reclaim(pool)
    assert pool.index("deadlines") == {"x": T0 + 30 * MINUTE + HOUR}
    assert pool.undo((longer.call, "x")) == [["left"]]
    assert pool.index("deadlines") == {"x": T0 + 20 * MINUTE + HOUR}
