"""reclaim: what is past its deadline, what is pinned and old, in batches."""

from __future__ import annotations

import pytest

from tests.scripts.ledger import MINUTE, T0, Ledger


@pytest.mark.parametrize(("late", "ids"), [(-1, []), (0, ["a"]), (1, ["a"])])
def test_what_is_due_is_taken_back_and_nothing_before(pool: Ledger, late: int, ids: list[str]) -> None:
    """To the millisecond."""
    pool.grant("a", {"cpu": 4, "memory": 10})
    pool.grant("later", {"cpu": 1}, ttl=2 * MINUTE)
    pool.now += MINUTE + late
    assert pool.reclaim() == ["reclaimed", 0, *ids]
    assert pool.allocated("memory") == (0 if ids else 10)
    assert pool.record("later")


def test_a_renewed_lease_is_not_taken(pool: Ledger) -> None:
    """Decided on what the index says now."""
    pool.grant("a", {"cpu": 4})
    pool.now += MINUTE
    pool.renew("a")
    assert pool.reclaim() == ["reclaimed", 0]


@pytest.mark.parametrize(("due", "more"), [(2, 0), (3, 0), (4, 1)])
def test_at_most_limit_are_taken_and_it_says_whether_there_is_more(pool: Ledger, due: int, more: int) -> None:
    """Oldest deadline first."""
    for n in range(due):
        pool.grant(f"a{n}", {"cpu": 1}, ttl=1000 + n)
    pool.now += MINUTE
    assert pool.reclaim(limit=3) == ["reclaimed", more, *[f"a{n}" for n in range(min(due, 3))]]
    assert pool.allocated() == max(0, due - 3)


def test_pinned_ones_are_taken_by_age_only(pool: Ledger) -> None:
    """A zero age takes none, however old."""
    pool.grant("pinned", {"cpu": 4}, ttl=0)
    pool.now += 10**9
    assert pool.reclaim() == ["reclaimed", 0]
    assert pool.reclaim(age=10**9) == ["reclaimed", 0, "pinned"]
    assert pool.events[-1]["reason"] == "age"


@pytest.mark.parametrize(("age", "taken"), [(999, True), (1000, True), (1001, False)])
def test_the_age_is_reached_to_the_millisecond(pool: Ledger, age: int, taken: bool) -> None:
    """Granted at least so long ago."""
    pool.grant("pinned", {"cpu": 4}, ttl=0)
    pool.now += 1000
    assert pool.reclaim(age=age) == ["reclaimed", 0, *(["pinned"] if taken else [])]


def test_a_lease_is_never_taken_by_age(pool: Ledger) -> None:
    """What a living holder keeps renewing stays, however old."""
    pool.grant("a", {"cpu": 4}, ttl=10 * MINUTE)
    pool.now += 5 * MINUTE
    assert pool.reclaim(age=1) == ["reclaimed", 0]


def test_due_and_old_share_the_limit(pool: Ledger) -> None:
    """Past their deadline first; `more` speaks of both."""
    pool.grant("due", {"cpu": 1})
    pool.grant("old1", {"cpu": 1}, ttl=0)
    pool.grant("old2", {"cpu": 1}, ttl=0)
    pool.now += MINUTE
    assert pool.reclaim(limit=1, age=1) == ["reclaimed", 1, "due"]
    assert pool.reclaim(limit=1, age=1) == ["reclaimed", 1, "old1"]
    assert pool.reclaim(limit=1, age=1) == ["reclaimed", 0, "old2"]


def test_two_hundred_are_taken_in_one_call(ledger: Ledger) -> None:
    """The bound of a call: counters, records, marks and events of all of them."""
    ledger.create({"cpu": 1000})
    for start in (0, 100, 200):
        ledger.allocate(*(ledger.want(f"a{n}", {"cpu": 1}) for n in range(start, start + 100)))
    ledger.now += MINUTE
    reply = ledger.reclaim()
    assert (reply[:2], len(reply)) == (["reclaimed", 1], 202)
    assert (ledger.allocated(), ledger.kinds.count("reclaimed")) == (100, 200)


def test_a_pass_over_nothing_forgets_ended_calls_that_are_old_enough(pool: Ledger) -> None:
    """The cron job keeps a quiet pool tidy."""
    pool.client.zadd(pool.keys["ended"], {f"old{n}": T0 - 3 * MINUTE for n in range(10)})
    pool.now += 3 * MINUTE
    assert pool.reclaim(limit=200) == ["reclaimed", 0]
    assert pool.index("ended") == {}
