"""The primary that Sentinels name, awaited: the twin of `sentinel`, for one event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from functools import partial

from redis.exceptions import ResponseError

from allocator import settings
from allocator._engine.async_lines import AsyncLine, AsyncLines, async_admitter, async_ask
from allocator._engine.faults import Fault
from allocator._engine.keys import PoolKeys
from allocator._engine.store import Address, MakeAsyncLine, SentinelStore
from allocator._engine.watchtower import ROLE_COMMAND, Watchtower, check_role
from allocator._engine.wire import pack
from allocator.errors import BackendUnavailable

__all__ = ["AsyncSentinelNodes"]


class AsyncSentinelNodes:
    """The primary of one service, as its Sentinels name it."""

    in_process = False

    def __init__(self, store: SentinelStore, make: MakeAsyncLine) -> None:
        self._store = store
        self._make = make
        self._tower = Watchtower(store.seeds, store.service)
        self._sentinels: dict[Address, AsyncLines] = {}
        self._primary: tuple[Address, AsyncLines] | None = None
        self._changing = asyncio.Lock()

    async def of(self, pool: PoolKeys, until: float) -> AsyncLines:
        primary = self._primary
        if primary is None or self._tower.is_due(time.monotonic()):
            primary = await self._look(until)
        return primary[1]

    async def primaries(self, until: float) -> Sequence[AsyncLines]:
        return ((await self._look(until))[1],)

    async def note(self, pool: PoolKeys, fault: Fault) -> AsyncLines | None:
        if fault.stale:
            self._tower.doubt()
            if self._primary is not None:
                await self._primary[1].drop()
        return None

    async def close(self) -> None:
        for lines in (*self._sentinels.values(), *([self._primary[1]] if self._primary else [])):
            await lines.close()

    async def _look(self, until: float) -> tuple[Address, AsyncLines]:
        """Ask one Sentinel after the other, until one knows; the connections to whom it names."""
        began, known = time.monotonic(), self._primary
        if known is not None and not self._tower.doubted and self._changing.locked():
            return known  # another task is looking
        async with self._changing:
            if self._primary is not None and not self._tower.is_due(time.monotonic()):
                return self._primary  # another task was faster
            last: Fault | None = None
            for address in self._tower.order():
                if last is not None and self._tower.gives_up(time.monotonic(), until, began):
                    break
                try:
                    seconds = min(self._store.attempt_timeout_s, settings.SENTINEL_TIMEOUT_S)
                    reply = await async_ask(self._sentinel(address), self._tower.command, until, seconds)
                    named = self._tower.learn(address, reply)
                except Fault as fault:
                    self._tower.missed(address)
                    last = fault
                else:
                    return await self._lead(named)
            if self._primary is None or self._tower.doubted:
                raise last or Fault(BackendUnavailable(f"{self._store.where} has no Sentinels"))
            self._tower.put_off(time.monotonic())
            return self._primary

    async def _lead(self, address: Address) -> tuple[Address, AsyncLines]:
        self._tower.looked(time.monotonic())
        if self._primary is None or self._primary[0] != address:
            if self._primary is not None:
                await self._primary[1].leave()  # whoever is demoted takes writes that will be lost
            self._primary = (address, self._new(address))
        return self._primary

    def _new(self, address: Address) -> AsyncLines:
        host, port = address
        where = f"{host}:{port}"

        async def greet(line: AsyncLine) -> None:
            reply: object
            try:
                reply = await line.exchange(pack(ROLE_COMMAND))
            except ResponseError as error:
                reply = error
            check_role(where, reply)

        return AsyncLines(
            partial(self._make, host=host, port=port),
            where=where,
            most=self._store.door.most,
            attempt_timeout_s=self._store.attempt_timeout_s,
            admit=async_admitter(self._store.admission, where),
            greet=greet,
        )

    def _sentinel(self, address: Address) -> AsyncLines:
        lines = self._sentinels.get(address)
        if lines is None:
            make = self._store.sentinel_door.make_async
            assert make is not None
            host, port = address
            lines = self._sentinels[address] = AsyncLines(
                partial(make, host=host, port=port),
                where=f"the Sentinel {host}:{port}",
                attempt_timeout_s=min(self._store.attempt_timeout_s, settings.SENTINEL_TIMEOUT_S),
            )
        return lines
