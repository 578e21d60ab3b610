"""What the examples with processes share: a process that can be killed, and the audit at the end.

It is no program, and nothing that a program of yours needs.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from typing import Final

from redis import Redis

from allocator import Allocator

WAIT_S: Final = 30.0
"""Seconds after which a condition that does not come true fails the example."""

EVENTS_MAX: Final = 500
"""More than any example writes."""


def connect(url: str) -> Redis:
    """A client of redis-py for what the example itself stores."""
    return Redis.from_url(url, socket_timeout=60)  # pyright: ignore[reportUnknownMemberType] - its options


def wait_for(condition: Callable[[], bool], what: str) -> None:
    """Return once the condition is true.

    Raises:
        AssertionError: It was still false after `WAIT_S` seconds.
    """
    ends, pause = time.monotonic() + WAIT_S, threading.Event()
    while not condition():
        assert time.monotonic() < ends, f"not within {WAIT_S:g} s: {what}"
        pause.wait(0.02)


@contextmanager
def process(*arguments: str, environment: Mapping[str, str] | None = None) -> Generator[subprocess.Popen[bytes]]:
    """Run `python -m ARGUMENTS` with all that it starts as a group of processes, which is killed at the end."""
    started = subprocess.Popen(
        [sys.executable, "-m", *arguments], env={**os.environ, **(environment or {})}, start_new_session=True
    )
    try:
        yield started
    finally:
        kill_group(started)


def kill_group(started: subprocess.Popen[bytes]) -> None:
    """SIGKILL the process and all that it has started, as the kernel does when memory is short."""
    with suppress(ProcessLookupError):
        os.killpg(started.pid, signal.SIGKILL)
    started.wait(WAIT_S)


def check_books(allocator: Allocator) -> dict[str, int]:
    """Go through the events of the client's pool: never more than its capacity, no id twice at once, nothing left.

    Returns:
        How often each id was granted.
    """
    capacity = allocator.pools.get().capacity
    taken: dict[str, int] = {}
    live: set[str] = set()
    grants: dict[str, int] = {}
    for event in reversed(allocator.events.list(limit=EVENTS_MAX)):
        held = event.fields.get("id", "")
        if event.kind in {"granted", "adopted"}:
            assert held not in live, f"{held} was granted twice at once"
            live.add(held)
            grants[held] = grants.get(held, 0) + 1
            sign = 1
        elif event.kind in {"released", "reclaimed"}:
            live.remove(held)
            sign = -1
        else:
            continue
        for name, amount in event.amounts.items():
            taken[name] = taken.get(name, 0) + sign * amount
            assert 0 <= taken[name] <= capacity[name], f"{taken[name]} of {capacity[name]} {name}: {event}"
    assert not live, live
    assert not any(taken.values()), taken
    assert allocator.pools.usage().allocations == 0
    assert allocator.maintenance.audit()
    return grants


def check_books_of(url: str, pool: str) -> dict[str, int]:
    """`check_books` of a pool, by a client made for it."""
    with Allocator.from_url(url, pool=pool) as allocator:
        return check_books(allocator)
