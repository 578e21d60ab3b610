"""`Events`: the changes of a pool."""

from __future__ import annotations

from allocator._engine.operations import events
from allocator._sync.namespace import Namespace
from allocator.models.events import Event

__all__ = ["Events"]


class Events(Namespace):
    """Reads the changes of the client's pool; in Python `allocator.events`."""

    def list(self, *, limit: int = 50) -> list[Event]:
        """The latest changes, newest first; at most 500 of about 10,000 stored.  One round trip."""
        return self._run(events.read(self._defaults, limit))
