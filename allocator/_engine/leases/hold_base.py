"""The base of the blocking and the asyncio hold: its properties, and whether the allocation is still held.

`lease` is the state of one hold, `schedule` decides when it is renewed, and `renewer` makes the calls.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import ClassVar

from allocator._engine.execution.instrumentation import Instrumentation
from allocator._engine.leases.lease import Lease
from allocator._engine.leases.registry import RENEWERS, LeaseLocation
from allocator._engine.leases.renewer import LeaseRenewer
from allocator._engine.operations import allocate, release, waiting
from allocator._engine.operations.defaults import Defaults
from allocator._engine.protocol.flows import Flow, Operation
from allocator.denials import Denial
from allocator.errors import (
    AllocationLost,
    AllocatorError,
    BackendUnavailable,
    Insufficient,
    InvalidRequest,
    OutcomeUnknown,
    UnknownPool,
    WaitTimeout,
)
from allocator.models.allocations import Allocation, Release, Request, Wait
from allocator.models.preemption import Preemption
from allocator.resources import Resources
from allocator.validation import lifetime_ms, ttl_ms

__all__ = ["BaseHold", "HoldSpec"]

_log = logging.getLogger("allocator")


@dataclass(frozen=True, slots=True)
class HoldSpec:
    """What to hold, where, and the client's defaults."""

    location: LeaseLocation
    request: Request
    defaults: Defaults
    wait: Wait | None = None
    instruments: Instrumentation | None = None

    @property
    def ttl_ms(self) -> int:
        """The time to live.

        Raises:
            InvalidRequest: `field="ttl"`: None, or out of bounds.
        """
        if self.request.ttl is None:
            raise InvalidRequest(
                "ttl: a hold is renewed, so it has a time to live; allocate(ttl=None) pins", field="ttl"
            )
        return ttl_ms(self.request.ttl)

    @property
    def allocate_s(self) -> float:
        """Seconds for the first call: after a later reply too little of the lease would be left."""
        lasting_ms = min(self.ttl_ms, lifetime_ms(self.request.max_lifetime) or self.ttl_ms)
        return min(self.defaults.timeout_s, lasting_ms / 2000)

    @contextmanager
    def limit(self) -> Generator[float]:
        """`allocate_s`; an error of the store in this block gets a note that names it if it is less than `timeout`."""
        seconds = self.allocate_s
        try:
            yield seconds
        except (BackendUnavailable, OutcomeUnknown) as error:
            if error.retryable and seconds < self.defaults.timeout_s:
                error.add_note(f"the first call of a hold has half of its ttl: {seconds:g} s")
            raise

    def allocate(self, sending: Callable[[], object], on_end: Callable[[int], object]) -> Flow[Allocation | Denial]:
        """The flow that allocates it.

        Args:
            sending: Called before each attempt of one that waits.
            on_end: Gets the milliseconds until its hard end, if it has one.
        """
        if self.wait is not None:
            return waiting.allocate(self.defaults, self.request, self.wait, sending=sending, on_end=on_end)
        return allocate.allocate(self.defaults, self.request, on_end=on_end)

    def release(self, allocation: Allocation) -> Operation[Release]:
        """The operation that releases it if it is still this grant."""
        return release.release(self.defaults, allocation)


