"""Lease schedule: when each lease is renewed, and when it is lost.  No clock, no thread, no I/O.

A `Schedule` has all leases of one pool.  Each of them is

- *held*: renewed after a third of its time to live.  A failed renewal is retried until the lease lapses;
- *lapsed*: its time is over by the holder's clock, and `on_lost` is called once.  It is no longer renewed but released:
  at the server's deadline, as an earlier renewal without a reply may have been executed; and at once if a late reply
  shows that one was;
- *ending*: its holder has ended and could not release it.

A lease with a hard end is renewed until shortly before it, so that a release by others is noticed; it lapses there,
whatever succeeds.  At the end it is released.

A lease that is preempted is not renewed any more, as that would be in vain: it is held until its grace is over, less
the margin, and lapses there.

A lease leaves the schedule when its holder releases it, when the server replies that it is gone, and when the renewer
has released it.

The first renewal is at a random point of the interval, and so is the one after a failure.  This spreads leases that
were granted, or could be renewed again, in the same second.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable, Sequence
from functools import partial

from allocator import settings
from allocator._engine.execution.retry import backoff
from allocator._engine.leases.lease import Answer, Batch, Lease
from allocator._engine.operations.replies import over, preempted
from allocator.errors import AllocationLost, UnknownPool
from allocator.models.allocations import Allocation, Release, Renewal
from allocator.models.preemption import Preemption

__all__ = ["Schedule", "is_late"]


class _TimerQueue:
    """Leases by instant, each at most once.  A heap: entries that were moved or removed are skipped when popped."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Lease]] = []
        self._current: dict[Lease, int] = {}
        self._numbers = itertools.count()

    def put(self, lease: Lease, at: float) -> None:
        """Add a lease, or move it to another instant."""
        number = self._current[lease] = next(self._numbers)
        heapq.heappush(self._heap, (at, number, lease))
        if len(self._heap) > 2 * len(self._current) + settings.BATCH_ITEMS_MAX:
            self._heap = [pending for pending in self._heap if self._current.get(pending[2]) == pending[1]]
            heapq.heapify(self._heap)

    def remove(self, lease: Lease) -> None:
        """Remove a lease, if it is present."""
        self._current.pop(lease, None)

    def first(self) -> tuple[float, Lease] | None:
        """The earliest lease and its instant; it stays in the queue."""
        while self._heap:
            at, number, lease = self._heap[0]
            if self._current.get(lease) == number:
                return at, lease
            heapq.heappop(self._heap)
        return None


