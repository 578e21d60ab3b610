"""One attempt at a call, on one connection, blocking: send, wait for the reply, release the connection."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

from redis.exceptions import ResponseError

from allocator import settings
from allocator._engine.execution.durability_wait import durability_not_reached, patience_ms, wait_for_durability
from allocator._engine.execution.fence_watermarks import FenceWatermarks
from allocator._engine.execution.retry import RetryState
from allocator._engine.execution.undo_log import UndoLog
from allocator._engine.protocol.flows import (
    Call,
    Reply,
)
from allocator._engine.protocol.keys import PoolKeys
from allocator._engine.protocol.resp import ASKING, encode_call, pack_command
from allocator._engine.protocol.scripts import NO_SCRIPT
from allocator._engine.transport import failures
from allocator._engine.transport.access_check import access_check
from allocator._engine.transport.connection import Connection
from allocator._engine.transport.connections import ConnectionPool
from allocator._engine.transport.exchange import run_exchange
from allocator._engine.transport.failures import AttemptFailure
from allocator._engine.transport.router import Router
from allocator.durability import Durability

__all__ = ["Invoker"]

R = TypeVar("R")


class Invoker:
    """Attempts calls on the connections of a router."""

    def __init__(self, router: Router, watermarks: FenceWatermarks, attempt_timeout_s: float) -> None:
        self._router = router
        self._watermarks = watermarks
        self._attempt_timeout_s = attempt_timeout_s

    def attempt(
        self,
        connections: ConnectionPool,
        call: Call,
        repeated: int,
        until: float,
        undo_log: UndoLog | None,
        *,
        asking: bool = False,
    ) -> Reply:
        """Send a call once and return its reply; raises `AttemptFailure`."""
        script = call.script
        in_process = self._router.in_process
        words = encode_call(call, repeated, self._watermarks.envelope(call.pool))
        packed = pack_command((*script.by_sha(in_process=in_process), *words))
        connection = connections.acquire(until)
        if not in_process and connections.checked.wants(connection, script, call.pool):
            self._check_access(connections, connection, call.pool, until, asking=asking)
        sent = time.monotonic() if self._router.watched else 0.0
        try:
            reply: Reply
            try:
                reply = self._exchange(connection, packed, until, asking=asking)
            except ResponseError as error:
                if not failures.is_unknown_script(error):
                    raise
                packed = pack_command((*script.by_text(in_process=in_process), *words))
                reply = self._exchange(connection, packed, until, asking=asking)
            wanted = call.durability.missing(reply) if call.durability is not None else None
            if wanted is not None:
                reply = self._wait_for_durability(connections, connection, call, reply, wanted, until)
        except BaseException as error:
            self._release(connections, connection, error)
            if isinstance(error, Exception) and not isinstance(error, AttemptFailure):
                raise failures.reply_failure(connections.address, error, script) from error
            raise
        connections.release(connection)
        if sent and undo_log is not None and script.writes:
            undo_log.rely(connections.confirmed, sent)
        self._watermarks.observe(script, call.pool, reply)
        return reply

    def _check_access(
        self, connections: ConnectionPool, connection: Connection, pool: PoolKeys, until: float, *, asking: bool
    ) -> None:
        """Return if the scripts may write to the pool; else release the connection and raise `AttemptFailure`."""
        try:
            run_exchange(
                access_check(connections.address, pool),
                lambda packed: self._exchange(connection, packed, until, asking=asking),
            )
        except BaseException as error:
            self._release(connections, connection, error)
            if isinstance(error, Exception):
                raise failures.connection_failure(connections.address, error) from error
            raise
        connections.checked.add(connection, pool)

    def _wait_for_durability(
        self,
        connections: ConnectionPool,
        connection: Connection,
        call: Call,
        reply: Reply,
        wanted: Durability,
        until: float,
    ) -> Reply:
        """Wait until the call's change has the requested durability; raises `AttemptFailure` if not in time."""
        assert call.durability is not None
        seconds = min(self._attempt_timeout_s, until - time.monotonic())
        exchange = wait_for_durability(wanted, patience_ms(seconds))
        reached = run_exchange(exchange, lambda packed: self._exchange(connection, packed, until))
        if not reached.covers(wanted):
            raise durability_not_reached(connections.address, wanted, reached, undo=call.undo)
        return call.durability.stamped(reply, reached)

    def _release(self, connections: ConnectionPool, connection: Connection, error: BaseException) -> None:
        """Release a connection after an error that was a completely read reply; discard it after any other."""
        if isinstance(error, ResponseError | AttemptFailure):
            connections.release(connection)
        else:
            connections.discard(connection)

    def _exchange(self, connection: Connection, packed: bytes, until: float, *, asking: bool = False) -> Any:
        """Send one command and wait for its reply: for the attempt's timeout, or the remaining time if that is less."""
        if asking:
            self._exchange(connection, ASKING, until)
        connection.send_packed_command((packed,), False)
        remaining = until - time.monotonic()
        if remaining < self._attempt_timeout_s and not connection.can_read(max(remaining, settings.WAIT_MIN_S)):
            raise TimeoutError
        return connection.read_response()

    def command(self, pool: PoolKeys, packed: bytes, until: float) -> Any:
        """Send a read-only command to the server that has this pool, with retries until there is a reply."""

        def read() -> Any:
            try:
                return self.command_once(self._router.route(pool, until), packed, until)
            except AttemptFailure as failure:
                self._router.on_failure(pool, failure)
                raise

        return self.retry_reading(read, until)

    def retry_reading(self, read: Callable[[], R], until: float) -> R:
        """The result of `read`, which changes nothing and may raise `AttemptFailure`, with retries until `until`.

        Raises:
            AllocatorError: The error of the last failure: here the failures of commands and scans become errors.
        """
        retry_state = RetryState(until, writes=False)
        while True:
            try:
                return read()
            except AttemptFailure as failure:
                pause = retry_state.next_delay(failure, time.monotonic())
                if pause is None:
                    raise failure.error from failure.__cause__
                time.sleep(pause)

    def command_once(self, connections: ConnectionPool, packed: bytes, until: float) -> Any:
        """Send a read-only command once and return its reply; raises `AttemptFailure`."""
        connection = connections.acquire(until)
        try:
            reply = self._exchange(connection, packed, until)
        except BaseException as error:
            self._release(connections, connection, error)
            if isinstance(error, Exception):
                raise failures.reply_failure(connections.address, error, NO_SCRIPT) from error
            raise
        connections.release(connection)
        return reply
