"""The registry of this process's lease renewers, one for each lease location."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from allocator import settings
from allocator._engine.fork_safety import reset_after_fork
from allocator._engine.leases.lease import Lease
from allocator._engine.leases.renewer import Clock, LeaseRenewer, Runs, local_now
from allocator._engine.protocol.keys import PoolKeys
from allocator._engine.transport.target import Target

__all__ = ["RENEWERS", "LeaseLocation", "RenewerRegistry"]

_TURNED_LOOK_S: Final = 0.01
"""Seconds between two polls of a clock that a test sets."""


@dataclass(frozen=True, slots=True)
class LeaseLocation:
    """Where leases are held: a pool of a target, with a clock (None: the server's)."""

    target: Target
    pool: PoolKeys
    clock: Clock | None = None

    @property
    def key(self) -> tuple[object, ...]:
        """Equal in locations whose leases share a renewer."""
        return (self.target.share_key or id(self.target), self.pool, self.clock)

    def connect(self) -> Runs:
        """A driver that only the renewer uses; its module is imported when the first lease is held."""
        if self.target.connector.make is None:
            from allocator._engine.leases.blocking_async import BlockingAsyncDriver  # noqa: PLC0415 - for few targets

            return BlockingAsyncDriver(self.target, self.clock)
        from allocator._engine.execution.driver import Driver  # noqa: PLC0415 - no part of the client for event loops

        return Driver(self.target, clock=self.clock)

    def renewer(self, retire: Callable[[LeaseRenewer], bool]) -> LeaseRenewer:
        """A renewer for this location.  Where a test sets the scripts' clock, holders use it as well."""
        look_s = settings.HOLD_POLL_S if self.clock is None else _TURNED_LOOK_S
        return LeaseRenewer(self.pool, self.connect, retire, now=self.now, look_s=look_s)

    def now(self) -> float:
        """The holder's clock for this location, in seconds."""
        return local_now() if self.clock is None else self.clock() / 1000


class RenewerRegistry:
    """The renewers of this process, by location.  `RENEWERS` is the only instance."""

    def __init__(self) -> None:
        self.generation = 0
        self.reset()
        reset_after_fork(self)

    def reset(self) -> None:
        """Start empty in a forked child: the parent's leases stay with the parent."""
        self.generation += 1
        self._lock = threading.Lock()
        self._renewers: dict[tuple[object, ...], LeaseRenewer] = {}

    def add(self, location: LeaseLocation, lease: Lease) -> LeaseRenewer:
        """Have a lease renewed; returns its renewer."""
        with self._lock:
            renewer = self._at(location)
            renewer.add(lease)
            return renewer

    def release_later(self, location: LeaseLocation, lease: Lease) -> None:
        """Release in the background a lease that its holder could not release."""
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
