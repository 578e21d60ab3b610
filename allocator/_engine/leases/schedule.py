"""When each lease that this process holds is renewed, and when it is lost.  No clock, no thread, no I/O.

A `Schedule` has all leases of one pool.  A lease in its care is

- *held*: renewed at a third of its time to live.  A failure is repeated until the lease lapses, whatever it was;
- *lapsed*: its time is over by the holder's clock, and the holder is told once.  It is not renewed any more but
  released: at the ledger's deadline, for an earlier renewal that nobody answered may have been executed; and at once
  where a renewal turns out to have been executed after all;
- *ending*: its holder has ended, and could not release it itself.

It leaves the care when its holder releases it, when the ledger says that it is gone, and when it was released here.

The first renewal falls anywhere in the interval, and so does the one after a failure: leases that were granted, or
could be renewed again, in the same second do not stay together.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable, Sequence

from allocator import settings
from allocator._engine.execution.retry import backoff
from allocator._engine.leases.lease import Answer, Batch, Lease
from allocator.errors import AllocationLost, UnknownPool
from allocator.models.allocations import Allocation, Release, Renewal

__all__ = ["Schedule"]


class _TimerQueue:
    """Leases by instant, each at most once; a heap in which what was moved or removed is skipped when it is met."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Lease]] = []
        self._current: dict[Lease, int] = {}
        self._numbers = itertools.count()

    def put(self, lease: Lease, at: float) -> None:
        """Enter it, or move it."""
        number = self._current[lease] = next(self._numbers)
        heapq.heappush(self._heap, (at, number, lease))
        if len(self._heap) > 2 * len(self._current) + settings.BATCH_ITEMS_MAX:
            self._heap = [pending for pending in self._heap if self._current.get(pending[2]) == pending[1]]
            heapq.heapify(self._heap)

    def remove(self, lease: Lease) -> None:
        """Strike it out, if it is there."""
        self._current.pop(lease, None)

    def first(self) -> tuple[float, Lease] | None:
        """The earliest, which stays."""
        while self._heap:
            at, number, lease = self._heap[0]
            if self._current.get(lease) == number:
                return at, lease
            heapq.heappop(self._heap)
        return None


