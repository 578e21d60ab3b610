"""The process of a command: forked early, while this process has one thread, and started later.

The forked process waits at a pipe, so nothing runs in it between a fork of a process with threads and `exec`.  If `run`
ends before, however it ends, the pipe closes and the forked process exits.  On Linux the kernel kills the command when
`run` is killed (PR_SET_PDEATHSIG); programs with set-user-ID are exempt.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple, NoReturn

__all__ = ["Change", "Child", "CommandNotRun"]

_PR_SET_PDEATHSIG: Final = 1

_SHELL: Final = "/bin/sh"
"""Runs a script without a `#!` line, as shells, `env` and `flock` do."""

_POLL_S: Final = 0.02
"""Seconds between two looks whether a process group is empty."""


class CommandNotRun(Exception):
    """The command could not be executed."""

    def __init__(self, number: int) -> None:
        super().__init__(os.strerror(number))
        self.number = number


class Change(NamedTuple):
    """What became of the process."""

    code: int
    """The exit code; 128 + N if signal N ended it.  Of a stopped one, the signal that stopped it."""
    stopped: bool
    by_signal: bool


class Child:
    """A process that becomes the command once it is started.

    Attributes:
        pid: Its id.
    """

    def __init__(self, argv: Sequence[str], *, own_group: bool, mask: Iterable[int]) -> None:
        """Fork.  The signals that are passed on are blocked, and no other thread runs.

        Args:
            argv: The command.
            own_group: Whether it gets a process group, so that signals reach its descendants too.
            mask: The signals that are blocked in the command.

        Raises:
            OSError: There is no room for another process.
        """
        self._own_group = own_group
        self._ended = False
        theirs, self._go = os.pipe()
        self._status, written = os.pipe()
        parent = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.close(self._go)
                os.close(self._status)
                _become(list(argv), theirs, written, mask, parent)
            finally:
                os._exit(1)
        os.close(theirs)
        os.close(written)
        if own_group:
            os.setpgid(self.pid, self.pid)

    def start(self, environment: Mapping[str, str]) -> None:
        """Execute the command; returns once it runs, or has been ended by a signal.

        Args:
            environment: Variables to add to this process's.

        Raises:
            CommandNotRun: It cannot be executed; the process has ended.
        """
        with contextlib.suppress(BrokenPipeError), os.fdopen(self._go, "wb") as stream:
            stream.write(json.dumps(dict(environment)).encode() + b"\n")
        with os.fdopen(self._status, "rb") as stream:
            said = stream.read()
        if said:
            self._reap()
            raise CommandNotRun(int(said))

    def abandon(self) -> None:
        """End the process without executing the command."""
        os.close(self._go)
        os.close(self._status)
        self._reap()

    def _reap(self) -> None:
        os.waitpid(self.pid, 0)
        self._ended = True

    def poll(self) -> Change | None:
        """What has become of it since the last call; None: nothing, or it has ended before."""
        if self._ended:
            return None
        pid, status = os.waitpid(self.pid, os.WNOHANG | os.WUNTRACED)
        if pid == 0:
            return None
        if os.WIFSTOPPED(status):
            return Change(os.WSTOPSIG(status), stopped=True, by_signal=True)
        self._ended = True
        code = os.waitstatus_to_exitcode(status)
        return Change(code, stopped=False, by_signal=False) if code >= 0 else Change(128 - code, False, True)

    def send(self, number: int) -> None:
        """Send a signal to it, or to its group.  Nothing happens once it has ended."""
        if not self._ended:
            self._send(number)

    def _send(self, number: int) -> bool:
        """Send a signal; whether there still is a process that takes it."""
        try:
            if self._own_group:
                os.killpg(self.pid, number)
            else:
                os.kill(self.pid, number)
        except (ProcessLookupError, PermissionError):  # the latter: it runs as another user
            return False
        return True

    def kill(self) -> None:
        """Kill it and wait for its end.  It may have ended."""
        self.send(signal.SIGKILL)
        if not self._ended:
            self._reap()

    def end_group(self, deadline: float) -> None:
        """Wait until its descendants in its group have ended, until `deadline` (monotonic), then kill them."""
        if not self._own_group:
            return
        pause = threading.Event()
        while self._send(0):
            if time.monotonic() >= deadline:
                self._send(signal.SIGKILL)
                return
            pause.wait(_POLL_S)

    @property
    def has_own_group(self) -> bool:
        """Whether it is in another process group than this process, as a shell with jobs puts itself."""
        try:
            return os.getpgid(self.pid) != os.getpgrp()
        except ProcessLookupError:
            return False


def _become(argv: list[str], go: int, status: int, mask: Iterable[int], parent: int) -> NoReturn:
    """In the forked process: wait for the word, and execute the command."""
    _die_with(parent)
    with os.fdopen(go, "rb") as stream:
        said = stream.read()
    if not said.endswith(b"\n"):
        os._exit(0)
    os.environ.update(json.loads(said))
    for number in signal.valid_signals():
        # Python ignores SIGPIPE and SIGXFSZ; the rest has Python's handler, or was ignored before.
        if number in (signal.SIGPIPE, signal.SIGXFSZ) or callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    try:
        _execute(argv)
    except OSError as error:
        os.write(status, str(error.errno or errno.ENOEXEC).encode())
    os._exit(1)


def _die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent ends; Linux only.  It outlasts `exec`."""
    if sys.platform != "linux":
        return
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it ended before that
        os._exit(0)


def _execute(argv: list[str]) -> NoReturn:
    try:
        os.execvp(argv[0], argv)  # noqa: S606 - no shell is wanted
    except OSError as error:
        found = shutil.which(argv[0])
        if error.errno != errno.ENOEXEC or found is None:
            raise
        os.execv(_SHELL, [_SHELL, found, *argv[1:]])  # noqa: S606 - a fixed one
