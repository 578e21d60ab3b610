"""Places for connections: whatever interrupts a caller who borrows one, its place is free again."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from allocator._engine.async_lines import AsyncLines
from allocator._engine.lines import Lines

MOST = 3


class Idle:
    """A connection that is looked at for as long as it takes, as redis-py 6.4 with hiredis looks."""

    def __init__(self) -> None:
        self.looks = asyncio.Event()
        self.closed = False

    async def connect(self) -> None: ...

    async def exchange(self, packed: bytes) -> Any: ...

    async def is_silent(self) -> bool:
        self.looks.set()
        await asyncio.Event().wait()
        return True

    async def close(self) -> None:
        self.closed = True


async def test_a_cancelled_look_at_an_idle_connection_gives_its_place_back() -> None:
    """Or after as many cancellations as there are places all of them are in use for ever."""
    made: list[Idle] = []

    async def make() -> Idle:
        made.append(Idle())
        return made[-1]

    lines = AsyncLines(make, where="here", most=MOST, attempt_timeout_s=1.0)
    for _ in range(MOST + 1):
        await lines.give(await lines.take(time.monotonic() + 1.0))
        looking = asyncio.create_task(lines.take(time.monotonic() + 1.0))
        await asyncio.wait_for(made[-1].looks.wait(), 1.0)
        looking.cancel()
        await asyncio.wait((looking,))
    assert len(made) == MOST + 1
    assert all(line.closed for line in made)


class Interrupted:
    """A connection whose look, and whose end, somebody interrupts."""

    def connect(self) -> None: ...

    def can_read(self, timeout: float = 0) -> bool:
        raise KeyboardInterrupt

    def send_packed_command(self, command: Any, check_health: bool = True) -> None: ...

    def read_response(self) -> Any: ...

    def disconnect(self) -> None:
        raise KeyboardInterrupt


def test_an_interrupted_look_at_an_idle_connection_gives_its_place_back() -> None:
    """The same in a thread, by Ctrl-C."""
    lines = Lines(Interrupted, where="here", most=MOST)
    for _ in range(MOST + 1):
        lines.give(lines.take(time.monotonic()))
        with pytest.raises(KeyboardInterrupt):
            lines.take(time.monotonic())
