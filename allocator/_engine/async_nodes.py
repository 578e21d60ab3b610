"""Which connections a call goes out on, awaited: the twin of `nodes`, for one event loop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from redis.exceptions import ResponseError

from allocator._engine.async_lines import AsyncLine, AsyncLines
from allocator._engine.connect import ServerStore, Store
from allocator._engine.faults import Fault
from allocator._engine.keys import PoolKeys
from allocator._engine.wire import pack
from allocator.errors import InvalidRequest

__all__ = ["AsyncNodes", "check_async", "open_async_nodes"]


class AsyncNodes(Protocol):
    """The servers of one store."""

    in_process: bool

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

    def __init__(self, store: ServerStore) -> None:
        admission = store.admission
        make = store.make_async
        assert make is not None, "check_async was not asked"

        async def admit(line: AsyncLine) -> None:
            reply: object
            try:
                reply = await line.exchange(pack(admission.COMMAND))
            except ResponseError as error:
                reply = error
            admission.judge(store.where, reply)

        self.in_process = store.in_process
        self._lines = AsyncLines(
            make,
            where=store.where,
            most=store.most,
            attempt_timeout_s=store.attempt_timeout_s,
            admit=admit if admission.asks else None,
        )

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
    """Refuse a store made of a blocking client."""
    if isinstance(store, ServerStore) and store.make_async is None:
        raise InvalidRequest("this client is blocking: use Allocator, or give a redis.asyncio client", field="client")


def open_async_nodes(store: Store) -> AsyncNodes:
    """The servers of a store, for the running loop; nothing is connected."""
    if isinstance(store, ServerStore):
        return OneServer(store)
    raise InvalidRequest(f"{store!r} is of no known kind", field="url")
