"""The pool's time: it goes on where the server's clock was set back, and gives leases time where it was set forward.

Here the server's own clock is asked, so what is turned is what the pool remembers of it.
"""

from __future__ import annotations

import pytest

from tests.scripts.ledger import MINUTE, Ledger

HOUR = 60 * MINUTE

SLACK = 2000
"""Milliseconds that a test may take between two of its calls."""


@pytest.fixture
def ticking(pool: Ledger) -> Ledger:
    """A pool that goes by the server's clock."""
    pool.now = 0
    pool.grant("kept", {"cpu": 4})
    return pool


def server_ms(pool: Ledger) -> int:
    """TIME."""
    seconds, micros = pool.client.time()
    return int(seconds) * 1000 + int(micros) // 1000


def turn(pool: Ledger, ms: int) -> None:
    """Set the server's clock so far: all that the pool remembers of it lies so far the other way."""
    account = pool.account
    pool.client.hset(pool.keys["pool"], "clock_ms", int(account["clock_ms"]) - ms)
    for identity, deadline in pool.index("deadlines").items():
        pool.client.zadd(pool.keys["deadlines"], {identity: deadline - ms})
        pool.client.hset(pool.keys.record(identity), "deadline_ms", deadline - ms)


def pool_ms(pool: Ledger) -> int:
    """What the pool takes for now."""
    return int(pool.run("read_pool")[1])


def test_after_a_step_back_time_goes_on(ticking: Ledger) -> None:
    """The offset is written down by whoever writes next; deadlines stay as far away as they were."""
    turn(ticking, -HOUR)
    before = pool_ms(ticking)
    assert abs(before - server_ms(ticking) - HOUR) < SLACK, "a reading is not behind the last writing"
    assert ticking.renew("kept")[0][0] == "renewed"
    assert HOUR - SLACK < int(ticking.account["clock_offset_ms"]) <= HOUR
    assert 0 <= ticking.index("deadlines")["kept"] - before - MINUTE < SLACK
    ticking.grant("new", {"cpu": 1}, ttl=1000)
    ticking.client.hincrby(ticking.keys["pool"], "clock_offset_ms", 5000)  # five seconds go by
    assert ticking.reclaim() == ["reclaimed", 0, "new"], "expiry is not frozen"


def test_a_small_step_back_only_stands_still(ticking: Ledger) -> None:
    """A failover to a server whose clock is a little behind."""
    turn(ticking, -900)
    ticking.grant("new", {"cpu": 1})
    assert "clock_offset_ms" not in ticking.account


def test_after_a_step_forward_no_live_lease_is_over(ticking: Ledger) -> None:
    """It gets again the time that the gap took, once; and its holder renews it."""
    turn(ticking, HOUR)
    reply = ticking.allocate(ticking.want("new", {"cpu": 8}))[0]
    assert reply[:2] == ["denied", "capacity_exceeded"]
    left = ticking.index("deadlines")["kept"] - server_ms(ticking)
    assert MINUTE - SLACK < left <= MINUTE
    assert ticking.renew("kept")[0][0] == "renewed"
    assert ticking.kinds[-1] == "deferred"


def test_a_renewal_just_before_a_step_forward_counts(ticking: Ledger) -> None:
    """The pool notes the time once a second only, so a lease may be younger than what it has noted."""
    ticking.client.hincrby(ticking.keys["pool"], "clock_ms", -900)
    turn(ticking, HOUR)
    assert ticking.reclaim() == ["reclaimed", 0]


def test_after_a_step_forward_a_dead_holder_is_still_found_out(ticking: Ledger) -> None:
    """Its lease is given time once, not for ever."""
    turn(ticking, HOUR)
    assert ticking.reclaim() == ["reclaimed", 0]
    turn(ticking, 59_000)
    ticking.client.hincrby(ticking.keys["pool"], "clock_ms", 59_000)  # seen all the while
    turn(ticking, 2000)
    assert ticking.reclaim() == ["reclaimed", 0, "kept"]


def test_a_long_lease_is_given_the_time_once(ticking: Ledger) -> None:
    """Also where its last renewal lies further back than the gap is long."""
    seen = int(ticking.account["clock_ms"])
    half_an_hour = 30 * MINUTE
    ticking.client.zadd(ticking.keys["deadlines"], {"kept": seen + half_an_hour})
    ticking.client.hset(ticking.keys.record("kept"), mapping={"deadline_ms": seen + half_an_hour, "ttl_ms": 10 * HOUR})
    turn(ticking, HOUR)
    assert ticking.reclaim() == ["reclaimed", 0]
    turn(ticking, half_an_hour + SLACK)
    ticking.client.hincrby(ticking.keys["pool"], "clock_ms", half_an_hour + SLACK)  # seen all the while
    ticking.client.hincrby(ticking.keys["pool"], "gap_from_ms", -half_an_hour - SLACK)
    ticking.client.hincrby(ticking.keys["pool"], "gap_to_ms", -half_an_hour - SLACK)
    ticking.client.hincrby(ticking.keys.record("kept"), "gap_ms", -half_an_hour - SLACK)
    assert ticking.reclaim() == ["reclaimed", 0, "kept"]


