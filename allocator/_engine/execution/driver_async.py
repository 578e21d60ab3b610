"""Perform operations and flows, awaited: the twin of `driver`.

One `AsyncDriver` serves any number of event loops, one after another or at once in several threads; each has its own
connections, its own gathering queues and its own withdrawals.  They end with the loop: an asynchronous generator that
is left open is closed by whatever ends the loop properly (`asyncio.run` does), and closes them.  Calls that may be
gathered go through `batching`; the others go out at once, each on a connection of its own.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from typing import Any, TypeVar

from redis.exceptions import ResponseError

from allocator import settings
from allocator._engine.execution.batching import Gatherer
from allocator._engine.execution.durability_wait import confirm, fell_short, patience_ms
from allocator._engine.execution.fence_watermarks import Marks
from allocator._engine.execution.retry import Attempts, last_word
from allocator._engine.execution.undo_log import Story, left_in_doubt
from allocator._engine.execution.undo_worker_async import AsyncWithdrawer
from allocator._engine.execution.validity import believed
from allocator._engine.protocol.flows import Ask, Call, Flow, Item, Operation, Refusal, Remaining, Reply, Scan, Sleep
from allocator._engine.protocol.keys import PoolKeys
from allocator._engine.protocol.resp import ASKING, pack, payload
from allocator._engine.protocol.scripts import NO_SCRIPT, Argument
from allocator._engine.transport import failures
from allocator._engine.transport.access_check import access_check
from allocator._engine.transport.connections_async import AsyncLine, AsyncLines
from allocator._engine.transport.exchange import converse_async
from allocator._engine.transport.failures import Fault
from allocator._engine.transport.router_async import check_async, open_async_nodes
from allocator._engine.transport.target import Store
from allocator.durability import Durability
from allocator.errors import AllocatorError, BackendUnavailable

__all__ = ["AsyncDriver"]

R = TypeVar("R")
_log = logging.getLogger("allocator")


class AsyncDriver:
    """Performs the steps of operations and flows on one store."""

    def __init__(
        self, store: Store, *, deadline_s: float = settings.DEADLINE_S, clock: Callable[[], int] | None = None
    ) -> None:
        """Prepare; nothing is connected, and no event loop is needed.

        Args:
            store: From `open_store`.
            deadline_s: Seconds that one run may take in all, unless it is told otherwise.
            clock: Gives the instant that the scripts take for now, in milliseconds; 0 or no clock: the server's.

        Raises:
            InvalidRequest: The store was made of a blocking client.
        """
        check_async(store)
        self._store = store
        self._deadline_s = deadline_s
        self._clock = clock
        self._closed = False
        self._sides: dict[asyncio.AbstractEventLoop, _Side] = {}
        self._opening = threading.Lock()

    async def run(
        self, work: Operation[R] | Flow[R], *, deadline_s: float | None = None, story: Story | None = None
    ) -> R:
        """Perform an operation or a flow and return its result.

        Args:
            work: What to do.  A flow is closed in any case, so its `finally` runs.
            deadline_s: Seconds that this run may take, in place of the driver's.
            story: A new one, of which the caller wants to know `overdue_s`.  The deadlines in the result have it taken
                off already.

        Raises:
            BackendUnavailable: Nothing was executed.
            OutcomeUnknown: A call may have been executed; its withdrawal is queued.
            AllocatorError: Whatever the operation's `decode` or the flow raises.
        """
        if self._closed:
            raise BackendUnavailable("this client is closed", code="closed")
        side = self._sides.get(asyncio.get_running_loop()) or await self._open()
        until = time.monotonic() + (self._deadline_s if deadline_s is None else deadline_s)
        if isinstance(work, Operation):
            if story is None and not side.watched:
                return work.decode(await side.call(work.call, until))
            work = iter(work)
        return await self._flow(side, work, until, story or Story())

    async def close(self) -> None:
        """Send the withdrawals that the running loop still has queued, for at most `CLOSE_FLUSH_S`, and close its
        connections.  Those of other loops end with their loops.
        """
        self._closed = True
        side = self._sides.get(asyncio.get_running_loop())
        if side is not None:
            await side.close()

    async def _open(self) -> _Side:
        loop = asyncio.get_running_loop()
        side = _Side(self._store, loop, self._clock)
        with self._opening:
            for other in [other for other in self._sides if other.is_closed()]:
                del self._sides[other]
            side = self._sides.setdefault(loop, side)
        await side.watch(lambda: self._sides.pop(loop, None))
        return side

    @staticmethod
    async def _flow(side: _Side, flow: Flow[R], until: float, story: Story) -> R:
        returned = False
        try:
            step = next(flow)
            while True:
                try:
                    if isinstance(step, Call):
                        answer = await side.call(step, until, story)
                        if step.undo:
                            story.answered(step, answer)
                    else:
                        answer = await side.perform(step, until)
                except AllocatorError as error:
                    step = flow.throw(error)
                else:
                    step = flow.send(answer)
        except StopIteration as done:
            returned = True
            result: R = done.value
            return believed(result, story.overdue_s) if story.overdue_s else result
        finally:
            for pool, items in story.open_ends(returned=returned):
                side.withdraw(pool, items)
            flow.close()


class _Side:
    """What one driver has on one event loop."""

    def __init__(self, store: Store, loop: asyncio.AbstractEventLoop, clock: Callable[[], int] | None) -> None:
        self._nodes = open_async_nodes(store)
        self.watched = self._nodes.watched
        self._attempt_timeout_s = store.attempt_timeout_s
        self._marks = Marks(clock)
        self._gatherer = Gatherer(self, loop)
        self._withdrawer = AsyncWithdrawer(self._undoubted, loop)
        self._loop = loop
        self._watch: AsyncGenerator[None] | None = None
        self._ending: asyncio.Task[None] | None = None
        self._ended = False

    # -- life ----------------------------------------------------------------------------------------------------------

    async def watch(self, ended: Callable[[], object]) -> None:
        """Close this side when its loop ends."""
        if self._watch is None:
            self._watch = self._until_the_loop_ends(ended)
            await anext(self._watch)

    async def _until_the_loop_ends(self, ended: Callable[[], object]) -> AsyncGenerator[None]:
        try:
            yield
        finally:
            ended()
            if not self._ended:
                await self._end()

    async def close(self) -> None:
        """End what is under way and close the connections.

        That goes on where the caller does not wait for it, by a time-out of its own.  Where the loop ends before it is
        done, the open watch does it again.
        """
        if self._ending is None:
            self._ending = self._loop.create_task(self._end())
        await asyncio.shield(self._ending)
        if self._watch is not None:
            await self._watch.aclose()

    async def _end(self) -> None:
        await self._gatherer.close(settings.CLOSE_FLUSH_S)
        await self._withdrawer.close(settings.CLOSE_FLUSH_S)
        await self._nodes.close()
        self._ended = True

    # -- steps ---------------------------------------------------------------------------------------------------------

    async def perform(self, step: Ask | Sleep | Remaining | Scan, until: float) -> Any:
        """Perform a step of a flow that is no script call."""
        match step:
            case Sleep(seconds):
                return await asyncio.sleep(max(0.0, min(seconds, until - time.monotonic())))
            case Remaining():
                return max(0.0, until - time.monotonic())
            case Scan():
                return await self._scan(step, until)
            case Ask(pool, words):
                return await self._inquire(pool, pack(words), until)

    async def call(self, call: Call, until: float, story: Story | None = None) -> Reply:
        """Perform a script call, alone or as a step of a story."""
        if call.gather and call.items:
            return await self._gatherer.call(call, until, story)
        doubt = story is not None and story.doubts_any(call.items)
        attempts = Attempts(until, writes=call.script.writes, doubt=doubt)
        elsewhere: AsyncLines | None = None
        try:
            while True:
                try:
                    words = payload(call, int(attempts.doubt), self.leading(call))
                    reply = await self.send(call, words, until, elsewhere, (story,))
                except Fault as fault:
                    elsewhere = await self.note(call.pool, fault)
                    pause = attempts.pause(fault, time.monotonic())
                    if pause is None:
                        raise
                    await asyncio.sleep(pause)
                else:
                    return self._settled(call, reply, story) if attempts.doubt else reply
        except Fault as last:
            if attempts.doubt:
                self.withdraw(call.pool, call.items)
            raise last_word(call.items, last, doubt=attempts.doubt) from last.__cause__
        except BaseException:  # cancelled, perhaps after sending: nobody will hear of the outcome
            if call.script.writes:
                self.withdraw(call.pool, call.items)
            raise

    def _settled(self, call: Call, reply: Reply, story: Story | None) -> Reply:
        """The reply to a repeated call; items whose doubt it does not end are withdrawn."""
        self.withdraw(call.pool, left_in_doubt(call, reply, story))
        return reply

    # -- attempts ------------------------------------------------------------------------------------------------------

    def leading(self, call: Call) -> tuple[Argument, ...]:
        """The arguments of a call that are the driver's: the instant and the mark."""
        return self._marks.leading(call.pool)

    async def note(self, pool: PoolKeys, fault: Fault) -> AsyncLines | None:
        """Learn from a failed attempt; where the next must go this once, if not where the pool belongs."""
        return await self._nodes.note(pool, fault)

    async def send(
        self,
        call: Call,
        words: list[Argument],
        until: float,
        elsewhere: AsyncLines | None = None,
        stories: Iterable[Story | None] = (),
    ) -> Reply:
        """Attempt a call once, for items of these stories, where it belongs or `elsewhere`; raise what came of it."""
        lines = elsewhere or await self._nodes.of(call.pool, until)
        script = call.script
        in_process = self._nodes.in_process
        asking = elsewhere is not None
        packed = pack((*script.by_sha(in_process=in_process), *words))
        line = await lines.take(until)
        if not in_process and lines.checked.wants(line, script, call.pool):
            await self._check_access(lines, line, call.pool, until, asking=asking)
        sent = time.monotonic() if self.watched else 0.0
        try:
            async with asyncio.timeout(self._wait_s(until)):
                reply: Reply
                try:
                    reply = await self._exchange(line, packed, asking=asking)
                except ResponseError as error:
                    if not failures.is_unknown_script(error):
                        raise
                    packed = pack((*script.by_text(in_process=in_process), *words))
                    reply = await self._exchange(line, packed, asking=asking)
                wanted = call.confirm.wanted(reply) if call.confirm is not None else None
                if wanted is not None:
                    reply = await self._confirm(lines, line, call, reply, wanted, until)
        except BaseException as error:
            await self._release(lines, line, error)
            if isinstance(error, Exception) and not isinstance(error, Fault):
                raise failures.of_reply(lines.where, error, script) from error
            raise
        await lines.give(line)
        if sent and script.writes:
            for story in filter(None, stories):
                story.relied(lines.vouched, sent)
        self._marks.note(script, call.pool, reply)
        return reply

    async def _check_access(
        self, lines: AsyncLines, line: AsyncLine, pool: PoolKeys, until: float, *, asking: bool
    ) -> None:
        """Look whether the scripts may write to the pool; if not, raise the `Fault`, having returned the connection."""
        conversation = access_check(lines.where, pool)
        try:
            async with asyncio.timeout(self._wait_s(until)):
                await converse_async(conversation, lambda packed: self._exchange(line, packed, asking=asking))
        except BaseException as error:
            await self._release(lines, line, error)
            if isinstance(error, Exception):
                raise failures.before_sending(lines.where, error) from error
            raise
        lines.checked.add(line, pool)

    async def _confirm(
        self, lines: AsyncLines, line: AsyncLine, call: Call, reply: Reply, wanted: Durability, until: float
    ) -> Reply:
        """Wait until what the call did is as safe as is wanted; raise the `Fault` where it is not in time."""
        assert call.confirm is not None
        reached = await converse_async(confirm(wanted, patience_ms(self._wait_s(until))), line.exchange)
        if not reached.covers(wanted):
            raise fell_short(lines.where, wanted, reached, undo=call.undo)
        return call.confirm.stamped(reply, reached)

    def _wait_s(self, until: float) -> float:
        """Seconds that an attempt waits: its time-out, or what remains if that is less."""
        return min(self._attempt_timeout_s, max(until - time.monotonic(), settings.WAIT_MIN_S))

    async def _release(self, lines: AsyncLines, line: AsyncLine, error: BaseException) -> None:
        """Return a connection after an error: to be used again only where the error was a reply, read whole."""
        if isinstance(error, ResponseError | Fault):
            await lines.give(line)
        else:
            await lines.discard(line)

    async def _exchange(self, line: AsyncLine, packed: bytes, *, asking: bool) -> Any:
        if asking:
            await line.exchange(ASKING)
        return await line.exchange(packed)

    def withdraw(self, pool: PoolKeys, items: Sequence[Item]) -> None:
        """Queue the withdrawal of these items."""
        self._withdrawer.add(pool, items)

    async def _undoubted(self, call: Call, until: float) -> None:
        """Perform a call that needs no withdrawal, once; raise the `Fault` that came of it."""
        words = payload(call, 1, self.leading(call))
        try:
            await self.send(call, words, until)
        except Fault as fault:
            elsewhere = await self.note(call.pool, fault)
            if elsewhere is None:
                raise
            await self.send(call, words, until, elsewhere)

    # -- scanning ------------------------------------------------------------------------------------------------------

    async def _scan(self, scan: Scan, until: float) -> list[str]:
        found: dict[str, None] = {}
        for lines in await self._nodes.primaries(until):
            cursor, walked = "0", 0
            while len(found) < scan.limit and walked < settings.SCAN_KEYS_MAX:
                packed = pack(("SCAN", cursor, "MATCH", scan.pattern, "COUNT", settings.SCAN_COUNT))
                cursor, keys = await self._ask(lines, packed, until)
                found.update(dict.fromkeys(keys))
                walked += settings.SCAN_COUNT
                if str(cursor) == "0":
                    break
            else:
                if len(found) < scan.limit:
                    _log.warning("%s has more keys than one scan walks; the list is not complete", lines.where)
        return list(found)[: scan.limit]

    async def _inquire(self, pool: PoolKeys, packed: bytes, until: float) -> Any:
        try:
            return await self._ask(await self._nodes.of(pool, until), packed, until)
        except Fault as fault:
            raise fault.error from fault.__cause__
        except AllocatorError as error:
            if isinstance(error.__cause__, ResponseError):
                return Refusal(str(error.__cause__))
            raise

    async def _ask(self, lines: AsyncLines, packed: bytes, until: float) -> Any:
        """Send a command that changes nothing, until it is answered."""
        attempts = Attempts(until, writes=False)
        while True:
            try:
                line = await lines.take(until)
                try:
                    async with asyncio.timeout(self._wait_s(until)):
                        reply = await line.exchange(packed)
                except BaseException as error:
                    await self._release(lines, line, error)
                    if isinstance(error, Exception):
                        raise failures.of_reply(lines.where, error, NO_SCRIPT) from error
                    raise
                await lines.give(line)
            except Fault as fault:
                pause = attempts.pause(fault, time.monotonic())
                if pause is None:
                    raise fault.error from fault.__cause__
                await asyncio.sleep(pause)
            else:
                return reply
