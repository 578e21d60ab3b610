"""The library's values for programs: what their `to_dict` returns, to be completed by `output.document`."""

from __future__ import annotations

from typing import Any

from allocator.denials import Denial
from allocator.models.allocations import Allocation, Check, Release, Renewal
from allocator.models.events import Event
from allocator.models.maintenance import Audit, DoctorReport
from allocator.models.pools import Pool, Usage
from allocator.models.queue import Waiter
from allocator.models.quotas import Quota
from allocator.serialization import Value

__all__ = [
    "allocation",
    "audit",
    "check",
    "denial",
    "doctor",
    "event",
    "pool",
    "quota",
    "release",
    "renewal",
    "status",
    "usage",
    "waiter",
]


def status(item: Allocation, now_ms: int) -> str:
    """`Pinned`, `Live`, `Releasing` (its release has begun), `Preempted`, or `Due`: past its deadline."""
    if item.deadline_ms is None:
        return "Pinned"
    if item.deadline_ms <= now_ms:
        return "Due"
    if item.preempted_by is not None:
        return "Preempted"
    return "Live" if item.releasing_ms is None else "Releasing"


def allocation(item: Allocation, now_ms: int) -> dict[str, Any]:
    """An allocation, with its status at `now_ms`."""
    return {**_fields(item), "status": status(item, now_ms)}


def denial(item: Denial) -> dict[str, Any]:
    """A denial with its numbers."""
    return _fields(item)


def check(item: Check) -> dict[str, Any]:
    """The result of a check."""
    return _fields(item)


def renewal(item: Renewal) -> dict[str, Any]:
    """The outcome of one renewal."""
    return _fields(item)


def release(item: Release) -> dict[str, Any]:
    """The outcome of one release."""
    return _fields(item)


def pool(item: Pool) -> dict[str, Any]:
    """A pool as configured."""
    return _fields(item)


def quota(item: Quota) -> dict[str, Any]:
    """A scope with its limits and amounts."""
    return _fields(item)


def usage(item: Usage) -> dict[str, Any]:
    """The usage of a pool."""
    return _fields(item)


def waiter(item: Waiter) -> dict[str, Any]:
    """A request that waits in line."""
    return _fields(item)


def event(item: Event) -> dict[str, Any]:
    """One entry of the event stream."""
    return _fields(item)


def audit(item: Audit) -> dict[str, Any]:
    """The result of an audit."""
    return _fields(item)


def doctor(item: DoctorReport) -> dict[str, Any]:
    """The findings of `doctor`."""
    return _fields(item)


def _fields(item: Value) -> dict[str, Any]:
    """The dict without the version and the kind, which the items of a list do not repeat."""
    return item.to_fields()
