"""Check leases: what checks of availability keep, by the task or thread that asked.  No I/O.

Who asked is a running task.  A check that is a whole task by itself (`asyncio.run(...)`, `asyncio.gather(...)`) ends
with that task, so its thread has asked.  A task that was started by one that has asked may use what that one keeps.
"""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from allocator._engine.fork_safety import reset_after_fork
from allocator._engine.leases.registry import LeaseLocation
from allocator.compat import limits
from allocator.models.allocations import Allocation
from allocator.resources import Resources

__all__ = ["Asker", "CheckLease", "CheckLeases", "current_asker", "may_use", "remember_asker"]

Asker: TypeAlias = "asyncio.Task[Any] | threading.Thread"
"""Who keeps leases until it ends."""

_asker: Final[ContextVar[weakref.ref[asyncio.Task[Any]] | None]] = ContextVar("allocator_asker", default=None)
"""The task that has asked in this context or in the one that it was copied from."""


def current_asker(method: Callable[..., object]) -> Asker:
    """Who calls a coroutine function: the running task, or its thread if the task is this call alone."""
    task = asyncio.current_task()
    if task is None or getattr(task.get_coro(), "cr_code", None) is getattr(method, "__code__", method):
        return threading.current_thread()
    return task


def remember_asker(asker: Asker) -> None:
    """Let tasks that are started by this one use what it keeps."""
    if isinstance(asker, asyncio.Task):
        _asker.set(weakref.ref(asker))


def may_use(asker: Asker) -> list[Asker]:
    """Whose leases `asker` may take over: its own, then those of the task that started it."""
    started_by = _asker.get()
    other = None if started_by is None else started_by()
    return [asker] if other is None or other is asker else [asker, other]


@dataclass(frozen=True, slots=True, eq=False)
class CheckLease:
    """A lease that a check on this loop keeps; it lapses at `until`, by the holder's clock, at the latest."""

    request: Resources
    allocation: Allocation
    location: LeaseLocation
    until: float
    loop: asyncio.AbstractEventLoop

    @property
    def lapsed(self) -> bool:
        """Whether its time is over."""
        return self.location.now() >= self.until


class CheckLeases:
    """The check leases of one object.  Threads and tasks may share it.

    A lease leaves it when it is taken over, when it is given back, and when it has lapsed.  A thread that ended, and a
    task whose loop was closed, are noticed by the next check.
    """

    def __init__(self, release_kept: Callable[[Iterable[CheckLease]], None]) -> None:
        """Start without leases.

        Args:
            release_kept: Releases leases that nobody will take over; called without a lock, and it must not raise.
        """
        self._release_kept = release_kept
        self.reset()
        reset_after_fork(self)

    def reset(self) -> None:
        """Start empty in a forked child: the parent's leases stay with the parent."""
        self._lock = threading.Lock()
        self._leases: dict[Asker, dict[Resources, CheckLease]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._leases.copy().values()))

    def find(self, asker: Asker, request: Resources) -> CheckLease | None:
        """The lease that it keeps for this request."""
        with self._lock:
            return self._leases.get(asker, {}).get(request)

    def make_room(self) -> bool:
        """Give back what ended tasks and threads keep, and forget what has lapsed; returns whether there is room."""
        left = self.take_ended()
        with self._lock:
            for asker, leases in list(self._leases.items()):
                for lease in [lease for lease in leases.values() if lease.lapsed]:
                    del leases[lease.request]
                if not leases and isinstance(asker, threading.Thread):
                    del self._leases[asker]
            room = sum(map(len, self._leases.values())) < limits.CHECK_LEASES_MAX
        self._release_kept(left)
        return room

    def keep(self, asker: Asker, lease: CheckLease) -> None:
        """Keep a lease until its asker ends."""
        with self._lock:
            known = asker in self._leases
            leases = self._leases.setdefault(asker, {})
            was = leases.pop(lease.request, None)
            leases[lease.request] = lease
            left = [leases.pop(next(iter(leases)))] if len(leases) > limits.CHECK_LEASES_OF_ONE_MAX else []
        if was is not None and was.allocation.fence != lease.allocation.fence:
            left.append(was)
        if not known and isinstance(asker, asyncio.Task):
            asker.add_done_callback(self._ended)  # once: a task stays known until it ends
        self._release_kept(left)

    def take(self, askers: Iterable[Asker], request: Resources) -> tuple[Asker, CheckLease] | None:
        """Remove and return the first of these that is kept for this request."""
        with self._lock:
            for asker in askers:
                lease = self._leases.get(asker, {}).pop(request, None)
                if lease is not None:
                    return asker, lease
        return None

    def put_back(self, asker: Asker, lease: CheckLease) -> None:
        """Keep a lease again that was taken; a newer one for its request stays, and this one is given back."""
        if self.find(asker, lease.request) is None:
            self.keep(asker, lease)
        else:
            self._release_kept([lease])

    def drop(self, asker: Asker, lease: CheckLease) -> None:
        """Forget a lease that has lapsed, unless another one is kept for its request meanwhile."""
        with self._lock:
            leases = self._leases.get(asker, {})
            if leases.get(lease.request) is lease:
                del leases[lease.request]

    def take_ended(self) -> list[CheckLease]:
        """Remove and return what ended tasks and threads keep."""
        with self._lock:
            over = [asker for asker in self._leases if _is_over(asker)]
            return [lease for asker in over for lease in self._leases.pop(asker).values()]

    def take_unused(self, askers: Iterable[Asker]) -> list[CheckLease]:
        """Remove and return what these tasks keep, and what these threads keep for loops that were closed."""
        with self._lock:
            taken: list[CheckLease] = []
            for asker in askers:
                leases = self._leases.get(asker, {})
                unused = [one for one in leases.values() if isinstance(asker, asyncio.Task) or one.loop.is_closed()]
                taken += unused
                for one in unused:
                    del leases[one.request]
        return taken

    def take_all(self) -> list[CheckLease]:
        """Remove and return all that anybody keeps."""
        with self._lock:
            taken = [lease for leases in self._leases.values() for lease in leases.values()]
            for leases in self._leases.values():
                leases.clear()
        return taken

    def _ended(self, task: asyncio.Task[Any]) -> None:
        with self._lock:
            left = list(self._leases.pop(task, {}).values())
        self._release_kept(left)


def _is_over(asker: Asker) -> bool:
    if isinstance(asker, threading.Thread):
        return not asker.is_alive()
    return asker.done() or asker.get_loop().is_closed()
