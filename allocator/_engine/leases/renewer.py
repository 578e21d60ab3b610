"""Lease renewer: renews leases from threads, so that a blocked event loop or a busy main thread loses none.

There is one `LeaseRenewer` for all holds of one pool of one target, blocking and asyncio, for as long as there are any.
It has two threads, which share a `Schedule`:

- one makes the calls, up to a hundred renewals each, over separate connections.  It never waits for anything else;
- one calls `on_lost` for lost leases, on time: also while the other waits for a dead connection, and after an
  `on_lost` that takes long or fails.

If either thread dies, leases lapse and `Hold.lost` is true: the thread that reads it decides by the clock.
After a fork the child has no renewers, and the parent's holds are lost in the child.
"""

from __future__ import annotations

import logging
import math
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final, Protocol, TypeVar

from allocator import settings
from allocator._engine.execution.instrumentation import ObservedRenewal
from allocator._engine.execution.undo_log import UndoLog
from allocator._engine.leases.lease import Answer, Batch, Lease
from allocator._engine.leases.schedule import Schedule, is_late
from allocator._engine.operations import release, renew, requests
from allocator._engine.protocol.flows import Flow, Operation
from allocator._engine.protocol.keys import PoolKeys
from allocator.errors import AllocationLost, AllocatorError
from allocator.models.allocations import Renewal
from allocator.models.preemption import Preemption
from allocator.serialization import rfc3339

__all__ = ["LeaseRenewer", "Runs", "local_now"]

R = TypeVar("R")


_log = logging.getLogger("allocator")


_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", None) or (time.CLOCK_MONOTONIC if sys.platform == "darwin" else None)
"""The clock that runs while the machine sleeps, where `time.monotonic` does not."""


def local_now() -> float:
    """The holder's clock in seconds: it is never set, and it runs while the machine sleeps."""
    return time.monotonic() if _CLOCK is None else time.clock_gettime(_CLOCK)


Clock = Callable[[], int]
"""Returns the instant that the scripts take for now, in milliseconds."""


class Runs(Protocol):
    """The methods of a driver that a renewer uses."""

    def run(
        self, work: Operation[R] | Flow[R], *, deadline_s: float | None = None, undo_log: UndoLog | None = None
    ) -> R: ...
    def close(self) -> None: ...


class _Wakeup:
    """Wakes one thread at an instant that other threads may move earlier.  Its methods are called with the lock."""

    def __init__(self, lock: threading.Lock) -> None:
        self._changed = threading.Condition(lock)
        self._wakes = -math.inf

    def wait(self, now: float, at: float | None, most: float | None) -> bool:
        """Wait until the instant `at`, for at most `most` seconds; returns whether it was woken earlier.

        Without `at`, any instant wakes it: a clock that a test sets may stand still while the seconds pass.
        """
        seconds = most if at is None else max(0.0, min(at - now, math.inf if most is None else most))
        self._wakes = math.inf if at is None or seconds is None else now + seconds
        woken = self._changed.wait(seconds)
        self._wakes = -math.inf
        return woken

    def set(self, at: float | None) -> None:
        """Wake the thread at this instant, if it would wake later."""
        if at is not None and at < self._wakes:
            self.ring()

    def ring(self) -> None:
        """Wake the thread now."""
        self._changed.notify()


