"""Leases with a hard end: lost shortly before it, whatever succeeds; a schedule turned by hand."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from allocator._engine.leases.lease import Answer, Batch, Lease
from allocator._engine.leases.schedule import Schedule
from allocator.errors import BackendUnavailable
from allocator.models.allocations import Renewal
from tests.unit.leases import failed, lease, midway, released, taken

END_MS = 100_000


def ending(*, ttl: float = 60, left: float = 100, sent: float = 0, took: float = 0, name: str = "a") -> Lease:
    """A lease that was asked for at `sent`, when its end was `left` seconds away."""
    plain = lease(ttl=ttl, name=name)
    return Lease(
        replace(plain.allocation, ends_ms=END_MS), round(ttl * 1000), sent, sent + took, lambda: None, left_s=left
    )


def renewed(batch: Batch, now: float, end: float = 100) -> list[Answer]:
    """All of them live on until `end`."""
    left_ms = round((end - now) * 1000)
    return [
        Renewal(one.allocation.id, "renewed", one.allocation.fence, END_MS, "memory", END_MS, left_ms)
        for one in batch.leases
    ]


def turn(schedule: Schedule, until: float, end: float = 100) -> list[float]:
    """Renew whatever is due until an instant; when that was."""
    sent: list[float] = []
    while (due := schedule.next_call()) is not None and due < until:
        batch = schedule.next_batch(due)
        if batch is None:
            break
        assert not batch.release, f"released at {due}"
        sent.append(due)
        schedule.record(batch, renewed(batch, due, end), due)
    return sent


@pytest.mark.parametrize(("ttl", "left", "good"), [(60, 100, 54), (60, 60, 54), (60, 30, 27), (60, 1, 0.9)])
def test_a_lease_is_good_until_its_end_less_a_margin(ttl: float, left: float, good: float) -> None:
    """A tenth of the time to live, or of the life, if that is shorter."""
    assert ending(ttl=ttl, left=left).good_until == pytest.approx(good)


def test_the_way_there_and_back_is_taken_off() -> None:
    """The server counted from a later instant than the holder."""
    assert ending(left=30, took=2).good_until == pytest.approx(25)
    assert ending(left=30, took=9).good_until == pytest.approx(24)


def test_it_is_renewed_at_the_usual_times_and_lost_at_one_instant() -> None:
    """No renewal moves that instant, however often one succeeds; and none is sent faster because of it."""
    schedule = Schedule(midway)
    held = ending()
    schedule.add(held)
    sent = turn(schedule, 94)
    assert [round(later - before) for before, later in itertools.pairwise(sent)] == [19] * (len(sent) - 1)
    assert 4 <= len(sent) <= 6
    assert held.good_until == pytest.approx(94)
    assert schedule.take_lost(93.9) == []
    assert schedule.take_lost(94) == [held]


def test_the_loss_is_no_failure() -> None:
    """Its code and its text say that it was agreed; also if the last renewals failed."""
    for fails in (False, True):
        schedule = Schedule(midway)
        held = ending(left=50)
        schedule.add(held)
        if fails:
            schedule.record(batch := taken(schedule, 10), failed(batch, BackendUnavailable("refused")), 10)
        assert schedule.take_lost(45) == [held]
        assert held.loss is not None
        assert held.loss.code == "over"
        assert str(held.loss) == "allocation 'a' is over: its hard end (max_lifetime) is 1970-01-01T00:01:40.000Z"


def test_what_was_not_renewed_in_time_is_lost_for_that() -> None:
    """Long before its end."""
    schedule = Schedule(midway)
    held = ending(left=1000)
    schedule.add(held)
    assert schedule.take_lost(54) == [held]
    assert held.loss is not None
    assert held.loss.code == "lapsed"


def test_it_is_released_at_its_end_and_not_renewed_meanwhile() -> None:
    """Its resources are free for others then; one call is enough."""
    schedule = Schedule(midway)
    held = ending()
    schedule.add(held)
    turn(schedule, 94)
    assert schedule.take_lost(94) == [held]
    assert schedule.next_call() == pytest.approx(100)
    batch = taken(schedule, 100)
    assert batch.release
    schedule.record(batch, released(batch, "unknown"), 100)
    assert not len(schedule)


def test_a_server_that_says_that_it_is_over_is_believed() -> None:
    """Its clock was set forward; the holder learns it with the next renewal."""
    schedule = Schedule(midway)
    held = ending()
    schedule.add(held)
    batch = taken(schedule, 10)
    schedule.record(batch, [Renewal("a", "over", ends_ms=END_MS)], 10)
    assert schedule.take_lost(10) == [held]
    assert held.loss is not None
    assert held.loss.code == "over"
    assert not len(schedule)


def test_a_clock_that_was_set_forward_shortens_what_is_left() -> None:
    """By the next renewal."""
    schedule = Schedule(midway)
    held = ending(left=1000)
    schedule.add(held)
    batch = taken(schedule, 10)
    schedule.record(batch, renewed(batch, 10, end=40), 10)
    assert held.good_until == pytest.approx(34)


def test_where_no_sentinel_vouches_for_the_primary_that_is_why() -> None:
    """The lease may be lost earlier, and its end is not to blame."""
    schedule = Schedule(midway)
    held = ending(left=50)
    schedule.add(held)
    batch = taken(schedule, 10)
    schedule.record(batch, renewed(batch, 10, end=50), 10, overdue_s=30)
    assert held.good_until == pytest.approx(50 - 5 - 30)
    assert schedule.take_lost(15) == [held]
    assert held.loss is not None
    assert held.loss.code == "lapsed"


def test_leases_with_and_without_an_end_are_renewed_together() -> None:
    """Each answer counts for its own."""
    schedule = Schedule(midway)
    held, free = ending(left=40), lease(ttl=60, name="b")
    schedule.add(held)
    schedule.add(free)
    batch = taken(schedule, 10)
    assert len(batch.leases) == 2
    answers = {"a": renewed(batch, 10, end=40)[0], "b": Renewal("b", "renewed", 1, 5)}
    schedule.record(batch, [answers[one.allocation.id] for one in batch.leases], 10)
    assert (held.good_until, free.good_until) == (pytest.approx(36), pytest.approx(64))
