"""Withdraw queued calls from a thread that lives for as long as there are any."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

from allocator import settings
from allocator._engine.attempts import backoff
from allocator._engine.faults import Fault
from allocator._engine.forks import renew_after_fork
from allocator._engine.keys import PoolKeys
from allocator._engine.steps import Call, Item
from allocator._engine.withdrawals import Withdrawal, WithdrawalQueue, withdrawing

__all__ = ["Withdrawer"]


class Withdrawer:
    """The withdrawals of one blocking driver."""

    def __init__(self, perform: Callable[[Call, float], object]) -> None:
        """Prepare; no thread is started.

        Args:
            perform: Sends a call once, until the given instant, and raises the `Fault` that came of it.
        """
        self.queue = WithdrawalQueue()
        self._perform = perform
        self._closing = threading.Event()
        self._ends: float | None = None
        self._under_way: list[Withdrawal] = []
        self.start_anew()
        renew_after_fork(self)

    def start_anew(self) -> None:
        """In a forked child: the queue stays (withdrawing twice is harmless), the thread is the parent's."""
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None

    def add(self, pool: PoolKeys, items: Iterable[Item]) -> None:
        """Queue the withdrawal of these items."""
        if self.queue.add(pool, items):
            with self._starting:
                if self._thread is None or not self._thread.is_alive():
                    self._thread = threading.Thread(target=self._work, name="allocator-withdraw", daemon=True)
                    self._thread.start()

    def close(self) -> None:
        """Give the thread a last while to finish, and log what it could not do."""
        self._ends = time.monotonic() + settings.CLOSE_FLUSH_S
        self._closing.set()
        with self._starting:
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(settings.CLOSE_FLUSH_S)
            if thread.is_alive():
                self.queue.put_back(self._under_way)
        self.queue.abandon("the client was closed")

    def _work(self) -> None:
        failed = 0
        while True:
            group = self.queue.take()
            if not group:
                with self._starting:
                    if not len(self.queue):
                        self._thread = None
                        return
                continue
            self._under_way = group
            if self._settle(group):
                failed = 0
                continue
            failed += 1
            if not self._pause(backoff(failed)):
                return

    def _settle(self, group: list[Withdrawal]) -> bool:
        """Withdraw a group; say whether the store took it."""
        try:
            self._perform(withdrawing(group), self._attempt_ends())
        except Fault as fault:
            if not fault.own:  # also where it does not pass soon, as a full disk: `WITHDRAW_FOR_S` is the bound
                self.queue.put_back(group)
                return False
            if len(group) > 1:  # one of them is the cause, and the others shall not suffer
                for one in group:
                    self._settle([one])
            else:
                self.queue.drop(group, str(fault))
        except Exception as error:  # noqa: BLE001 - nobody is there to hear of it
            self.queue.drop(group, f"{type(error).__name__}: {error}")
        return True

    def _attempt_ends(self) -> float:
        ends = time.monotonic() + settings.ATTEMPT_TIMEOUT_S
        return ends if self._ends is None else min(ends, self._ends)

    def _pause(self, seconds: float) -> bool:
        """Wait; say whether there is time for another attempt."""
        if self._ends is None:
            self._closing.wait(seconds)
            return True
        if time.monotonic() + seconds >= self._ends:
            return False
        time.sleep(seconds)
        return True
