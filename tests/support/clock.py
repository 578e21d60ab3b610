"""A server whose clock a test sets: it runs under libfaketime, which reads the offset from a file at every look.

Only what the server takes for the time of day is turned; its monotonic clock, and the clocks of everybody else, go on
as they are.  Debian's redis-server hangs under libfaketime (its allocator asks for the time before the library is
ready), so this is for the Valkeys.
"""

from __future__ import annotations

import functools
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from allocator._engine.servers.process import ask
from tests.support.servers import Engine, Server, engines
from tests.support.waiting import wait_until

__all__ = ["ClockedServer", "clocked_engines", "library"]

NEAR_S: Final = 1.0
"""Seconds between the time that was set and the one that the server tells when it has noticed."""


@functools.cache
def library() -> Path | None:
    """The preloaded library; None where it is not installed (Debian's package is called faketime)."""
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1")) if shutil.which("faketime") else []
    return found[0] if found else None


def clocked_engines() -> tuple[Engine, ...]:
    """The engines that run under it on this machine; none where it is missing."""
    return tuple(engine for engine in engines() if engine is not Engine.REDIS7) if library() else ()


class ClockedServer(Server):
    """A server with a clock of its own."""

    def __init__(self, engine: Engine | None = None, *, options: Mapping[str, str] | None = None) -> None:
        """Describe it; its clock is right to begin with."""
        super().__init__(engine or clocked_engines()[0], options=options)
        self._file = self.folder / "clock"
        self._write("+0")

    def _write(self, what: str) -> None:
        """At once: the server must not read half of it."""
        fresh = self._file.with_suffix(".new")
        fresh.write_text(f"{what}\n")
        fresh.replace(self._file)

    def _command_line(self) -> list[str]:
        settings = {
            "LD_PRELOAD": str(library()),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
        return ["env", *(f"{name}={value}" for name, value in settings.items()), *super()._command_line()]

    def now(self) -> float:
        """Seconds since 1970 by the server's clock."""
        with_microseconds = ask(self.socket, "EVAL", "local t = redis.call('TIME') return t[1] .. '.' .. t[2]", "0")
        seconds, _, micros = with_microseconds.partition(".")
        return int(seconds) + int(micros) / 1e6

    def set_clock(self, offset_s: float) -> None:
        """Step to so many seconds ahead of the real time (behind it: less than 0); returns once the server knows."""
        self._write(f"{offset_s:+.3f}")
        wait_until(
            lambda: abs(self.now() - time.time() - offset_s) < NEAR_S, message=f"the clock is {offset_s:+.0f} s ahead"
        )

    def speed_up(self, offset_s: float, factor: int) -> None:
        """Leap so far ahead, and from there on let time pass so many times as fast as it does."""
        least = self.now() + offset_s
        self._write(f"{offset_s:+.3f} x{factor}")
        wait_until(lambda: self.now() >= least, message="the clock has leapt, and runs faster")
