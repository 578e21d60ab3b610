"""A process that waits in line, and stops at a step of that for ever: it is killed there."""

from __future__ import annotations

import asyncio
import threading
from multiprocessing.connection import Connection
from typing import Any, Final

from allocator import Allocator, AsyncAllocator
from allocator._engine.execution.wake_waits import WakeWaits
from allocator._engine.execution.wake_waits_async import AsyncWakeWaits

__all__ = ["STEPS", "TTL_S", "wait_until_killed"]

STEPS: Final = ("entered", "listening", "granted", "claimed")
"""Where it stops: in line and not listening; listening; told that something was granted, and not asking; told."""

TTL_S: Final = 5.0


def wait_until_killed(url: str, pool: str, kind: str, step: str, told: Connection) -> None:
    """Wait in line for one unit; say when the step is reached."""

    def stop() -> None:
        told.send(step)
        threading.Event().wait()

    if kind == "sync":
        plain = WakeWaits.wake

        def wake(waits: WakeWaits, what: Any) -> bool:
            if step == "entered":
                stop()
            woken = plain(waits, what)
            if woken and step == "granted":
                stop()
            return woken

        WakeWaits.wake = wake  # type: ignore[method-assign]
        Allocator.from_url(url, pool=pool).allocate({"cpu": 1}, ttl=TTL_S, id="dead", wait=600)
    else:
        awaited = AsyncWakeWaits.wake

        async def awake(waits: AsyncWakeWaits, what: Any) -> bool:
            if step == "entered":
                stop()
            woken = await awaited(waits, what)
            if woken and step == "granted":
                stop()
            return woken

        AsyncWakeWaits.wake = awake  # type: ignore[method-assign]

        async def ask() -> None:
            await AsyncAllocator.from_url(url, pool=pool).allocate({"cpu": 1}, ttl=TTL_S, id="dead", wait=600)
            stop()

        asyncio.run(ask())
    stop()
