"""Shared pools of CPU, memory, GPUs and other counted resources for several controller replicas.

Every allocation is one script in Redis: check each limit, charge each counter, record the allocation with its deadline,
or change nothing.
"""

import importlib
from typing import TYPE_CHECKING, Final

from allocator import distribution
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
    RequestWithdrawn,
    UnknownAllocation,
    UnknownPool,
    UnknownScope,
    WaitTimeout,
)
from allocator.models.accounts import ResourceUsage
from allocator.models.allocations import Allocation, Check, Outcome, Release, Renewal, Request, RequestLike, Ttl
from allocator.quantity import Quantity
from allocator.resources import Resources

if TYPE_CHECKING:
    __version__: str
    """The version of this code."""

    from allocator._async.client import AsyncAllocator
    from allocator._engine.execution.instrumentation import (
        ClientState,
        ObservedBatch,
        ObservedCall,
        ObservedRenewal,
        Observer,
    )
    from allocator._engine.transport.urls import redact_url
    from allocator._sync.client import Allocator
    from allocator.compat.resource_allocation import ResourceAllocation
    from allocator.compat.resource_allocator import ResourceAllocator
    from allocator.hold import AsyncHold, Hold
    from allocator.models.events import Event
    from allocator.models.maintenance import Audit, DoctorCheck, DoctorReport, Finding, Reclaimed, Reconciled
    from allocator.models.pools import Pool, Usage, WaitingPriority
    from allocator.models.preemption import Preemption, PreemptionPolicy
    from allocator.models.queue import GangMember, QueuePolicy, Waiter
    from allocator.models.quotas import FairShare, Limit, Quota, QuotaUsage
    from allocator.models.resource_units import ResourceUnits
    from allocator.models.usage_history import UsageAmounts, UsageHistory, UsagePoint

_MODULES: Final = {
    "allocator._async.client": ("AsyncAllocator",),
    "allocator._engine.execution.instrumentation": (
        "ClientState",
        "ObservedBatch",
        "ObservedCall",
        "ObservedRenewal",
        "Observer",
    ),
    "allocator._engine.transport.urls": ("redact_url",),
    "allocator._sync.client": ("Allocator",),
    "allocator.compat.resource_allocation": ("ResourceAllocation",),
    "allocator.compat.resource_allocator": ("ResourceAllocator",),
    "allocator.hold": ("AsyncHold", "Hold"),
    "allocator.models.events": ("Event",),
    "allocator.models.maintenance": ("Audit", "DoctorCheck", "DoctorReport", "Finding", "Reclaimed", "Reconciled"),
    "allocator.models.pools": ("Pool", "Usage", "WaitingPriority"),
    "allocator.models.preemption": ("Preemption", "PreemptionPolicy"),
    "allocator.models.queue": ("GangMember", "QueuePolicy", "Waiter"),
    "allocator.models.quotas": ("FairShare", "Limit", "Quota", "QuotaUsage"),
    "allocator.models.resource_units": ("ResourceUnits",),
    "allocator.models.usage_history": ("UsageAmounts", "UsageHistory", "UsagePoint"),
}
"""Modules that are imported when one of these names is first used.

They need redis, which `resource-allocator --help` does without, or few programs name what they hold.
"""

_LATER: Final = {name: module for module, names in _MODULES.items() for name in names}

if not TYPE_CHECKING:  # so that a type checker reports an unknown name

    def __getattr__(name):
        """Import a name on its first use (PEP 562)."""
        if name == "__version__":
            value = distribution.version()
        elif name in _LATER:
            value = getattr(importlib.import_module(_LATER[name]), name)
        else:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = value
        return value

    def __dir__():
        return sorted({*globals(), *__all__, "__version__"})


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
    "ClientState",
    "ContractError",
    "Denial",
    "DoctorCheck",
    "DoctorReport",
    "Event",
    "FairShare",
    "Finding",
    "GangMember",
    "Hold",
    "Insufficient",
    "InvalidQuantity",
    "InvalidRequest",
    "InvariantError",
    "Limit",
    "NotDurable",
    "ObservedBatch",
    "ObservedCall",
    "ObservedRenewal",
    "Observer",
    "Outcome",
    "OutcomeUnknown",
    "Pool",
    "PoolConflict",
    "Preemption",
    "PreemptionPolicy",
    "Quantity",
    "QueuePolicy",
    "Quota",
    "QuotaExceeded",
    "QuotaUsage",
    "Reclaimed",
    "ReconcileRefused",
    "Reconciled",
    "Recovering",
    "Release",
    "Renewal",
    "Request",
    "RequestLike",
    "RequestWithdrawn",
    "ResourceAllocation",
    "ResourceAllocator",
    "ResourceUnits",
    "ResourceUsage",
    "Resources",
    "Shortage",
    "Ttl",
    "UnknownAllocation",
    "UnknownPool",
    "UnknownScope",
    "Usage",
    "UsageAmounts",
    "UsageHistory",
    "UsagePoint",
    "WaitTimeout",
    "Waiter",
    "WaitingPriority",
    "redact_url",
]