class BaseHold:
    """An allocation that is renewed for as long as a block lasts, and released at its end.

    A background thread renews it after a third of its time to live.  It is held until `lost` is true.  That is decided
    by this machine's clock, which also runs while the machine sleeps: it counts from the instant before the last
    successful request was sent, and ends a tenth of the time to live before the server's deadline.  So an allocation
    that could not be renewed in time is lost, whatever the server's state.  Once lost, it stays lost.
    """

    _STATEMENT: ClassVar[str]
    """The statement whose block it is for, with its article."""

    def __init__(self, spec: HoldSpec) -> None:
        self._spec = spec
        self._ttl_ms = spec.ttl_ms
        self._generation = RENEWERS.generation
        self._lease: Lease | None = None
        self._renewer: LeaseRenewer | None = None
        self._inside = False
        self._sent = 0.0
        self._left_s: float | None = None

    def __repr__(self) -> str:
        what = "not begun" if self._lease is None else self._lease.allocation.id
        return f"<{type(self).__name__} {what}{' lost' if self._lease is not None and self.lost else ''}>"

    # -- properties ----------------------------------------------------------------------------------------------------

    @property
    def allocation(self) -> Allocation:
        """The allocation as granted, with its latest deadline; an argument for the client's methods."""
        lease = self._held
        return replace(lease.allocation, deadline_ms=lease.deadline_ms)

    @property
    def id(self) -> str:
        """The allocation's id."""
        return self._held.allocation.id

    @property
    def fence(self) -> int:
        """The grant's fence: pass it to the systems that the allocation protects."""
        return self._held.allocation.fence

    @property
    def resources(self) -> Resources:
        """What was granted."""
        return self._held.allocation.resources

    @property
    def deadline(self) -> datetime | None:
        """When the server reclaims it unless it is renewed, by the server's clock."""
        return self.allocation.deadline

    @property
    def ends_at(self) -> datetime | None:
        """Its hard end, by the server's clock: shortly before it the hold is lost; None: there is none."""
        return self._held.allocation.ends_at

    @property
    def remaining(self) -> float:
        """Seconds for which it stays held even if no renewal succeeds from now on; 0.0 once it is lost."""
        return 0.0 if self.lost else max(0.0, self._held.good_until - self._spec.location.now())

    @property
    def lost(self) -> bool:
        """Whether this holder no longer has the allocation.  It reads the local clock and makes no call."""
        return self.loss is not None

    @property
    def loss(self) -> AllocationLost | None:
        """Why it was lost, or None.

        Its `code` is `over` (its hard end has come), `lapsed` (not renewed in time), `gone` (released or reclaimed),
        `fenced` (another grant has its id), `releasing` (its release has begun), `preempted` (a request of higher
        priority takes its room) or `forked` (the parent process holds it).
        """
        lease = self._held
        if not self._is_ours:
            identity = lease.allocation.id
            return AllocationLost(f"allocation {identity!r} is held by the parent process", id=identity, code="forked")
        return lease.loss if self._renewer is None else self._renewer.lapse_if_due(lease)

    @property
    def preempted(self) -> Preemption | None:
        """By whom its room is taken, and when; None: it is not preempted.

        It stays held until then, less a margin.  A release frees the room at once: so end the block as soon as you can.
        """
        return self._held.preempted

    def check(self) -> None:
        """Return if this holder still has the allocation.

        Raises:
            AllocationLost: It does not: stop the work that needs it.
        """
        if (loss := self.loss) is not None:
            raise copy.copy(loss)

    # -- begin and end -------------------------------------------------------------------------------------------------

    @property
    def _held(self) -> Lease:
        if self._lease is None:
            raise RuntimeError(f"this hold has not begun: use it in {self._STATEMENT} statement")
        return self._lease

    def _prepare(self) -> None:
        """Check that the hold is new, before the first byte is sent."""
        if self._lease is not None:
            raise RuntimeError("a hold is good for one block: make another")
        self._generation = RENEWERS.generation
        self._sending()

    def _sending(self) -> None:
        """An attempt is about to be sent: the lease counts from here."""
        self._sent = self._spec.location.now()

    def _set_left(self, left_ms: int) -> None:
        self._left_s = left_ms / 1000

    def _begin(
        self,
        outcome: Allocation | Denial,
        on_lost: Callable[[], object],
        on_preempt: Callable[[], object],
        overdue_s: float,
    ) -> None:
        """Register the grant with the renewer; where this raises, the caller must release it."""
        if isinstance(outcome, Denial):
            raise Insufficient.of(outcome) if self._spec.wait is None else WaitTimeout.of(outcome)
        location = self._spec.location
        now, sent = location.now(), self._sent
        lease = self._lease = Lease(outcome, self._ttl_ms, sent, now, on_lost, overdue_s, self._left_s)
        lease.on_preempt = on_preempt
        if now >= lease.good_until:
            late = "" if lease.error is None else f" ({lease.error})"
            raise AllocationLost(
                f"allocation {outcome.id!r} was granted {now - sent:.1f} s after it was asked for, "
                f"too late to be held{late}",
                id=outcome.id,
                code="lapsed",
            )
        lease.instruments = self._spec.instruments
        self._renewer = RENEWERS.add(location, lease)
        self._inside = True
        if lease.instruments is not None:
            lease.instruments.holds.add(lease)

    def _leave_block(self) -> None:
        """The block has ended."""
        self._inside = False
        if self._lease is not None and self._lease.instruments is not None:
            self._lease.instruments.holds.discard(self._lease)

    def _release_later(self) -> bool:
        """Have the renewer release it in the background; returns False if no thread could be started for that.

        Then the caller releases it by a call, which needs no thread.
        """
        try:
            RENEWERS.release_later(self._spec.location, self._held)
        except RuntimeError as error:
            _log.warning("allocation %r cannot be released in the background: %s", self._held.allocation.id, error)
            return False
        return True

    def _log_unreleased(self, error: AllocatorError) -> None:
        _log.warning("allocation %r stays until its deadline: %s", self._held.allocation.id, error)

    def _ended(self, outcome: Release | BaseException) -> AllocationLost | None:
        """Handle the outcome of the release; a failed one is retried in the background.

        Returns:
            The loss that the outcome shows, or None.
        """
        allocation = self._held.allocation
        if isinstance(outcome, Release | UnknownPool):
            if isinstance(outcome, Release) and (outcome or outcome.outcome == "missing"):
                return None
            if isinstance(outcome, UnknownPool) and outcome.code == "pool_lost":
                return None  # the server has lost the pool: nothing was granted meanwhile
            why = "the pool is gone" if isinstance(outcome, UnknownPool) else outcome.outcome
            return AllocationLost(
                f"allocation {allocation.id!r} was lost before its release ({why})",
                id=allocation.id,
                code="fenced" if why == "fenced" else "gone",
            )
        is_later = self._release_later()
        if not isinstance(outcome, AllocatorError):
            raise outcome
        if is_later:
            _log.warning("allocation %r is released in the background: %s", allocation.id, outcome)
        else:
            self._log_unreleased(outcome)
        return None

    @property
    def _is_ours(self) -> bool:
        """Whether this process may release it; a forked child may not."""
        return self._generation == RENEWERS.generation
