"""When leases are renewed, and when they are lost: a schedule turned by hand, without clock, thread or server."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from allocator import BackendUnavailable, OutcomeUnknown, UnknownPool, settings
from allocator._engine.leases import Schedule
from allocator.models import Renewal
from tests.hold.leases import failed, lease, midway, released, renewed, taken, unknown

DOWN = BackendUnavailable("refused")


# -- how long a lease is good ------------------------------------------------------------------------------------------


def test_a_lease_is_good_from_before_the_request_was_sent() -> None:
    """However long the reply took, the ledger's deadline is later; a tenth, and the round trip, are taken off."""
    assert lease(ttl=60, sent=100, took=0).until == pytest.approx(154)
    assert lease(ttl=60, sent=100, took=2).until == pytest.approx(152)


def test_a_slow_reply_takes_off_a_tenth_more_at_most() -> None:
    """It was repeats, not the way there: counting from before the first of them is caution enough."""
    assert lease(ttl=60, sent=100, took=30).until == pytest.approx(148)


def test_a_renewal_counts_from_before_it_was_sent() -> None:
    """Not from its reply, which may have been under way for long."""
    schedule = Schedule(midway)
    held = lease(ttl=60)
    schedule.add(held)
    batch = taken(schedule, 10)
    schedule.settle(batch, renewed(batch, 123), 14)
    assert held.until == pytest.approx(10 + 60 - 6 - 4)
    assert held.deadline_ms == 123


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
        schedule.settle(batch, renewed(batch), now)
        again = schedule.next_call()
        assert again is not None
        assert again - now == pytest.approx(19)
        now = again


def test_nothing_is_sent_before_it_is_due() -> None:
    """And the schedule says when that will be."""
    schedule = Schedule(midway)
    assert schedule.next_call() is None
    schedule.add(lease(ttl=60))
    assert schedule.take(9.9) is None
    assert len(taken(schedule, 10).leases) == 1
    assert schedule.take(11) is None, "it is under way"


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
    assert schedule.take(10) is None


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
        while (batch := schedule.take(now)) is not None:
            assert len(batch.leases) <= 100
            seconds[int(now)] += len(batch.leases)
            schedule.settle(batch, renewed(batch), now)
        due = schedule.next_call()
        assert due is not None
        now = due
    mean = sum(seconds.values()) / 180
    assert 500 <= mean <= 560
    assert max(seconds.values()) < 2 * mean
    assert min(seconds[second] for second in range(1, 180)) > mean / 2
    assert not schedule.losses(now)


def test_an_outage_does_not_leave_leases_in_step() -> None:
    """What is renewed in the same second because it could not be before, is drawn apart again."""
    chance = random.Random(8)
    schedule = Schedule(chance.random)
    for at in range(4000):
        schedule.add(lease(ttl=60, sent=20 * at / 4000))
    now = 30.0
    while now < 40:
        while (batch := schedule.take(now)) is not None:
            schedule.settle(batch, failed(batch, DOWN), now)
        now += 0.5
    while (batch := schedule.take(41)) is not None:
        schedule.settle(batch, renewed(batch), 41)
    seconds: Counter[int] = Counter()
    now = 41.0
    while now < 59:
        while (batch := schedule.take(now)) is not None:
            seconds[int(now)] += len(batch.leases)
            schedule.settle(batch, renewed(batch), now)
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
    while now < held.until:
        batch = taken(schedule, now)
        assert not batch.release
        schedule.settle(batch, failed(batch, error), now)
        attempts += 1
        due = schedule.next_call()
        assert due is not None
        assert due - now <= settings.BACKOFF_CAP_S
        now = due
    assert attempts > 40
    assert schedule.take(now) is None, "it is renewed no more"
    assert schedule.losses(now) == [held]
    assert held.loss is not None
    assert held.loss.code == "lapsed"
    assert str(error) in str(held.loss)


