"""Wait for a condition, with a deadline: the only way in which a test lets time pass."""

from __future__ import annotations

import asyncio
import inspect
import os
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

T = TypeVar("T")

POLL_S: Final = 0.003
"""Seconds between two looks at the condition."""

TIMEOUT_S: Final = 60.0
"""Seconds before a wait gives up: far beyond what any condition of ours takes, even on a busy machine.  What must come
by a message and not by asking again has steps that are longer."""


def wait_until(condition: Callable[[], T], *, timeout_s: float = TIMEOUT_S, message: str = "") -> T:
    """Look every few milliseconds until the condition is true, and return what it returned.

    Raises:
        AssertionError: It was still false after `timeout_s` seconds; `message` says what was waited for.
    """
    ends = time.monotonic() + timeout_s
    pause = threading.Event()
    while not (value := condition()):
        if time.monotonic() >= ends:
            raise AssertionError(_gave_up(condition, timeout_s, message, value))
        pause.wait(POLL_S)
    return value


async def wait_until_async(condition: Callable[[], object], *, timeout_s: float = TIMEOUT_S, message: str = "") -> None:
    """The same on an event loop, which goes on turning; the condition may be a plain or a coroutine function."""
    ends = time.monotonic() + timeout_s
    while not (value := await _evaluate(condition)):
        if time.monotonic() >= ends:
            raise AssertionError(_gave_up(condition, timeout_s, message, value))
        await _pause()


def is_gone(pid: int) -> bool:
    """Whether there is no such process.  A zombie counts as gone: in a container there may be nobody to reap it."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return process_state(pid) in ("", "Z", "X")


def process_state(pid: int) -> str:
    """The letter of a process's state, such as T for stopped; empty if there is no such process."""
    if not Path("/proc/self/stat").exists():
        words = ["ps", "-o", "stat=", "-p", str(pid)]
        return subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip()[:1]
    try:  # not every Linux has `ps`
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


async def _evaluate(condition: Callable[[], object]) -> object:
    value = condition()
    return await value if inspect.isawaitable(value) else value


async def _pause() -> None:
    """Let the loop turn for one polling interval."""
    loop = asyncio.get_running_loop()
    turned: asyncio.Future[None] = loop.create_future()
    timer = loop.call_later(POLL_S, turned.set_result, None)
    try:
        await turned
    finally:
        timer.cancel()


def _gave_up(condition: Callable[[], object], timeout_s: float, message: str, value: object) -> str:
    what = message or getattr(condition, "__qualname__", repr(condition))
    return f"not within {timeout_s:g} s: {what} (last: {value!r})"
