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
from allocator._engine.execution.undo_log import Story
from allocator._engine.fork_safety import renew_after_fork
from allocator._engine.leases.lease import Lease
from allocator._engine.leases.renewer import Clock, Keeper, R, Runs, local_now
from allocator._engine.protocol.flows import Flow, Operation
from allocator._engine.protocol.keys import PoolKeys
from allocator._engine.transport.target import Store

__all__ = ["KEEPERS", "Keepers", "Place"]

_TURNED_LOOK_S: Final = 0.01
"""Seconds between two looks at a clock that somebody turns."""


class LoopDriver:
    """The part of a blocking driver, played by an awaited one on an event loop of the calling thread's.

    For a store that was made of a ready asyncio client, from which no blocking connection can be made.
    """

    def __init__(self, store: Store, clock: Clock | None) -> None:
        self._driver = AsyncDriver(store, clock=clock)
        self._runner = asyncio.Runner()

    def run(self, work: Operation[R] | Flow[R], *, deadline_s: float | None = None, story: Story | None = None) -> R:
        """As `Driver.run`."""
        return self._runner.run(self._driver.run(work, deadline_s=deadline_s, story=story))

    def close(self) -> None:
        """End the loop as well."""
        with self._runner:
            self._runner.run(self._driver.close())


@dataclass(frozen=True, slots=True)
class Place:
    """Where leases are held: a pool of a store, as seen with this clock (None: the server's)."""

    store: Store
    pool: PoolKeys
    clock: Clock | None = None

    @property
    def key(self) -> tuple[object, ...]:
        """Equal in places whose leases can be kept together."""
        return (self.store.alike or id(self.store), self.pool, self.clock)

    def connect(self) -> Runs:
        """A driver of the keeper's own."""
        if self.store.door.make is None:
            return LoopDriver(self.store, self.clock)
        return Driver(self.store, clock=self.clock)

    def keeper(self, retire: Callable[[Keeper], bool]) -> Keeper:
        """A keeper for this place.  Where a test turns the ledger's clock, holders go by it as well."""
        look_s = settings.HOLD_LOOK_S if self.clock is None else _TURNED_LOOK_S
        return Keeper(self.pool, self.connect, retire, now=self.now, look_s=look_s)

    def now(self) -> float:
        """The holder's clock there, in seconds."""
        return local_now() if self.clock is None else self.clock() / 1000


class Keepers:
    """The keepers of this process, by place; there is one `KEEPERS`."""

    def __init__(self) -> None:
        self.generation = 0
        self.start_anew()
        renew_after_fork(self)

    def start_anew(self) -> None:
        """In a forked child: what the parent holds is the parent's."""
        self.generation += 1
        self._lock = threading.Lock()
        self._keepers: dict[tuple[object, ...], Keeper] = {}

    def add(self, place: Place, lease: Lease) -> Keeper:
        """Take a lease into care; say whose care."""
        with self._lock:
            keeper = self._at(place)
            keeper.add(lease)
            return keeper

    def give_back(self, place: Place, lease: Lease) -> None:
        """Release in the background what its holder could not."""
        with self._lock:
            self._at(place).give_back(lease)

    def _at(self, place: Place) -> Keeper:
        keeper = self._keepers.get(place.key)
        if keeper is None:
            keeper = self._keepers[place.key] = place.keeper(self._retire)
        return keeper

    def _retire(self, keeper: Keeper) -> bool:
        with self._lock:
            if not keeper.retire():
                return False
            self._keepers = {key: one for key, one in self._keepers.items() if one is not keeper}
            return True


KEEPERS: Final = Keepers()
