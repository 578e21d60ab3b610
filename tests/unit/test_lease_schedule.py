"""How long leases are good, and when they are renewed: a schedule turned by hand, without clock, thread or server."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from allocator import BackendUnavailable, OutcomeUnknown, settings
from allocator._engine.leases.schedule import Schedule
from tests.unit.leases import failed, lease, midway, renewed, taken

DOWN = BackendUnavailable("refused")


# -- how long a lease is good ------------------------------------------------------------------------------------------


def test_a_lease_is_good_from_before_the_request_was_sent() -> None:
    """However long the reply took, the ledger's deadline is later; a tenth, and the round trip, are taken off."""
    assert lease(ttl=60, sent=100, took=0).good_until == pytest.approx(154)
    assert lease(ttl=60, sent=100, took=2).good_until == pytest.approx(152)


def test_a_slow_reply_takes_off_a_tenth_more_at_most() -> None:
    """It was repeats, not the way there: counting from before the first of them is caution enough."""
    assert lease(ttl=60, sent=100, took=30).good_until == pytest.approx(148)


def test_a_renewal_counts_from_before_it_was_sent() -> None:
    """Not from its reply, which may have been under way for long."""
    schedule = Schedule(midway)
    held = lease(ttl=60)
    schedule.add(held)
    batch = taken(schedule, 10)
    schedule.record(batch, renewed(batch, 123), 14)
    assert held.good_until == pytest.approx(10 + 60 - 6 - 4)
    assert held.deadline_ms == 123


def test_a_lease_is_good_for_less_time_where_no_sentinel_vouches_for_its_primary() -> None:
    """By what that is overdue; it is renewed at the same times, and good again when one does."""
    schedule = Schedule(midway)
    held = lease(ttl=60)
    schedule.add(held)
    batch = taken(schedule, 10)
    schedule.record(batch, renewed(batch), 10, overdue_s=30)
    assert held.good_until == pytest.approx(10 + 60 - 6 - 30)
    assert schedule.next_call() == pytest.approx(10 + 19)
    batch = taken(schedule, 29)
    schedule.record(batch, renewed(batch), 29)
    assert held.good_until == pytest.approx(29 + 60 - 6)


def test_a_lease_that_a_replaced_primary_may_have_renewed_is_lost_in_time() -> None:
    """However often that one renews it; the loss says why."""
    schedule = Schedule(midway)
    held = lease(ttl=60)
    schedule.add(held)
    batch = taken(schedule, 10)
    schedule.record(batch, renewed(batch), 10, overdue_s=54)
    assert schedule.take_lost(10) == [held]
    assert held.loss is not None
    assert held.loss.code == "lapsed"
    assert "no Sentinel has named its primary for 56.0 s" in str(held.loss)


# -- when it is renewed ------------------------------------------------------------------------------------------------


def test_the_first_renewal_falls_anywhere_in_the_interval() -> None:
    """Leases that were granted in one second do not stay together."""
    for chance, due in ((0.0, 0.0), (0.5, 10.0), (1.0, 20.0)):
        schedule = Schedule(lambda chance=chance: chance)  # type: ignore[misc]
        schedule.add(lease(ttl=60))
        assert schedule.next_call() == pytest.approx(due)


def test_later_renewals_come_at_a_third_of_the_time_to_live_less_some_jitter() -> None:
    """Two may fail before the lease lapses."""
    schedule = Schedule(midway)
    schedule.add(lease(ttl=60))
    now = 10.0
    for _ in range(5):
        batch = taken(schedule, now)
        schedule.record(batch, renewed(batch), now)
        again = schedule.next_call()
        assert again is not None
        assert again - now == pytest.approx(19)
        now = again


def test_nothing_is_sent_before_it_is_due() -> None:
    """And the schedule says when that will be."""
    schedule = Schedule(midway)
    assert schedule.next_call() is None
    schedule.add(lease(ttl=60))
    assert schedule.next_batch(9.9) is None
    assert len(taken(schedule, 10).leases) == 1
    assert schedule.next_batch(11) is None, "it is under way"


def test_what_is_due_at_about_the_same_time_goes_together() -> None:
    """At most a fifth of a second early, and at most a tenth of an interval."""
    schedule = Schedule(midway)
    for sent in (0, 0.1, 0.19, 0.21):
        schedule.add(lease(ttl=60, sent=sent))
    assert len(taken(schedule, 10).leases) == 3
    short = Schedule(midway)
    for sent in (0.0, 0.03, 0.05):
        short.add(lease(ttl=1.2, sent=sent))
    assert len(taken(short, 0.2).leases) == 2


