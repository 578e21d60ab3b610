"""A cluster's nodes, awaited: the twin of `cluster`, for one event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from functools import partial

from allocator._engine.protocol.keys import PoolKeys
from allocator._engine.transport.connections_async import AsyncLines, async_admitter, async_ask
from allocator._engine.transport.failures import Fault, Way
from allocator._engine.transport.slot_map import SLOTS_COMMAND, Topology, slot_of
from allocator._engine.transport.target import Address, ClusterStore, MakeAsyncLine
from allocator.errors import BackendUnavailable

__all__ = ["AsyncClusterNodes"]


class AsyncClusterNodes:
    """The nodes of one cluster, each with connections of its own, made when a call first goes there."""

    in_process = False
    watched = False

    def __init__(self, store: ClusterStore, make: MakeAsyncLine) -> None:
        self._store = store
        self._make = make
        self._topology = Topology(store.seeds, store.remap)
        self._nodes: dict[Address, AsyncLines] = {}
        self._failed: Address | None = None
        self._changing = asyncio.Lock()

    async def of(self, pool: PoolKeys, until: float) -> AsyncLines:
        if self._topology.outdated:
            await self._refresh(until)
        owner = self._topology.owner(slot_of(pool))
        if owner is None:
            self._topology.outdated = True
            text = f"no node of {self._store.where} serves the pool {pool.name}"
            raise Fault(BackendUnavailable(text, code="cluster_down"), passes=True)
        return self._lines(owner)

    async def primaries(self, until: float) -> Sequence[AsyncLines]:
        await self._refresh(until)
        return [self._lines(address) for address in self._topology.primaries()]

    async def note(self, pool: PoolKeys, fault: Fault) -> AsyncLines | None:
        slot = slot_of(pool)
        owner = self._topology.owner(slot)
        if fault.redirect is not None:
            told = fault.redirect
            address = self._topology.address(told.host, told.port, owner or ("", 0))
            if told.way is Way.ASK:
                return self._lines(address)
            self._topology.moved(slot, address)
        elif fault.stale:
            self._topology.outdated = True
            self._failed = owner
            if owner is not None:
                await self._lines(owner).drop()
        return None

    async def close(self) -> None:
        for lines in list(self._nodes.values()):
            await lines.close()

    def _lines(self, address: Address) -> AsyncLines:
        if address not in self._nodes:
            host, port = address
            where = f"{host}:{port}"
            self._nodes[address] = AsyncLines(
                partial(self._make, host=host, port=port),
                where=where,
                most=self._store.door.most,
                attempt_timeout_s=self._store.attempt_timeout_s,
                admit=async_admitter(self._store.admission, where),
            )
        return self._nodes[address]

    async def _refresh(self, until: float) -> None:
        """Ask one node after the other for the map, until one answers."""
        async with self._changing:
            if not self._topology.outdated:  # another task was faster
                return
            last: Fault | None = None
            for address in self._topology.advisers(last=self._failed):
                if last is not None and time.monotonic() >= until:
                    break
                try:
                    seconds = self._store.attempt_timeout_s
                    reply = await async_ask(self._lines(address), SLOTS_COMMAND, until, seconds)
                    self._topology.learn(reply, address)
                except Fault as fault:
                    last = fault
                else:
                    self._failed = None
                    return
            raise last or Fault(BackendUnavailable(f"{self._store.where} has no nodes"))