class Schedule:
    """The leases of one pool that this process takes care of."""

    def __init__(self, chance: Callable[[], float] = random.random) -> None:
        """Begin with none.

        Args:
            chance: Draws from 0 to 1.
        """
        self._chance = chance
        self._care: set[Lease] = set()
        self._calls = _TimerQueue()
        self._ends = _TimerQueue()
        self._unreported: list[Lease] = []

    def __len__(self) -> int:
        return len(self._care)

    # -- holders -------------------------------------------------------------------------------------------------------

    def add(self, lease: Lease) -> None:
        """Take a lease into care."""
        self._care.add(lease)
        self._ends.put(lease, lease.good_until)
        self._calls.put(lease, lease.confirmed_at + lease.interval_s * self._chance())

    def remove(self, lease: Lease) -> None:
        """Its holder ends it: no renewal begins from now on, and the reply to one under way changes nothing."""
        self._care.discard(lease)
        self._calls.remove(lease)
        self._ends.remove(lease)

    def release_later(self, lease: Lease, now: float) -> None:
        """Its holder has ended and it was not released: do that, unless it is known to be gone."""
        if lease.loss is not None and lease not in self._care:
            return
        lease.ending = True
        self._care.add(lease)
        self._ends.remove(lease)
        self._calls.put(lease, now)

    def lapse_if_due(self, lease: Lease, now: float) -> None:
        """Let a lease lapse whose time is over."""
        if lease in self._care and not lease.ending and now >= lease.good_until:
            self._lapse(lease)

    # -- calls ---------------------------------------------------------------------------------------------------------

    def next_call(self) -> float | None:
        """When there is something to send; None: nothing is planned."""
        first = self._calls.first()
        return None if first is None else first[0]

    def next_batch(self, now: float) -> Batch | None:
        """What to send now, at most a script call's worth.  Each lease of it waits for `record`."""
        taken: list[Lease] = []
        while len(taken) < settings.BATCH_ITEMS_MAX and (first := self._calls.first()):
            at, lease = first
            if not lease.ending and now >= lease.good_until:
                self._lapse(lease)
                continue
            early = min(settings.HOLD_GATHER_S, lease.interval_s / 10) if taken else 0.0
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
        """Take note of what became of a batch, whose answers may be relied on for so much less time.

        Returns:
            What to call because somebody waits for a call under way to end.
        """
        on_settled: list[Callable[[], object]] = []
        for lease, answer in zip(batch.leases, answers, strict=True):
            lease.under_way = False
            if lease.on_settled is not None:
                on_settled.append(lease.on_settled)
            if lease not in self._care:
                continue
            if batch.release:
                self._record_release(lease, answer, now)
            elif lease.ending or isinstance(answer, Renewal) or _is_deleted(answer):
                self._record_renewal(lease, answer, batch.sent, now, overdue_s)
            else:
                lease.failures += 1
                lease.error = answer if isinstance(answer, Exception) else None
                self._calls.put(lease, now + backoff(lease.failures))
        return on_settled

    def _record_renewal(self, lease: Lease, answer: Answer, sent: float, now: float, overdue_s: float) -> None:
        if _is_deleted(answer) or (isinstance(answer, Renewal) and not answer):
            if not lease.ending:
                self._lose(lease, _gone(lease.allocation, answer))
            self.remove(lease)
            return
        self.lapse_if_due(lease, now)
        if lease.ending:
            if isinstance(answer, Renewal):  # executed after all: its holder was told otherwise, or has ended
                self._calls.put(lease, now)
            return
        assert isinstance(answer, Renewal)
        late = sent - lease.confirmed_at > lease.interval_s * (1 + settings.HOLD_JITTER)
        lease.extend(sent, now, overdue_s)
        lease.deadline_ms = answer.deadline_ms
        lease.failures = 0
        self._ends.put(lease, lease.good_until)
        wait = self._chance() if late else 1 - settings.HOLD_JITTER * self._chance()
        self._calls.put(lease, sent + lease.interval_s * wait)

    def _record_release(self, lease: Lease, answer: Answer, now: float) -> None:
        lease.failures += 1
        again = now + backoff(lease.failures)
        if isinstance(answer, Release | UnknownPool) or again > lease.give_up_at:
            self.remove(lease)
        else:
            self._calls.put(lease, again)

    # -- losses --------------------------------------------------------------------------------------------------------

    def next_loss(self) -> float | None:
        """When a lease lapses unless it is renewed; an instant that is past where somebody is still to be told."""
        if self._unreported:
            return 0.0
        first = self._ends.first()
        return None if first is None else first[0]

    def take_lost(self, now: float) -> list[Lease]:
        """The leases lost by now whose holders have not been told, each once."""
        while (first := self._ends.first()) and first[0] <= now:
            self._lapse(first[1])
        told, self._unreported = self._unreported, []
        return told

    def _lapse(self, lease: Lease) -> None:
        why = lease.error or "this process did not run"
        identity = lease.allocation.id
        self._lose(
            lease, AllocationLost(f"allocation {identity!r} was not renewed in time: {why}", id=identity, code="lapsed")
        )
        lease.ending = True
        self._calls.put(lease, lease.confirmed_at + lease.ttl_s)

    def _lose(self, lease: Lease, loss: AllocationLost) -> None:
        lease.loss = loss
        self._ends.remove(lease)
        self._unreported.append(lease)


def _is_deleted(answer: Answer) -> bool:
    """Whether the pool is no more.  One that the store has lost may come back, and nobody is granted anything until."""
    return isinstance(answer, UnknownPool) and answer.code != "pool_lost"


def _gone(allocation: Allocation, answer: Answer) -> AllocationLost:
    identity = allocation.id
    if isinstance(answer, Renewal) and answer.outcome == "fenced":
        return AllocationLost(
            f"allocation {identity!r} is another grant's now: fence {answer.fence}, not {allocation.fence}",
            id=identity,
            code="fenced",
        )
    if isinstance(answer, Renewal) and answer.outcome == "releasing":
        return AllocationLost(f"allocation {identity!r} is being released", id=identity, code="releasing")
    why = str(answer) if isinstance(answer, UnknownPool) else "it was released, or reclaimed after its deadline"
    return AllocationLost(f"allocation {identity!r} is gone: {why}", id=identity, code="gone")
