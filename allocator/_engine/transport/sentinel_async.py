"""The primary that Sentinels name, awaited: the twin of `sentinel`, for one event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from functools import partial

from redis.exceptions import ResponseError

from allocator import settings
from allocator._engine.protocol.keys import PoolKeys
from allocator._engine.protocol.resp import pack
from allocator._engine.transport.connections_async import AsyncLine, AsyncLines, async_admitter, async_ask
from allocator._engine.transport.failures import Fault
from allocator._engine.transport.primary_discovery import ROLE_COMMAND, Watchtower, check_role
from allocator._engine.transport.target import Address, MakeAsyncLine, SentinelStore
from allocator.errors import BackendUnavailable

__all__ = ["AsyncSentinelNodes"]


class AsyncSentinelNodes:
    """The primary of one service, as its Sentinels name it.  Each Sentinel is asked by a task of its own."""

    in_process = False
    watched = True

    def __init__(self, store: SentinelStore, make: MakeAsyncLine) -> None:
        self._store = store
        self._make = make
        self._tower = Watchtower(store.seeds, store.service)
        self._sentinels = {address: self._sentinel(address) for address in self._tower.sentinels}
        self._primary: AsyncLines | None = None
        self._address: Address | None = None
        self._fault: Fault | None = None
        self._asking: dict[Address, asyncio.Task[None]] = {}
        self._looking = 0
        self._closed = False

    async def of(self, pool: PoolKeys, until: float) -> AsyncLines:
        primary = self._primary
        if primary is None or self._tower.is_due(time.monotonic()):
            primary = await self._look(until)
        return primary

    async def primaries(self, until: float) -> Sequence[AsyncLines]:
        return (await self._look(until),)

    async def note(self, pool: PoolKeys, fault: Fault) -> AsyncLines | None:
        if fault.stale:
            self._tower.doubt(time.monotonic())
            if self._primary is not None:
                await self._primary.drop()
        return None

    async def close(self) -> None:
        self._closed = True
        tasks = list(self._asking.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        for lines in (*self._sentinels.values(), *([self._primary] if self._primary else [])):
            await lines.close()

    # -- asking --------------------------------------------------------------------------------------------------------

    async def _look(self, until: float) -> AsyncLines:
        """Ask all Sentinels, and wait for the first answer; the connections to the primary."""
        began, tower = time.monotonic(), self._tower
        if self._primary is not None and (not tower.is_due(began) or (self._looking and not tower.doubted)):
            return self._primary
        self._looking += 1
        try:
            if (named := await self._ask_all(began, tower.ends(began, until))) is not None:
                return named
        finally:
            self._looking -= 1
        if self._primary is None or tower.doubted:
            silent = Fault(BackendUnavailable(f"no Sentinel of {self._store.where} answers", code="timeout"))
            raise self._fault or silent
        tower.put_off(began)
        return self._primary

    async def _ask_all(self, began: float, ends: float) -> AsyncLines | None:
        """The connections to whom the first answer leads; None where there was none in time."""
        unasked, now = list(self._tower.sentinels), began
        self._fault = None
        while True:
            for address in [one for one in unasked if one not in self._asking]:
                unasked.remove(address)
                self._asking[address] = asyncio.create_task(self._hear(address, time.monotonic()))
            if self._primary is not None and not self._tower.is_due(now):
                return self._primary
            if not self._asking or now >= ends:
                return None
            await asyncio.wait(self._asking.values(), timeout=ends - now, return_when=asyncio.FIRST_COMPLETED)
            now = time.monotonic()

    async def _hear(self, address: Address, asked: float) -> None:
        """Ask one Sentinel, and take note of what it says, however late."""
        seconds = settings.SENTINEL_PATIENCE_S
        try:
            reply = await async_ask(self._sentinels[address], self._tower.command, asked + seconds, seconds)
            await self._lead(self._tower.hear(address, asked, reply))
        except Fault as error:
            self._fault = error
        finally:
            del self._asking[address]

    async def _lead(self, address: Address) -> None:
        """That one is the primary; whoever was takes writes that will be lost."""
        if self._closed:
            return
        old = self._primary
        if old is None or self._address != address:
            self._primary, self._address = self._new(address), address
        assert self._primary is not None
        self._primary.vouched = self._tower.confirmed
        if old is not None and old is not self._primary:
            await old.leave()

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
        make = self._store.sentinel_door.make_async
        assert make is not None
        host, port = address
        return AsyncLines(
            partial(make, host=host, port=port),
            where=f"the Sentinel {host}:{port}",
            attempt_timeout_s=settings.SENTINEL_PATIENCE_S,
        )
