"""A lease that is preempted: a schedule turned by hand, without clock, thread or server."""

from __future__ import annotations

import pytest

from allocator._engine.leases.schedule import Schedule
from allocator.models.allocations import Renewal
from allocator.models.preemption import Preemption
from tests.unit.leases import lease, midway, released, taken

GRACE_MS = 30_000


def told(left_ms: int = GRACE_MS) -> Renewal:
    """The answer to the renewal of a lease that is preempted."""
    return Renewal("a", "preempted", 0, 1_000_000, left_ms=left_ms, preempted_by="b")


def test_it_is_held_until_the_grace_is_over_less_the_margin_and_is_not_renewed() -> None:
    """Its holder hears of it once; the time counts from before the renewal was sent."""
    schedule = Schedule(midway)
    held = lease(ttl=60)
    schedule.add(held)
    schedule.record(taken(schedule, 10), [told()], 10)
    assert schedule.next_loss() == 0.0, "somebody is to be told now"
    assert (schedule.take_preempted(), schedule.take_preempted()) == ([held], [])
    assert held.preempted == Preemption("b", 1_000_000)
    assert (held.loss, held.deadline_ms, schedule.next_call()) == (None, 1_000_000, None)
    assert schedule.next_loss() == pytest.approx(37)
    assert not schedule.take_lost(36.9)
    assert schedule.take_lost(37) == [held]
    assert held.loss is not None
    assert (held.loss.code, "'b'" in str(held.loss)) == ("preempted", True)


def test_a_slow_reply_makes_it_shorter() -> None:
    """By as much as the reply took, at most by another margin."""
    schedule = Schedule(midway)
    held = lease(ttl=60)
    schedule.add(held)
    schedule.record(taken(schedule, 10), [told()], 12)
    assert held.good_until == pytest.approx(35)


def test_after_its_loss_it_is_released_at_the_servers_deadline() -> None:
    """As another that has lapsed."""
    schedule = Schedule(midway)
    held = lease(ttl=60)
    schedule.add(held)
    schedule.record(taken(schedule, 10), [told()], 10)
    schedule.take_lost(37)
    assert schedule.next_call() == pytest.approx(40)
    batch = taken(schedule, 40)
    assert batch.release
    schedule.record(batch, released(batch), 40)
    assert (len(schedule), schedule.next_call(), schedule.take_lost(99)) == (0, None, [])


def test_a_grace_longer_than_the_time_to_live_is_used() -> None:
    """The store keeps the room until then, without a renewal."""
    schedule = Schedule(midway)
    held = lease(ttl=6)
    schedule.add(held)
    schedule.record(taken(schedule, 1), [told()], 1)
    assert held.good_until == pytest.approx(1 + 30 - 0.6)


def test_what_is_over_by_the_time_of_the_reply_is_lost_at_once() -> None:
    """It is reported as lost, not as preempted."""
    schedule = Schedule(midway)
    held = lease(ttl=60)
    schedule.add(held)
    schedule.record(taken(schedule, 10), [told(0)], 10)
    assert schedule.take_lost(10) == [held]
    assert schedule.take_preempted() == []
    assert held.loss is not None
    assert held.loss.code == "preempted"


def test_one_whose_holder_ended_meanwhile_is_released_at_once() -> None:
    """The reply of a renewal in flight says that it is still charged."""
    schedule = Schedule(midway)
    held = lease(ttl=60)
    schedule.add(held)
    batch = taken(schedule, 50)
    schedule.take_lost(54)
    schedule.record(batch, [told()], 55)
    assert schedule.next_call() == 55
    assert schedule.take_preempted() == []


def test_one_that_was_being_released_when_it_was_returned_is_asked_for_at_once() -> None:
    """A repeated call may return an allocation that was preempted meanwhile."""
    schedule = Schedule(midway)
    held = lease(ttl=60)
    object.__setattr__(held.allocation, "releasing_ms", 5)
    schedule.add(held)
    assert schedule.next_call() == 0