def test_one_success_after_failures_makes_the_lease_good_again() -> None:
    """And the failures are forgotten."""
    schedule = Schedule(midway)
    held = lease(ttl=60)
    schedule.add(held)
    batch = taken(schedule, 10)
    schedule.settle(batch, failed(batch, DOWN), 12)
    batch = taken(schedule, 13)
    schedule.settle(batch, renewed(batch), 13)
    assert held.failures == 0
    assert held.until == pytest.approx(13 + 54)
    assert not schedule.losses(66)


def test_an_error_of_one_lease_is_not_the_others() -> None:
    """A batch is answered item by item."""
    schedule = Schedule(midway)
    first, second = lease(ttl=60), lease(ttl=60)
    schedule.add(first)
    schedule.add(second)
    batch = taken(schedule, 10)
    schedule.settle(batch, [DOWN, *renewed(batch)[1:]], 10)
    assert (first.failures, second.failures) == (1, 0)


# -- losses ------------------------------------------------------------------------------------------------------------


def test_a_lease_lapses_at_its_time_whatever_is_under_way() -> None:
    """The holder is told once, before the ledger would take it back."""
    schedule = Schedule(midway)
    held = lease(ttl=60)
    schedule.add(held)
    taken(schedule, 10)
    assert schedule.next_loss() == pytest.approx(54)
    assert not schedule.losses(53.9)
    assert schedule.losses(54) == [held]
    assert not schedule.losses(99), "once"


def test_a_lease_that_was_asked_for_too_late_is_not_renewed() -> None:
    """A process that was stopped for longer than the lease must not revive what others may have been given."""
    schedule = Schedule(midway)
    held = lease(ttl=60)
    schedule.add(held)
    assert schedule.take(54.5) is None
    assert schedule.losses(54.5) == [held]
    assert "did not run" in str(held.loss)


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (Renewal("a", "unknown"), "gone"),
        (Renewal("a", "fenced", 99), "fenced"),
        (UnknownPool("there is no pool"), "gone"),
    ],
    ids=["unknown", "fenced", "no pool"],
)
def test_what_the_ledger_says_is_gone_is_lost_at_once(answer: Renewal | UnknownPool, code: str) -> None:
    """There is nothing to release, and nothing to repeat."""
    schedule = Schedule(midway)
    held = lease(ttl=60)
    schedule.add(held)
    schedule.settle(taken(schedule, 10), [answer], 10)
    assert schedule.next_loss() == 0.0, "somebody is to be told now"
    assert schedule.losses(10) == [held]
    assert held.loss is not None
    assert held.loss.code == code
    assert (len(schedule), schedule.next_call()) == (0, None)


def test_a_renewal_that_succeeds_after_the_holder_was_told_is_released_at_once() -> None:
    """The holder has stopped, and nobody would renew it any more."""
    schedule = Schedule(midway)
    held = lease(ttl=60)
    schedule.add(held)
    batch = taken(schedule, 50)
    schedule.losses(54)
    schedule.settle(batch, renewed(batch), 55)
    assert held.loss is not None, "lost it stays"
    release = taken(schedule, 55)
    assert release.release
    schedule.settle(release, released(release), 55)
    assert len(schedule) == 0


def test_a_reply_read_after_the_time_was_over_does_not_revive_the_lease() -> None:
    """Nobody was told yet, but somebody may have looked at the clock."""
    schedule = Schedule(midway)
    held = lease(ttl=60)
    schedule.add(held)
    batch = taken(schedule, 50)
    schedule.settle(batch, renewed(batch), 54)
    assert held.loss is not None
    assert taken(schedule, 54).release
    assert schedule.losses(54) == [held]


def test_a_lapsed_lease_is_released_once_the_ledger_would_have_taken_it_back() -> None:
    """A renewal that nobody answered may have been executed: then it would stay charged for nothing.  Not earlier, for
    the margin is the holder's, to stop in.
    """
    schedule = Schedule(midway)
    held = lease(ttl=60)
    schedule.add(held)
    batch = taken(schedule, 53)
    schedule.losses(54)
    schedule.settle(batch, failed(batch, DOWN), 55)
    assert schedule.take(59.9) is None
    release = taken(schedule, 60)
    assert release.release
    schedule.settle(release, failed(release, DOWN), 60)
    again = schedule.next_call()
    assert again is not None
    assert 60 < again < 61, "repeated like a renewal"
    release = taken(schedule, again)
    schedule.settle(release, released(release, "unknown"), again)
    assert len(schedule) == 0


