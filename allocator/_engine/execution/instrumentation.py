"""Instrumentation: reports what a client does to its observers; no I/O.

A client has one `Instrumentation`, which its `options` copies share.  Without observers a call costs one comparison.
With observers each call of a method is an `ObservedCall`.  It stands in a context variable while the call runs, so that
retries and batches find it without an argument in each function between.

Observers are called in the thread or the task that does the work.  An observer that raises changes nothing else: the
error is logged, once for each observer.
"""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from typing import Any, Final, NamedTuple, Protocol, cast

from allocator._engine.fork_safety import reset_after_fork
from allocator._engine.protocol.flows import Call, Command, Operation, Step, Wake
from allocator.denials import Denial
from allocator.errors import (
    AllocationConflict,
    AllocationLost,
    AllocatorError,
    BackendError,
    Insufficient,
    InvalidRequest,
    OutcomeUnknown,
    PoolConflict,
    RequestWithdrawn,
    UnknownAllocation,
)
from allocator.models.allocations import Allocation, Release, Renewal

__all__ = [
    "CURRENT",
    "OUTCOMES",
    "ClientState",
    "Instrumentation",
    "ObservedBatch",
    "ObservedCall",
    "ObservedRenewal",
    "Observer",
    "counts_of",
    "error_outcome",
    "outcome_of",
]

_log = logging.getLogger("allocator")

OUTCOMES: Final = (
    "granted", "ok", "denied", "conflict", "lost", "unchanged", "invalid", "unavailable", "unknown", "error",
    "cancelled", "mixed",
)  # fmt: skip
"""The outcomes of calls; there is no other."""

_GRANTS: Final = frozenset({"allocate", "try_allocate", "allocate_many", "hold"})
"""The verbs whose allocation is a grant."""

_BY_ERROR: Final[tuple[tuple[str, tuple[type[BaseException], ...]], ...]] = (
    ("denied", (Insufficient,)),
    ("conflict", (AllocationConflict, PoolConflict)),
    ("lost", (AllocationLost, UnknownAllocation, RequestWithdrawn)),
    ("invalid", (InvalidRequest,)),
    ("unknown", (OutcomeUnknown,)),
    ("unavailable", (BackendError,)),
    ("error", (Exception,)),
)
"""The outcomes of errors; the first that fits.  What is no `Exception` is a cancellation or an interrupt."""


class ClientState(NamedTuple):
    """What a client has at an instant."""

    holds: int
    """Holds whose block runs."""
    undos: int
    """Calls that wait to be undone."""
    connections: int
    """Open connections, without those that listen and those that renew."""
    connections_used: int
    """Those with a call in flight."""


class ObservedBatch(NamedTuple):
    """One script call with the items of one or several calls, answered or not."""

    script: str
    pool: str
    items: int
    duration_s: float
    error: AllocatorError | None
    calls: tuple[ObservedCall, ...]
    """The calls whose items it has."""


class ObservedRenewal(NamedTuple):
    """One renewal of a hold's lease."""

    pool: str
    outcome: str
    """`on_time`; `late`: sent after its turn; `failed`: tried again; `preempted`; `lost`: the lease is gone."""
    code: str
    """The code of the error, if it failed."""
    age_s: float
    """Seconds since the request was sent that was confirmed last."""
    ttl_s: float
    """Seconds after which the server may reclaim it."""


class Observer:
    """Base of what a client reports to (`client.observe`): each method does nothing, override those that you need.

    They are called where the work is done, from any thread or event loop: return at once, and do not call the client.
    One observer may serve any number of clients.  An error is logged once, and changes nothing else.
    """

    def client_added(self, read: Callable[[], ClientState | None]) -> None:
        """A client reports from now on; `read` returns its state, without I/O, and None once it is gone or closed."""

    def call_started(self, call: ObservedCall) -> None:
        """A method was called."""

    def call_retried(self, call: ObservedCall, cause: str, delay_s: float) -> None:
        """An attempt failed, and another one follows after so many seconds.

        Args:
            call: `call.retries` counts this one.
            cause: The code of the error; `redirect`: another node of a cluster has the pool.
            delay_s: Seconds until the next attempt.
        """

    def call_ended(self, call: ObservedCall) -> None:
        """A method returned or raised."""

    def batch_sent(self, batch: ObservedBatch) -> None:
        """A script call with the items of several calls, or several items of one, was answered or failed.

        By the awaited client each call that may be batched is reported, also one that was sent alone.
        """

    def undos_changed(self, pool: str, change: str, count: int) -> None:
        """Calls whose outcome no caller receives were `queued` to be undone, are `done`, or were given up: `failed`."""

    def lease_renewed(self, renewal: ObservedRenewal) -> None:
        """A renewal of a hold's lease was answered or failed."""

    def lease_lost(self, pool: str, code: str) -> None:
        """The lease of a hold is lost; `code` is that of `Hold.loss`."""


