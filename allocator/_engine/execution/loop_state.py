"""The state of an `AsyncDriver` on one event loop: connections, batching queues, undo queue; they end with the loop."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from redis.exceptions import ResponseError

from allocator import settings
from allocator._engine.execution.batching import Batcher
from allocator._engine.execution.durability_wait import durability_not_reached, patience_ms, wait_for_durability
from allocator._engine.execution.fence_watermarks import FenceWatermarks
from allocator._engine.execution.instrumentation import Instrumentation, counts_of
from allocator._engine.execution.retry import RetryState, final_error
from allocator._engine.execution.undo_log import UndoLog, items_to_undo
from allocator._engine.execution.undo_worker_async import AsyncUndoWorker
from allocator._engine.protocol.flows import (
    Call,
    Command,
    CommandError,
    Item,
    Now,
    Reply,
    Scan,
    Sleep,
    TimeLeft,
)
from allocator._engine.protocol.keys import PoolKeys
from allocator._engine.protocol.resp import ASKING, encode_call, pack_command
from allocator._engine.protocol.scripts import NO_SCRIPT, Argument
from allocator._engine.transport import failures
from allocator._engine.transport.access_check import access_check
from allocator._engine.transport.connection import AsyncConnection
from allocator._engine.transport.connections_async import AsyncConnectionPool
from allocator._engine.transport.exchange import run_exchange_async
from allocator._engine.transport.failures import AttemptFailure
from allocator._engine.transport.router_async import make_router_async
from allocator._engine.transport.target import Target
from allocator.durability import Durability
from allocator.errors import AllocatorError

if TYPE_CHECKING:
    from allocator._engine.execution.event_follow_async import AsyncEventFollow, AsyncEventFollows
    from allocator._engine.execution.listener_async import AsyncListeners
    from allocator._engine.execution.wake_waits_async import AsyncWakeWaits

__all__ = ["LoopState"]

R = TypeVar("R")
_log = logging.getLogger("allocator")


class LoopState:
    """The state of one driver on one event loop."""

    def __init__(
        self, target: Target, loop: asyncio.AbstractEventLoop, clock: Callable[[], int] | None, told: Instrumentation
    ) -> None:
        self._router = make_router_async(target)
        self.watched = self._router.watched
        self._attempt_timeout_s = target.attempt_timeout_s
        self._watermarks = FenceWatermarks(clock)
        self._batcher = Batcher(self, loop, told)
        self._listeners: AsyncListeners | None = None
        self._event_follows: AsyncEventFollows | None = None
        self._undo_worker = AsyncUndoWorker(self._undo_unheard, loop, told.undos_changed)
        self._loop = loop
        self._watch: AsyncGenerator[None] | None = None
        self._ending: asyncio.Task[None] | None = None
        self._ended = False
        told.add_source(self)

    def counts(self) -> tuple[int, int, int]:
        """Calls to undo, open connections, and those in use; no I/O."""
        return (self._undo_worker.pending, *counts_of(self._router.connection_pools()))

    # -- life ----------------------------------------------------------------------------------------------------------

    async def watch(self, ended: Callable[[], object]) -> None:
        """Close this state when its loop ends."""
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
        """End the calls in flight and close the connections.

        It continues in the background if the caller stops waiting.  If the loop ends before it is done, the watch does
        it again.
        """
        if self._ending is None:
            self._ending = self._loop.create_task(self._end())
        await asyncio.shield(self._ending)
        if self._watch is not None:
            await self._watch.aclose()

    async def _end(self) -> None:
        if self._listeners is not None:
            await self._listeners.close()
        if self._event_follows is not None:
            await self._event_follows.close()
        await self._batcher.close(settings.CLOSE_FLUSH_S)
        await self._undo_worker.close(settings.CLOSE_FLUSH_S)
        await self._router.close()
        self._ended = True

    # -- steps ---------------------------------------------------------------------------------------------------------

    async def perform(self, step: Command | Sleep | Now | TimeLeft | Scan, until: float) -> Any:
        """Perform a step of a flow that is not a script call."""
        match step:
            case Sleep(seconds):
                return await asyncio.sleep(max(0.0, min(seconds, until - time.monotonic())))
            case Now():
                return time.monotonic()
            case TimeLeft():
                return max(0.0, until - time.monotonic())
            case Scan():
                return await self._scan(step, until)
            case Command(pool, words):
                return await self._inquire(pool, pack_command(words), until)

    def wake_waits(self) -> AsyncWakeWaits:
        """The waits of one flow for wake-ups."""
        from allocator._engine.execution.listener_async import AsyncListeners  # noqa: PLC0415 - few programs wait
        from allocator._engine.execution.wake_waits_async import AsyncWakeWaits  # noqa: PLC0415

        self._listeners = self._listeners or AsyncListeners(self._attempt_timeout_s)
        return AsyncWakeWaits(self._router, self._listeners, self._attempt_timeout_s, lambda: self._ending is not None)

    def follow(self, pool: PoolKeys) -> AbstractAsyncContextManager[AsyncEventFollow]:
        """The event stream of a pool, for one watch."""
        from allocator._engine.execution.event_follow_async import (  # noqa: PLC0415 - few programs watch
            AsyncEventFollow,
            AsyncEventFollows,
        )

        self._event_follows = self._event_follows or AsyncEventFollows(
            lambda pool: AsyncEventFollow(self._router, pool, self._attempt_timeout_s, lambda: self._ending is not None)
        )
        return self._event_follows.follow(pool)

    async def call(self, call: Call, until: float, undo_log: UndoLog | None = None) -> Reply:
        """Perform a script call, alone or as a step of a flow with an undo log."""
        if call.batch and call.items:
            return await self._batcher.call(call, until, undo_log)
        ambiguous = undo_log is not None and undo_log.any_ambiguous(call.items)
        retry_state = RetryState(until, writes=call.script.writes, ambiguous=ambiguous)
        elsewhere: AsyncConnectionPool | None = None
        try:
            while True:
                try:
                    encode = partial(encode_call, call, int(retry_state.ambiguous), self.envelope(call))
                    reply = await self.send(call, encode, until, elsewhere, (undo_log,))
                except AttemptFailure as failure:
                    elsewhere = await self.on_failure(call.pool, failure)
                    pause = retry_state.next_delay(failure, time.monotonic())
                    if pause is None:
                        raise
                    await asyncio.sleep(pause)
                else:
                    return self._settled(call, reply, undo_log) if retry_state.ambiguous else reply
        except AttemptFailure as last:
            if retry_state.ambiguous:
                self.undo(call.pool, call.items)
            raise final_error(call.items, last, ambiguous=retry_state.ambiguous) from last.__cause__
        except BaseException:  # cancelled, perhaps after sending: no caller receives the outcome
            if call.script.writes:
                self.undo(call.pool, call.items)
            raise

    def _settled(self, call: Call, reply: Reply, undo_log: UndoLog | None) -> Reply:
        """The reply to a retried call; items that it leaves ambiguous are undone."""
        self.undo(call.pool, items_to_undo(call, reply, undo_log))
        return reply

    # -- attempts ------------------------------------------------------------------------------------------------------

    def envelope(self, call: Call) -> tuple[Argument, ...]:
        """The envelope of a call: the arguments that the driver adds, which are the instant and the fence watermark."""
        return self._watermarks.envelope(call.pool)

    async def on_failure(self, pool: PoolKeys, failure: AttemptFailure) -> AsyncConnectionPool | None:
        """Update the routing after a failed attempt; returns the connections of a one-time redirect, or None."""
        return await self._router.on_failure(pool, failure)

    async def send(
        self,
        call: Call,
        encode: Callable[[], list[Argument]],
        until: float,
        elsewhere: AsyncConnectionPool | None = None,
        undo_logs: Iterable[UndoLog | None] = (),
    ) -> Reply:
        """Attempt a call once, on the routed connections or on `elsewhere`; raises `AttemptFailure`.

        `encode` returns the words to send; it is called once there is a connection, so that nothing is sent whose
        caller has given up by then.  `undo_logs` are those of the items' callers.
        """
        connections = elsewhere or await self._router.route(call.pool, until)
        script = call.script
        in_process = self._router.in_process
        asking = elsewhere is not None
        connection = await connections.acquire(until)
        if not in_process and connections.checked.wants(connection, script, call.pool):
            await self._check_access(connections, connection, call.pool, until, asking=asking)
        try:
            words = encode()
        except BaseException:
            await connections.release(connection)
            raise
        packed = pack_command((*script.by_sha(in_process=in_process), *words))
        sent = time.monotonic() if self.watched else 0.0
        try:
            async with asyncio.timeout(self._wait_s(until)):
                reply: Reply
                try:
                    reply = await self._exchange(connection, packed, asking=asking)
                except ResponseError as error:
                    if not failures.is_unknown_script(error):
                        raise
                    packed = pack_command((*script.by_text(in_process=in_process), *words))
                    reply = await self._exchange(connection, packed, asking=asking)
                wanted = call.durability.missing(reply) if call.durability is not None else None
                if wanted is not None:
                    reply = await self._wait_for_durability(connections, connection, call, reply, wanted, until)
        except BaseException as error:
            await self._release(connections, connection, error)
            if isinstance(error, Exception) and not isinstance(error, AttemptFailure):
                raise failures.reply_failure(connections.address, error, script) from error
            raise
        await connections.release(connection)
        if sent and script.writes:
            for undo_log in filter(None, undo_logs):
                undo_log.rely(connections.confirmed, sent)
        self._watermarks.observe(script, call.pool, reply)
        return reply

    async def _check_access(
        self,
        connections: AsyncConnectionPool,
        connection: AsyncConnection,
        pool: PoolKeys,
        until: float,
        *,
        asking: bool,
    ) -> None:
        """Return if the scripts may write to the pool; else release the connection and raise `AttemptFailure`."""
        exchange = access_check(connections.address, pool)
        try:
            async with asyncio.timeout(self._wait_s(until)):
                await run_exchange_async(exchange, lambda packed: self._exchange(connection, packed, asking=asking))
        except BaseException as error:
            await self._release(connections, connection, error)
            if isinstance(error, Exception):
                raise failures.connection_failure(connections.address, error) from error
            raise
        connections.checked.add(connection, pool)

    async def _wait_for_durability(
        self,
        connections: AsyncConnectionPool,
        connection: AsyncConnection,
        call: Call,
        reply: Reply,
        wanted: Durability,
        until: float,
    ) -> Reply:
        """Wait until the call's change has the requested durability; raises `AttemptFailure` if not in time."""
        assert call.durability is not None
        reached = await run_exchange_async(
            wait_for_durability(wanted, patience_ms(self._wait_s(until))), connection.exchange
        )
        if not reached.covers(wanted):
            raise durability_not_reached(connections.address, wanted, reached, undo=call.undo)
        return call.durability.stamped(reply, reached)

    def _wait_s(self, until: float) -> float:
        """Seconds that an attempt waits: its timeout, or the remaining time if that is less."""
        return min(self._attempt_timeout_s, max(until - time.monotonic(), settings.WAIT_MIN_S))

    async def _release(
        self, connections: AsyncConnectionPool, connection: AsyncConnection, error: BaseException
    ) -> None:
        """Release a connection after an error that was a completely read reply; discard it after any other."""
        if isinstance(error, ResponseError | AttemptFailure):
            await connections.release(connection)
        else:
            await connections.discard(connection)

    async def _exchange(self, connection: AsyncConnection, packed: bytes, *, asking: bool) -> Any:
        if asking:
            await connection.exchange(ASKING)
        return await connection.exchange(packed)

    def undo(self, pool: PoolKeys, items: Sequence[Item]) -> None:
        """Put these items into the undo queue."""
        self._undo_worker.add(pool, items)

    async def wait_undone(self, seconds: float) -> bool:
        """Wait up to so many seconds until the queued undos have been sent; returns whether they have."""
        return await self._undo_worker.wait(seconds)

    async def _undo_unheard(self, call: Call, until: float) -> None:
        """Send the `undo` script call once; raises `AttemptFailure`.  It needs no undo itself."""
        encode = partial(encode_call, call, 1, self.envelope(call))
        try:
            await self.send(call, encode, until)
        except AttemptFailure as failure:
            elsewhere = await self.on_failure(call.pool, failure)
            if elsewhere is None:
                raise
            await self.send(call, encode, until, elsewhere)

    # -- scanning ------------------------------------------------------------------------------------------------------

    async def _scan(self, scan: Scan, until: float) -> list[str]:
        found: dict[str, None] = {}
        for connections in await self._retry_reading(partial(self._router.primaries, until), until):
            cursor, walked = "0", 0
            while len(found) < scan.limit and walked < settings.SCAN_KEYS_MAX:
                packed = pack_command(("SCAN", cursor, "MATCH", scan.pattern, "COUNT", settings.SCAN_COUNT))
                cursor, keys = await self._retry_reading(partial(self._command_once, connections, packed, until), until)
                found.update(dict.fromkeys(keys))
                walked += settings.SCAN_COUNT
                if str(cursor) == "0":
                    break
            else:
                if len(found) < scan.limit:
                    _log.warning("%s has more keys than one scan walks; the list is not complete", connections.address)
        return list(found)[: scan.limit]

    async def _inquire(self, pool: PoolKeys, packed: bytes, until: float) -> Any:
        try:
            return await self._command(pool, packed, until)
        except AllocatorError as error:
            if isinstance(error.__cause__, ResponseError):
                return CommandError(str(error.__cause__))
            raise

    async def _command(self, pool: PoolKeys, packed: bytes, until: float) -> Any:
        """Send a read-only command to the server that has this pool, with retries until there is a reply."""

        async def read() -> Any:
            try:
                return await self._command_once(await self._router.route(pool, until), packed, until)
            except AttemptFailure as failure:
                await self._router.on_failure(pool, failure)
                raise

        return await self._retry_reading(read, until)

    async def _retry_reading(self, read: Callable[[], Awaitable[R]], until: float) -> R:
        """The result of `read`, which changes nothing and may raise `AttemptFailure`, with retries until `until`.

        Raises:
            AllocatorError: The error of the last failure: here the failures of commands and scans become errors.
        """
        retry_state = RetryState(until, writes=False)
        while True:
            try:
                return await read()
            except AttemptFailure as failure:
                pause = retry_state.next_delay(failure, time.monotonic())
                if pause is None:
                    raise failure.error from failure.__cause__
                await asyncio.sleep(pause)

    async def _command_once(self, connections: AsyncConnectionPool, packed: bytes, until: float) -> Any:
        """Send a read-only command once and return its reply; raises `AttemptFailure`."""
        connection = await connections.acquire(until)
        try:
            async with asyncio.timeout(self._wait_s(until)):
                reply = await connection.exchange(packed)
        except BaseException as error:
            await self._release(connections, connection, error)
            if isinstance(error, Exception):
                raise failures.reply_failure(connections.address, error, NO_SCRIPT) from error
            raise
        await connections.release(connection)
        return reply
