"""A driver with a bad network: attempts are lost before or after they were executed, and copies arrive late."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Sequence
from typing import Any, TypeVar

from allocator._engine.execution.undo_log import UndoLog, items_to_undo
from allocator._engine.operations import undo
from allocator._engine.protocol.flows import Call, Flow, Item, Operation, Reply, Step, TimeLeft
from allocator._engine.protocol.keys import PoolKeys
from allocator._engine.protocol.resp import encode_call
from allocator.testing import Clock

R = TypeVar("R")

IN_FLIGHT_MS = 60_000
"""No copy of a call travels longer than the longest total deadline of a call."""


class Luck(enum.Enum):
    """What happens to the attempts at a call.

    Each attempt says whether it is a repeat.  The first ones are executed, the last of them is answered; the others
    arrive when the caller was answered long ago.
    """

    NONE_LOST = ((False,), ())
    REPLY_LOST = ((False, True), ())
    TWO_REPLIES_LOST = ((False, True, True), ())
    HELD_UP = ((True,), (False,))
    LOST_AND_HELD_UP = ((False, True), (True,))

    def __init__(self, attempts: tuple[bool, ...], late: tuple[bool, ...]) -> None:
        self.attempts = attempts
        self.late = late


@dataclasses.dataclass(frozen=True)
class Copy:
    """An attempt that is still under way, after the caller was answered."""

    call: Call
    repeated: bool
    sent_ms: int


class Network:
    """Performs flows on one connection, each call with the luck that the story gives it."""

    def __init__(self, client: Any, clock: Clock, *, in_process: bool) -> None:
        self._client = client
        self._clock = clock
        self._in_process = in_process
        self._under_way: list[Copy] = []

    def run(self, work: Operation[R] | Flow[R], luck: Luck = Luck.NONE_LOST) -> R:
        """Perform an operation or a flow.

        What is said of an attempt holds for each of its calls that can be repeated safely.
        """
        flow = iter(work) if isinstance(work, Operation) else work
        answer: Any = None
        story, returned = UndoLog(), False
        try:
            while True:
                try:
                    step = flow.send(answer)
                except StopIteration as stop:
                    returned = True
                    result: R = stop.value
                    return result
                answer = self._perform(step, luck, story)
        finally:
            for pool, items in story.pending(returned=returned):
                self._undo(pool, items)

    @staticmethod
    def begin(flow: Flow[R]) -> tuple[list[str], Flow[R]]:
        """The ids of its first call, and the flow, which has not been performed."""
        first = next(flow)
        assert isinstance(first, Call)

        def again() -> Flow[R]:
            step: Step = first
            while True:
                answer: Any = yield step
                try:
                    step = flow.send(answer)
                except StopIteration as stop:
                    result: R = stop.value
                    return result

        return [item.call for item in first.items], again()

    def run_copies(self, flow: Flow[Any], attempts: tuple[bool, ...], late: tuple[bool, ...]) -> Call:
        """Perform only the first call of a flow, whose caller never hears of it; returns the call."""
        call = next(flow)
        assert isinstance(call, Call)
        for repeated in attempts:
            self.send(call, repeated=repeated)
        self._under_way += [Copy(call, repeated, self._clock()) for repeated in late]
        return call

    def copies(self) -> list[Copy]:
        """What may still arrive."""
        self._under_way = [one for one in self._under_way if one.sent_ms > self._clock() - IN_FLIGHT_MS]
        return self._under_way

    def _perform(self, step: Step, luck: Luck, story: UndoLog) -> Any:
        if isinstance(step, TimeLeft):
            return 10.0
        assert isinstance(step, Call), step
        if not step.items:
            return self.send(step, repeated=False)
        reply: Reply = []
        for repeated in luck.attempts:
            reply = self.send(step, repeated=repeated)
        self._under_way += [Copy(step, repeated, self._clock()) for repeated in luck.late]
        if step.undo:
            story.record_reply(step, reply)
        if luck.attempts[-1]:
            self._undo(step.pool, items_to_undo(step, reply, story))
        return reply

    def _undo(self, pool: PoolKeys, items: Sequence[Item]) -> None:
        """What the library does behind a repeated call that was refused: an earlier attempt may still arrive."""
        if items:
            self.run(undo.undo(pool, [(item.call, item.id) for item in items]))

    def send(self, call: Call, *, repeated: bool) -> Reply:
        """Let the server execute an attempt."""
        words = encode_call(call, int(repeated), (self._clock(), "", 0))
        text = call.script.texts.memory_text if self._in_process else call.script.texts.text
        reply: Reply = self._client.execute_command("EVAL", text, *words)
        return reply
