"""A process that waits in line, and stops at a step of that for ever: it is killed there."""

from __future__ import annotations

import asyncio
import threading
from multiprocessing.connection import Connection
from typing import Any, Final

from allocator._engine.execution.wake_waits import WakeWaits
from allocator._engine.execution.wake_waits_async import AsyncWakeWaits
from tests.support import clients

__all__ = ["STEPS", "TTL_S", "wait_until_killed"]

STEPS: Final = ("entered", "listening", "granted", "claimed")
"""Where it stops: in line and not listening; listening; told that something was granted, and not asking; told."""

TTL_S: Final = 5.0


def wait_until_killed(url: str, now_ms: int, kind: str, step: str, told: Connection) -> None:
    """Wait in line for one unit, at an instant that does not pass; say when the step is reached."""

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
        client = clients.connect(kind, url, clock=lambda: now_ms)
        await client.allocate({"cpu": 1}, ttl=TTL_S, id="dead", wait=600)
        stop()

    asyncio.run(ask())
