"""Test tools for programs that use this library.

- `memory_allocator`, `memory_async_allocator`: an in-process server with a pool, in one line and without a process.
- `Clock`: a clock that advances only on request, so that leases lapse without waiting.
- `PrivateServer`: a real server that ends with the program, for tests with several processes.

::

    clock = Clock()
    allocator = memory_allocator({"cpu": 4, "memory": "8Gi"}, clock=clock)
    held = allocator.allocate({"cpu": 4}, ttl=30)
    clock.advance(31)                                # as if its holder had died
    assert allocator.try_allocate({"cpu": 1}, ttl=30)
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from allocator import settings
from allocator._async.client import AsyncAllocator
from allocator._engine.operations.defaults import Defaults
from allocator._engine.servers.embedded import PrivateServer
from allocator._engine.transport.urls import resolve_target
from allocator._sync.client import Allocator
from allocator.quantity import Quantity

__all__ = ["Clock", "PrivateServer", "memory_allocator", "memory_async_allocator"]

_BEGINNING: Final = datetime(2026, 1, 1, tzinfo=UTC)


class Clock:
    """A clock for the scripts that advances only by `advance`.

    Give the same clock to all clients of a server: a client without one uses the server's clock.
    """

    def __init__(self, begins: datetime = _BEGINNING) -> None:
        """Set the clock.

        Args:
            begins: An aware datetime after 1970.
        """
        self._now_ms = int(begins.timestamp() * 1000)

    def __call__(self) -> int:
        """Now, in milliseconds since 1970."""
        return self._now_ms

    def advance(self, by: float | timedelta) -> None:
        """Advance the clock.

        Args:
            by: Seconds, or a timedelta.  Negative: as if the server's clock was set back.
        """
        seconds = by.total_seconds() if isinstance(by, timedelta) else by
        self._now_ms += round(seconds * 1000)


def memory_allocator(
    capacity: Mapping[str, Quantity], *, pool: str = "test", store: str | None = None, clock: Clock | None = None
) -> Allocator:
    """A client of an in-process server in which `pool` exists.  It needs the extra `embedded`.

    Args:
        capacity: The capacity of the pool, unless it exists already.
        pool: The client's pool.
        store: The name of an in-process server that other clients share, as `memory://NAME`; None: a private one.
        clock: Replaces the computer's clock.
    """
    defaults = Defaults(pool, settings.PREFIX_DEFAULT, None)
    allocator = Allocator._on(resolve_target(f"memory://{store or ''}"), defaults, clock=clock)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    allocator.pools.create(pool, capacity)
    return allocator


def memory_async_allocator(
    capacity: Mapping[str, Quantity], *, pool: str = "test", store: str | None = None, clock: Clock | None = None
) -> AsyncAllocator:
    """The same for an event loop; both kinds of client may share an in-process server by its name."""
    with memory_allocator(capacity, pool=pool, store=store, clock=clock) as made:
        shared, defaults = made._target, made._defaults  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    return AsyncAllocator._on(shared, defaults, clock=clock)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