class ObservedCall:
    """One call of a client's method.  Observers may keep what they need in `state`."""

    # Defaults of the class rather than of each call: most calls never set them.
    retries: int = 0
    """Attempts that failed and were repeated."""
    outcome: str = ""
    """One of `OUTCOMES`; "" until it has ended."""
    error: BaseException | None = None
    """What it raised."""
    duration_s: float = 0.0
    """Seconds in all, without those in line."""
    waited_s: float | None = None
    """Seconds in line, for a request that waited."""
    state: dict[Any, Any] | None = None
    """What observers keep with it."""
    _wait_began: float | None = None

    def __init__(self, instruments: Instrumentation, verb: str, pool: str) -> None:
        self._instruments = instruments
        self.verb: str = verb
        """The method, with its namespace: `allocate`, `pools.usage`."""
        self.pool: str = pool
        """The pool; "" before the first step of a call of several, and for calls that concern none."""
        self.started: float = time.monotonic()
        """When it began, by `time.monotonic`."""

    @property
    def server(self) -> str:
        """The server's address, without a password."""
        return self._instruments.address

    def meet(self, step: Step) -> None:
        """Record a step of its flow: which pool, and from when on it waits in line."""
        if isinstance(step, Call | Command | Wake):
            self.pool = self.pool or step.pool.name
            if self._wait_began is None and isinstance(step, Wake):
                self._wait_began = time.monotonic()

    def retry(self, cause: str, delay_s: float) -> None:
        """Report that an attempt failed and is repeated."""
        if not self.outcome:
            self.retries += 1
            self._instruments.emit("call_retried", self, cause, delay_s)

    def end(self, outcome: str, error: BaseException | None = None) -> None:
        """Report the end."""
        now = time.monotonic()
        CURRENT.set(None)
        self.outcome = outcome
        if error is not None:
            self.error = error
        self.duration_s = now - self.started
        if self._wait_began is not None:
            self.waited_s = now - self._wait_began
            self.duration_s -= self.waited_s
        self._instruments.emit("call_ended", self)


CURRENT: Final[ContextVar[ObservedCall | None]] = ContextVar("allocator_call", default=None)
"""The call that runs in this thread or task; None: nobody observes."""


class Source(Protocol):
    """A driver, or its state on one event loop."""

    def counts(self) -> tuple[int, int, int]:
        """Calls to undo, open connections, and those in use."""
        ...


class Counted(Protocol):
    """The connections to one server."""

    @property
    def counts(self) -> tuple[int, int]:
        """How many are open, and how many of them are in use."""
        ...


