"""Backfill: who is sure to end before the first in line could start is let through, and delays nobody who leads.

Also what a denial foresees: the place in line of its request, and the earliest start there.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.scripts.ledger import MINUTE, T0, Ledger, contract
from tests.scripts.waiting import ask, wait

SECOND = 1000
SOON, START, LATE = 4 * SECOND, 10 * SECOND, 14 * SECOND
"""Deadlines after T0; at the second the first in line can start."""


def permit(pool: Ledger, more: str = "") -> None:
    assert pool.configure("change", promises=f"queue_backfill=1 {more}".strip())[0] == "configured"


def request(pool: Ledger, cpu: int, lifetime: int = 0, **options: Any) -> Any:
    """The first word of the reply to a request that does not wait; of a denial its code."""
    resources = {"cpu": cpu} if cpu else {"memory": 1}
    reply = ask(pool, pool.want(f"new-{next(pool.drawn)}", resources, lifetime=lifetime, **options))
    return reply[1] if reply[0] == "denied" else reply[0]


@pytest.fixture
def short(pool: Ledger) -> Ledger:
    """Of cpu 3 are free; `first` waits for 8, which it can have when `b` ends, ten seconds from now."""
    permit(pool)
    pool.grant("a", {"cpu": 2}, ttl=SOON)
    pool.grant("b", {"cpu": 3}, ttl=START)
    pool.grant("c", {"cpu": 2}, ttl=LATE)
    wait(pool, "first", {"cpu": 8}, ttl=0)
    return pool


@pytest.mark.parametrize(("lifetime", "word"), [(0, "queued"), (START, "granted"), (START + 1, "queued")])
def test_a_request_passes_if_its_hard_end_is_no_later_than_the_first_start(
    short: Ledger, lifetime: int, word: str
) -> None:
    """To the millisecond; a check says the same, and it is no pass."""
    fits = short.check({"cpu": 3}, lifetime_ms=lifetime)[0] == "fits"
    assert (request(short, 3, lifetime), fits) == (word, word == "granted")
    assert "waiting_passes" not in short.account


def test_nobody_is_let_through_unless_the_pool_permits_it(short: Ledger) -> None:
    """And no longer than it does."""
    short.configure("change", promises="queue_backfill=")
    assert request(short, 3, SECOND) == "queued"


def test_what_is_let_through_ends_in_time_however_it_is_renewed(short: Ledger) -> None:
    """The first starts when it could have started without it."""
    line = short.want("fills", {"cpu": 3}, ttl=SECOND, lifetime=START)
    assert ask(short, line)[0] == "granted"
    short.renew(short.renew_line("fills", ttl=10 * MINUTE))
    assert short.index("deadlines")["fills"] == T0 + START
    short.now = T0 + START - 1
    short.reclaim()
    assert short.waiting == ["first"]
    short.now += 1
    short.reclaim()
    assert short.waiting == []


def test_a_renewal_makes_the_start_later_and_an_unknown_one_lets_nobody_through(short: Ledger) -> None:
    """Pinned allocations end at no known time."""
    short.renew(short.renew_line("b", ttl=2 * MINUTE))
    assert request(short, 1, 2 * MINUTE + 1) == "queued"
    assert request(short, 1, 2 * MINUTE) == "granted"
    short.release("c")
    short.grant("pinned", {"cpu": 2}, ttl=0, priority=1)
    assert short.check({"cpu": 1}, lifetime_ms=2 * MINUTE) == ["fits"]
    short.grant("more", {"cpu": 1}, ttl=0, priority=1)
    assert request(short, 1, SECOND) == "queued"


def test_a_waiter_fills_too_and_its_end_counts_from_its_grant(short: Ledger) -> None:
    """Where the pool begins to permit it; the event says why."""
    short.configure("change", promises="queue_backfill=")
    wait(short, "long", {"cpu": 1}, lifetime=START + 1)
    wait(short, "small", {"cpu": 1}, lifetime=START - SECOND)
    permit(short)
    assert request(short, 0) == "granted"
    assert short.waiting == ["first", "long"]
    assert short.record("small")["ends_ms"] == str(T0 + START - SECOND)
    assert [one["id"] for one in short.events if one.get("reason") == "backfilled"] == ["small"]
    assert short.account["waiting_passes"] == "1"


def test_a_passed_limit_does_not_hold_back_what_delays_nobody(short: Ledger) -> None:
    """After `passes_max` passes room is kept for the first: until it could start."""
    permit(short, "queue_policy=best_effort queue_passes_max=1")
    assert [request(short, 1), request(short, 1), request(short, 1, START)] == ["granted", "queued", "granted"]
    assert short.account["waiting_passes"] == "1"


def test_another_waiter_that_leads_is_not_delayed_either(pool: Ledger) -> None:
    """It waits for something else than the first, and could start earlier."""
    permit(pool)
    pool.grant("m", {"memory": 100}, ttl=MINUTE)
    pool.grant("c", {"cpu": 8}, ttl=START)
    wait(pool, "first", {"memory": 50})
    wait(pool, "second", {"cpu": 4})
    assert request(pool, 1, START + 1) == "queued"
    assert request(pool, 1, START) == "granted"


def test_the_quota_of_the_first_counts_in_its_start(pool: Ledger) -> None:
    """Of each account that it is charged to."""
    permit(pool)
    pool.set_quota("t", {"cpu": (4, 0, "-")})
    pool.grant("mine", {"cpu": 3}, ttl=START, scope="t")
    pool.grant("other", {"cpu": 2}, ttl=SECOND)
    wait(pool, "first", {"cpu": 2}, scope="t")
    assert request(pool, 1, START + 1, scope="t") == "queued"
    assert request(pool, 1, START, scope="t") == "granted"


def test_a_growth_is_let_through_by_the_hard_end_that_it_has(short: Ledger) -> None:
    """Without one it must wait."""
    short.grant("open", {"memory": 1})
    ask(short, short.want("ending", {"memory": 1}, lifetime=START))
    for name, word in (("open", "denied"), ("ending", "resized")):
        assert short.resize(name, {"cpu": 1, "memory": 1})[0] == word


def test_nobody_takes_over_room_beyond_the_end_that_others_count_on(short: Ledger) -> None:
    """A replacement with a later end is decided as if it replaced nothing."""
    fence = ask(short, short.want("fills", {"cpu": 3}, lifetime=START))[1]
    assert ask(short, short.want("longer", {"cpu": 3}, replaces=(fence, "fills")))[1] == "capacity_exceeded"
    assert ask(short, short.want("same", {"cpu": 3}, lifetime=START, replaces=(fence, "fills")))[0] == "granted"


def test_a_call_sees_what_its_own_items_have_changed(short: Ledger) -> None:
    """What an item that is no backfill takes makes the start later, or earlier."""
    lines = [short.want(f"i{n}", {"cpu": 1}, lifetime=START + n) for n in (0, 1)]
    lines.append(short.want("ahead", {"cpu": 1}, priority=1, ttl=2 * MINUTE))
    lines.append(short.want("late", {"cpu": 1}, lifetime=LATE))
    assert [reply[0] for reply in short.allocate(*lines)] == ["granted", "denied", "granted", "granted"]


def test_a_line_that_is_not_looked_at_whole_lets_no_newcomer_through(short: Ledger) -> None:
    """Who leads of the others is not known."""
    for n in range(32):
        wait(short, f"w{n}", {"cpu": 3 + n % 2})
    for _ in range(3):
        assert request(short, 1, SECOND) == "queued"
        short.now += 2600


# -- estimates ---------------------------------------------------------------------------------------------------------


def foreseen(pool: Ledger, cpu: int, **options: Any) -> tuple[int, int]:
    """What an allocate and a check say of a denied request: its position, and its start after T0; -1: none."""
    reply = ask(pool, pool.want(f"new-{next(pool.drawn)}", {"cpu": cpu}, estimate=1, **options))
    assert reply[0] == "estimated", reply
    checked = pool.check({"cpu": cpu}, explain=1, priority=options.get("priority", 0))
    assert [checked[1], *checked[6:]] == reply[3][1:]
    assert checked[4:6] == reply[1:3]
    return reply[1], reply[2] - T0 if reply[2] else -1


def test_a_denial_foresees_the_start_behind_those_before_it(short: Ledger) -> None:
    """By the priority of the request; the same that the line says of a waiter there."""
    assert foreseen(short, 2) == (2, LATE)
    assert foreseen(short, 4, priority=1) == (1, SOON)
    assert foreseen(short, 3) == (2, -1)
    wait(short, "second", {"cpu": 2})
    assert short.list_waiters(starts=1)[7::5] == [T0 + START, T0 + LATE]


def test_a_denial_that_stays_has_no_estimate(short: Ledger) -> None:
    """As waiting does not help; nor one that did not ask."""
    assert ask(short, short.want("x", {"cpu": 11}, estimate=1))[:2] == ["denied", "never_fits"]
    assert ask(short, short.want("x", {"cpu": 4}))[:2] == ["denied", "capacity_exceeded"]
    assert short.check({"cpu": 11}, explain=1)[4:6] == [0, 0]


def test_the_last_try_of_a_waiter_foresees_its_start_if_it_waited_anew(pool: Ledger) -> None:
    """It has left by then."""
    pool.grant("a", {"cpu": 10}, ttl=SOON)
    waiting = wait(pool, "x", {"cpu": 1}, estimate=1)
    assert ask(pool, waiting.without_wait())[:3] == ["estimated", 1, T0 + SOON]


def test_an_estimate_is_not_for_an_atomic_batch(pool: Ledger) -> None:
    """Of one item alone it would say too little."""
    with contract():
        pool.allocate(pool.want("a", {"cpu": 1}, estimate=1), atomic=1)
    with contract():
        pool.allocate(pool.want("a", {"cpu": 1}, estimate=2))