class Schedule:
    """The leases of one pool that this process renews or releases."""

    def __init__(self, chance: Callable[[], float] = random.random) -> None:
        """Start without leases.

        Args:
            chance: Returns a random number from 0 to 1.
        """
        self._chance = chance
        self._care: set[Lease] = set()
        self._calls = _TimerQueue()
        self._ends = _TimerQueue()
        self._unreported: list[Lease] = []
        self._preempted: list[Lease] = []

    def __len__(self) -> int:
        return len(self._care)

    # -- holders -------------------------------------------------------------------------------------------------------

    def add(self, lease: Lease) -> None:
        """Renew this lease from now on."""
        self._care.add(lease)
        self._ends.put(lease, lease.good_until)
        # A repeated call may have returned one whose release has begun: the first renewal says until when it is good.
        wait = self._chance() if lease.allocation.releasing_ms is None else 0.0
        self._calls.put(lease, lease.confirmed_at + lease.interval_s * wait)

    def remove(self, lease: Lease) -> None:
        """Stop renewing a lease: no renewal begins from now on, and the reply to one in flight is ignored."""
        self._care.discard(lease)
        self._calls.remove(lease)
        self._ends.remove(lease)

    def release_later(self, lease: Lease, now: float) -> None:
        """Release a lease whose holder could not, unless it is known to be gone."""
        if lease.loss is not None and lease not in self._care:
            return
        lease.ending = True
        self._care.add(lease)
        self._ends.remove(lease)
        self._calls.put(lease, now)

    def lapse_if_due(self, lease: Lease, now: float) -> None:
        """Mark a lease as lapsed if its time is over."""
        if lease in self._care and not lease.ending and now >= lease.good_until:
            self._lapse(lease, now)

    # -- calls ---------------------------------------------------------------------------------------------------------

    def next_call(self) -> float | None:
        """The instant of the next call; None if none is planned."""
        first = self._calls.first()
        return None if first is None else first[0]

    def next_batch(self, now: float) -> Batch | None:
        """The leases to send now, at most one script call's.  Each is in flight until `record`."""
        taken: list[Lease] = []
        while len(taken) < settings.BATCH_ITEMS_MAX and (first := self._calls.first()):
            at, lease = first
            if not lease.ending and now >= lease.good_until:
                self._lapse(lease, now)
                continue
            early = min(settings.HOLD_BATCH_S, lease.interval_s / 10) if taken else 0.0
            if at - early > now or (taken and lease.ending != taken[0].ending):
                break
            self._calls.remove(lease)
            lease.under_way = True
            if not lease.ending:
                lease.asked = now
            taken.append(lease)
        return Batch(tuple(taken), taken[0].ending, now) if taken else None

    def record(
        self, batch: Batch, answers: Sequence[Answer], now: float, overdue_s: float = 0.0
    ) -> list[Callable[[], object]]:
        """Record the outcomes of a batch; `overdue_s` are the seconds by which its primary was unconfirmed.

        Returns:
            The `on_settled` functions to call now, for holders that wait for the batch to end, and `on_ended` of leases
            that are released no more.
        """
        on_settled: list[Callable[[], object]] = []
        for lease, answer in zip(batch.leases, answers, strict=True):
            lease.under_way = False
            if lease.on_settled is not None:
                on_settled.append(lease.on_settled)
            if lease not in self._care:
                continue
            if batch.release:
                if self._record_release(lease, answer, now) and lease.on_ended is not None:
                    on_settled.append(partial(lease.on_ended, _failure(answer)))
            elif lease.ending or isinstance(answer, Renewal) or _is_deleted(answer):
                self._record_renewal(lease, answer, batch.sent, now, overdue_s)
            else:
                lease.failures += 1
                lease.error = answer if isinstance(answer, Exception) else None
                self._calls.put(lease, now + backoff(lease.failures))
        return on_settled

    def _record_renewal(self, lease: Lease, answer: Answer, sent: float, now: float, overdue_s: float) -> None:
        if isinstance(answer, Renewal) and answer.outcome == "preempted":
            self._record_preemption(lease, answer, sent, now, overdue_s)
            return
        if _is_deleted(answer) or (isinstance(answer, Renewal) and not answer):
            if not lease.ending:
                self._lose(lease, _gone(lease.allocation, answer))
            self.remove(lease)
            return
        self.lapse_if_due(lease, now)
        if lease.ending:
            if isinstance(answer, Renewal):  # it was executed, although the lease is lost or its holder has ended
                self._calls.put(lease, now)
            return
        assert isinstance(answer, Renewal)
        late = is_late(lease, sent)
        lease.extend(sent, now, overdue_s, None if answer.left_ms is None else answer.left_ms / 1000)
        lease.deadline_ms = answer.deadline_ms
        lease.failures = 0
        self._ends.put(lease, lease.good_until)
        wait = self._chance() if late else 1 - settings.HOLD_JITTER * self._chance()
        self._calls.put(lease, sent + lease.interval_s * wait)

    def _record_preemption(self, lease: Lease, answer: Renewal, sent: float, now: float, overdue_s: float) -> None:
        self.lapse_if_due(lease, now)
        if lease.ending:
            self._calls.put(lease, now)  # it is still charged, although its holder has ended
            return
        assert answer.deadline_ms is not None
        why = Preemption(answer.preempted_by or lease.allocation.id, answer.deadline_ms)
        lease.preempt(why, sent, now, overdue_s, (answer.left_ms or 0) / 1000)
        lease.failures = 0
        self._ends.put(lease, lease.good_until)
        self._preempted.append(lease)

    def _record_release(self, lease: Lease, answer: Answer, now: float) -> bool:
        """Returns whether its release has ended."""
        lease.failures += 1
        again = now + backoff(lease.failures)
        if isinstance(answer, Release | UnknownPool) or again > lease.give_up_at:
            self.remove(lease)
            return True
        self._calls.put(lease, again)
        return False

    # -- losses --------------------------------------------------------------------------------------------------------

    def next_loss(self) -> float | None:
        """When the next lease lapses unless it is renewed; a past instant if something is still to be reported."""
        if self._unreported or self._preempted:
            return 0.0
        first = self._ends.first()
        return None if first is None else first[0]

    def take_preempted(self) -> list[Lease]:
        """The leases that are preempted, and whose holders have not heard of it yet, each once."""
        told, self._preempted = self._preempted, []
        return [lease for lease in told if lease in self._care and not lease.ending]

    def take_lost(self, now: float) -> list[Lease]:
        """The leases lost by now whose loss is not yet reported, each once."""
        while (first := self._ends.first()) and first[0] <= now:
            self._lapse(first[1], now)
        told, self._unreported = self._unreported, []
        return told

    def _lapse(self, lease: Lease, now: float) -> None:
        identity, ends_ms = lease.allocation.id, lease.allocation.ends_ms
        if lease.preempted is not None:
            self._lose(lease, preempted(identity, lease.preempted.deadline_ms, lease.preempted.by))
        elif lease.at_end and ends_ms is not None:
            self._lose(lease, over(identity, ends_ms))
        else:
            why = f"allocation {identity!r} was not renewed in time: {_cause(lease, now)}"
            self._lose(lease, AllocationLost(why, id=identity, code="lapsed"))
        lease.ending = True
        self._calls.put(lease, lease.confirmed_at + lease.lasts_s)

    def _lose(self, lease: Lease, loss: AllocationLost) -> None:
        lease.loss = loss
        self._ends.remove(lease)
        self._unreported.append(lease)


