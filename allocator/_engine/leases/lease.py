"""Leases: the state of one held allocation.  No clock, no thread, no I/O.

The holder's clock decides whether a lease is good, never the server's.  It counts from the instant before the last
successful request was sent: however long the reply took, the server's deadline is later.  A margin is subtracted
(`HOLD_MARGIN`, and the round trip).  Behind Sentinels, so is the time by which the primary was unconfirmed when the
request was sent (`validity`).

With a hard end (`max_lifetime`) it is good until shortly before that at the longest.  A reply says how long it is until
then, by the server's clock, so no clocks are compared.  So does one that says that it is preempted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from allocator import settings
from allocator._engine.execution.instrumentation import Instrumentation
from allocator.errors import AllocationLost, BackendUnavailable
from allocator.models.allocations import Allocation, Release, Renewal
from allocator.models.preemption import Preemption

__all__ = ["Answer", "Batch", "Lease"]

Answer = Renewal | Release | Exception
"""The outcome for one lease of a batch: the server's reply, or the error in its place."""


class Lease:
    """The state of one held allocation.  Instants are seconds of the holder's clock."""

    __slots__ = (
        "allocation",
        "asked",
        "at_end",
        "confirmed_at",
        "deadline_ms",
        "ending",
        "error",
        "failures",
        "good_until",
        "instruments",
        "lasts_s",
        "loss",
        "margin_s",
        "on_ended",
        "on_lost",
        "on_preempt",
        "on_settled",
        "preempted",
        "ttl_ms",
        "ttl_s",
        "under_way",
    )  # fmt: skip

    def __init__(
        self,
        allocation: Allocation,
        ttl_ms: int,
        sent: float,
        now: float,
        on_lost: Callable[[], object],
        overdue_s: float = 0.0,
        left_s: float | None = None,
    ) -> None:
        """Start with a grant.

        Args:
            allocation: As granted.
            ttl_ms: The time to live of each renewal, whatever the record has.
            sent: The instant before the request was first sent.
            now: The instant of the reply.
            on_lost: Called once if it is lost.
            overdue_s: Seconds by which the primary that granted it was unconfirmed.
            left_s: Seconds until its hard end; None: it has none.

        `on_preempt` may be set: it is called once if a request of higher priority takes its room.
        `instruments` may be set: its observers are told of renewals and of the loss.
        `on_ended` may be set: it is called once its release in the background has ended, with the last error if that
        was given up.
        """
        self.allocation = allocation
        self.ttl_ms = ttl_ms
        self.ttl_s = ttl_ms / 1000
        self.deadline_ms = allocation.deadline_ms
        self.on_lost = on_lost
        self.loss: AllocationLost | None = None
        self.error: Exception | None = None
        self.failures = 0
        self.ending = False
        self.under_way = False
        self.on_settled: Callable[[], object] | None = None
        self.on_preempt: Callable[[], object] | None = None
        self.preempted: Preemption | None = None
        self.on_ended: Callable[[Exception | None], object] | None = None
        self.instruments: Instrumentation | None = None
        self.asked = sent
        self.margin_s = settings.HOLD_MARGIN * _within(self.ttl_s, left_s)
        self.extend(sent, now, overdue_s, left_s)

    @property
    def interval_s(self) -> float:
        """Seconds between two renewals."""
        return self.ttl_s * settings.HOLD_INTERVAL

    def extend(self, sent: float, now: float, overdue_s: float, left_s: float | None = None) -> None:
        """Extend `good_until` after a request that was sent at `sent` has succeeded.

        The lease is good for its time to live from `sent`, or until its hard end if that is earlier, less the margin
        and less `overdue_s`.  `lasts_s` is this time without what is subtracted; `at_end`: its hard end is why it will
        be lost, whatever succeeds from now on.
        """
        self.confirmed_at = sent
        self.lasts_s = _within(self.ttl_s, left_s)
        self.at_end = left_s is not None and left_s <= self.ttl_s and not overdue_s
        self.good_until = sent + self.lasts_s - self.margin_s - min(self.margin_s, now - sent) - overdue_s
        self.error = _unconfirmed(overdue_s) if overdue_s else None

    def preempt(self, why: Preemption, sent: float, now: float, overdue_s: float, left_s: float) -> None:
        """Its room is taken `left_s` seconds after the reply to a renewal sent at `sent`; it is good until then."""
        self.preempted, self.deadline_ms = why, why.deadline_ms
        self.confirmed_at, self.lasts_s, self.at_end = sent, max(0.0, left_s), False
        margin_s = settings.HOLD_MARGIN * _within(self.ttl_s, self.lasts_s)
        self.good_until = sent + self.lasts_s - margin_s - min(margin_s, now - sent) - overdue_s

    @property
    def give_up_at(self) -> float:
        """The instant until which its release is retried: the last requested deadline, or `UNDO_FOR_S` if later."""
        return self.asked + max(self.ttl_s, settings.UNDO_FOR_S)


class Batch(NamedTuple):
    """The leases of one script call, all to renew or all to release; `sent` is the instant before it."""

    leases: tuple[Lease, ...]
    release: bool
    sent: float

    @property
    def time_s(self) -> float:
        """Seconds that the call may take, so that after a dead connection there is time for another attempt."""
        return min(settings.HOLD_RENEW_S, min(lease.interval_s for lease in self.leases) / 2)


def _within(ttl_s: float, left_s: float | None) -> float:
    return ttl_s if left_s is None else min(ttl_s, left_s)


def _unconfirmed(overdue_s: float) -> BackendUnavailable:
    silent_s = overdue_s + settings.SENTINEL_BELIEF_S
    return BackendUnavailable(f"no Sentinel has named its primary for {silent_s:.1f} s", code="unconfirmed")
