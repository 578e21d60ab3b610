"""`AsyncEvents`: the changes of a pool."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import datetime

from allocator import settings
from allocator._async.namespace import AsyncNamespace
from allocator._engine.execution.event_follow_async import watch
from allocator._engine.operations import events
from allocator.models.events import Event

__all__ = ["AsyncEvents"]


class AsyncEvents(AsyncNamespace):
    """Reads the changes of the client's pool; in Python `allocator.events`.

    About the last 10,000 are stored.  An event's `id` says where to go on, also for another process, and after days.
    """

    async def since(self, since: str | int | datetime, *, limit: int = settings.PAGE_RECORDS_MAX) -> list[Event]:
        """The changes after an event, or from an instant on, oldest first.  One round trip.

        Args:
            since: An event's `id`; or an instant of the server's clock, as an aware datetime or in milliseconds.
            limit: At most so many, up to 500; go on with the last one's `id`.

        Returns:
            The events.  Where some are missing, the first one has the kind `missed` and says why: `trimmed`, the stream
            has been cut since; `lost`, this pool has no such event: a failover lost it, or the pool was created again,
            or the id is another pool's.  Then read the state again (`list`, `pools.usage`).  Its `id` says where to go
            on, as every event's.
        """
        return await self._run(events.read_since(self._defaults, since, limit), "events.since")

    def watch(self, *, since: str | int | datetime | None = None) -> AsyncGenerator[Event]:
        """Each change when it happens, without an end; close the iterator or the client to end it.

        However many watch a pool by one client, it sends one blocked read.  It goes on over reconnects and failovers:
        nothing is left out in silence, and nothing comes twice.

        Args:
            since: As that of `since`: what is stored comes first.  None: what happens from the first step on.

        Yields:
            Events, oldest first.  One of the kind `missed` says that others are missing, as `since` has it.

        Raises:
            UnknownPool: There is no pool, or no longer; noticed within 5 s.
            BackendUnavailable: The store was never reached, or refuses for a reason that does not pass, or the client
                was closed.  While it is away later, that is logged once, and the watch asks again each second.
        """
        return watch(self._driver, events.Following(self._defaults, since))

    async def list(self, *, limit: int = 50) -> list[Event]:
        """The latest changes, newest first; at most 500 of about 10,000 stored.  One round trip."""
        return await self._run(events.read(self._defaults, limit), "events.list")
