"""The exceptions that this library raises; nothing of Redis is imported here.

::

    AllocatorError
    |-- InvalidRequest (ValueError)        an argument is wrong; nothing was sent or changed
    |   `-- InvalidQuantity                a text or number is not a quantity
    |-- Insufficient (ValueError)          full: a `Denial` says by how much
    |   |-- QuotaExceeded                  ... and the level that was short is a quota
    |   `-- WaitTimeout (TimeoutError)     ... and it did not fit within the time that it waited
    |-- UnknownPool (LookupError)          no such pool, or another one of that name
    |-- UnknownScope (LookupError)         the pool has no such scope
    |-- UnknownAllocation (LookupError)    no live allocation of that id
    |-- AllocationConflict                 the id is live with another owner or another request
    |-- AllocationLost                     the caller no longer holds the allocation
    |-- PoolConflict                       the pool is in use, or was changed meanwhile by another call
    |-- RequestWithdrawn                   a waiting request was taken out of the line
    |-- BackendError                       the server did not do it, or not as it should
    |   |-- BackendUnavailable             ... and nothing was executed
    |   |-- Recovering                     ... it lost data: nothing new is granted for now
    |   |-- NotDurable                     ... the call was executed without the requested durability
    |   `-- OutcomeUnknown                 ... and the call may have been executed
    |-- ReconcileRefused                   it would release more than the caller allowed
    |-- ContractError                      library and script (or schema) disagree: a bug or a version
    `-- InvariantError                     stored data is broken: run an audit

*Full* is never reported as *down*, nor the other way round.  Each class has a stable `code` (an instance may carry a
more precise one), `retryable` and, where known, `retry_after` in seconds.

Each can be pickled and copied, with all that it says, as a pool of processes does.
"""

from __future__ import annotations

from typing import Any, Final

from allocator.denials import Denial
from allocator.input_errors import AllocatorError, InvalidQuantity, InvalidRequest

__all__ = [
    "AllocationConflict",
    "AllocationLost",
    "AllocatorError",
    "BackendError",
    "BackendUnavailable",
    "ContractError",
    "Insufficient",
    "InvalidQuantity",
    "InvalidRequest",
    "InvariantError",
    "NotDurable",
    "OutcomeUnknown",
    "PoolConflict",
    "QuotaExceeded",
    "ReconcileRefused",
    "Recovering",
    "RequestWithdrawn",
    "UnknownAllocation",
    "UnknownPool",
    "UnknownScope",
    "WaitTimeout",
]


class Insufficient(AllocatorError, ValueError):
    """The request does not fit; `denial` has the numbers, and `denial.never` is true if it never could."""

    default_code = "capacity_exceeded"
    retryable = True

    def __init__(self, denial: Denial) -> None:
        super().__init__(str(denial), code=denial.code)
        self.denial = denial
        self.retryable = not denial.never

    @staticmethod
    def of(denial: Denial) -> Insufficient:
        """The error for a denial: `QuotaExceeded` if the level that was short is a quota."""
        is_quota = any(one.level == "quota" for one in denial.shortages)
        return QuotaExceeded(denial) if is_quota else Insufficient(denial)

    def __reduce__(self) -> tuple[type[Insufficient], tuple[Denial], dict[str, Any]]:
        return type(self), (self.denial,), self.__dict__


class QuotaExceeded(Insufficient):
    """The level that was short is a quota, not the pool."""

    default_code = "quota_exceeded"


class WaitTimeout(Insufficient, TimeoutError):
    """The request did not fit within the time that it waited; `denial` is the last one.  It has left the line."""

    default_code = "wait_timeout"

    @staticmethod
    def of(denial: Denial) -> Insufficient:
        """The error for the denial of a request that waited; one that can never fit does not wait."""
        return WaitTimeout(denial) if denial.code in _WAITED_FOR else Insufficient.of(denial)


_WAITED_FOR: Final = frozenset({"capacity_exceeded", "queued"})
"""The codes of denials that may be over later."""


class UnknownScope(AllocatorError, LookupError):
    """The pool has no such scope; `quotas.set` makes one.  Nothing changed."""

    default_code = "unknown_scope"

    def __init__(self, message: str, *, pool: str = "", scope: str = "", code: str | None = None) -> None:
        super().__init__(message, code=code)
        self.pool = pool
        self.scope = scope


