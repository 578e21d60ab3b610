"""Driver: performs operations and flows, blocking.

One `Driver` serves any number of threads.  It makes no connection before the first run.  redis-py's retries are off:
`retry` is the whole policy, and `failures` classifies each failure.

No attempt and no pause begins after the deadline of a run, and the wait for the last attempt's reply is cut to the time
that remains.  Only opening a new connection has separate timeouts (`attempt_timeout_s` for each step of the handshake).
So a run exceeds its deadline by at most one attempt.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from redis.exceptions import ResponseError

from allocator import settings
from allocator._engine.execution.fence_watermarks import FenceWatermarks
from allocator._engine.execution.instrumentation import CURRENT, Instrumentation, counts_of, error_outcome, outcome_of
from allocator._engine.execution.invocation import Invoker
from allocator._engine.execution.retry import RetryState, deadline_exceeded, final_error
from allocator._engine.execution.undo_log import UndoLog, items_to_undo
from allocator._engine.execution.undo_worker import UndoWorker
from allocator._engine.execution.validity import believed
from allocator._engine.protocol.flows import (
    Call,
    Command,
    CommandError,
    Flow,
    Item,
    Now,
    Operation,
    Reply,
    Scan,
    Sleep,
    TimeLeft,
    Wake,
)
from allocator._engine.protocol.keys import PoolKeys
from allocator._engine.protocol.resp import pack_command, split_batches
from allocator._engine.transport.failures import AttemptFailure
from allocator._engine.transport.router import make_router
from allocator._engine.transport.target import Target
from allocator.errors import AllocatorError, BackendUnavailable

if TYPE_CHECKING:
    from allocator._engine.execution.event_follow import EventFollow, EventFollows
    from allocator._engine.execution.wake_waits import WakeWaits

__all__ = ["Driver"]

R = TypeVar("R")

_log = logging.getLogger("allocator")


class Driver:
    """Performs the steps of operations and flows on one target."""

    def __init__(
        self,
        target: Target,
        *,
        deadline_s: float = settings.DEADLINE_S,
        clock: Callable[[], int] | None = None,
        instruments: Instrumentation | None = None,
    ) -> None:
        """Prepare; nothing is connected.

        Args:
            target: From `resolve_target`.
            deadline_s: Seconds that one run may take in all, unless `run` sets another.
            clock: Returns the instant that the scripts take for now, in milliseconds; 0 or no clock: the server's.
            instruments: The client's, whose observers are told what this driver does.

        Raises:
            InvalidRequest: The target was resolved from an asyncio client.
        """
        self._router = make_router(target)
        self._deadline_s = deadline_s
        self._attempt_timeout_s = target.attempt_timeout_s
        self._invoker = Invoker(self._router, FenceWatermarks(clock), target.attempt_timeout_s)
        self._closed = False
        self._event_follows: EventFollows | None = None
        self._instruments = instruments or Instrumentation(target.address)
        self._undo_worker = UndoWorker(self._undo_unheard, self._instruments.undos_changed)
        self._instruments.add_source(self)

    def run(
        self,
        work: Operation[R] | Flow[R],
        *,
        deadline_s: float | None = None,
        undo_log: UndoLog | None = None,
        verb: str = "",
    ) -> R:
        """Perform an operation or a flow and return its result.

        Args:
            work: The operation or flow.  A flow is closed in any case, so its `finally` runs.
            deadline_s: Seconds that this run may take, in place of the driver's.
            undo_log: A new one, where the caller reads `overdue_s` from it.  The deadlines in the result are earlier by
                that already.
            verb: The method that was called, for observers; "": they are not told.

        Raises:
            BackendUnavailable: Nothing was executed.
            OutcomeUnknown: A call may have been executed; its undo is queued.
            AllocatorError: The operation's `decode` or the flow raised it.
        """
        if self._closed:
            raise BackendUnavailable("this client is closed", code="closed")
        if verb and self._instruments.observers:
            return self._observed(verb, work, deadline_s, undo_log)
        timeout_s = self._deadline_s if deadline_s is None else deadline_s
        until = time.monotonic() + timeout_s
        if isinstance(work, Operation):
            if undo_log is None and not self._router.watched:
                return work.decode(self._call(work.call, until))
            work = iter(work)
        return self._flow(work, until, undo_log or UndoLog(), timeout_s)

    def close(self) -> None:
        """Send the queued undos, for at most `CLOSE_FLUSH_S`, and close the connections."""
        if not self._closed:
            self._closed = True
            self._undo_worker.close()
            self._router.close()
            self._instruments.close()

    def counts(self) -> tuple[int, int, int]:
        """Calls to undo, open connections, and those in use; no I/O."""
        return (self._undo_worker.pending, *counts_of(self._router.connection_pools()))

    def wait_undone(self, seconds: float) -> bool:
        """Wait up to so many seconds until the queued undos have been sent; returns whether they have."""
        return self._undo_worker.wait(seconds)

    def _wake_waits(self) -> WakeWaits:
        """What a flow that waits listens by."""
        from allocator._engine.execution.wake_waits import WakeWaits  # noqa: PLC0415 - few programs wait

        return WakeWaits(self._router, self._attempt_timeout_s, lambda: self._closed)

    def follow(self, pool: PoolKeys) -> AbstractContextManager[EventFollow]:
        """The event stream of a pool, for one watch."""
        from allocator._engine.execution.event_follow import EventFollow, EventFollows  # noqa: PLC0415 - few watch

        self._event_follows = self._event_follows or EventFollows(
            lambda pool: EventFollow(self._router, pool, self._attempt_timeout_s, lambda: self._closed)
        )
        return self._event_follows.follow(pool)

    # -- steps ---------------------------------------------------------------------------------------------------------

    def _observed(
        self, verb: str, work: Operation[R] | Flow[R], deadline_s: float | None, undo_log: UndoLog | None
    ) -> R:
        call = self._instruments.begin(verb, work)
        try:
            result = self.run(work, deadline_s=deadline_s, undo_log=undo_log)
        except BaseException as error:
            call.end(error_outcome(error), error)
            raise
        call.end(outcome_of(verb, result))
        return result

    def _flow(self, flow: Flow[R], until: float, undo_log: UndoLog, timeout_s: float) -> R:
        returned = False
        waits: WakeWaits | None = None
        observed = CURRENT.get()
        try:
            step = next(flow)
            while True:
                answer: Any
                if observed is not None:
                    observed.meet(step)
                try:
                    if isinstance(step, Call):
                        answer = self._call(step, until, undo_log)
                        if step.undo:
                            undo_log.record_reply(step, answer)
                    elif isinstance(step, Wake):
                        waits = waits or self._wake_waits()
                        answer = waits.wake(step)
                        until = time.monotonic() + timeout_s
                    else:
                        answer = self._perform(step, until)
                except AllocatorError as error:
                    step = flow.throw(error)
                else:
                    step = flow.send(answer)
        except StopIteration as done:
            returned = True
            result: R = done.value
            return believed(result, undo_log.overdue_s) if undo_log.overdue_s else result
        finally:
            for pool, items in undo_log.pending(returned=returned):
                self._undo_worker.add(pool, items)
            if waits is not None:
                waits.close()
            flow.close()

    def _perform(self, step: Command | Sleep | Now | TimeLeft | Scan, until: float) -> Any:
        match step:
            case Sleep(seconds):
                return time.sleep(max(0.0, min(seconds, until - time.monotonic())))
            case Now():
                return time.monotonic()
            case TimeLeft():
                return max(0.0, until - time.monotonic())
            case Scan():
                return self._scan(step, until)
            case Command(pool, words):
                return self._inquire(pool, pack_command(words), until)

    def _call(self, call: Call, until: float, undo_log: UndoLog | None = None) -> Reply:
        if len(call.items) > 1 and call.batch:
            return self._batches(call, until, undo_log)
        retry_state = None
        try:
            if undo_log is not None and undo_log.any_ambiguous(call.items):
                retry_state = RetryState(until, writes=call.script.writes, ambiguous=True)
                return self._call_with_retry(call, retry_state, undo_log)
            try:
                return self._invoker.attempt(self._router.route(call.pool, until), call, 0, until, undo_log)
            except AttemptFailure as failure:
                retry_state = RetryState(until, writes=call.script.writes)
                return self._retry(call, retry_state, failure, undo_log)
        except AttemptFailure as last:
            raise self._final_error(call, retry_state, last) from last.__cause__
        except BaseException:  # interrupted, perhaps after sending: no caller receives the outcome
            if retry_state is None or not retry_state.unsent:
                self._undo(call)
            raise

    def _final_error(self, call: Call, retry_state: RetryState | None, last: AttemptFailure) -> AllocatorError:
        """The error to raise for a call that failed for good.

        Where an attempt is ambiguous the call is undone, also when the script refused the last one: the caller gets an
        error, so no effect must remain.
        """
        ambiguous = retry_state is not None and retry_state.ambiguous
        if ambiguous:
            self._undo(call)
        return final_error(call.items, last, ambiguous=ambiguous)

    def _batches(self, call: Call, until: float, undo_log: UndoLog | None) -> Reply:
        """Perform a call of any number of independent items, in one script call per batch."""
        replies: Reply = []
        handed: list[Item] = []
        try:
            for part in split_batches(call):
                handed += part.items
                replies += self._batch(part, until, undo_log)
        except BaseException:  # interrupted: no caller receives what was granted so far, either
            self._undo(replace(call, items=tuple(handed)))
            raise
        return replies

    def _batch(self, call: Call, until: float, undo_log: UndoLog | None) -> Reply:
        """Perform one script call of independent items: an error takes its item's place in the reply.

        Where the script refused the whole call, the items are sent again one by one, so that only the faulty item gets
        the error.
        """
        ambiguous = undo_log is not None and undo_log.any_ambiguous(call.items)
        retry_state = RetryState(until, writes=call.script.writes, ambiguous=ambiguous)
        sent, failure = time.monotonic(), None
        try:
            return self._call_with_retry(call, retry_state, undo_log)
        except AttemptFailure as last:
            failure = last.error
            if last.from_script and len(call.items) > 1:
                return [
                    self._send_alone(replace(call, items=(item,)), retry_state.ambiguous, until, undo_log)
                    for item in call.items
                ]
            if retry_state.ambiguous:
                self._undo(call)
            return [final_error((item,), last, ambiguous=retry_state.ambiguous) for item in call.items]
        finally:
            if (observed := CURRENT.get()) is not None:
                self._instruments.batch_sent(call, len(call.items), sent, failure, (observed,))

    def _send_alone(self, call: Call, ambiguous: bool, until: float, undo_log: UndoLog | None) -> Any:
        """The reply entry of one item whose batch was refused, or the error of this item alone."""
        retry_state = RetryState(until, writes=call.script.writes, ambiguous=ambiguous)
        try:
            return self._call_with_retry(call, retry_state, undo_log)[0]
        except AttemptFailure as last:
            return self._final_error(call, retry_state, last)

    # -- repeats -------------------------------------------------------------------------------------------------------

    def _call_with_retry(self, call: Call, retry_state: RetryState, undo_log: UndoLog | None) -> Reply:
        """Attempt a call until there is a reply, with the given retry state; fails if no time is left."""
        if time.monotonic() >= retry_state.until:
            raise deadline_exceeded()
        try:
            connections = self._router.route(call.pool, retry_state.until)
            reply = self._invoker.attempt(connections, call, int(retry_state.ambiguous), retry_state.until, undo_log)
        except AttemptFailure as failure:
            return self._retry(call, retry_state, failure, undo_log)
        return self._settled(call, reply, undo_log) if retry_state.ambiguous else reply

    def _retry(self, call: Call, retry_state: RetryState, failure: AttemptFailure, undo_log: UndoLog | None) -> Reply:
        """Retry a call until there is a reply; raises the last `AttemptFailure`."""
        until = retry_state.until
        while True:
            elsewhere = self._router.on_failure(call.pool, failure)
            pause = retry_state.next_delay(failure, time.monotonic())
            if pause is None:
                raise failure
            retry_state.unsent = not retry_state.ambiguous
            time.sleep(pause)
            retry_state.unsent = False
            try:
                connections = elsewhere or self._router.route(call.pool, until)
                reply = self._invoker.attempt(
                    connections, call, int(retry_state.ambiguous), until, undo_log, asking=elsewhere is not None
                )
            except AttemptFailure as next_fault:
                failure = next_fault
            else:
                return self._settled(call, reply, undo_log) if retry_state.ambiguous else reply

    def _settled(self, call: Call, reply: Reply, undo_log: UndoLog | None) -> Reply:
        """The reply to a retried call; items that it leaves ambiguous are undone."""
        self._undo_worker.add(call.pool, items_to_undo(call, reply, undo_log))
        return reply

    def _undo_unheard(self, call: Call, until: float) -> None:
        """Send the `undo` script call once; raises `AttemptFailure`.  It needs no undo itself."""
        try:
            self._invoker.attempt(self._router.route(call.pool, until), call, 1, until, None)
        except AttemptFailure as failure:
            elsewhere = self._router.on_failure(call.pool, failure)
            if elsewhere is None:
                raise
            self._invoker.attempt(elsewhere, call, 1, until, None, asking=True)

    def _undo(self, call: Call) -> None:
        """Put the items of a call into the undo queue."""
        if call.script.writes:
            self._undo_worker.add(call.pool, call.items)

    # -- scanning ------------------------------------------------------------------------------------------------------

    def _scan(self, scan: Scan, until: float) -> list[str]:
        found: dict[str, None] = {}
        read, once = self._invoker.retry_reading, self._invoker.command_once
        for connections in read(partial(self._router.primaries, until), until):
            cursor, walked = "0", 0
            while len(found) < scan.limit and walked < settings.SCAN_KEYS_MAX:
                packed = pack_command(("SCAN", cursor, "MATCH", scan.pattern, "COUNT", settings.SCAN_COUNT))
                cursor, keys = read(partial(once, connections, packed, until), until)
                found.update(dict.fromkeys(keys))
                walked += settings.SCAN_COUNT
                if str(cursor) == "0":
                    break
            else:
                if len(found) < scan.limit:
                    _log.warning("%s has more keys than one scan walks; the list is not complete", connections.address)
        return list(found)[: scan.limit]

    def _inquire(self, pool: PoolKeys, packed: bytes, until: float) -> Any:
        try:
            return self._invoker.command(pool, packed, until)
        except AllocatorError as error:
            if isinstance(error.__cause__, ResponseError):
                return CommandError(str(error.__cause__))
            raise
