"""The router to the primary that Sentinels name, asyncio: the counterpart of `sentinel`, for one event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from functools import partial

from redis.exceptions import ResponseError

from allocator import settings
from allocator._engine.protocol.keys import PoolKeys
from allocator._engine.protocol.resp import pack_command
from allocator._engine.transport.connection import AsyncConnection
from allocator._engine.transport.connections_async import AsyncConnectionPool, send_once_async, server_check_async
from allocator._engine.transport.failures import AttemptFailure, connection_failure, least_lasting
from allocator._engine.transport.primary_discovery import ROLE_COMMAND, PrimaryDiscovery, check_role
from allocator._engine.transport.target import Address, AsyncConnectionFactory, SentinelTarget
from allocator.errors import BackendUnavailable

__all__ = ["AsyncSentinelRouter"]


class AsyncSentinelRouter:
    """Routes all calls to the primary of one service, as its Sentinels name it.  One task asks each Sentinel."""

    in_process = False
    watched = True

    def __init__(self, target: SentinelTarget, make: AsyncConnectionFactory) -> None:
        self._target = target
        self._make = make
        self._discovery = PrimaryDiscovery(target.seeds, target.service)
        self._sentinels = {address: self._sentinel(address) for address in self._discovery.sentinels}
        self._primary: AsyncConnectionPool | None = None
        self._address: Address | None = None
        self._failures: dict[Address, AttemptFailure] = {}
        """The last failure to find the primary; a look that the deadline cuts short tells nothing newer."""
        self._asking: dict[Address, asyncio.Task[None]] = {}
        self._looking = 0
        self._closed = False

    async def route(self, pool: PoolKeys, until: float) -> AsyncConnectionPool:
        primary = self._primary
        if primary is None or self._discovery.is_due(time.monotonic()):
            primary = await self._look(until)
        return primary

    async def primaries(self, until: float) -> Sequence[AsyncConnectionPool]:
        return (await self._look(until),)

    async def on_failure(self, pool: PoolKeys, failure: AttemptFailure) -> AsyncConnectionPool | None:
        if failure.reconnect:
            self._discovery.invalidate(time.monotonic())
            if self._primary is not None:
                await self._primary.close_idle()
        return None

    def connection_pools(self) -> Sequence[AsyncConnectionPool]:
        primary = self._primary
        return () if primary is None else (primary,)

    async def close(self) -> None:
        self._closed = True
        tasks = list(self._asking.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        for connections in (*self._sentinels.values(), *([self._primary] if self._primary else [])):
            await connections.close()

    # -- asking --------------------------------------------------------------------------------------------------------

    async def _look(self, until: float) -> AsyncConnectionPool:
        """Ask all Sentinels, wait for the first reply, and return the connections to the primary."""
        began, discovery = time.monotonic(), self._discovery
        if self._primary is not None and (not discovery.is_due(began) or (self._looking and not discovery.is_invalid)):
            return self._primary
        self._looking += 1
        try:
            if (named := await self._ask_all(began, discovery.ends(began, until))) is not None:
                return named
        finally:
            self._looking -= 1
        if self._primary is None or discovery.is_invalid:
            text = f"no Sentinel of {self._target.address} answers"
            silent = AttemptFailure(BackendUnavailable(text, code="timeout"))
            raise least_lasting(self._failures.values()) or silent
        discovery.defer(began)
        return self._primary

    async def _ask_all(self, began: float, ends: float) -> AsyncConnectionPool | None:
        """The connections to the primary after the first reply; None if none came in time."""
        unasked, now = list(self._discovery.sentinels), began
        while True:
            for address in [one for one in unasked if one not in self._asking]:
                unasked.remove(address)
                self._asking[address] = asyncio.create_task(self._hear(address, time.monotonic()))
            if self._primary is not None and not self._discovery.is_due(now):
                return self._primary
            if not self._asking or now >= ends:
                return None
            await asyncio.wait(self._asking.values(), timeout=ends - now, return_when=asyncio.FIRST_COMPLETED)
            now = time.monotonic()

    async def _hear(self, address: Address, asked: float) -> None:
        """Ask one Sentinel and record its reply, however late."""
        seconds = settings.SENTINEL_PATIENCE_S
        try:
            reply = await send_once_async(self._sentinels[address], self._discovery.command, asked + seconds, seconds)
            await self._lead(self._discovery.read_reply(address, asked, reply))
        except AttemptFailure as error:
            self._failures[address] = error
        except Exception as error:  # noqa: BLE001 - a reply that no Sentinel gives
            self._failures[address] = connection_failure(self._sentinels[address].address, error)
        finally:
            del self._asking[address]

    async def _lead(self, address: Address) -> None:
        """Make this address the primary, and close the connections to the former one, whose new writes are lost."""
        if self._closed:
            return
        old = self._primary
        if old is None or self._address != address:
            self._primary, self._address = self._new(address), address
        assert self._primary is not None
        self._primary.confirmed = self._discovery.confirmed
        self._failures.clear()
        if old is not None and old is not self._primary:
            await old.supersede()

    def _new(self, address: Address) -> AsyncConnectionPool:
        host, port = address
        where = f"{host}:{port}"

        async def on_connect(connection: AsyncConnection) -> None:
            reply: object
            try:
                reply = await connection.exchange(pack_command(ROLE_COMMAND))
            except ResponseError as error:
                reply = error
            check_role(where, reply)

        return AsyncConnectionPool(
            partial(self._make, host=host, port=port),
            address=where,
            max_connections=self._target.connector.max_connections,
            attempt_timeout_s=self._target.attempt_timeout_s,
            check_server=server_check_async(self._target.eviction_check, where),
            on_connect=on_connect,
        )

    def _sentinel(self, address: Address) -> AsyncConnectionPool:
        make = self._target.sentinel_connector.make_async
        assert make is not None
        host, port = address
        return AsyncConnectionPool(
            partial(make, host=host, port=port),
            address=f"the Sentinel {host}:{port}",
            attempt_timeout_s=settings.SENTINEL_PATIENCE_S,
        )
