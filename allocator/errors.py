"""The exceptions that leave this library; nothing of Redis is imported here.

::

    AllocatorError
    |-- InvalidRequest (ValueError)        the call is wrong as it stands; nothing was sent or changed
    |   `-- InvalidQuantity                a text or number is not a quantity
    |-- Insufficient (ValueError)          full: a `Denial` says by how much
    |   `-- QuotaExceeded                  ... and the level that was short is a quota
    |-- UnknownPool (LookupError)          no such pool, or another one of that name
    |-- UnknownAllocation (LookupError)    no live allocation of that id
    |-- AllocationConflict                 the id is live and is another owner's or another request's
    |-- AllocationLost                     it was the caller's and is so no longer
    |-- PoolConflict                       the pool is in use, or was changed by somebody else meanwhile
    |-- WaitTimeout (TimeoutError)         it did not fit in time
    |-- Recovering                         the store lost data; nothing new is granted for now
    |-- BackendError                       the store did not answer as it should
    |   |-- BackendUnavailable             ... and nothing was executed
    |   |-- NotDurable                     ... it was executed, and is not as safe as was asked for
    |   `-- OutcomeUnknown                 ... and the call may have been executed
    |-- ReconcileRefused                   it would release more than the caller allowed for
    |-- ContractError                      library and script (or schema) disagree: a bug or a version
    `-- InvariantError                     stored data is broken: run an audit

*Full* is never reported as *down*, nor the other way round.  Each class has a stable `code` (an instance may carry a
more precise one), `retryable` and, where the library knows it, `retry_after` in seconds.
"""

from __future__ import annotations

from typing import ClassVar

from allocator.denials import Denial

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
    "UnknownAllocation",
    "UnknownPool",
    "WaitTimeout",
]


class AllocatorError(Exception):
    """The root.  `code` is stable and meant for programs; the message is for people."""

    default_code: ClassVar[str] = "allocator_error"
    retryable: bool = False
    """Whether the same call, made anew, may succeed."""

    def __init__(self, message: str, *, code: str | None = None, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.code = code or self.default_code
        self.retry_after = retry_after


class InvalidRequest(AllocatorError, ValueError):
    """The call is wrong as it stands: nothing was sent and nothing changed.  `field` names what is wrong."""

    default_code = "invalid_request"

    def __init__(self, message: str, *, field: str = "", code: str | None = None) -> None:
        super().__init__(message, code=code)
        self.field = field


class InvalidQuantity(InvalidRequest):
    """A quantity that is not one, or lies outside of what can be counted exactly."""

    default_code = "invalid_quantity"


class Insufficient(AllocatorError, ValueError):
    """The request does not fit; `denial` has the numbers, and `denial.never` says whether it ever could."""

    default_code = "capacity_exceeded"
    retryable = True

    def __init__(self, denial: Denial) -> None:
        super().__init__(str(denial), code=denial.code)
        self.denial = denial

    def __reduce__(self) -> tuple[type[Insufficient], tuple[Denial]]:
        return type(self), (self.denial,)


class QuotaExceeded(Insufficient):
    """The level that was short is a quota, not the pool."""

    default_code = "quota_exceeded"


class UnknownPool(AllocatorError, LookupError):
    """There is no such pool, or the one of this name is not the one that the caller knew (another epoch)."""

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
    """What the caller held, or had just been granted, is not the caller's any more.  Do not go on using it.

    Out of `allocate` the call was executed, and what it granted had ended before a repeat of it arrived: a new call
    with the same id gets what stands, or is granted anew.  Then it is `retryable`.
    """

    default_code = "allocation_lost"


class PoolConflict(AllocatorError):
    """The pool cannot be changed so: it is in use (`code="in_use"`) or of another generation (`"generation"`)."""

    default_code = "in_use"

    def __init__(self, message: str, *, pool: str = "", code: str | None = None) -> None:
        super().__init__(message, code=code)
        self.pool = pool


class WaitTimeout(AllocatorError, TimeoutError):
    """The request did not fit within the time that the caller was willing to wait."""

    default_code = "wait_timeout"
    retryable = True


class Recovering(AllocatorError):
    """The store lost data and holders are re-asserting theirs; nothing new is granted for `retry_after` seconds."""

    default_code = "recovering"
    retryable = True


class BackendError(AllocatorError):
    """The store did not answer as it should.  Never means *full*."""

    default_code = "backend_error"
    retryable = True


class BackendUnavailable(BackendError):
    """The store cannot be used now, and this call was not executed."""

    default_code = "unavailable"


class OutcomeUnknown(BackendError):
    """The call may have been executed, and its reply was lost.

    An undo of the call is queued.  What an `allocate` may have been granted comes back by it, unless the caller
    repeats the call with the same allocation `id` and succeeds.  Nothing else is undone: a resize, a renewal or a
    release that was executed stays, and one that was not is not executed any more.
    """

    default_code = "outcome_unknown"

    def __init__(self, message: str, *, id: str = "", code: str | None = None) -> None:
        super().__init__(message, code=code)
        self.id = id


class NotDurable(BackendError):
    """It was executed, and did not become as safe as was asked for in time.  `reached` is how safe it is.

    What an `allocate` was granted is undone.  A resize or a renewal stays, and its holder must not rely on it: a
    failover may take it back.
    """

    default_code = "not_durable"

    def __init__(self, message: str, *, reached: str = "memory", code: str | None = None) -> None:
        super().__init__(message, code=code)
        self.reached = reached


class ReconcileRefused(AllocatorError):
    """A reconcile would release more than `max_released`: is the listing whole?  Nothing was released."""

    default_code = "too_many"

    def __init__(self, message: str, *, would_release: int = 0, owned: int = 0, max_released: int = 0) -> None:
        super().__init__(message)
        self.would_release = would_release
        self.owned = owned
        self.max_released = max_released


class ContractError(AllocatorError):
    """Library and script disagree, or the pool is of a newer schema than this version may write."""

    default_code = "contract"


class InvariantError(AllocatorError):
    """The stored data named in the message is broken.  `audit` says how, `maintenance.audit(repair=True)` mends it."""

    default_code = "invariant"
