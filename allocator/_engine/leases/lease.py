"""What a holder knows of its allocation.  No clock, no thread, no I/O.

Whether a lease is still good is judged by the holder's own clock, never by the server's.  It counts from the instant
before its last successful request was sent: however long the reply took, the ledger's deadline is later.  From that the
margin is taken (`HOLD_MARGIN`, and the round trip), and behind Sentinels how long it was overdue by then that one of
them names the primary (`validity`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from allocator import settings
from allocator.errors import AllocationLost, BackendUnavailable
from allocator.models.allocations import Allocation, Release, Renewal

__all__ = ["Answer", "Batch", "Lease"]

Answer = Renewal | Release | Exception
"""What became of one lease of a batch: the ledger's word, or why there is none."""


class Lease:
    """What a holder knows of its allocation.  Instants are seconds of the holder's clock."""

    __slots__ = (
        "allocation",
        "asked",
        "confirmed_at",
        "deadline_ms",
        "ending",
        "error",
        "failures",
        "good_until",
        "loss",
        "on_lost",
        "on_settled",
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
    ) -> None:
        """Begin.

        Args:
            allocation: As granted.
            ttl_ms: What each renewal asks for, whatever the record says.
            sent: Before the request for it was first sent.
            now: When the reply was there.
            tell: Called once if it is lost.
            overdue_s: Seconds by which the primary that granted it may be relied on for less time.
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
        self.asked = sent
        self.extend(sent, now, overdue_s)

    @property
    def interval_s(self) -> float:
        """Seconds between two renewals."""
        return self.ttl_s * settings.HOLD_INTERVAL

    def extend(self, sent: float, now: float, overdue_s: float) -> None:
        """A request that was sent then has been answered now: it is good for its time to live, less the margin, and
        less what it was overdue that a Sentinel names the primary.
        """
        margin = settings.HOLD_MARGIN * self.ttl_s
        self.confirmed_at = sent
        self.good_until = sent + self.ttl_s - margin - min(margin, now - sent) - overdue_s
        self.error = _unconfirmed(overdue_s) if overdue_s else None

    @property
    def give_up_at(self) -> float:
        """Until when to try to release it: far beyond the deadline that the last renewal asked for."""
        return self.asked + max(self.ttl_s, settings.UNDO_FOR_S)


@dataclass(frozen=True, slots=True)
class Batch:
    """Leases of one script call, all to be renewed or all to be released; `sent` is the instant before it."""

    leases: tuple[Lease, ...]
    release: bool
    sent: float

    @property
    def time_s(self) -> float:
        """Seconds that the call may take, so that a dead connection leaves time for another attempt."""
        return min(settings.HOLD_RENEW_S, min(lease.interval_s for lease in self.leases) / 2)


def _unconfirmed(overdue_s: float) -> BackendUnavailable:
    silent_s = overdue_s + settings.SENTINEL_BELIEF_S
    return BackendUnavailable(f"no Sentinel has named its primary for {silent_s:.1f} s", code="unconfirmed")