def is_late(lease: Lease, sent: float) -> bool:
    """Whether a renewal that was sent at `sent` came after its turn; `lease` is as before it."""
    return sent - lease.confirmed_at > lease.interval_s * (1 + settings.HOLD_JITTER)


def _cause(lease: Lease, now: float) -> str:
    """Why a lease lapses: the last failure, a renewal without a reply, or no renewal at all."""
    if lease.error is not None:
        return str(lease.error)
    if lease.asked > lease.confirmed_at:
        return f"no reply to the renewal was received within {now - lease.asked:.1f} s"
    return "this process did not run"


def _failure(answer: Answer) -> Exception | None:
    """The error for which a release is given up; None if there is nothing left to release."""
    return answer if isinstance(answer, Exception) and not isinstance(answer, UnknownPool) else None


def _is_deleted(answer: Answer) -> bool:
    """Whether the pool was deleted.  A pool that the server has lost may be restored, and grants nothing until then."""
    return isinstance(answer, UnknownPool) and answer.code != "pool_lost"


def _gone(allocation: Allocation, answer: Answer) -> AllocationLost:
    identity = allocation.id
    if isinstance(answer, Renewal) and answer.outcome == "fenced":
        return AllocationLost(
            f"allocation {identity!r} has fence {answer.fence}, not {allocation.fence}", id=identity, code="fenced"
        )
    if isinstance(answer, Renewal) and answer.outcome == "over" and answer.ends_ms is not None:
        return over(identity, answer.ends_ms)
    if isinstance(answer, Renewal) and answer.outcome == "releasing":
        return AllocationLost(f"allocation {identity!r} is being released", id=identity, code="releasing")
    why = str(answer) if isinstance(answer, UnknownPool) else "it was released, or reclaimed after its deadline"
    return AllocationLost(f"allocation {identity!r} is gone: {why}", id=identity, code="gone")
