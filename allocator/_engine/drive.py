"""Perform operations and flows, blocking.

One `Driver` serves any number of threads.  It makes no connection before the first run, and none of redis-py's retries
are in play: `Attempts` is the whole policy, and `faults` says what each failure means.

How long a run may take: no attempt and no pause begins after the deadline, and the wait for the last attempt's reply is
cut to what remains.  Only opening a new connection has a time-out of its own (`attempt_timeout_s` for each step of the
handshake), so that a run ends within its deadline and, at worst, one attempt.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from redis.exceptions import ResponseError

from allocator import settings
from allocator._engine import faults
from allocator._engine.attempts import Attempts, cut, ending, payload
from allocator._engine.connect import Store
from allocator._engine.faults import Fault
from allocator._engine.lines import Line, Lines
from allocator._engine.nodes import open_nodes
from allocator._engine.steps import Call, Flow, Operation, Remaining, Reply, Scan, Sleep, Step
from allocator.errors import AllocatorError, BackendUnavailable

__all__ = ["Driver"]

R = TypeVar("R")

_log = logging.getLogger("allocator")


class Driver:
    """Performs the steps of operations and flows on one store."""

    def __init__(
        self, store: Store, *, deadline_s: float = settings.DEADLINE_S, clock: Callable[[], int] | None = None
    ) -> None:
        """Prepare; nothing is connected.

        Args:
            store: From `open_store`.
            deadline_s: Seconds that one run may take in all, unless it is told otherwise.
            clock: Gives the instant that the scripts take for now, in milliseconds; 0 or no clock: the server's.

        Raises:
            InvalidRequest: The store was made of an asyncio client.
        """
        self._nodes = open_nodes(store)
        self._where = store.where
        self._attempt_timeout_s = store.attempt_timeout_s
        self._deadline_s = deadline_s
        self._clock = clock
        self._closed = False

    def run(self, work: Operation[R] | Flow[R], *, deadline_s: float | None = None) -> R:
        """Perform an operation or a flow and return its result.

        Raises:
            BackendUnavailable: Nothing was executed.
            OutcomeUnknown: A call may have been executed; its withdrawal is queued.
            AllocatorError: Whatever the operation's `decode` or the flow raises.
        """
        if self._closed:
            raise BackendUnavailable("this client is closed", code="closed")
        until = time.monotonic() + (self._deadline_s if deadline_s is None else deadline_s)
        if isinstance(work, Operation):
            return work.decode(self._call(work.call, until))
        return self._flow(work, until)

    def close(self) -> None:
        """Send the withdrawals that are still queued, for at most `CLOSE_FLUSH_S`, and close the connections."""
        if not self._closed:
            self._closed = True
            self._nodes.close()

    # -- steps ----------------------------------------------------------------------------------------------------------

    def _flow(self, flow: Flow[R], until: float) -> R:
        try:
            step = next(flow)
            while True:
                try:
                    answer = self._perform(step, until)
                except AllocatorError as error:
                    step = flow.throw(error)
                else:
                    step = flow.send(answer)
        except StopIteration as done:
            result: R = done.value
            return result
        finally:
            flow.close()

    def _perform(self, step: Step, until: float) -> Any:
        match step:
            case Call():
                return self._call(step, until)
            case Sleep(seconds):
                return time.sleep(max(0.0, min(seconds, until - time.monotonic())))
            case Remaining():
                return max(0.0, until - time.monotonic())
            case Scan():
                return self._scan(step, until)

    def _call(self, call: Call, until: float) -> Reply:
        if len(call.items) > 1 and call.gather:
            return [entry for part in cut(call) for entry in self._batch(part, until)]
        try:
            return self._attempt(self._nodes.of(call.pool), call, 0, until)
        except Fault as fault:
            return self._go_on(Attempts(call, until), fault)
        except BaseException:  # interrupted, perhaps after sending: the caller will not hear of the outcome
            self._withdraw(call)
            raise

    def _go_on(self, attempts: Attempts, fault: Fault) -> Reply:
        """Repeat a call whose first attempt failed; raise what the caller is told."""
        try:
            return self._repeat(attempts, fault)
        except Fault as last:
            if attempts.doubt:  # also where the script refused at last: what an earlier attempt did must not stay
                self._withdraw(attempts.call)
            raise attempts.error(last) from last.__cause__
        except BaseException:
            self._withdraw(attempts.call)
            raise

    def _batch(self, call: Call, until: float) -> Reply:
        """One script call whose items stand for themselves: an error takes its item's place in the reply.

        Where the script itself refused the whole call, the items are repeated one by one, so that the error reaches
        only its owner.
        """
        attempts = Attempts(call, until)
        try:
            try:
                return self._attempt(self._nodes.of(call.pool), call, 0, until)
            except Fault as fault:
                return self._repeat(attempts, fault)
        except Fault as last:
            if last.own and len(call.items) > 1:
                return [self._alone(replace(call, items=(item,)), until, doubt=attempts.doubt) for item in call.items]
            if attempts.doubt:
                self._withdraw(call)
            return [ending((item,), last, doubt=attempts.doubt) for item in call.items]
        except BaseException:
            self._withdraw(call)
            raise

    def _alone(self, call: Call, until: float, *, doubt: bool) -> Any:
        """The entry of an item whose batch failed."""
        attempts = Attempts(call, until, doubt=doubt)
        try:
            try:
                return self._attempt(self._nodes.of(call.pool), call, int(doubt), until)[0]
            except Fault as fault:
                return self._go_on(attempts, fault)[0]
        except AllocatorError as error:
            return error

    # -- attempts -------------------------------------------------------------------------------------------------------

    def _attempt(self, lines: Lines, call: Call, repeated: int, until: float, asking: bool = False) -> Reply:
        """Send a call once and return its reply, or raise what came of it as a `Fault`."""
        line = lines.take(until)
        script = call.script
        in_process = self._nodes.in_process
        words = payload(call, repeated, self._clock() if self._clock else 0)
        try:
            if asking:
                self._exchange(line, until, "ASKING")
            try:
                reply = self._exchange(line, until, b"EVALSHA", script.memory_sha if in_process else script.sha, *words)
            except ResponseError as error:
                if not faults.is_unknown_script(error):
                    raise
                if asking:
                    self._exchange(line, until, "ASKING")
                text = script.memory_text if in_process else script.text
                reply = self._exchange(line, until, b"EVAL", text, *words)
        except ResponseError as error:
            lines.give(line)
            raise faults.of_reply(lines.where, error, script) from error
        except Exception as error:
            lines.discard(line)
            raise faults.of_reply(lines.where, error, script) from error
        except BaseException:
            lines.discard(line)
            raise
        lines.give(line)
        return reply

    def _exchange(self, line: Line, until: float, *words: Any) -> Any:
        """Send one command and wait for its reply: for the attempt's time-out, or for what remains if that is less."""
        line.send_packed_command(line.pack_command(*words), False)
        remaining = until - time.monotonic()
        if remaining >= self._attempt_timeout_s:
            return line.read_response()
        return line.read_response(timeout=max(remaining, 0.001))

    def _repeat(self, attempts: Attempts, fault: Fault) -> Reply:
        """Attempt a call again until there is a reply; the `Fault` that it raises was the last."""
        call = attempts.call
        lines = self._nodes.of(call.pool)
        while True:
            elsewhere = self._nodes.note(lines, fault)
            pause = attempts.pause(fault, time.monotonic())
            if pause is None:
                raise fault
            time.sleep(pause)
            lines = elsewhere or self._nodes.of(call.pool)
            try:
                return self._attempt(lines, call, int(attempts.doubt), attempts.until, asking=elsewhere is not None)
            except Fault as next_fault:
                fault = next_fault

    def _withdraw(self, call: Call) -> None:
        """Queue the withdrawal of what the items of a call may have done."""

    def _scan(self, scan: Scan, until: float) -> list[str]:
        return []
