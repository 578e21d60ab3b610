"""Follows one pool: reads it when something changes, and slowly at rest.  asyncio, without a terminal.

Events come by one blocked read.  They say when to read again, and of which allocations; several within `GAP_S` cost one
reading.  A list of all allocations is read so rarely that it takes at most 0.4 % of a core.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from allocator import settings
from allocator.apps.top.reading import History, Reading
from allocator.errors import AllocatorError, UnknownPool
from allocator.models.allocations import Allocation
from allocator.models.events import MISSED, Event

if TYPE_CHECKING:
    from allocator import AsyncAllocator

__all__ = ["EVENTS_KEPT", "Feed", "Trouble"]

GAP_S: Final = 0.3
"""Seconds between two readings at least, however much changes."""

IDLE_S: Final = 5.0
"""Seconds after which the pool is read though no event came: renewals are none, and a message may be lost."""

RETRY_S: Final = 1.0
"""Seconds between attempts while something is wrong."""

READ_MAX: Final = 20_000
"""Allocations that are read of a pool: about 30 MB, and 0.4 s of the server's time, a page of 500 at a time."""

WAITERS_MAX: Final = settings.PAGE_WAITERS_MAX
SCOPES_MAX: Final = settings.PAGE_RECORDS_MAX
"""Waiters and scopes that are read, the first ones: one round trip each."""

GETS_MAX: Final = 32
"""Changed allocations that are read one by one; more wait for the next list."""

LIST_SHARE: Final = 250
"""A list is not read again before so many times the processor time that it took."""

EVENTS_KEPT: Final = 500
EVENTS_FIRST: Final = 100
"""Events that are kept, and those before the start that are shown."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why the figures are old: `gone` is a pool that does not exist any more; `since_s` is monotonic."""

    message: str
    gone: bool
    since_s: float


class Feed:
    """What is known of one pool, kept up to date by `run`."""

    def __init__(
        self,
        client: AsyncAllocator,
        pool: str,
        changed: Callable[[], None],
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare; nothing is read.

        Args:
            client: Whose calls it makes; a short timeout says earlier that the server is away.
            pool: The pool.
            changed: Called after each change of what is known.
            clock_s: The monotonic clock.
        """
        self.pool = pool
        self.reading: Reading | None = None
        self.history = History()
        self.events: deque[Event] = deque(maxlen=EVENTS_KEPT)
        """The newest last."""
        self.trouble: Trouble | None = None
        self.events_trouble = ""
        """Why no events come; "" while they do."""
        self._client = client.options(pool=pool)
        self._changed = changed
        self._clock_s = clock_s
        self._wake = asyncio.Event()
        self._position: str | None = None
        self._allocations: dict[str, Allocation] = {}
        self._is_whole = True
        self._list_from_s = 0.0
        self._touched: set[str] = set()
        """Ids that events have named since they were read."""

    async def run(self) -> None:
        """Read and follow, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._read_on())
            tasks.create_task(self._follow())

    def refresh(self) -> None:
        """Read again now, all of it."""
        self._list_from_s = 0.0
        self._wake.set()

    async def read(self) -> Reading:
        """Read the pool once."""
        usage = await self._client.pools.usage()
        at_s = self._clock_s()
        await self._read_allocations()
        waiters = await self._client.queue.list(limit=WAITERS_MAX) if usage.waiting else []
        scopes = await self._client.quotas.list(limit=SCOPES_MAX) if usage.scopes else []
        return Reading(
            usage,
            tuple(self._allocations.values()),
            tuple(waiters),
            tuple(sorted(scopes, key=lambda one: one.scope.split("/"))),
            at_s,
            self._is_whole,
        )

    async def _read_on(self) -> None:
        while True:
            self._wake.clear()
            begun_s = self._clock_s()
            try:
                self.reading = await self.read()
            except AllocatorError as error:
                self._note(error)
            else:
                self.trouble = None
                self.history.add(self.reading.at_s, self.reading.usage)
            self._changed()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._pause_s()):
                    await self._wake.wait()
            await asyncio.sleep(max(0.0, begun_s + (RETRY_S if self.trouble else GAP_S) - self._clock_s()))

    def _pause_s(self) -> float:
        """Seconds until the next reading, if nothing happens: earlier where changed allocations wait for a list."""
        if self.trouble:
            return RETRY_S
        return min(IDLE_S, max(GAP_S, self._list_from_s - self._clock_s())) if self._touched else IDLE_S

    def _note(self, error: AllocatorError) -> None:
        since_s = self.trouble.since_s if self.trouble else self._clock_s()
        self.trouble = Trouble(str(error), isinstance(error, UnknownPool), since_s)
        self._list_from_s = 0.0  # much may have happened by the time it is back

    async def _read_allocations(self) -> None:
        """Bring the allocations up to date: a list if one is due, else those that events have named."""
        if self._clock_s() >= self._list_from_s:
            await self._list()
        elif self._touched and len(self._touched) <= GETS_MAX:
            ids, self._touched = sorted(self._touched), set()  # an event that comes meanwhile names its id anew
            try:
                found = await asyncio.gather(*(self._client.get(one) for one in ids))
            except BaseException:
                self._touched.update(ids)
                raise
            for name, one in zip(ids, found, strict=True):
                if one is None:
                    self._allocations.pop(name, None)
                elif name in self._allocations or self._is_whole:
                    self._allocations[name] = one

    async def _list(self) -> None:
        begun_s = time.process_time()
        touched, self._touched = self._touched, set()
        found: dict[str, Allocation] = {}
        is_whole = True
        try:
            listed = self._client.list()
            async for one in listed:
                if len(found) == READ_MAX:
                    is_whole = False
                    break
                found[one.id] = one
            if isinstance(listed, AsyncGenerator):
                await listed.aclose()
        except BaseException:
            self._touched |= touched
            raise
        self._allocations, self._is_whole = found, is_whole
        self._list_from_s = self._clock_s() + LIST_SHARE * (time.process_time() - begun_s)

    async def _follow(self) -> None:
        while True:
            try:
                if self._position is None:
                    latest = await self._client.events.list(limit=EVENTS_FIRST)
                    self.events.extend(reversed(latest))
                    self._position = latest[0].id if latest else "0"
                    self._changed()
                async with contextlib.aclosing(self._client.events.watch(since=self._position)) as watched:
                    async for event in watched:
                        self._take(event)
            except AllocatorError as error:
                self.events_trouble = str(error)
                self._changed()
            await asyncio.sleep(RETRY_S)

    def _take(self, event: Event) -> None:
        self.events.append(event)
        self.events_trouble = ""
        self._position = event.id
        if event.kind == MISSED:
            self._list_from_s = 0.0
        elif "id" in event.fields and len(self._touched) <= GETS_MAX:
            self._touched.add(event.fields["id"])
        self._wake.set()
