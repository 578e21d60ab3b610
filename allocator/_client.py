"""What both clients are made of: a store, the verbs of a pool, and the driver that performs them."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from typing import Generic, Self, TypeVar

from allocator import settings
from allocator._engine.leases.hold_base import HoldSpec
from allocator._engine.leases.registry import LeaseLocation
from allocator._engine.leases.renewer import Clock
from allocator._engine.operations.defaults import Defaults
from allocator._engine.transport.urls import Target, resolve_target
from allocator.durability import durability
from allocator.models.allocations import Request
from allocator.validation import deadline_s

__all__ = ["Client", "local_ms"]

D = TypeVar("D")


def local_ms() -> int:
    """This machine's clock, in milliseconds: only to be compared with the server's."""
    return time.time_ns() // 1_000_000


class Client(ABC, Generic[D]):
    """A store, verbs and a driver `D`; `Allocator` and `AsyncAllocator` add the methods."""

    _target: Target
    _verbs: Defaults
    _driver: D
    _deadline_s: float
    _clock: Clock | None

    @classmethod
    def from_url(
        cls,
        url: str | None = None,
        *,
        pool: str = "default",
        owner: str | None = None,
        prefix: str = settings.PREFIX_DEFAULT,
        deadline: float = settings.DEADLINE_S,
        attempt_timeout: float = settings.ATTEMPT_TIMEOUT_S,
        allow_eviction: bool = False,
    ) -> Self:
        """Connect to a store by URL; the other arguments are the constructor's.

        Args:
            url: `redis://`, `rediss://`, `unix://` as redis-py reads them, `redis+sentinel://host:port,.../service`,
                `redis+cluster://host:port,...` (`rediss+sentinel://` and `rediss+cluster://`: by TLS), `embedded://`
                (one server per user and machine, started on demand), `memory://` (in this process, this client's own),
                `memory://NAME` (shared in it).  None: `ALLOCATOR_REDIS_URL`, `REDIS_URL`, else `embedded://`.
        """
        target = resolve_target(url, attempt_timeout_s=attempt_timeout, allow_eviction=allow_eviction)
        return cls._on(target, Defaults(pool, prefix, owner), deadline)

    @classmethod
    def _on(
        cls, target: Target, verbs: Defaults, deadline: float = settings.DEADLINE_S, clock: Clock | None = None
    ) -> Self:
        """A client on a store that may have other clients too; `clock` turns time, for tests."""
        self = cls.__new__(cls)
        self._start(target, verbs, deadline, clock)
        return self

    def _start(self, target: Target, verbs: Defaults, deadline: float, clock: Clock | None = None) -> None:
        self._target = target
        self._verbs = verbs
        self._deadline_s = deadline_s(deadline)
        self._clock = clock
        self._driver = self._drive()

    @abstractmethod
    def _drive(self) -> D:
        """The driver for this client's store, deadline and clock."""

    def _terms(self, request: Request, level: str | None, pool: str | None) -> HoldSpec:
        """What a hold of this client holds, and where."""
        location = LeaseLocation(self._target, self._verbs.keys(pool), self._clock)
        return HoldSpec(location, request, self._verbs.owner, self._deadline_s, durability(level))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._target.address} pool={self._verbs.pool_name}>"

    def expect_epoch(self, epoch: str | None) -> None:
        """From now on a missing client's pool, or one made again since (another epoch), is `UnknownPool`; None: any."""
        self._verbs.expect_epoch(epoch)
