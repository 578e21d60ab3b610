"""Which connections a call goes out on, awaited: the twin of `router`, for one event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from allocator._engine.protocol.keys import PoolKeys
from allocator._engine.transport.cluster_async import AsyncClusterNodes
from allocator._engine.transport.connections_async import AsyncLine, AsyncLines, async_admitter
from allocator._engine.transport.failures import Fault
from allocator._engine.transport.sentinel_async import AsyncSentinelNodes
from allocator._engine.transport.target import ClusterStore, MakeAsyncLine, SentinelStore, ServerStore, Store
from allocator.errors import InvalidRequest

__all__ = ["AsyncNodes", "check_async", "open_async_nodes"]


class AsyncNodes(Protocol):
    """The servers of one store."""

    in_process: bool
    watched: bool
    """Whether somebody says from time to time which server is the primary, which bounds what may be believed."""

    async def of(self, pool: PoolKeys, until: float) -> AsyncLines:
        """The connections to the server that has this pool; raises a `Fault` where that cannot be found out."""
        ...

    async def primaries(self, until: float) -> Sequence[AsyncLines]:
        """The connections to each server that has keys."""
        ...

    async def note(self, pool: PoolKeys, fault: Fault) -> AsyncLines | None:
        """Learn from a failed attempt at a call to this pool.

        Returns:
            The connections of another server to which the next attempt must go this once, after ASKING; or None.
        """
        ...

    async def close(self) -> None:
        """Close the connections."""
        ...


class OneServer:
    """A store of one server."""

    watched = False

    def __init__(self, store: ServerStore, make: MakeAsyncLine) -> None:
        self.in_process = store.in_process
        self._store = store
        self._make = make
        self._lines = AsyncLines(
            self._line,
            where=store.where,
            most=store.door.most,
            attempt_timeout_s=store.attempt_timeout_s,
            admit=async_admitter(store.admission, store.where),
        )

    async def _line(self) -> AsyncLine:
        find = self._store.find
        return await self._make(**(await asyncio.to_thread(find) if find is not None else {}))

    async def of(self, pool: PoolKeys, until: float) -> AsyncLines:
        return self._lines

    async def primaries(self, until: float) -> Sequence[AsyncLines]:
        return (self._lines,)

    async def note(self, pool: PoolKeys, fault: Fault) -> AsyncLines | None:
        if fault.stale:
            await self._lines.drop()
        return None

    async def close(self) -> None:
        await self._lines.close()


def check_async(store: Store) -> None:
    """Refuse a store that was made of a blocking client."""
    if store.door.make_async is None:
        raise InvalidRequest("this client is blocking: use Allocator, or give a redis.asyncio client", field="client")


def open_async_nodes(store: Store) -> AsyncNodes:
    """The servers of a store, for the running loop; nothing is connected."""
    make = store.door.make_async
    assert make is not None, "check_async was not asked"
    if isinstance(store, ServerStore):
        return OneServer(store, make)
    if isinstance(store, SentinelStore):
        return AsyncSentinelNodes(store, make)
    assert isinstance(store, ClusterStore)
    return AsyncClusterNodes(store, make)
