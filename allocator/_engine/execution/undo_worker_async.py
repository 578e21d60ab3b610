"""Undo worker, asyncio: undoes queued calls in a task that runs while the undo queue is not empty."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable

from allocator import settings
from allocator._engine.execution.retry import backoff
from allocator._engine.execution.undo_queue import CLOSED, Undo, UndoQueue, undo_call
from allocator._engine.protocol.flows import Call, Item
from allocator._engine.protocol.keys import PoolKeys
from allocator._engine.transport.failures import AttemptFailure

__all__ = ["AsyncUndoWorker"]


class AsyncUndoWorker:
    """Undoes the queued calls of one event loop."""

    def __init__(
        self,
        perform: Callable[[Call, float], Awaitable[None]],
        loop: asyncio.AbstractEventLoop,
        report: Callable[[str, str, int], object] | None = None,
    ) -> None:
        """Prepare; no task is started.

        Args:
            perform: Sends a call once, until the given instant, and raises `AttemptFailure`.
            loop: The event loop of the task.
            report: As that of `UndoQueue`.
        """
        self.queue = UndoQueue(report)
        self._perform = perform
        self._loop = loop
        self._task: asyncio.Task[None] | None = None
        self._closed = False
        self._under_way = 0

    def add(self, pool: PoolKeys, items: Iterable[Item]) -> None:
        """Put these items into the undo queue; after `close` they are not undone, which is logged."""
        if not self.queue.add(pool, items):
            return
        if self._closed or self._loop.is_closed():
            self.queue.abandon(CLOSED)
        else:
            self._work()

    async def close(self, seconds: float) -> None:
        """Wait up to so many seconds for the task to finish, and log what it did not undo."""
        ends = time.monotonic() + seconds
        while len(self.queue) or self._task is not None:
            task = self._work()
            await asyncio.wait((task,), timeout=max(ends - time.monotonic(), 0.0))
            if not task.done():
                task.cancel()
                await asyncio.wait((task,))
                break
        self._closed = True
        self.queue.abandon(CLOSED)

    @property
    def pending(self) -> int:
        """How many calls are not undone yet."""
        return len(self.queue) + self._under_way

    async def wait(self, seconds: float) -> bool:
        """Wait up to so many seconds until the queue is empty; returns whether it is."""
        ends = time.monotonic() + seconds
        while len(self.queue) or self._task is not None:
            left = ends - time.monotonic()
            if left <= 0:
                return False
            await asyncio.wait((self._work(),), timeout=left)
        return True

    def _work(self) -> asyncio.Task[None]:
        """The task; started if there is none."""
        if self._task is None:
            self._task = self._loop.create_task(self._settle_all())
            self._task.add_done_callback(self._ended)
        return self._task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._task = None
        if not task.cancelled() and (error := task.exception()) is not None:
            self.queue.abandon(f"{type(error).__name__}: {error}")

    async def _settle_all(self) -> None:
        failed = 0
        while group := self.queue.next_batch():
            self._under_way = len(group)
            try:
                is_settled = await self._settle(group)
            finally:
                self._under_way = 0
            if is_settled:
                failed = 0
            else:
                failed += 1
                await asyncio.sleep(backoff(failed))

    async def _settle(self, group: list[Undo]) -> bool:
        """Undo a group; returns False if it is back in the queue."""
        try:
            await self._perform(undo_call(group), time.monotonic() + settings.ATTEMPT_TIMEOUT_S)
        except AttemptFailure as failure:
            if not failure.from_script:  # also where it is not transient, as a full disk: `UNDO_FOR_S` is the limit
                self.queue.put_back(group)
                return False
            if len(group) > 1:  # one of them is the cause: send each alone
                for one in group:
                    await self._settle([one])
            else:
                self.queue.discard(group, str(failure))
        except BaseException:
            self.queue.put_back(group)
            raise
        else:
            self.queue.finish(group)
        return True