def test_a_dead_holder_is_found_out_in_a_pool_that_is_seldom_used(ticking: Ledger) -> None:
    """Every look finds another gap, each longer than the last; the lease is given time once."""
    taken: list[str] = []
    for number in range(4):
        turn(ticking, (2 + number) * MINUTE)
        taken += ticking.reclaim()[2:]
    assert taken == ["kept"]


def test_a_renewal_makes_a_lease_s_deadline_its_own_again(ticking: Ledger) -> None:
    """It lives, so the next step forward is no more its end than the first."""
    for _ in range(3):
        turn(ticking, HOUR)
        assert ticking.reclaim() == ["reclaimed", 0]
        assert "gap_ms" in ticking.record("kept")
        assert ticking.renew("kept")[0][0] == "renewed"
        assert "gap_ms" not in ticking.record("kept")
        for name in ("gap_from_ms", "gap_to_ms"):
            ticking.client.hincrby(ticking.keys["pool"], name, -HOUR)


def test_what_was_over_before_the_gap_is_taken_at_once(ticking: Ledger) -> None:
    """It was past its deadline when the pool was last seen."""
    seen = int(ticking.account["clock_ms"])
    ticking.client.zadd(ticking.keys["deadlines"], {"kept": seen - 1})
    ticking.client.hset(ticking.keys.record("kept"), "deadline_ms", seen - 1)
    turn(ticking, HOUR)
    assert ticking.allocate(ticking.want("new", {"cpu": 8}))[0][0] == "granted"


def test_a_longer_gap_is_not_forgotten_for_a_shorter_one(ticking: Ledger) -> None:
    """While leases live on it: nobody has looked at this one since it was over, by the clock that was set forward."""
    turn(ticking, HOUR)
    ticking.grant("new", {"cpu": 1})
    gap = (ticking.account["gap_from_ms"], ticking.account["gap_to_ms"])
    for number in range(2):
        turn(ticking, 2 * MINUTE)
        ticking.grant(f"another-{number}", {"cpu": 1})
    assert (ticking.account["gap_before_from_ms"], ticking.account["gap_before_to_ms"]) == gap


def test_a_shorter_gap_is_noticed_beside_a_longer_one(ticking: Ledger) -> None:
    """The clock was set forward twice, the second time not so far: what lives then is spared as well."""
    turn(ticking, 2 * HOUR)
    assert ticking.reclaim() == ["reclaimed", 0]
    assert ticking.renew("kept")[0][0] == "renewed"
    turn(ticking, HOUR)
    for name in ("gap_from_ms", "gap_to_ms"):
        ticking.client.hincrby(ticking.keys["pool"], name, -HOUR)
    assert ticking.reclaim() == ["reclaimed", 0]
    assert abs(ticking.index("deadlines")["kept"] - server_ms(ticking) - MINUTE) < SLACK


def test_a_check_sees_what_an_allocation_would(ticking: Ledger) -> None:
    """And writes nothing."""
    turn(ticking, HOUR)
    before = ticking.dump()
    assert ticking.check({"cpu": 8})[:2] == ["denied", "capacity_exceeded"]
    ticking.assert_untouched(before)


def test_renewals_note_the_time_once_a_second(ticking: Ledger) -> None:
    """Nothing else shows that the pool is in use; and not each time, for that would double the writes."""
    ticking.renew("kept")
    seen = ticking.account["clock_ms"]
    ticking.renew("kept")
    assert ticking.account["clock_ms"] == seen or int(ticking.account["clock_ms"]) > int(seen) + 1000
    ticking.client.hincrby(ticking.keys["pool"], "clock_ms", -1500)
    ticking.renew("kept")
    assert int(ticking.account["clock_ms"]) >= int(seen)


def test_who_says_what_time_it_is_is_believed(pool: Ledger) -> None:
    """A test that turns an hour on means that it has passed."""
    pool.grant("a", {"cpu": 8})
    pool.now += HOUR
    assert pool.allocate(pool.want("b", {"cpu": 8}))[0][0] == "granted"
    assert "clock_ms" not in pool.account