class LeaseRenewer:
    """The leases of one pool, and the threads that renew them."""

    def __init__(
        self,
        pool: PoolKeys,
        connect: Callable[[], Runs],
        retire: Callable[[LeaseRenewer], bool],
        *,
        now: Callable[[], float] = local_now,
        look_s: float = settings.HOLD_POLL_S,
    ) -> None:
        """Prepare; no thread is started.

        Args:
            pool: The pool of the leases.
            connect: Makes the driver, in the thread that uses it.
            retire: Called after a while without leases; returns whether the threads may end.
            now: The holders' clock, in seconds.
            look_s: Seconds between two polls of the clock.
        """
        self.lock = threading.Lock()
        self.now = now
        self._pool = pool
        self._connect = connect
        self._retire = retire
        self._look_s = look_s
        self._schedule = Schedule()
        self._calls = _Wakeup(self.lock)
        self._losses = _Wakeup(self.lock)
        self._retired = False
        self._failing = False
        self.threads: tuple[threading.Thread, ...] = ()

    # -- holders -------------------------------------------------------------------------------------------------------

    def add(self, lease: Lease) -> None:
        """Renew this lease from now on; raises `RuntimeError` if no thread can be started."""
        with self.lock:
            self._start()
            self._schedule.add(lease)
            self._set_wakeups()

    def remove(self, lease: Lease, on_settled: Callable[[], object]) -> bool:
        """Stop renewing a lease whose holder ends it: nothing is sent for it from now on.

        Returns:
            Whether a renewal is in flight.  `on_settled` is called from another thread when that has ended; its reply
            is ignored.
        """
        with self.lock:
            self._schedule.remove(lease)
            lease.on_settled = on_settled if lease.under_way else None
            return lease.under_way

    def release_later(self, lease: Lease) -> None:
        """Release a lease whose holder could not; retried until it succeeds, is pointless, or `give_up_at` passes."""
        with self.lock:
            self._start()
            self._schedule.release_later(lease, self.now())
            self._set_wakeups()

    def lapse_if_due(self, lease: Lease) -> AllocationLost | None:
        """Why it is lost, or None.  A lost lease stays lost."""
        if lease.loss is None and self.now() >= lease.good_until:
            with self.lock:
                self._schedule.lapse_if_due(lease, self.now())
                self._set_wakeups()
        return lease.loss

    # -- threads -------------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        works = ((self._report_losses, "losses"), (self._make_calls, "renew"))
        for work, name in works[len(self.threads) :]:  # one may run already, if starting the other failed before
            thread = threading.Thread(target=work, name=f"allocator-{name}-{self._pool.name}", daemon=True)
            thread.start()
            self.threads = (*self.threads, thread)

    def _set_wakeups(self) -> None:
        self._calls.set(self._schedule.next_call())
        self._losses.set(self._schedule.next_loss())

    def retire(self) -> bool:
        """End the threads if there are no leases; returns whether they end."""
        with self.lock:
            self._retired = not self._schedule
            self._losses.ring()
            return self._retired

    def _make_calls(self) -> None:
        driver: Runs | None = None
        while (batch := self._next_batch()) is not None:
            answers: Sequence[Answer]
            undo_log = UndoLog()
            try:
                driver = driver or self._connect()
                answers = self._call(driver, batch, undo_log)
            except Exception as error:  # noqa: BLE001 - any error is retried until the leases lapse
                answers = [error] * len(batch.leases)
            self._log_failures(batch, answers)
            self._report_renewals(batch, answers)
            with self.lock:
                on_settled = self._schedule.record(batch, answers, self.now(), undo_log.overdue_s)
                self._set_wakeups()
            for call in on_settled:
                call()
        if driver is not None:
            driver.close()

    def _next_batch(self) -> Batch | None:
        while True:
            with self.lock:
                batch = self._schedule.next_batch(self.now())
                if batch is not None:
                    return batch
                at = self._schedule.next_call()
                rung = self._calls.wait(self.now(), at, settings.HOLD_IDLE_S if at is None else self._look_s)
            if at is None and not rung and self._retire(self):
                return None

    def _call(self, driver: Runs, batch: Batch, undo_log: UndoLog) -> Sequence[Answer]:
        granted = [lease.allocation for lease in batch.leases]
        if batch.release:
            ended = release.release_each(self._pool, [requests.FencedId(one.id, one.fence, one) for one in granted])
            return driver.run(ended, deadline_s=batch.time_s)
        leases = [
            (replace(one, deadline_ms=lease.deadline_ms), lease.ttl_ms)
            for one, lease in zip(granted, batch.leases, strict=True)
        ]
        return driver.run(renew.renew_each(self._pool, leases), deadline_s=batch.time_s, undo_log=undo_log)

    def _log_failures(self, batch: Batch, answers: Sequence[Answer]) -> None:
        """Log when renewals begin to fail and when they work again, once for all leases."""
        failed = next((answer for answer in answers if isinstance(answer, Exception)), None)
        if failed is not None and not self._failing:
            _log.warning("pool %s: leases cannot be renewed, and renewals are retried: %s", self._pool.name, failed)
        elif failed is None and self._failing:
            _log.warning("pool %s: leases are renewed again", self._pool.name)
        self._failing = failed is not None

    def _report_renewals(self, batch: Batch, answers: Sequence[Answer]) -> None:
        """Tell the observers of the clients whose leases they are; before the schedule records the answers."""
        if batch.release:
            return
        now = self.now()
        for lease, answer in zip(batch.leases, answers, strict=True):
            if lease.instruments is not None and lease.instruments.observers and not lease.ending:
                outcome, code = _outcome(lease, answer, batch.sent)
                renewal = ObservedRenewal(self._pool.name, outcome, code, now - lease.confirmed_at, lease.ttl_s)
                lease.instruments.emit("lease_renewed", renewal)

    def _report_losses(self) -> None:
        while True:
            with self.lock:
                now = self.now()
                preempted = self._schedule.take_preempted()
                lost = self._schedule.take_lost(now)
                if lost or preempted:
                    self._calls.set(self._schedule.next_call())
                elif self._retired:
                    return
                else:
                    at = self._schedule.next_loss()
                    self._losses.wait(now, at, None if at is None else self._look_s)
            for lease in preempted:
                self._report(lease, lease.on_preempt, "on_preempt", lease.preempted)
            for lease in lost:
                if lease.instruments is not None and lease.loss is not None:
                    lease.instruments.emit("lease_lost", self._pool.name, lease.loss.code)
                self._report(lease, lease.on_lost, "on_lost", lease.loss)

    def _report(self, lease: Lease, call: Callable[[], object] | None, name: str, why: object) -> None:
        identity = lease.allocation.id
        if isinstance(why, Preemption):
            why = f"allocation {identity!r} is preempted by {why.by!r}: its room is taken at {rfc3339(why.deadline_ms)}"
        ended = isinstance(why, AllocationLost) and why.code == "over"
        _log.log(logging.INFO if ended else logging.WARNING, "%s", why)
        try:
            if call is not None:
                call()
        except Exception:  # noqa: BLE001 - it is logged; the other holders still hear of theirs
            _log.exception("%s failed for allocation %r", name, identity)


def _outcome(lease: Lease, answer: Answer, sent: float) -> tuple[str, str]:
    """The outcome of a renewal, and the code of its error."""
    if isinstance(answer, AllocatorError):
        return "failed", answer.code
    if not isinstance(answer, Renewal):
        return "failed", type(answer).__name__
    if answer.outcome == "preempted":
        return "preempted", ""
    return ("lost" if not answer else "late" if is_late(lease, sent) else "on_time"), ""
