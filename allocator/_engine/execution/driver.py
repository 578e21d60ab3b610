"""Perform operations and flows, blocking.

One `Driver` serves any number of threads.  It makes no connection before the first run, and none of redis-py's retries
are in play: `retry` is the whole policy, and `failures` says what each failure means.

How long a run may take: no attempt and no pause begins after the deadline, and the wait for the last attempt's reply is
cut to what remains.  Only opening a new connection has time-outs of its own (`attempt_timeout_s` for each step of the
handshake), so a run ends within its deadline and, at worst, one attempt.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from redis.exceptions import ResponseError

from allocator import settings
from allocator._engine.execution.durability_wait import confirm, fell_short, patience_ms
from allocator._engine.execution.fence_watermarks import Marks
from allocator._engine.execution.retry import Attempts, last_word, too_late
from allocator._engine.execution.undo_log import Story, left_in_doubt
from allocator._engine.execution.undo_worker import Withdrawer
from allocator._engine.execution.validity import believed
from allocator._engine.protocol.flows import Ask, Call, Flow, Item, Operation, Refusal, Remaining, Reply, Scan, Sleep
from allocator._engine.protocol.keys import PoolKeys
from allocator._engine.protocol.resp import ASKING, cut, pack, payload
from allocator._engine.protocol.scripts import NO_SCRIPT
from allocator._engine.transport import failures
from allocator._engine.transport.access_check import access_check
from allocator._engine.transport.connections import Line, Lines
from allocator._engine.transport.exchange import converse
from allocator._engine.transport.failures import Fault
from allocator._engine.transport.router import open_nodes
from allocator._engine.transport.target import Store
from allocator.durability import Durability
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
        self._attempt_timeout_s = store.attempt_timeout_s
        self._deadline_s = deadline_s
        self._marks = Marks(clock)
        self._closed = False
        self._withdrawer = Withdrawer(self._undoubted)

    def run(self, work: Operation[R] | Flow[R], *, deadline_s: float | None = None, story: Story | None = None) -> R:
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
        until = time.monotonic() + (self._deadline_s if deadline_s is None else deadline_s)
        if isinstance(work, Operation):
            if story is None and not self._nodes.watched:
                return work.decode(self._call(work.call, until))
            work = iter(work)
        return self._flow(work, until, story or Story())

    def close(self) -> None:
        """Send the withdrawals still queued, for at most `CLOSE_FLUSH_S`, and close the connections."""
        if not self._closed:
            self._closed = True
            self._withdrawer.close()
            self._nodes.close()

    # -- steps ---------------------------------------------------------------------------------------------------------

    def _flow(self, flow: Flow[R], until: float, story: Story) -> R:
        returned = False
        try:
            step = next(flow)
            while True:
                try:
                    if isinstance(step, Call):
                        answer = self._call(step, until, story)
                        if step.undo:
                            story.answered(step, answer)
                    else:
                        answer = self._perform(step, until)
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
                self._withdrawer.add(pool, items)
            flow.close()

    def _perform(self, step: Ask | Sleep | Remaining | Scan, until: float) -> Any:
        match step:
            case Sleep(seconds):
                return time.sleep(max(0.0, min(seconds, until - time.monotonic())))
            case Remaining():
                return max(0.0, until - time.monotonic())
            case Scan():
                return self._scan(step, until)
            case Ask(pool, words):
                return self._inquire(pool, pack(words), until)

    def _call(self, call: Call, until: float, story: Story | None = None) -> Reply:
        if len(call.items) > 1 and call.gather:
            return self._batches(call, until, story)
        attempts = None
        try:
            if story is not None and story.doubts_any(call.items):
                attempts = Attempts(until, writes=call.script.writes, doubt=True)
                return self._persist(call, attempts, story)
            try:
                return self._attempt(self._nodes.of(call.pool, until), call, 0, until, story)
            except Fault as fault:
                attempts = Attempts(until, writes=call.script.writes)
                return self._repeat(call, attempts, fault, story)
        except Fault as last:
            raise self._told(call, attempts, last) from last.__cause__
        except BaseException:  # interrupted, perhaps after sending: nobody will hear of the outcome
            self._withdraw(call)
            raise

    def _told(self, call: Call, attempts: Attempts | None, last: Fault) -> AllocatorError:
        """What to raise for a call that failed for good.

        Where an attempt is in doubt the call is withdrawn, also when the script itself refused at last: the caller is
        told of a failure, so nothing of it must stay.
        """
        doubt = attempts is not None and attempts.doubt
        if doubt:
            self._withdraw(call)
        return last_word(call.items, last, doubt=doubt)

    def _batches(self, call: Call, until: float, story: Story | None) -> Reply:
        """A call of any number of items that stand for themselves."""
        replies: Reply = []
        handed: list[Item] = []
        try:
            for part in cut(call):
                handed += part.items
                replies += self._batch(part, until, story)
        except BaseException:  # interrupted: nobody will hear of what was granted so far, either
            self._withdraw(replace(call, items=tuple(handed)))
            raise
        return replies

    def _batch(self, call: Call, until: float, story: Story | None) -> Reply:
        """One script call whose items stand for themselves: an error takes its item's place in the reply.

        Where the script itself refused the whole call, the items are repeated one by one, so that the error reaches
        only its owner.
        """
        doubt = story is not None and story.doubts_any(call.items)
        attempts = Attempts(until, writes=call.script.writes, doubt=doubt)
        try:
            return self._persist(call, attempts, story)
        except Fault as last:
            if last.own and len(call.items) > 1:
                return [self._alone(replace(call, items=(item,)), attempts.doubt, until, story) for item in call.items]
            if attempts.doubt:
                self._withdraw(call)
            return [last_word((item,), last, doubt=attempts.doubt) for item in call.items]

    def _alone(self, call: Call, doubt: bool, until: float, story: Story | None) -> Any:
        """The entry of an item whose batch was refused, or the error that is the item's own."""
        attempts = Attempts(until, writes=call.script.writes, doubt=doubt)
        try:
            return self._persist(call, attempts, story)[0]
        except Fault as last:
            return self._told(call, attempts, last)

    # -- attempts ------------------------------------------------------------------------------------------------------

    def _attempt(
        self, lines: Lines, call: Call, repeated: int, until: float, story: Story | None, *, asking: bool = False
    ) -> Reply:
        """Send a call once and return its reply, or raise what came of it as a `Fault`."""
        script = call.script
        in_process = self._nodes.in_process
        words = payload(call, repeated, self._marks.leading(call.pool))
        packed = pack((*script.by_sha(in_process=in_process), *words))
        line = lines.take(until)
        if not in_process and lines.checked.wants(line, script, call.pool):
            self._check_access(lines, line, call.pool, until, asking=asking)
        sent = time.monotonic() if self._nodes.watched else 0.0
        try:
            reply: Reply
            try:
                reply = self._exchange(line, packed, until, asking=asking)
            except ResponseError as error:
                if not failures.is_unknown_script(error):
                    raise
                packed = pack((*script.by_text(in_process=in_process), *words))
                reply = self._exchange(line, packed, until, asking=asking)
            wanted = call.confirm.wanted(reply) if call.confirm is not None else None
            if wanted is not None:
                reply = self._confirm(lines, line, call, reply, wanted, until)
        except BaseException as error:
            self._release(lines, line, error)
            if isinstance(error, Exception) and not isinstance(error, Fault):
                raise failures.of_reply(lines.where, error, script) from error
            raise
        lines.give(line)
        if sent and story is not None and script.writes:
            story.relied(lines.vouched, sent)
        self._marks.note(script, call.pool, reply)
        return reply

    def _check_access(self, lines: Lines, line: Line, pool: PoolKeys, until: float, *, asking: bool) -> None:
        """Look whether the scripts may write to the pool; raise the `Fault` if not, having returned the connection."""
        try:
            converse(access_check(lines.where, pool), lambda packed: self._exchange(line, packed, until, asking=asking))
        except BaseException as error:
            self._release(lines, line, error)
            if isinstance(error, Exception):
                raise failures.before_sending(lines.where, error) from error
            raise
        lines.checked.add(line, pool)

    def _confirm(self, lines: Lines, line: Line, call: Call, reply: Reply, wanted: Durability, until: float) -> Reply:
        """Wait until what the call did is as safe as is wanted; raise the `Fault` where it is not in time."""
        assert call.confirm is not None
        seconds = min(self._attempt_timeout_s, until - time.monotonic())
        conversation = confirm(wanted, patience_ms(seconds))
        reached = converse(conversation, lambda packed: self._exchange(line, packed, until))
        if not reached.covers(wanted):
            raise fell_short(lines.where, wanted, reached, undo=call.undo)
        return call.confirm.stamped(reply, reached)

    def _release(self, lines: Lines, line: Line, error: BaseException) -> None:
        """Return a connection after an error: to be used again only where the error was a reply, read whole."""
        if isinstance(error, ResponseError | Fault):
            lines.give(line)
        else:
            lines.discard(line)

    def _exchange(self, line: Line, packed: bytes, until: float, *, asking: bool = False) -> Any:
        """Send one command and wait for its reply: for the attempt's time-out, or for what remains if that is less."""
        if asking:
            self._exchange(line, ASKING, until)
        line.send_packed_command((packed,), False)
        remaining = until - time.monotonic()
        if remaining < self._attempt_timeout_s and not line.can_read(max(remaining, settings.WAIT_MIN_S)):
            raise TimeoutError
        return line.read_response()

    def _persist(self, call: Call, attempts: Attempts, story: Story | None) -> Reply:
        """Attempt what is not a whole story by itself until there is a reply, if any time is left for it."""
        if time.monotonic() >= attempts.until:
            raise too_late()
        try:
            lines = self._nodes.of(call.pool, attempts.until)
            reply = self._attempt(lines, call, int(attempts.doubt), attempts.until, story)
        except Fault as fault:
            return self._repeat(call, attempts, fault, story)
        return self._settled(call, reply, story) if attempts.doubt else reply

    def _repeat(self, call: Call, attempts: Attempts, fault: Fault, story: Story | None) -> Reply:
        """Attempt a call again until there is a reply; the `Fault` that it raises was the last."""
        until = attempts.until
        while True:
            elsewhere = self._nodes.note(call.pool, fault)
            pause = attempts.pause(fault, time.monotonic())
            if pause is None:
                raise fault
            time.sleep(pause)
            try:
                lines = elsewhere or self._nodes.of(call.pool, until)
                reply = self._attempt(lines, call, int(attempts.doubt), until, story, asking=elsewhere is not None)
            except Fault as next_fault:
                fault = next_fault
            else:
                return self._settled(call, reply, story) if attempts.doubt else reply

    def _settled(self, call: Call, reply: Reply, story: Story | None) -> Reply:
        """The reply to a repeated call; items whose doubt it does not end are withdrawn."""
        self._withdrawer.add(call.pool, left_in_doubt(call, reply, story))
        return reply

    def _undoubted(self, call: Call, until: float) -> None:
        """Perform a call that needs no withdrawal, once; raise the `Fault` that came of it."""
        try:
            self._attempt(self._nodes.of(call.pool, until), call, 1, until, None)
        except Fault as fault:
            elsewhere = self._nodes.note(call.pool, fault)
            if elsewhere is None:
                raise
            self._attempt(elsewhere, call, 1, until, None, asking=True)

    def _withdraw(self, call: Call) -> None:
        """Queue the withdrawal of what the items of a call may have done."""
        if call.script.writes:
            self._withdrawer.add(call.pool, call.items)

    # -- scanning ------------------------------------------------------------------------------------------------------

    def _scan(self, scan: Scan, until: float) -> list[str]:
        found: dict[str, None] = {}
        for lines in self._nodes.primaries(until):
            cursor, walked = "0", 0
            while len(found) < scan.limit and walked < settings.SCAN_KEYS_MAX:
                packed = pack(("SCAN", cursor, "MATCH", scan.pattern, "COUNT", settings.SCAN_COUNT))
                cursor, keys = self._ask(lines, packed, until)
                found.update(dict.fromkeys(keys))
                walked += settings.SCAN_COUNT
                if str(cursor) == "0":
                    break
            else:
                if len(found) < scan.limit:
                    _log.warning("%s has more keys than one scan walks; the list is not complete", lines.where)
        return list(found)[: scan.limit]

    def _inquire(self, pool: PoolKeys, packed: bytes, until: float) -> Any:
        try:
            return self._ask(self._nodes.of(pool, until), packed, until)
        except Fault as fault:
            raise fault.error from fault.__cause__
        except AllocatorError as error:
            if isinstance(error.__cause__, ResponseError):
                return Refusal(str(error.__cause__))
            raise

    def _ask(self, lines: Lines, packed: bytes, until: float) -> Any:
        """Send a command that changes nothing, until it is answered."""
        attempts = Attempts(until, writes=False)
        while True:
            try:
                line = lines.take(until)
                try:
                    reply = self._exchange(line, packed, until)
                except BaseException as error:
                    self._release(lines, line, error)
                    if isinstance(error, Exception):
                        raise failures.of_reply(lines.where, error, NO_SCRIPT) from error
                    raise
                lines.give(line)
            except Fault as fault:
                pause = attempts.pause(fault, time.monotonic())
                if pause is None:
                    raise fault.error from fault.__cause__
                time.sleep(pause)
            else:
                return reply
