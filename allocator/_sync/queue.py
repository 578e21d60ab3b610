"""`Queue`: the requests that wait in line."""

from __future__ import annotations

from allocator._engine.operations import queue
from allocator._sync.namespace import Namespace
from allocator.models.queue import Waiter

__all__ = ["Queue"]


class Queue(Namespace):
    """The line of a pool: requests that wait for room (`allocate(wait=)`), in the order in which they are served.

    docs/policies.md has the order, and who may pass whom.
    """

    def withdraw(self, id: str) -> bool:
        """Take the request that waits for this id out of the line; its caller gets `RequestWithdrawn`.

        Returns:
            False if nobody waits for it.  A live allocation of the id is not touched.  One round trip.
        """
        return self._run(queue.withdraw(self._defaults, id), "queue.withdraw")

    def list(self, *, limit: int = 200) -> list[Waiter]:
        """Who waits, the first first, with what each is short of and when it may start.

        Args:
            limit: At most so many, from the first on; 1 to 100,000.

        Returns:
            The waiters; `start_ms` is known for at most 32 of them.  One round trip for 200; who comes or goes between
            two of them may be missing or listed twice.
        """
        return self._run(queue.list_waiters(self._defaults, limit), "queue.list")
