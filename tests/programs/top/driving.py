"""`top` headless: its text as rows, and waiting for what it shows."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

from textual.pilot import Pilot

from allocator import Allocator, AsyncAllocator
from allocator.apps.top.app import TopApp
from allocator.apps.top.grid import Grid

__all__ = ["Lab", "Screen", "fill", "running"]


@dataclass(frozen=True)
class Lab:
    """A pool, a client that fills it, and what connects `top` to it."""

    client: Allocator
    connect: Callable[[], AsyncAllocator]


def fill(client: Allocator, count: int = 3) -> None:
    """Allocations job-1 of owner ctl-1, and so on."""
    for number in range(1, count + 1):
        client.allocate({"cpu": number, "memory": "1Gi"}, ttl=600, id=f"job-{number}", owner=f"ctl-{number}")


class Screen:
    """A running `top`, as a person sees it."""

    def __init__(self, app: TopApp, pilot: Pilot[None]) -> None:
        self.app = app
        self.pilot = pilot

    @property
    def text(self) -> str:
        """All rows of the screen, also of what stands over the tables."""
        width, height = self.app.size
        strips = self.app.screen._compositor.render_strips()
        rows = ["".join(segment.text for segment in strip) for strip in strips]
        assert len(rows) == height
        assert all(len(row) <= 2 * width for row in rows)
        return "\n".join(rows)

    @property
    def said(self) -> str:
        """The screen and its notes in one row: longer sentences are wrapped."""
        notes = [one.message for one in self.app._notifications]
        return " ".join(" ".join([self.text, *notes]).split())

    @property
    def grid(self) -> Grid:
        """The table."""
        found: Grid = self.app.main(Grid, "#grid")
        return found

    async def press(self, *keys: str) -> None:
        """Press keys."""
        await self.pilot.press(*keys)

    async def until(self, said: str | Callable[[], Any], *, timeout_s: float = 30.0) -> None:
        """Wait for a text, or a condition."""
        ends = time.monotonic() + timeout_s
        while not (said in self.said if isinstance(said, str) else said()):
            assert time.monotonic() < ends, f"{said}\n{self.text}"
            await self.pilot.pause(0.02)

    def ids(self) -> list[str]:
        """The ids of the rows."""
        return [one.id for one in self.grid.items]


@contextlib.asynccontextmanager
async def running(
    connect: Callable[[], AsyncAllocator], pool: str, *, size: tuple[int, int] = (80, 24), **more: Any
) -> AsyncIterator[Screen]:
    """`top` on a pool, once it has read it."""
    app = TopApp(connect, pool, "redis://example", timeout_s=5.0, **more)
    async with app.run_test(size=size, notifications=True) as pilot:
        screen = Screen(app, pilot)
        await screen.until(lambda: app.feed.reading is not None or app.feed.trouble is not None)
        yield screen
