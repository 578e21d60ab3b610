"""When leases are lost, and how they end: a schedule turned by hand, without clock, thread or server."""

from __future__ import annotations

import pytest

from allocator import BackendUnavailable, UnknownPool, settings
from allocator._engine.leases.schedule import Schedule
from allocator.models.allocations import Renewal
from tests.unit.leases import failed, lease, midway, released, renewed, taken, unknown

DOWN = BackendUnavailable("refused")


# -- losses ------------------------------------------------------------------------------------------------------------


def test_a_lease_lapses_at_its_time_whatever_is_under_way() -> None:
    """The holder is told once, before the ledger would take it back."""
    schedule = Schedule(midway)
    held = lease(ttl=60)
    schedule.add(held)
    taken(schedule, 10)
    assert schedule.next_loss() == pytest.approx(54)
    assert not schedule.take_lost(53.9)
    assert schedule.take_lost(54) == [held]
    assert not schedule.take_lost(99), "once"


def test_a_lease_that_was_asked_for_too_late_is_not_renewed() -> None:
    """A process that was stopped for longer than the lease must not revive what others may have been given."""
    schedule = Schedule(midway)
    held = lease(ttl=60)
    schedule.add(held)
    assert schedule.next_batch(54.5) is None
    assert schedule.take_lost(54.5) == [held]
    assert "did not run" in str(held.loss)


def test_a_lease_whose_renewal_has_no_reply_says_so() -> None:
    """A server that hangs refuses nothing, so there is no error to name; this process did run."""
    schedule = Schedule(midway)
    held = lease(ttl=60)
    schedule.add(held)
    taken(schedule, 50)
    assert schedule.take_lost(54) == [held]
    assert str(held.loss) == "allocation 'a' was not renewed in time: no reply to the renewal was received within 4.0 s"


def test_a_lease_that_was_renewed_and_then_forgotten_does_not_blame_the_server() -> None:
    """The renewal that has a reply is not the cause."""
    schedule = Schedule(midway)
    held = lease(ttl=60)
    schedule.add(held)
    batch = taken(schedule, 20)
    schedule.record(batch, renewed(batch), 21)
    assert schedule.take_lost(80) == [held]
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
    schedule.record(taken(schedule, 10), [answer], 10)
    assert schedule.next_loss() == 0.0, "somebody is to be told now"
    assert schedule.take_lost(10) == [held]
    assert held.loss is not None
    assert held.loss.code == code
    assert (len(schedule), schedule.next_call()) == (0, None)


def test_a_renewal_that_succeeds_after_the_holder_was_told_is_released_at_once() -> None:
    """The holder has stopped, and nobody would renew it any more."""
    schedule = Schedule(midway)
    held = lease(ttl=60)
    schedule.add(held)
    batch = taken(schedule, 50)
    schedule.take_lost(54)
    schedule.record(batch, renewed(batch), 55)
    assert held.loss is not None, "lost it stays"
    release = taken(schedule, 55)
    assert release.release
    schedule.record(release, released(release), 55)
    assert len(schedule) == 0


def test_a_reply_read_after_the_time_was_over_does_not_revive_the_lease() -> None:
    """Nobody was told yet, but somebody may have looked at the clock."""
    schedule = Schedule(midway)
    held = lease(ttl=60)
    schedule.add(held)
    batch = taken(schedule, 50)
    schedule.record(batch, renewed(batch), 54)
    assert "within 4.0 s" in str(held.loss)
    assert taken(schedule, 54).release
    assert schedule.take_lost(54) == [held]


def test_a_lapsed_lease_is_released_once_the_ledger_would_have_taken_it_back() -> None:
    """A renewal that nobody answered may have been executed: then it would stay charged for nothing.  Not earlier, for
    the margin is the holder's, to stop in.
    """
    schedule = Schedule(midway)
    held = lease(ttl=60)
    schedule.add(held)
    batch = taken(schedule, 53)
    schedule.take_lost(54)
    schedule.record(batch, failed(batch, DOWN), 55)
    assert schedule.next_batch(59.9) is None
    release = taken(schedule, 60)
    assert release.release
    schedule.record(release, failed(release, DOWN), 60)
    again = schedule.next_call()
    assert again is not None
    assert 60 < again < 61, "repeated like a renewal"
    release = taken(schedule, again)
    schedule.record(release, released(release, "unknown"), again)
    assert len(schedule) == 0


