"""Batch the calls of one turn of an event loop into script calls of many items.

Calls with independent items and the same script, keys and arguments wait in one queue.  At most two script calls of a
queue are in flight, so that the server works on one while the loop works on the other.  What arrives meanwhile goes
together in the next.  So a single call is sent at once, and fifty concurrent ones cost the server and the network
hardly more than two.  While a caller with several items is served, one call at a time is in flight: its items are
decided in order, each after those before it.

Each item keeps its own ambiguity, deadline and caller.  After a lost reply each item of the batch returns to the queue
and is sent again with the same ids.  The item of a caller that was cancelled meanwhile is left out, and its call is
undone.  After an error that is not the server's state the items are sent one by one, so that only the caller of the
faulty item gets it.  A batch in flight is never cancelled because one of its callers was, or because one deadline has
passed: that caller gets an error, and the others continue.  One timer is set for the earliest deadline.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any, Protocol

from allocator import settings
from allocator._engine.execution.batch_items import GroupedItem, GroupReplies, PendingItem
from allocator._engine.execution.batch_queues import Key, Pause, Queue, followers, size_of, words_of
from allocator._engine.execution.instrumentation import Instrumentation
from allocator._engine.execution.retry import backoff, cause_of, deadline_exceeded, final_error
from allocator._engine.execution.undo_log import UndoLog, needs_undo
from allocator._engine.protocol.flows import Call, Item, Reply
from allocator._engine.protocol.keys import PoolKeys
from allocator._engine.protocol.scripts import Argument
from allocator._engine.transport.connections_async import AsyncConnectionPool
from allocator._engine.transport.failures import AttemptFailure
from allocator.errors import AllocatorError, BackendUnavailable, ContractError

__all__ = ["Batcher", "Sender"]


class Sender(Protocol):
    """The methods of the driver that a batcher uses."""

    async def send(
        self,
        call: Call,
        encode: Callable[[], list[Argument]],
        until: float,
        elsewhere: AsyncConnectionPool | None,
        undo_logs: Iterable[UndoLog | None],
    ) -> Reply:
        """Attempt a call once, on the routed connections or on `elsewhere`; raises `AttemptFailure`.

        `encode` is called right before something is sent, and returns it.
        """
        ...

    async def on_failure(self, pool: PoolKeys, failure: AttemptFailure) -> AsyncConnectionPool | None:
        """Update the routing after a failed attempt; returns the connections of a one-time redirect, or None."""
        ...

    def undo(self, pool: PoolKeys, items: Sequence[Item]) -> None:
        """Put these items into the undo queue."""
        ...

    def envelope(self, call: Call) -> tuple[Argument, ...]:
        """The envelope of a call: the arguments that the driver adds, which are the instant and the fence watermark."""
        ...


class Batcher:
    """The batching queues of one event loop."""

    def __init__(
        self, sender: Sender, loop: asyncio.AbstractEventLoop, instruments: Instrumentation | None = None
    ) -> None:
        self._sender = sender
        self._instruments = instruments or Instrumentation()
        self._loop = loop
        self._queues: dict[Key, Queue] = {}
        self._pumps: set[asyncio.Task[None]] = set()
        self._pauses: set[Pause] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._wakes = math.inf
        self._closing = False

    async def call(self, call: Call, until: float, undo_log: UndoLog | None = None) -> Reply:
        """Perform a call in a batch with others of the same script, keys and arguments.

        Returns:
            A list with one entry per item.  Where a call has several items, an error takes its item's place.

        Raises:
            AllocatorError: The only item failed.
        """
        if self._closing:
            raise _closed()
        key = (call.script.sha, call.keys, call.args, call.durability)
        queue = self._queues.get(key)
        if queue is None:
            queue = self._queues[key] = Queue(key, call)
        future: asyncio.Future[Reply] = self._loop.create_future()
        items = call.items
        if len(items) == 1:
            pending = PendingItem(items[0], until, future, undo_log)
            pending_items: Sequence[PendingItem] = (pending,)
            queue.waiting.append(pending)
        else:
            queue.ordered += 1
            future.add_done_callback(lambda _: self._unorder(queue))
            replies = GroupReplies(len(items))
            pending_items = [
                GroupedItem(item, until, future, undo_log, replies, index) for index, item in enumerate(items)
            ]
            queue.waiting.extend(pending_items)
        self._schedule_send(queue)
        if until < self._wakes:
            self._set_timer(until)
        try:
            return await future
        except AllocatorError:
            raise
        except BaseException:
            self._abandon(call, pending_items, future)
            raise

    async def close(self, seconds: float) -> None:
        """Wait for the calls in flight, and fail those that last longer than so many seconds.

        Items that wait for a retry fail at once.
        """
        ends = time.monotonic() + seconds
        while self._pumps and (left := ends - time.monotonic()) > 0:
            await asyncio.wait(self._pumps, timeout=left)
        self._closing = True
        for pump in self._pumps:
            pump.cancel()
        if self._pumps:
            await asyncio.wait(self._pumps)
        for pause in self._pauses:
            assert pause.timer is not None
            pause.timer.cancel()
            self._give_up(pause.pending_items, pause.queue)
        self._pauses.clear()
        for queue in self._queues.values():
            self._give_up(queue.waiting, queue)
            queue.waiting.clear()
        if self._timer is not None:
            self._timer.cancel()

    # -- one queue -----------------------------------------------------------------------------------------------------

    def _schedule_send(self, queue: Queue) -> None:
        """Start sending at the end of this turn of the loop, when all its calls have arrived, if `room` permits."""
        if not queue.send_due and queue.room > 0:
            queue.send_due = True
            self._loop.call_soon(self._start, queue)

    def _unorder(self, queue: Queue) -> None:
        """Record that a caller with several items has been served."""
        queue.ordered -= 1
        if queue.waiting:
            self._schedule_send(queue)

    def _start(self, queue: Queue) -> None:
        queue.send_due = False
        queue.send_loops += 1
        pump = self._loop.create_task(self._send_loop(queue))
        self._pumps.add(pump)
        pump.add_done_callback(self._pumps.discard)

    async def _send_loop(self, queue: Queue) -> None:
        batch: list[PendingItem] = []
        try:
            while queue.waiting and queue.room >= 0:
                batch = self._next(queue)
                if queue.waiting:
                    self._schedule_send(queue)
                if batch:
                    await self._send(queue, batch)
        except BaseException as error:
            # The loop is ending, or this code has a bug: fail the items, so that no caller waits for ever.
            for pending in batch:
                pending.ambiguous = pending.ambiguous or (pending.sent and queue.call.script.writes)
            self._give_up([*batch, *queue.waiting], queue, error)
            queue.waiting.clear()
            raise
        finally:
            queue.send_loops -= 1
            if not (queue.send_loops or queue.send_due or queue.paused):
                self._queues.pop(queue.key, None)

    def _next(self, queue: Queue) -> list[PendingItem]:
        """Take the items of the next script call: those with a waiting caller and time left."""
        batch: list[PendingItem] = []
        now = time.monotonic()
        waiting = queue.waiting
        most = settings.BATCH_ITEMS_MAX
        if len(waiting) >= settings.BATCH_SPLIT_FROM and queue.room > 0:
            most = min(most, (len(waiting) + 1) // 2)
        while waiting and len(batch) < most:
            pending = waiting.popleft()
            if pending.settled:
                continue
            if now >= pending.until:
                self._end(queue, pending, pending.failure or deadline_exceeded())
            elif pending.alone:
                if batch:
                    waiting.appendleft(pending)
                else:
                    batch.append(pending)
                break
            else:
                batch.append(pending)
        return batch

    async def _send(self, queue: Queue, batch: list[PendingItem]) -> None:
        call = queue.call
        words = words_of(call, batch, self._sender.envelope(call))
        if len(batch) > 1 and size_of(words) > settings.BATCH_BYTES_MAX:
            half = len(batch) // 2
            queue.waiting.extendleft(reversed(batch[half:]))
            batch[half:] = []
            return await self._send(queue, batch)
        until = max(pending.until for pending in batch)

        def encode() -> list[Argument]:
            """The words for those who still wait; from here on an attempt may be executed."""
            waiting = [pending for pending in batch if not pending.settled]
            if not waiting:
                raise _NobodyWaits
            for pending in waiting:
                pending.sent = True
            if len(waiting) == len(batch):
                return words
            batch[:] = waiting
            return words_of(call, batch, self._sender.envelope(call))

        queue.under_way.append(batch)
        sent = time.monotonic()
        try:
            reply = await self._attempt(call, batch, encode, until)
        except _NobodyWaits:
            return None
        except AttemptFailure as failure:
            self._report(call, batch, sent, failure.error)
            return self._failed(queue, batch, failure)
        finally:
            queue.under_way.remove(batch)
        self._report(call, batch, sent)
        if type(reply) is not list or len(reply) != len(batch):
            text = f"{call.script.name} was sent {len(batch)} items and did not reply with one entry for each"
            return self._failed(queue, batch, AttemptFailure(ContractError(text), from_script=True))
        for pending, answer in zip(batch, reply, strict=True):
            if pending.settled:
                continue
            if pending.ambiguous and needs_undo(call.pool, pending.item, answer, pending.log):
                self._sender.undo(call.pool, (pending.item,))
            pending.settle(answer)
        return None

    def _report(
        self, call: Call, batch: Sequence[PendingItem], sent: float, error: AllocatorError | None = None
    ) -> None:
        if self._instruments.observers:
            self._instruments.batch_sent(call, len(batch), sent, error, (pending.observed for pending in batch))

    async def _attempt(
        self, call: Call, batch: Sequence[PendingItem], encode: Callable[[], list[Argument]], until: float
    ) -> Reply:
        """Send a script call once, and once more for each redirect of a cluster."""
        redirects = 0
        elsewhere: AsyncConnectionPool | None = None
        while True:
            try:
                return await self._sender.send(call, encode, until, elsewhere, (pending.log for pending in batch))
            except AttemptFailure as failure:
                elsewhere = await self._sender.on_failure(call.pool, failure)
                redirects += 1
                if failure.redirect is None or redirects > settings.REDIRECTS_MAX:
                    raise

    def _failed(self, queue: Queue, batch: list[PendingItem], failure: AttemptFailure) -> None:
        """Decide for each item of a failed batch: retry, send alone, or fail."""
        ambiguous = failure.ambiguous and queue.call.script.writes
        for pending in batch:
            pending.count += 1
            pending.limited += failure.retries is not None
            pending.ambiguous = pending.ambiguous or ambiguous
            pending.failure = failure
        if failure.from_script and len(batch) > 1:
            for pending in batch:
                pending.alone = True
            queue.waiting.extendleft(reversed(batch))
            return
        pause = backoff(max(pending.count for pending in batch))
        resumes = time.monotonic() + pause
        again: list[PendingItem] = []
        for pending in batch:
            if pending.settled:
                continue
            if failure.may_pass(pending.limited) and resumes < pending.until:
                again.append(pending)
            else:
                self._end(queue, pending, failure)
        for observed in dict.fromkeys(pending.observed for pending in again):
            if observed is not None:
                observed.retry(cause_of(failure), pause)
        if again:
            again += followers(queue, again)
            waits = Pause(queue, again)
            waits.timer = self._loop.call_later(pause, self._requeue, waits)
            self._pauses.add(waits)
            queue.paused += 1

    def _requeue(self, pause: Pause) -> None:
        self._pauses.discard(pause)
        queue = pause.queue
        queue.paused -= 1
        queue.waiting.extend(pause.pending_items)
        self._schedule_send(queue)

    # -- time ----------------------------------------------------------------------------------------------------------

    def _set_timer(self, until: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._wakes = until
        late = until - time.monotonic() + settings.BATCH_LATE_S
        self._timer = self._loop.call_later(max(late, 0.0), self._end_late)

    def _end_late(self) -> None:
        """Fail the items whose deadline has passed, queued or in flight; set the timer for the next deadline."""
        self._timer, self._wakes = None, math.inf
        now, soonest = time.monotonic(), math.inf
        places: list[tuple[Queue, bool, Iterable[PendingItem]]] = [
            (one.queue, False, one.pending_items) for one in self._pauses
        ]
        for queue in self._queues.values():
            places += [(queue, False, list(queue.waiting)), (queue, True, list(chain(*queue.under_way)))]
        for queue, under_way, pending_items in places:
            for pending in pending_items:
                if pending.settled:
                    continue
                if now < pending.until:
                    soonest = min(soonest, pending.until)
                elif under_way:
                    # What waits for a connection is not sent any more.
                    pending.ambiguous = pending.ambiguous or (pending.sent and queue.call.script.writes)
                    self._end(queue, pending, AttemptFailure(BackendUnavailable("no answer came in time")))
                else:
                    self._end(queue, pending, pending.failure or deadline_exceeded())
        if soonest < math.inf:
            self._set_timer(soonest)

    # -- ends ----------------------------------------------------------------------------------------------------------

    def _end(self, queue: Queue, pending: PendingItem, failure: AttemptFailure) -> None:
        """Fail an item for good; an ambiguous attempt is undone."""
        if pending.ambiguous:
            self._sender.undo(queue.call.pool, (pending.item,))
        pending.fail(final_error((pending.item,), failure, ambiguous=pending.ambiguous))

    def _abandon(self, call: Call, pending_items: Sequence[PendingItem], future: asyncio.Future[Any]) -> None:
        """End the items of a cancelled caller: those in a script call are undone, the others are never sent."""
        if future.done() and not future.cancelled():
            future.exception()  # retrieved, so that the loop does not log it as never retrieved
        future.cancel()
        if call.script.writes:
            self._sender.undo(call.pool, [pending.item for pending in pending_items if pending.sent])

    def _give_up(self, pending_items: Iterable[PendingItem], queue: Queue, error: BaseException | None = None) -> None:
        """Fail these items: nothing more is sent for them."""
        for pending in pending_items:
            if pending.settled:
                continue
            if self._closing or error is None:
                self._end(queue, pending, AttemptFailure(_closed()))
                continue
            if pending.ambiguous:
                self._sender.undo(queue.call.pool, (pending.item,))
            if isinstance(error, asyncio.CancelledError):
                pending.future.cancel()
            elif not pending.future.done():
                pending.future.set_exception(error)


class _NobodyWaits(Exception):
    """The callers of a batch have given up before it was sent."""


def _closed() -> BackendUnavailable:
    return BackendUnavailable("this client was closed", code="closed")
