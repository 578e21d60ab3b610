"""The controlling terminal that `run` shares with its command."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any, Final

if sys.platform != "win32":
    import termios

__all__ = ["Terminal"]

_DEVICE: Final = "/dev/tty"


class Terminal:
    """The terminal as it was before the command: its modes, and whether this process group was in the foreground."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._modes: list[Any] = termios.tcgetattr(descriptor)
        self._was_foreground = self.is_foreground

    @classmethod
    def open(cls) -> Terminal | None:
        """The controlling terminal; None if the process has none, as under cron or systemd."""
        try:
            descriptor = os.open(_DEVICE, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            return cls(descriptor)
        except (OSError, termios.error):  # it is hung up
            os.close(descriptor)
            return None

    @property
    def is_foreground(self) -> bool:
        """Whether this process group is the one that Ctrl-C reaches."""
        return os.tcgetpgrp(self._descriptor) == os.getpgrp()

    def restore(self, *, modes: bool) -> None:
        """Take the foreground back from a command that had process groups, as a shell has, and did not do so itself.

        Args:
            modes: also set the modes of before the command, which it could not set back.
        """
        if not self._was_foreground:
            return
        # A process in the background may change a terminal if SIGTTOU is blocked.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
        try:
            if not self.is_foreground:
                os.tcsetpgrp(self._descriptor, os.getpgrp())
            if modes:
                termios.tcsetattr(self._descriptor, termios.TCSADRAIN, self._modes)
        except (OSError, termios.error):
            pass  # it is hung up: there is nothing to restore
