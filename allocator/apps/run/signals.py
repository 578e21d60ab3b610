"""Signals of `run`: a thread takes them, with their senders, and the main thread decides about them.

All threads block these signals, so that `sigwaitinfo` gets each with its sender: what a terminal sends has reached the
command already, as it goes to the whole foreground group, and is not passed on.
"""

from __future__ import annotations

import queue
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Final, NamedTuple

__all__ = ["Interrupted", "SignalThread", "Taken", "stop_this_process"]

_NAMES: Final = (
    "SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGWINCH", "SIGTSTP", "SIGCONT",
)  # fmt: skip
"""The signals that are passed on."""

_ENDING: Final = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT")
"""Those that end `run` while it has no command yet."""


class Taken(NamedTuple):
    """A signal that arrived."""

    number: int
    sender: int | None
    """The id of the process that sent it; 0: the kernel, for a terminal; None: the system does not tell."""


class Interrupted(BaseException):
    """A signal arrived before there was a command to pass it on to."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class SignalThread:
    """Takes the signals, and SIGCHLD; made by the main thread.

    Signals that are ignored when `run` starts stay ignored, by the command too (`nohup`).

    Attributes:
        interruptible: Set by the main thread only: an ending signal raises `Interrupted` in it.
        mask: The signals that were blocked before.
    """

    def __init__(self, put: Callable[[Taken], object]) -> None:
        """Block the signals; the process has no other thread yet.

        Args:
            put: Takes each signal; called by any thread.
        """
        numbers: list[int] = [getattr(signal, name) for name in _NAMES]
        kept: set[int] = {one for one in numbers if signal.getsignal(one) != signal.SIG_IGN}
        self._numbers = kept | {signal.SIGCHLD}
        self._ending: set[int] = {getattr(signal, name) for name in _ENDING}
        self._put = put
        self._urgent: queue.SimpleQueue[Taken] = queue.SimpleQueue()
        self._main = threading.get_ident()
        self.interruptible = False
        self.mask = signal.pthread_sigmask(signal.SIG_BLOCK, self._numbers)

    def start(self) -> None:
        """Take signals from now on."""
        # SIGTSTP keeps its default action, for `stop_this_process`.  Ignored signals might not become pending.
        for number in self._numbers - {signal.SIGTSTP}:
            signal.signal(number, self._unblocked)
        signal.signal(signal.SIGURG, self._hear)
        threading.Thread(target=self._take, name="allocator-signals", daemon=True).start()

    def _take(self) -> None:
        while True:
            taken = _wait(self._numbers)
            if self.interruptible and taken.number == signal.SIGTSTP:
                stop_this_process()
            elif self.interruptible and taken.number in self._ending:
                self._urgent.put(taken)
                signal.pthread_kill(self._main, signal.SIGURG)  # ends a system call of that thread
            else:
                self._put(taken)

    def _hear(self, _number: int, _frame: FrameType | None) -> None:
        """In the main thread: handle what the other thread took."""
        while not self._urgent.empty():
            self._handle(self._urgent.get())

    def _unblocked(self, number: int, _frame: FrameType | None) -> None:
        """In the main thread: a signal came in the moment in which a thread had none blocked, to start a server."""
        self._handle(Taken(number, None))

    def _handle(self, taken: Taken) -> None:
        if self.interruptible and taken.number in self._ending:
            raise Interrupted(taken.number)
        self._put(taken)


def _wait(numbers: set[int]) -> Taken:
    """Wait for one of these signals."""
    if sys.platform == "darwin" or sys.platform == "win32":
        return Taken(signal.sigwait(numbers), None)  # type: ignore[attr-defined,unused-ignore]
    found = signal.sigwaitinfo(numbers)
    return Taken(found.si_signo, found.si_pid if found.si_code <= 0 else 0)


def stop_this_process() -> None:
    """Stop all threads, as Ctrl-Z does; returns once the process is continued.

    It returns at once where there is no shell that could continue it.
    """
    mask = signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTSTP})
    signal.raise_signal(signal.SIGTSTP)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