class UnknownPool(AllocatorError, LookupError):
    """There is no such pool, or the pool of this name has another epoch than the caller's."""

    default_code = "unknown_pool"

    def __init__(self, message: str, *, pool: str = "", code: str | None = None) -> None:
        super().__init__(message, code=code)
        self.pool = pool


class _OfAllocation(AllocatorError):
    """An error about one allocation; `id` names it."""

    def __init__(self, message: str, *, id: str = "", code: str | None = None) -> None:
        super().__init__(message, code=code)
        self.id = id


class UnknownAllocation(_OfAllocation, LookupError):
    """No live allocation has this id: it never existed, was released, or was reclaimed after its deadline."""

    default_code = "unknown_allocation"


class AllocationConflict(_OfAllocation):
    """The id is live with another owner or another request; the message names both.  Nothing changed."""

    default_code = "allocation_conflict"


class AllocationLost(_OfAllocation):
    """The caller no longer holds the allocation: stop using it.

    Raised by `allocate`, the call was executed, and the allocation had ended before a retry of the call arrived.  A new
    call with the same id returns the live allocation, or is granted anew.  Then it is `retryable`.
    With `code="over"` nothing has failed: its hard end (`max_lifetime`) has come.
    """

    default_code = "allocation_lost"


class PoolConflict(AllocatorError):
    """The pool cannot be changed so: it is in use (`code="in_use"`) or of another generation (`"generation"`)."""

    default_code = "in_use"

    def __init__(self, message: str, *, pool: str = "", code: str | None = None) -> None:
        super().__init__(message, code=code)
        self.pool = pool


class RequestWithdrawn(_OfAllocation):
    """The request waited in line, and somebody took it out (`queue.withdraw`).  Nothing was granted."""

    default_code = "withdrawn"


class BackendError(AllocatorError):
    """The server did not do what was asked, or not as it should.  It never means *full*."""

    default_code = "backend_error"
    retryable = True


_OF_THIS_PROGRAM: Final = frozenset({"closed", "embedded_off", "no_extra", "no_folder", "no_server", "unsafe_folder"})
"""Codes of a `BackendUnavailable` whose cause is in this program or its machine, where no server ends it."""


class BackendUnavailable(BackendError):
    """The server cannot be used now, and this call was not executed.

    It is `retryable` unless its cause is here: the client is closed, an extra or a server program is not installed.
    """

    default_code = "unavailable"

    def __init__(self, message: str, *, code: str | None = None, retry_after: float | None = None) -> None:
        super().__init__(message, code=code, retry_after=retry_after)
        self.retryable = self.code not in _OF_THIS_PROGRAM


class Recovering(BackendError):
    """The server lost data and holders adopt their allocations; nothing new is granted for `retry_after` seconds."""

    default_code = "recovering"


class OutcomeUnknown(BackendError):
    """The call may have been executed, and its reply was lost.

    An undo of the call is queued.  It releases what an `allocate` may have been granted, unless the caller
    repeats the call with the same allocation `id` and succeeds.  Nothing else is undone: a resize, a renewal or a
    release that was executed stays, and one that was not executed cannot be executed later.
    """

    default_code = "outcome_unknown"

    def __init__(self, message: str, *, id: str = "", code: str | None = None) -> None:
        super().__init__(message, code=code)
        self.id = id


class NotDurable(BackendError):
    """The call was executed, but did not reach the requested durability in time.  `reached` is the level it has.

    What an `allocate` was granted is undone.  A resize or a renewal stays, and its holder must not rely on it: a
    failover may revert it.
    """

    default_code = "not_durable"

    def __init__(self, message: str, *, reached: str = "memory", code: str | None = None) -> None:
        super().__init__(message, code=code)
        self.reached = reached


class ReconcileRefused(AllocatorError):
    """A reconcile would release more than `max_released`; the listing may be incomplete.  Nothing was released."""

    default_code = "too_many"

    def __init__(self, message: str, *, would_release: int = 0, owned: int = 0, max_released: int = 0) -> None:
        super().__init__(message)
        self.would_release = would_release
        self.owned = owned
        self.max_released = max_released


class ContractError(AllocatorError):
    """Library and script disagree, or the pool has a newer schema than this version may write."""

    default_code = "contract"


class InvariantError(AllocatorError):
    """The stored data named in the message is broken: `audit` lists it, `maintenance.audit(repair=True)` repairs it."""

    default_code = "invariant"
