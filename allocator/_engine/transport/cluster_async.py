"""The router of a cluster, asyncio: the counterpart of `cluster`, for one event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from functools import partial

from allocator._engine.protocol.keys import PoolKeys
from allocator._engine.transport.connections_async import AsyncConnectionPool, send_once_async, server_check_async
from allocator._engine.transport.failures import AttemptFailure, RedirectKind, connection_failure, least_lasting
from allocator._engine.transport.slot_map import SLOTS_COMMAND, SlotMap, slot_of
from allocator._engine.transport.target import Address, AsyncConnectionFactory, ClusterTarget
from allocator.errors import BackendUnavailable

__all__ = ["AsyncClusterRouter"]


class AsyncClusterRouter:
    """Routes each call to the cluster node that serves the pool's slot.

    Each node has a connection pool, made at the first call to it.
    """

    in_process = False
    watched = False

    def __init__(self, target: ClusterTarget, make: AsyncConnectionFactory) -> None:
        self._target = target
        self._make = make
        self._topology = SlotMap(target.seeds, target.remap)
        self._routes: dict[Address, AsyncConnectionPool] = {}
        self._failed: Address | None = None
        self._changing = asyncio.Lock()

    async def route(self, pool: PoolKeys, until: float) -> AsyncConnectionPool:
        if self._topology.outdated:
            await self._refresh(until)
        owner = self._topology.owner(slot_of(pool))
        if owner is None:
            self._topology.outdated = True
            text = f"no node of {self._target.address} serves the pool {pool.name}"
            raise AttemptFailure(BackendUnavailable(text, code="cluster_down"), transient=True)
        return self._connections(owner)

    async def primaries(self, until: float) -> Sequence[AsyncConnectionPool]:
        await self._refresh(until)
        return [self._connections(address) for address in self._topology.primaries()]

    async def on_failure(self, pool: PoolKeys, failure: AttemptFailure) -> AsyncConnectionPool | None:
        slot = slot_of(pool)
        owner = self._topology.owner(slot)
        if failure.redirect is not None:
            told = failure.redirect
            address = self._topology.address(told.host, told.port, owner or ("", 0))
            if told.kind is RedirectKind.ASK:
                return self._connections(address)
            self._topology.set_owner(slot, address)
        elif failure.reconnect:
            self._topology.outdated = True
            self._failed = owner
            if owner is not None:
                await self._connections(owner).close_idle()
        return None

    def connection_pools(self) -> Sequence[AsyncConnectionPool]:
        return list(self._routes.values())

    async def close(self) -> None:
        for connections in list(self._routes.values()):
            await connections.close()

    def _connections(self, address: Address) -> AsyncConnectionPool:
        if address not in self._routes:
            host, port = address
            where = f"{host}:{port}"
            self._routes[address] = AsyncConnectionPool(
                partial(self._make, host=host, port=port),
                address=where,
                max_connections=self._target.connector.max_connections,
                attempt_timeout_s=self._target.attempt_timeout_s,
                check_server=server_check_async(self._target.eviction_check, where),
            )
        return self._routes[address]

    async def _refresh(self, until: float) -> None:
        """Read the slot map: ask one node after the other until one replies.  One round trip per node asked."""
        async with self._changing:
            if not self._topology.outdated:  # another task has refreshed it
                return
            failed: list[AttemptFailure] = []
            for address in self._topology.candidates(last=self._failed):
                if failed and time.monotonic() >= until:
                    break
                try:
                    seconds = self._target.attempt_timeout_s
                    reply = await send_once_async(self._connections(address), SLOTS_COMMAND, until, seconds)
                    self._topology.update(reply, address)
                except AttemptFailure as failure:
                    failed.append(failure)
                except Exception as error:  # noqa: BLE001 - a reply that no node of a cluster gives
                    failed.append(connection_failure(self._connections(address).address, error))
                else:
                    self._failed = None
                    return
            raise least_lasting(failed) or AttemptFailure(BackendUnavailable(f"{self._target.address} has no nodes"))
