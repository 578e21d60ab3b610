"""Several controller replicas share one pool of CPU, memory, GPUs and whatever else is counted.

Every allocation is one script in Redis: check each limit, charge each counter, record the allocation with its deadline, or
change nothing.
"""

from allocator._engine.connect import redact_url
from allocator.async_client import AsyncAllocator
from allocator.client import Allocator
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
    OutcomeUnknown,
    PoolConflict,
    QuotaExceeded,
    Recovering,
    UnknownAllocation,
    UnknownPool,
    WaitTimeout,
)
from allocator.models import (
    Allocation,
    Audit,
    Check,
    Denial,
    Event,
    Finding,
    Outcome,
    Pool,
    Reclaimed,
    Release,
    Renewal,
    Request,
    ResourceUsage,
    Shortage,
    Usage,
)
from allocator.resource_allocator import ResourceAllocator
from allocator.resources import Resources

__all__ = [
    "Allocation",
    "AllocationConflict",
    "AllocationLost",
    "Allocator",
    "AllocatorError",
    "AsyncAllocator",
    "Audit",
    "BackendError",
    "BackendUnavailable",
    "Check",
    "ContractError",
    "Denial",
    "Event",
    "Finding",
    "Insufficient",
    "InvalidQuantity",
    "InvalidRequest",
    "InvariantError",
    "Outcome",
    "OutcomeUnknown",
    "Pool",
    "PoolConflict",
    "QuotaExceeded",
    "Reclaimed",
    "Recovering",
    "Release",
    "Renewal",
    "Request",
    "ResourceAllocator",
    "ResourceUsage",
    "Resources",
    "Shortage",
    "UnknownAllocation",
    "UnknownPool",
    "Usage",
    "WaitTimeout",
    "redact_url",
]
