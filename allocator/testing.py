"""What programs need to test the controllers that use this library.

- `memory_allocator`, `memory_async_allocator`: a ledger in this process, with a pool, in one line and without a server.
- `Clock`: time that stands still until it is turned, so that leases lapse without waiting.
- `PrivateServer`: a real server that ends with the program, for tests with several processes.

::

    clock = Clock()
    allocator = memory_allocator({"cpu": 4, "memory": "8Gi"}, clock=clock)
    held = allocator.allocate({"cpu": 4}, ttl=30)
    clock.advance(31)                                # its holder has died, so to speak
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
    """Time for the ledger that passes only when it is told to.

    Give the same clock to all clients of a store: without one, a client goes by the server's clock.
    """

    def __init__(self, begins: datetime = _BEGINNING) -> None:
        """Set it.

        Args:
            begins: An aware datetime after 1970.
        """
        self._now_ms = int(begins.timestamp() * 1000)

    def __call__(self) -> int:
        """Now, in milliseconds since 1970."""
        return self._now_ms

    def advance(self, by: float | timedelta) -> None:
        """Turn it.

        Args:
            by: Seconds, or a timedelta.  Negative: the server's clock was set back.
        """
        seconds = by.total_seconds() if isinstance(by, timedelta) else by
        self._now_ms += round(seconds * 1000)


def memory_allocator(
    capacity: Mapping[str, Quantity], *, pool: str = "test", store: str | None = None, clock: Clock | None = None
) -> Allocator:
    """A client of an in-process ledger in which `pool` exists.  Needs the extra `embedded`.

    Args:
        capacity: What the pool has, unless it exists in that store.
        pool: The client's pool.
        store: The name of a store that other clients in this process share, as `memory://NAME`; None: one of its own.
        clock: Goes by this clock instead of the computer's.
    """
    defaults = Defaults(pool, settings.PREFIX_DEFAULT, None)
    allocator = Allocator._on(resolve_target(f"memory://{store or ''}"), defaults, clock=clock)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    allocator.pools.create(pool, capacity)
    return allocator


def memory_async_allocator(
    capacity: Mapping[str, Quantity], *, pool: str = "test", store: str | None = None, clock: Clock | None = None
) -> AsyncAllocator:
    """The same for an event loop; both kinds of client may share a store by its name."""
    with memory_allocator(capacity, pool=pool, store=store, clock=clock) as made:
        shared, defaults = made._target, made._defaults  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    return AsyncAllocator._on(shared, defaults, clock=clock)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
