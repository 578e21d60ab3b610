"""Driver: performs operations and flows, asyncio; the counterpart of `driver`.

One `AsyncDriver` serves any number of event loops, one after another or at once in several threads.  Each loop has its
own connections, batching queues and undo queue.  They end with the loop: an asynchronous generator that is left open is
closed when the loop shuts down properly (as `asyncio.run` does), and closes them.  Calls that may be batched go through
`batching`; the others are sent at once, each on a separate connection.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from allocator import settings
from allocator._engine.execution.instrumentation import CURRENT, Instrumentation, error_outcome, outcome_of
from allocator._engine.execution.loop_state import LoopState
from allocator._engine.execution.undo_log import UndoLog
from allocator._engine.execution.validity import believed
from allocator._engine.protocol.flows import (
    Call,
    Flow,
    Operation,
    Wake,
)
from allocator._engine.protocol.keys import PoolKeys
from allocator._engine.transport.router_async import check_async
from allocator._engine.transport.target import Target
from allocator.errors import AllocatorError, BackendUnavailable

if TYPE_CHECKING:
    from allocator._engine.execution.event_follow_async import AsyncEventFollow
    from allocator._engine.execution.wake_waits_async import AsyncWakeWaits

__all__ = ["AsyncDriver"]

R = TypeVar("R")
_log = logging.getLogger("allocator")


class AsyncDriver:
    """Performs the steps of operations and flows on one target."""

    def __init__(
        self,
        target: Target,
        *,
        deadline_s: float = settings.DEADLINE_S,
        clock: Callable[[], int] | None = None,
        instruments: Instrumentation | None = None,
    ) -> None:
        """Prepare; nothing is connected, and no event loop is needed.

        Args:
            target: From `resolve_target`.
            deadline_s: Seconds that one run may take in all, unless `run` sets another.
            clock: Returns the instant that the scripts take for now, in milliseconds; 0 or no clock: the server's.
            instruments: The client's, whose observers are told what this driver does.

        Raises:
            InvalidRequest: The target was resolved from a blocking client.
        """
        check_async(target)
        self._target = target
        self._deadline_s = deadline_s
        self._clock = clock
        self._instruments = instruments or Instrumentation(target.address)
        self._closed = False
        self._loop_states: dict[asyncio.AbstractEventLoop, LoopState] = {}
        self._opening = threading.Lock()

    async def run(
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
            return await self._observed(verb, work, deadline_s, undo_log)
        side = self._loop_states.get(asyncio.get_running_loop()) or await self._open()
        timeout_s = self._deadline_s if deadline_s is None else deadline_s
        until = time.monotonic() + timeout_s
        if isinstance(work, Operation):
            if undo_log is None and not side.watched:
                return work.decode(await side.call(work.call, until))
            work = iter(work)
        return await self._flow(side, work, until, undo_log or UndoLog(), timeout_s)

    @asynccontextmanager
    async def follow(self, pool: PoolKeys) -> AsyncGenerator[AsyncEventFollow]:
        """The event stream of a pool, for one watch."""
        if self._closed:
            raise BackendUnavailable("this client is closed", code="closed")
        side = self._loop_states.get(asyncio.get_running_loop()) or await self._open()
        async with side.follow(pool) as follow:
            yield follow

    async def close(self) -> None:
        """Send the undos that the running loop has queued, for at most `CLOSE_FLUSH_S`, and close its connections.

        Those of other loops end with their loops.
        """
        self._closed = True
        side = self._loop_states.get(asyncio.get_running_loop())
        try:
            if side is not None:
                await side.close()
        finally:
            self._instruments.close()

    async def wait_undone(self, seconds: float) -> bool:
        """Wait up to so many seconds until the undos that the running loop has queued have been sent.

        Returns:
            Whether they have.
        """
        side = self._loop_states.get(asyncio.get_running_loop())
        return side is None or await side.wait_undone(seconds)

    async def _open(self) -> LoopState:
        loop = asyncio.get_running_loop()
        side = LoopState(self._target, loop, self._clock, self._instruments)
        with self._opening:
            for other in [other for other in self._loop_states if other.is_closed()]:
                del self._loop_states[other]
            side = self._loop_states.setdefault(loop, side)
        await side.watch(lambda: self._loop_states.pop(loop, None))
        return side

    async def _observed(
        self, verb: str, work: Operation[R] | Flow[R], deadline_s: float | None, undo_log: UndoLog | None
    ) -> R:
        call = self._instruments.begin(verb, work)
        try:
            result = await self.run(work, deadline_s=deadline_s, undo_log=undo_log)
        except BaseException as error:
            call.end(error_outcome(error), error)
            raise
        call.end(outcome_of(verb, result))
        return result

    @staticmethod
    async def _flow(side: LoopState, flow: Flow[R], until: float, undo_log: UndoLog, timeout_s: float) -> R:
        returned = False
        waits: AsyncWakeWaits | None = None
        observed = CURRENT.get()
        try:
            step = next(flow)
            while True:
                answer: Any
                if observed is not None:
                    observed.meet(step)
                try:
                    if isinstance(step, Call):
                        answer = await side.call(step, until, undo_log)
                        if step.undo:
                            undo_log.record_reply(step, answer)
                    elif isinstance(step, Wake):
                        waits = waits or side.wake_waits()
                        answer = await waits.wake(step)
                        until = time.monotonic() + timeout_s
                    else:
                        answer = await side.perform(step, until)
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
                side.undo(pool, items)
            if waits is not None:
                waits.close()
            flow.close()