def test_a_script_call_takes_a_hundred_of_them() -> None:
    """The rest goes with the next."""
    schedule = Schedule(midway)
    for _ in range(250):
        schedule.add(lease(ttl=60))
    assert [len(taken(schedule, 10).leases) for _ in range(3)] == [100, 100, 50]
    assert schedule.next_batch(10) is None


def test_a_call_is_given_half_an_interval_of_its_shortest_lease() -> None:
    """So that a connection that is dead leaves time for another attempt."""
    schedule = Schedule(midway)
    schedule.add(lease(ttl=60))
    assert taken(schedule, 10).time_s == settings.HOLD_RENEW_S
    schedule.add(lease(ttl=3, sent=10))
    assert taken(schedule, 10.5).time_s == pytest.approx(0.5)


def test_ten_thousand_leases_that_begin_together_are_spread_over_the_interval() -> None:
    """Three minutes: no second has more than twice the mean, and no call more than a hundred."""
    chance = random.Random(7)
    schedule = Schedule(chance.random)
    for at in range(10_000):
        schedule.add(lease(ttl=60, sent=at / 5000))
    seconds: Counter[int] = Counter()
    now = 0.0
    while now < 180:
        while (batch := schedule.next_batch(now)) is not None:
            assert len(batch.leases) <= 100
            seconds[int(now)] += len(batch.leases)
            schedule.record(batch, renewed(batch), now)
        due = schedule.next_call()
        assert due is not None
        now = due
    mean = sum(seconds.values()) / 180
    assert 500 <= mean <= 560
    assert max(seconds.values()) < 2 * mean
    assert min(seconds[second] for second in range(1, 180)) > mean / 2
    assert not schedule.take_lost(now)


def test_an_outage_does_not_leave_leases_in_step() -> None:
    """What is renewed in the same second because it could not be before, is drawn apart again."""
    chance = random.Random(8)
    schedule = Schedule(chance.random)
    for at in range(4000):
        schedule.add(lease(ttl=60, sent=20 * at / 4000))
    now = 30.0
    while now < 40:
        while (batch := schedule.next_batch(now)) is not None:
            schedule.record(batch, failed(batch, DOWN), now)
        now += 0.5
    while (batch := schedule.next_batch(41)) is not None:
        schedule.record(batch, renewed(batch), 41)
    seconds: Counter[int] = Counter()
    now = 41.0
    while now < 59:
        while (batch := schedule.next_batch(now)) is not None:
            seconds[int(now)] += len(batch.leases)
            schedule.record(batch, renewed(batch), now)
        now += 0.1
    assert max(seconds.values()) < 2 * 4000 / 20


# -- failures ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error", [DOWN, OutcomeUnknown("timed out"), RuntimeError("a bug")], ids=lambda one: type(one).__name__
)
def test_a_failure_is_repeated_until_the_lease_lapses(error: Exception) -> None:
    """Whatever it was: a watchdog that stops after one error is how leases were lost elsewhere."""
    schedule = Schedule(midway)
    held = lease(ttl=60)
    schedule.add(held)
    attempts, now = 0, 10.0
    while now < held.good_until:
        batch = taken(schedule, now)
        assert not batch.release
        schedule.record(batch, failed(batch, error), now)
        attempts += 1
        due = schedule.next_call()
        assert due is not None
        assert due - now <= settings.BACKOFF_CAP_S
        now = due
    assert attempts > 40
    assert schedule.next_batch(now) is None, "it is renewed no more"
    assert schedule.take_lost(now) == [held]
    assert held.loss is not None
    assert held.loss.code == "lapsed"
    assert str(error) in str(held.loss)


def test_one_success_after_failures_makes_the_lease_good_again() -> None:
    """And the failures are forgotten."""
    schedule = Schedule(midway)
    held = lease(ttl=60)
    schedule.add(held)
    batch = taken(schedule, 10)
    schedule.record(batch, failed(batch, DOWN), 12)
    batch = taken(schedule, 13)
    schedule.record(batch, renewed(batch), 13)
    assert held.failures == 0
    assert held.good_until == pytest.approx(13 + 54)
    assert not schedule.take_lost(66)


def test_an_error_of_one_lease_is_not_the_others() -> None:
    """A batch is answered item by item."""
    schedule = Schedule(midway)
    first, second = lease(ttl=60), lease(ttl=60)
    schedule.add(first)
    schedule.add(second)
    batch = taken(schedule, 10)
    schedule.record(batch, [DOWN, *renewed(batch)[1:]], 10)
    assert (first.failures, second.failures) == (1, 0)
