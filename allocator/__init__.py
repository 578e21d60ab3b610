"""Shared pools of CPU, memory, GPUs and other counted resources for several controller replicas.

Every allocation is one script in Redis: check each limit, charge each counter, record the allocation with its deadline,
or change nothing.
"""

from typing import TYPE_CHECKING

from allocator.denials import Denial, Shortage
from allocator.errors import (
    AllocationConflict,
    AllocationLost,
    AllocatorError,
    BackendError,
    BackendUnavailable,
    ContractError,
    Insufficient,
    InvalidQuantity,
    InvalidRequest,
    InvariantError,
    NotDurable,
    OutcomeUnknown,
    PoolConflict,
    QuotaExceeded,
    ReconcileRefused,
    Recovering,
    UnknownAllocation,
    UnknownPool,
    WaitTimeout,
)
from allocator.models.accounts import ResourceUsage
from allocator.models.allocations import Allocation, Check, Outcome, Release, Renewal, Request, RequestLike, Ttl
from allocator.models.events import Event
from allocator.models.maintenance import Audit, DoctorCheck, DoctorReport, Finding, Reclaimed, Reconciled
from allocator.models.pools import Pool, Usage
from allocator.quantity import Quantity
from allocator.resources import Resources

if TYPE_CHECKING:
    from allocator._async.client import AsyncAllocator
    from allocator._engine.transport.urls import redact_url
    from allocator._sync.client import Allocator
    from allocator.compat.resource_allocator import ResourceAllocator
    from allocator.hold import AsyncHold, Hold
else:
    # Names that need redis are imported at their first use: `resource-allocator --help` does without them.
    _LATER = {
        "Allocator": "allocator._sync.client",
        "AsyncAllocator": "allocator._async.client",
        "AsyncHold": "allocator.hold",
        "Hold": "allocator.hold",
        "ResourceAllocator": "allocator.compat.resource_allocator",
        "redact_url": "allocator._engine.transport.urls",
    }

    def __getattr__(name):
        """Import the name on its first use (PEP 562)."""
        if name not in _LATER:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        import importlib  # noqa: PLC0415 - only here

        found = globals()[name] = getattr(importlib.import_module(_LATER[name]), name)
        return found


__all__ = [
    "Allocation",
    "AllocationConflict",
    "AllocationLost",
    "Allocator",
    "AllocatorError",
    "AsyncAllocator",
    "AsyncHold",
    "Audit",
    "BackendError",
    "BackendUnavailable",
    "Check",
    "ContractError",
    "Denial",
    "DoctorCheck",
    "DoctorReport",
    "Event",
    "Finding",
    "Hold",
    "Insufficient",
    "InvalidQuantity",
    "InvalidRequest",
    "InvariantError",
    "NotDurable",
    "Outcome",
    "OutcomeUnknown",
    "Pool",
    "PoolConflict",
    "Quantity",
    "QuotaExceeded",
    "Reclaimed",
    "ReconcileRefused",
    "Reconciled",
    "Recovering",
    "Release",
    "Renewal",
    "Request",
    "RequestLike",
    "ResourceAllocator",
    "ResourceUsage",
    "Resources",
    "Shortage",
    "Ttl",
    "UnknownAllocation",
    "UnknownPool",
    "Usage",
    "WaitTimeout",
    "redact_url",
]
