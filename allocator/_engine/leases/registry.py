"""The renewers of this process, by what they renew; a driver of their own for each."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from allocator import settings
from allocator._engine.execution.driver import Driver
from allocator._engine.execution.driver_async import AsyncDriver
from allocator._engine.execution.undo_log import UndoLog
from allocator._engine.fork_safety import reset_after_fork
from allocator._engine.leases.lease import Lease
from allocator._engine.leases.renewer import Clock, LeaseRenewer, R, Runs, local_now
from allocator._engine.protocol.flows import Flow, Operation
from allocator._engine.protocol.keys import PoolKeys
from allocator._engine.transport.target import Target

__all__ = ["RENEWERS", "LeaseLocation", "RenewerRegistry"]

_TURNED_LOOK_S: Final = 0.01
"""Seconds between two looks at a clock that somebody turns."""


class BlockingAsyncDriver:
    """The part of a blocking driver, played by an awaited one on an event loop of the calling thread's.

    For a store that was made of a ready asyncio client, from which no blocking connection can be made.
    """

    def __init__(self, target: Target, clock: Clock | None) -> None:
        self._driver = AsyncDriver(target, clock=clock)
        self._runner = asyncio.Runner()

    def run(
        self, work: Operation[R] | Flow[R], *, deadline_s: float | None = None, undo_log: UndoLog | None = None
    ) -> R:
        """As `Driver.run`."""
        return self._runner.run(self._driver.run(work, deadline_s=deadline_s, undo_log=undo_log))

    def close(self) -> None:
        """End the loop as well."""
        with self._runner:
            self._runner.run(self._driver.close())


@dataclass(frozen=True, slots=True)
class LeaseLocation:
    """Where leases are held: a pool of a store, as seen with this clock (None: the server's)."""

    target: Target
    pool: PoolKeys
    clock: Clock | None = None

    @property
    def key(self) -> tuple[object, ...]:
        """Equal in places whose leases can be kept together."""
        return (self.target.share_key or id(self.target), self.pool, self.clock)

    def connect(self) -> Runs:
        """A driver of the keeper's own."""
        if self.target.connector.make is None:
            return BlockingAsyncDriver(self.target, self.clock)
        return Driver(self.target, clock=self.clock)

    def renewer(self, retire: Callable[[LeaseRenewer], bool]) -> LeaseRenewer:
        """A keeper for this place.  Where a test turns the ledger's clock, holders go by it as well."""
        look_s = settings.HOLD_POLL_S if self.clock is None else _TURNED_LOOK_S
        return LeaseRenewer(self.pool, self.connect, retire, now=self.now, look_s=look_s)

    def now(self) -> float:
        """The holder's clock there, in seconds."""
        return local_now() if self.clock is None else self.clock() / 1000


class RenewerRegistry:
    """The keepers of this process, by place; there is one `RENEWERS`."""

    def __init__(self) -> None:
        self.generation = 0
        self.reset()
        reset_after_fork(self)

    def reset(self) -> None:
        """In a forked child: what the parent holds is the parent's."""
        self.generation += 1
        self._lock = threading.Lock()
        self._renewers: dict[tuple[object, ...], LeaseRenewer] = {}

    def add(self, location: LeaseLocation, lease: Lease) -> LeaseRenewer:
        """Take a lease into care; say whose care."""
        with self._lock:
            renewer = self._at(location)
            renewer.add(lease)
            return renewer

    def release_later(self, location: LeaseLocation, lease: Lease) -> None:
        """Release in the background what its holder could not."""
        with self._lock:
            self._at(location).release_later(lease)

    def _at(self, location: LeaseLocation) -> LeaseRenewer:
        renewer = self._renewers.get(location.key)
        if renewer is None:
            renewer = self._renewers[location.key] = location.renewer(self._retire)
        return renewer

    def _retire(self, renewer: LeaseRenewer) -> bool:
        with self._lock:
            if not renewer.retire():
                return False
            self._renewers = {key: one for key, one in self._renewers.items() if one is not renewer}
            return True


RENEWERS: Final = RenewerRegistry()
