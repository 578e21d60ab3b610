"""Undo worker, blocking: undoes queued calls in a thread that runs while the undo queue is not empty."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable

from allocator import settings
from allocator._engine.execution.retry import backoff
from allocator._engine.execution.undo_queue import CLOSED, Undo, UndoQueue, undo_call
from allocator._engine.fork_safety import reset_after_fork
from allocator._engine.protocol.flows import Call, Item
from allocator._engine.protocol.keys import PoolKeys
from allocator._engine.transport.failures import AttemptFailure

__all__ = ["UndoWorker"]

_log = logging.getLogger("allocator")


class UndoWorker:
    """Undoes the queued calls of one blocking driver."""

    def __init__(
        self, perform: Callable[[Call, float], object], report: Callable[[str, str, int], object] | None = None
    ) -> None:
        """Prepare; no thread is started.

        Args:
            perform: Sends a call once, until the given instant, and raises `AttemptFailure`.
            report: As that of `UndoQueue`.
        """
        self.queue = UndoQueue(report)
        self._perform = perform
        self._closing = threading.Event()
        self._ends: float | None = None
        self._under_way: list[Undo] = []
        self.reset()
        reset_after_fork(self)

    def reset(self) -> None:
        """Start anew in a forked child: the queue stays, as a second undo is harmless; the thread is the parent's."""
        self._changing = threading.Lock()
        self._thread: threading.Thread | None = None

    def add(self, pool: PoolKeys, items: Iterable[Item]) -> None:
        """Put these items into the undo queue.

        This also works after `close`, for a call that another thread had in flight.  It gets the time that `close`
        would give it; what is not undone by then is logged.
        """
        with self._changing:
            if not self.queue.add(pool, items):
                return
            if self._closing.is_set():
                self._ends = time.monotonic() + settings.CLOSE_FLUSH_S
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._work, name="allocator-undo", daemon=True)
                try:
                    self._thread.start()
                except RuntimeError as error:  # the interpreter is ending, or no thread can be started
                    self._thread = None
                    _log.warning("calls are not undone before the next one, or `close`: %s", error)

    def close(self) -> None:
        """Wait up to `CLOSE_FLUSH_S` for the thread to finish, and log what it did not undo."""
        with self._changing:
            self._ends = time.monotonic() + settings.CLOSE_FLUSH_S
            self._closing.set()
            thread = self._thread
        if thread is None:
            self._work()  # what no thread could be started for
        elif thread is not threading.current_thread():
            thread.join(settings.CLOSE_FLUSH_S)
        with self._changing:
            self.queue.put_back(self._under_way)
            self._under_way = []
            self.queue.abandon(CLOSED)

    @property
    def pending(self) -> int:
        """How many calls are not undone yet."""
        return len(self.queue) + len(self._under_way)

    def wait(self, seconds: float) -> bool:
        """Wait up to so many seconds until the queue is empty; returns whether it is."""
        with self._changing:
            thread = self._thread
        if thread is not None:
            thread.join(seconds)
        with self._changing:
            return not len(self.queue) and not self._under_way

    def _work(self) -> None:
        failed = 0
        while group := self._next():
            left = self._settle(group)
            with self._changing:
                if self._under_way:  # otherwise `close` has logged them
                    self.queue.put_back(left)
                self._under_way = []
            failed = failed + 1 if left else 0
            if left and not self._pause(backoff(failed)):
                return

    def _next(self) -> list[Undo]:
        """Take the next group; [] if there is none, and then this thread ends."""
        with self._changing:
            group = self.queue.next_batch()
            self._under_way = group
            if not group:
                self._thread = None
            return group

    def _settle(self, group: list[Undo]) -> list[Undo]:
        """Undo a group; returns those to try again."""
        try:
            self._perform(undo_call(group), self._attempt_ends())
        except AttemptFailure as failure:
            if not failure.from_script:  # also where it is not transient, as a full disk: `UNDO_FOR_S` is the limit
                return group
            if len(group) > 1:  # one of them is the cause: send each alone
                return [left for one in group for left in self._settle([one])]
            self.queue.discard(group, str(failure))
        except Exception as error:  # noqa: BLE001 - no caller could catch it
            self.queue.discard(group, f"{type(error).__name__}: {error}")
        else:
            self.queue.finish(group)
        return []

    def _attempt_ends(self) -> float:
        ends = time.monotonic() + settings.ATTEMPT_TIMEOUT_S
        return ends if self._ends is None else min(ends, self._ends)

    def _pause(self, seconds: float) -> bool:
        """Wait; returns whether there is time for another attempt.  If not, the rest is logged."""
        if self._ends is None:
            self._closing.wait(seconds)
            return True
        with self._changing:
            if time.monotonic() + seconds >= self._ends:
                self._thread = None
                self.queue.abandon(CLOSED)
                return False
        time.sleep(seconds)
        return True