def test_a_release_is_not_tried_for_ever() -> None:
    """A store that is gone for good must not keep a thread busy."""
    schedule = Schedule(midway)
    schedule.add(lease(ttl=60))
    schedule.take_lost(54)
    now = 60.0
    while (due := schedule.next_call()) is not None:
        now = max(now, due)
        batch = taken(schedule, now)
        schedule.record(batch, failed(batch, DOWN), now)
    assert settings.UNDO_FOR_S - 2 < now < settings.UNDO_FOR_S + 60


# -- the end of a hold -------------------------------------------------------------------------------------------------


def test_nothing_is_sent_for_a_lease_whose_holder_left() -> None:
    """Release comes first, then nothing."""
    schedule = Schedule(midway)
    held = lease(ttl=60)
    schedule.add(held)
    schedule.remove(held)
    assert (schedule.next_call(), schedule.next_loss(), len(schedule)) == (None, None, 0)
    assert schedule.next_batch(99) is None
    assert not schedule.take_lost(99)


@pytest.mark.parametrize("answers", [renewed, unknown, lambda batch: failed(batch, DOWN)], ids=["yes", "no", "error"])
def test_the_reply_to_a_renewal_under_way_changes_nothing_after_the_holder_left(answers: object) -> None:
    """Whoever waits for it to land is called."""
    schedule = Schedule(midway)
    held = lease(ttl=60)
    schedule.add(held)
    batch = taken(schedule, 10)
    schedule.remove(held)
    held.on_settled = midway
    assert schedule.record(batch, answers(batch), 11) == [midway]  # type: ignore[operator]
    assert held.loss is None
    assert (schedule.next_call(), schedule.next_loss(), len(schedule)) == (None, None, 0)


def test_what_the_holder_could_not_release_is_released_at_once_and_again() -> None:
    """Nobody is told of a loss any more."""
    schedule = Schedule(midway)
    held = lease(ttl=60)
    schedule.add(held)
    schedule.remove(held)
    schedule.release_later(held, 12)
    release = taken(schedule, 12)
    assert release.release
    schedule.record(release, failed(release, DOWN), 12)
    assert schedule.next_batch(12) is None
    release = taken(schedule, 14)
    schedule.record(release, released(release), 14)
    assert len(schedule) == 0
    assert not schedule.take_lost(99)


def test_a_lapsed_lease_whose_block_has_ended_need_not_wait_for_the_ledger() -> None:
    """The margin was its holder's, who has stopped."""
    schedule = Schedule(midway)
    held = lease(ttl=60)
    schedule.add(held)
    schedule.take_lost(54)
    schedule.release_later(held, 55)
    assert taken(schedule, 55).release


def test_what_is_gone_is_not_given_back() -> None:
    """The id may be another's by now."""
    schedule = Schedule(midway)
    held = lease(ttl=60)
    schedule.add(held)
    batch = taken(schedule, 10)
    schedule.record(batch, unknown(batch), 10)
    schedule.release_later(held, 11)
    assert schedule.next_call() is None


def test_renewals_and_releases_do_not_share_a_call() -> None:
    """They are two scripts."""
    schedule = Schedule(midway)
    held, ended = lease(ttl=60), lease(ttl=60)
    schedule.add(held)
    schedule.add(ended)
    schedule.remove(ended)
    schedule.release_later(ended, 10)
    assert {taken(schedule, 10).release, taken(schedule, 10).release} == {True, False}


def test_short_holds_leave_nothing_behind() -> None:
    """A controller makes thousands of them a second, and each was planned for later."""
    schedule = Schedule(midway)
    for at in range(5000):
        held = lease(ttl=3600, sent=at / 1000)
        schedule.add(held)
        schedule.remove(held)
    assert len(schedule) == 0
    assert max(len(schedule._calls._heap), len(schedule._ends._heap)) <= 2 * settings.BATCH_ITEMS_MAX
