"""`Pools`: the pools that are served: those that were named, or all under the prefix, also later ones."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from http import HTTPStatus
from typing import Final

from allocator import AllocatorError, AsyncAllocator, UnknownPool
from allocator.apps.dashboard.bounds import POOLS_MAX, REFRESH_S, RETRY_S, SCAN_SHARE
from allocator.apps.dashboard.problems import Problem
from allocator.validation import pool_name

__all__ = ["Pools"]

_log: Final = logging.getLogger("allocator.dashboard")


class Pools:
    """The names of the pools, and the client of each."""

    def __init__(self, client: AsyncAllocator, named: Sequence[str] = ()) -> None:
        """Serve these pools; without a name all under the client's prefix, at most 100."""
        self._client = client
        self._named = frozenset(named)
        self._clients: dict[str, AsyncAllocator] = {}
        self._wanted = asyncio.Event()
        self._looked = asyncio.Event()
        self.names: tuple[str, ...] = tuple(named)
        self.left_out = 0
        """Pools beyond the bound, which are not listed."""
        self.fault: AllocatorError | None = None
        """Why the names are not known."""

    @property
    def discovers(self) -> bool:
        """Whether new pools are looked for."""
        return not self._named

    def client(self, pool: str) -> AsyncAllocator:
        """The client of one pool.

        Raises:
            InvalidRequest: That is no name of a pool.
            Problem: This dashboard does not serve it.
        """
        name = pool_name(pool)
        if self._named and name not in self._named:
            raise Problem(
                HTTPStatus.NOT_FOUND, UnknownPool.default_code, f"pool {name} is not served: it was started for others"
            )
        found = self._clients.get(name)
        if found is None:
            while len(self._clients) >= POOLS_MAX:
                del self._clients[next(iter(self._clients))]
            found = self._clients[name] = self._client.options(pool=name)
        return found

    def look(self) -> None:
        """Look for pools soon: one is gone, or somebody asks for one that is not listed."""
        self._wanted.set()

    async def known(self, timeout_s: float) -> None:
        """Wait until the pools have been looked for once, for at most so long; and let them be looked for again."""
        self.look()
        if self.discovers and not self._looked.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await self._looked.wait()

    async def discover(self) -> None:
        """Look for pools once."""
        try:
            names = await self._client.pools.list()
        except AllocatorError as error:
            self._looked.set()
            if self.fault is None or error.code != self.fault.code:
                _log.warning("the pools are not known: %s", error)
            self.fault = error
            return
        self.names, self.left_out = tuple(names[:POOLS_MAX]), max(0, len(names) - POOLS_MAX)
        self.fault = None
        self._looked.set()

    async def keep(self) -> None:
        """Look for pools again and again, until cancelled: soon after somebody asks, as a SCAN may be long."""
        loop = asyncio.get_running_loop()
        while self.discovers:
            began_s = loop.time()
            await self.discover()
            pause_s = max(RETRY_S, SCAN_SHARE * (loop.time() - began_s))
            self._wanted.clear()
            await asyncio.sleep(pause_s)
            if self.fault is None:
                with suppress(TimeoutError):
                    async with asyncio.timeout(REFRESH_S):
                        await self._wanted.wait()
