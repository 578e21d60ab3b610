"""The picture of `resource-allocator top`, `docs/pictures/top.svg`: `python -m tools.pictures.top` draws it.

The pool is one of a store in this process whose clock stands still, so that each run draws the same.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from allocator import AsyncAllocator, Limit
from allocator.apps.top.app import TopApp
from allocator.apps.top.reading import HISTORY_S
from allocator.models.events import Event
from allocator.models.pools import Usage
from allocator.testing import Clock, MemoryStore, memory_async_allocator
from tools.pictures.terminal import described

__all__ = ["FILE", "draw", "main", "scene"]

FILE: Final = Path(__file__).parents[2] / "docs" / "pictures" / "top.svg"

SAID: Final = (
    "Bars of the pool with a minute of history, the allocations with their owners and deadlines, the latest events."
)

SIZE: Final = (110, 34)
"""Columns and rows of the terminal."""

POOL: Final = "lab"

NOW_S: Final = 100_000.0
"""The monotonic time, which stands still, too."""

TEAMS: Final = {"team-a": (24, 96, 2), "team-a/alice": (8, 32, 1), "team-a/bob": (8, 32, 1), "team-b": (24, 96, 4)}
"""Scope -> its share of cpu, memory in Gi, and GPUs."""

GRANTED: Final = (
    # minutes ago, id, owner, scope, cpu, memory in Gi, GPUs, time to live in minutes (0: pinned)
    (312, "shell-gateway", "ops", None, "500m", 2, 0, 0),
    (174, "os-101/alice-4f2a", "replica-1", "team-a/alice", "4", 16, 1, 240),
    (95, "os-101/alice-9c01", "replica-2", "team-a/alice", "6", 24, 0, 180),
    (71, "os-101/bob-77d3", "replica-1", "team-a/bob", "4", 16, 1, 90),
    (64, "ml-301/train-resnet", "replica-3", "team-b", "16", 64, 4, 360),
    (42, "ml-301/eval-7", "replica-2", "team-b", "6", 24, 1, 60),
    (21, "db-201/group-3", "replica-3", "team-a", "6", 24, 0, 120),
    (9, "net-110/router-12", "replica-1", "team-a/bob", "2500m", 6, 0, 45),
)

WAITING: Final = (
    ("ml-301/train-bert", "replica-3", "team-b", "16", 64, 4, 10),
    ("os-101/alice-11ab", "replica-2", "team-a/alice", "8", 16, 0, 0),
    ("db-201/nightly", "replica-1", None, "14", 24, 0, -5),
)

PATH: Final = (38, 44, 44, 51, 58, 58, 66, 66, 74, 71, 63, 63, 70, 78, 82)
"""The percentages of cpu in the last minute; the others follow from them."""


async def _fill(client: AsyncAllocator, clock: Clock) -> None:
    """Quotas, and allocations each granted at its time."""
    clock.advance(-GRANTED[0][0] * 60)
    for scope, (cpu, memory, gpus) in TEAMS.items():
        limits = {"cpu": Limit(cpu, 8), "memory": Limit(f"{memory}Gi", "32Gi"), "nvidia.com/gpu": Limit(gpus, 1)}
        await client.quotas.set(scope, limits)
    before = GRANTED[0][0]
    for minutes, name, owner, scope, cpu, memory, gpus, ttl in GRANTED:
        clock.advance((before - minutes) * 60)
        before = minutes
        wanted: dict[str, str | int] = {"cpu": cpu, "memory": f"{memory}Gi"} | (
            {"nvidia.com/gpu": gpus} if gpus else {}
        )
        await client.allocate(wanted, ttl=ttl * 60 or None, id=name, owner=owner, scope=scope)
    clock.advance(before * 60)


@contextlib.asynccontextmanager
async def scene() -> AsyncIterator[TopApp]:
    """The program on the pool of the picture; `run_test` runs it."""
    clock = Clock()
    capacity = {"cpu": 56, "memory": "256Gi", "nvidia.com/gpu": 8}
    store = MemoryStore(clock=clock)

    def connect() -> AsyncAllocator:
        return memory_async_allocator(capacity, pool=POOL, store=store, owner="top")

    async with connect() as client:
        await _fill(client, clock)
        waits: list[asyncio.Task[object]] = []
        for at, (name, owner, scope, cpu, memory, gpus, priority) in enumerate(WAITING, 1):
            wanted: dict[str, str | int] = {"cpu": cpu, "memory": f"{memory}Gi", "nvidia.com/gpu": gpus}
            asked = {resource: amount for resource, amount in wanted.items() if amount}
            wait = client.allocate(asked, ttl=3600, id=name, owner=owner, scope=scope, priority=priority, wait=3600)
            waits.append(asyncio.create_task(wait))
            async with asyncio.timeout(10):
                while (await client.pools.usage()).waiting < at:  # noqa: ASYNC110 - nothing else says so
                    await asyncio.sleep(0.01)
        try:
            yield TopApp(
                connect, POOL, "redis://redis.example:6379/0", timeout_s=5.0, clock_s=lambda: NOW_S,
                here_s=lambda: clock() / 1000,
            )  # fmt: skip
        finally:
            for wait_of in waits:
                wait_of.cancel()
            await asyncio.gather(*waits, return_exceptions=True)


def remember(app: TopApp, usage: Usage) -> None:
    """A minute of history before the reading."""
    for at, share in enumerate(PATH):
        rows = {
            name: type(row)(row.capacity, row.limit * min(100, share + 7 * offset) // 100)
            for offset, (name, row) in enumerate(usage.resources.items())
        }
        before_s = HISTORY_S * (len(PATH) - at) / len(PATH)
        app.feed.history.add(NOW_S - before_s, Usage(usage.pool, rows, 0, 0, 0, usage.read_ms))


def retime(events: list[Event], now_ms: int) -> list[Event]:
    """The events a few seconds apart: the store gives them the time of this machine."""
    count = len(events)
    return [Event(f"{now_ms - (count - at) * 7300}-0", one.kind, one.fields) for at, one in enumerate(events)]


async def draw(keys: tuple[str, ...] = (), size: tuple[int, int] = SIZE) -> str:
    """The picture as SVG, after these keys."""
    async with scene() as app, app.run_test(size=size) as pilot:
        while app.feed.reading is None or not app.feed.events:
            await pilot.pause(0.01)
        reading = app.feed.reading
        app.feed.history.clear()
        remember(app, reading.usage)
        app.feed.history.add(NOW_S, reading.usage)
        found = retime(list(app.feed.events), reading.usage.read_ms)
        app.feed.events.clear()
        app.feed.events.extend(found)
        app.redraw()
        for key in keys:
            await pilot.press(key)
        await pilot.pause()
        title = f"resource-allocator top {POOL}"
        return described(app.export_screenshot(title=title), title, SAID)


def main() -> None:
    """Draw the picture of the documents."""
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(asyncio.run(draw()), encoding="utf-8")


if __name__ == "__main__":
    main()
