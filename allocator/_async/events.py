"""`AsyncEvents`: the changes of a pool."""

from __future__ import annotations

from allocator._async.namespace import AsyncNamespace
from allocator._engine.operations import events
from allocator.models.events import Event

__all__ = ["AsyncEvents"]


class AsyncEvents(AsyncNamespace):
    """Reads the changes of the client's pool; in Python `allocator.events`."""

    async def list(self, *, limit: int = 50) -> list[Event]:
        """The latest changes, newest first; at most 500 of about 10,000 stored.  One round trip."""
        return await self._run(events.read(self._defaults, limit))