def test_a_release_is_not_tried_for_ever() -> None:
    """A store that is gone for good must not keep a thread busy."""
    schedule = Schedule(midway)
    schedule.add(lease(ttl=60))
    schedule.losses(54)
    now = 60.0
    while (due := schedule.next_call()) is not None:
        now = max(now, due)
        batch = taken(schedule, now)
        schedule.settle(batch, failed(batch, DOWN), now)
    assert settings.WITHDRAW_FOR_S - 2 < now < settings.WITHDRAW_FOR_S + 60


# -- the end of a hold -------------------------------------------------------------------------------------------------


def test_nothing_is_sent_for_a_lease_whose_holder_left() -> None:
    """Release comes first, then nothing."""
    schedule = Schedule(midway)
    held = lease(ttl=60)
    schedule.add(held)
    schedule.leave(held)
    assert (schedule.next_call(), schedule.next_loss(), len(schedule)) == (None, None, 0)
    assert schedule.take(99) is None
    assert not schedule.losses(99)


@pytest.mark.parametrize("answers", [renewed, unknown, lambda batch: failed(batch, DOWN)], ids=["yes", "no", "error"])
def test_the_reply_to_a_renewal_under_way_changes_nothing_after_the_holder_left(answers: object) -> None:
    """Whoever waits for it to land is called."""
    schedule = Schedule(midway)
    held = lease(ttl=60)
    schedule.add(held)
    batch = taken(schedule, 10)
    schedule.leave(held)
    held.landed = midway
    assert schedule.settle(batch, answers(batch), 11) == [midway]  # type: ignore[operator]
    assert held.loss is None
    assert (schedule.next_call(), schedule.next_loss(), len(schedule)) == (None, None, 0)


def test_what_the_holder_could_not_release_is_released_at_once_and_again() -> None:
    """Nobody is told of a loss any more."""
    schedule = Schedule(midway)
    held = lease(ttl=60)
    schedule.add(held)
    schedule.leave(held)
    schedule.give_back(held, 12)
    release = taken(schedule, 12)
    assert release.release
    schedule.settle(release, failed(release, DOWN), 12)
    assert schedule.take(12) is None
    release = taken(schedule, 14)
    schedule.settle(release, released(release), 14)
    assert len(schedule) == 0
    assert not schedule.losses(99)


def test_a_lapsed_lease_whose_block_has_ended_need_not_wait_for_the_ledger() -> None:
    """The margin was its holder's, who has stopped."""
    schedule = Schedule(midway)
    held = lease(ttl=60)
    schedule.add(held)
    schedule.losses(54)
    schedule.give_back(held, 55)
    assert taken(schedule, 55).release


def test_what_is_gone_is_not_given_back() -> None:
    """The id may be another's by now."""
    schedule = Schedule(midway)
    held = lease(ttl=60)
    schedule.add(held)
    batch = taken(schedule, 10)
    schedule.settle(batch, unknown(batch), 10)
    schedule.give_back(held, 11)
    assert schedule.next_call() is None


def test_renewals_and_releases_do_not_share_a_call() -> None:
    """They are two scripts."""
    schedule = Schedule(midway)
    held, ended = lease(ttl=60), lease(ttl=60)
    schedule.add(held)
    schedule.add(ended)
    schedule.leave(ended)
    schedule.give_back(ended, 10)
    assert {taken(schedule, 10).release, taken(schedule, 10).release} == {True, False}


def test_short_holds_leave_nothing_behind() -> None:
    """A controller makes thousands of them a second, and each was planned for later."""
    schedule = Schedule(midway)
    for at in range(5000):
        held = lease(ttl=3600, sent=at / 1000)
        schedule.add(held)
        schedule.leave(held)
    assert len(schedule) == 0
    assert max(len(schedule._calls._heap), len(schedule._ends._heap)) <= 2 * settings.BATCH_ITEMS_MAX