class Instrumentation:
    """The observers of one client, and what they may read of it."""

    def __init__(self, address: str = "") -> None:
        self.address = address
        self.observers: tuple[Observer, ...] = ()
        self.holds: set[object] = set()
        """The leases of holds whose block runs."""
        self._handlers: dict[str, tuple[Callable[..., None], ...]] = {}
        self._faulty: set[int] = set()
        self._sources: weakref.WeakSet[Source] = weakref.WeakSet()
        self._closed = False
        self.reset()
        reset_after_fork(self)

    def reset(self) -> None:
        """In a forked child: the holds are the parent's, and a thread of the parent may have had the lock."""
        self._changing = threading.Lock()
        self.holds.clear()

    # -- observers -----------------------------------------------------------------------------------------------------

    def add(self, observer: Observer) -> None:
        """Report to an observer from now on."""
        with self._changing:
            if self._closed or observer in self.observers:
                return
            self._set((*self.observers, observer))
        mine = weakref.ref(self)

        def read() -> ClientState | None:
            known = mine()
            return None if known is None or observer not in known.observers else known.state()

        try:
            observer.client_added(read)
        except Exception:  # noqa: BLE001 - it is logged
            self._log_failure(observer, "client_added")

    def remove(self, observer: Observer) -> None:
        """Report nothing more to an observer."""
        with self._changing:
            self._set(tuple(one for one in self.observers if one is not observer))

    def close(self) -> None:
        """Report nothing more, and keep no observer."""
        with self._changing:
            self._closed = True
            self._set(())

    def _set(self, observers: tuple[Observer, ...]) -> None:
        self._handlers = {
            name: tuple(
                getattr(one, name) for one in observers if getattr(type(one), name) is not getattr(Observer, name)
            )
            for name in vars(Observer)
            if not name.startswith("_")
        }
        self.observers = observers

    def emit(self, name: str, *what: object) -> None:
        """Call this method of each observer."""
        for handler in self._handlers.get(name, ()):
            try:
                handler(*what)
            except Exception:  # noqa: BLE001 - it is logged, and the call goes on
                self._log_failure(getattr(handler, "__self__", handler), name)

    def _log_failure(self, observer: object, name: str) -> None:
        if id(observer) not in self._faulty:
            self._faulty.add(id(observer))
            _log.exception("the observer %s failed in %s; its further errors are not logged", type(observer), name)

    # -- what is reported ----------------------------------------------------------------------------------------------

    def begin(self, verb: str, work: object) -> ObservedCall:
        """Report the begin of a call; it is `CURRENT` until its end."""
        call = ObservedCall(self, verb, work.call.pool.name if isinstance(work, Operation) else "")
        CURRENT.set(call)
        self.emit("call_started", call)
        return call

    def batch_sent(
        self, call: Call, items: int, sent: float, error: AllocatorError | None, calls: Iterable[ObservedCall | None]
    ) -> None:
        """Report a script call that was sent at `sent`."""
        members = tuple(dict.fromkeys(one for one in calls if one is not None))
        took_s = time.monotonic() - sent
        self.emit("batch_sent", ObservedBatch(call.script.name, call.pool.name, items, took_s, error, members))

    def undos_changed(self, pool: str, change: str, count: int) -> None:
        """Report a change of the calls to undo."""
        self.emit("undos_changed", pool, change, count)

    # -- what is read --------------------------------------------------------------------------------------------------

    def add_source(self, source: Source) -> None:
        """Count what this one has as well, for as long as it exists."""
        with self._changing:
            self._sources.add(source)

    def state(self) -> ClientState:
        """What the client has now; no I/O."""
        with self._changing:
            counts = [one.counts() for one in self._sources]
        undos, connections, used = (sum(column) for column in zip((0, 0, 0), *counts, strict=True))
        return ClientState(len(self.holds), undos, connections, used)


def counts_of(connections: Iterable[Counted]) -> tuple[int, int]:
    """How many connections are open in all, and how many are in use."""
    counts = [one.counts for one in connections]
    return sum(made for made, _ in counts), sum(used for _, used in counts)


def outcome_of(verb: str, result: object) -> str:
    """The outcome of a call that returned."""
    if isinstance(result, Allocation):
        return "granted" if verb in _GRANTS else "ok"
    if isinstance(result, Denial):
        return "denied"
    if isinstance(result, Release):
        return "ok" if result else "unchanged"
    if isinstance(result, Renewal):
        return "ok" if result else "lost"
    if isinstance(result, list) and verb.endswith("_many"):
        items = cast("list[object]", result)
        found = {error_outcome(one) if isinstance(one, BaseException) else outcome_of(verb, one) for one in items}
        return found.pop() if len(found) == 1 else "mixed" if found else "ok"
    return "ok"


def error_outcome(error: BaseException) -> str:
    """The outcome of a call that raised."""
    return next((outcome for outcome, kinds in _BY_ERROR if isinstance(error, kinds)), "cancelled")
