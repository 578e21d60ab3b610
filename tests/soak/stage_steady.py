"""One process that works for a long time, with both clients: nothing grows in it, nor in the server.

Time is turned, so that hours go by: what is kept of calls that are over is let go again.  Between two stretches all is
given back, and memory, keys, connections and threads are counted; connections are cut now and then.  What the tasks
may believe, by what they were told, is never more than there is.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import redis

from allocator import Allocator, AsyncAllocator, settings
from allocator._engine.operations.defaults import Defaults
from allocator._engine.transport.urls import resolve_target
from allocator.testing import Clock
from tests.soak.report import Coverage, StageReport
from tests.soak.toiler import Task
from tests.support.beliefs import Beliefs
from tests.support.servers import Engine, Server, engines
from tests.support.waiting import wait_until

POOL: Final = "lab"
OPERATIONS: Final = 500_000
STRETCHES: Final = 10
WARM: Final = 4
"""Stretches after which nothing may grow any more: the stream of events is full, and memory has been asked for."""

TASKS: Final = 40
ROUND: Final = 400
"""Operations after which time goes on by `TICK_S`."""

TICK_S: Final = 5.0

RSS_GROWTH_MAX_KB: Final = 4096
"""14 bytes for each operation of a whole run after the warm-up."""

SERVER_GROWTH_MAX: Final = 1.05


@dataclass(frozen=True)
class Sizes:
    """What there is while nothing is held."""

    rss_kb: int
    keys: int
    server_bytes: int
    connections: int
    descriptors: int
    threads: int

    def grown(self, before: Sizes, *, whole: bool) -> list[str]:
        """What there is more of than there was; memory is judged after a whole run only."""
        found = [
            f"{name}: {getattr(before, name)} before, {getattr(self, name)} now"
            for name in ("keys", "connections", "descriptors", "threads")
            if getattr(self, name) > getattr(before, name)
        ]
        if whole and self.rss_kb > before.rss_kb + RSS_GROWTH_MAX_KB:
            found.append(f"memory: {before.rss_kb} kB before, {self.rss_kb} kB now")
        if whole and self.server_bytes > SERVER_GROWTH_MAX * before.server_bytes:
            found.append(f"the server's memory: {before.server_bytes} before, {self.server_bytes} now")
        return found


def _measure(raw: Any) -> Sizes:
    gc.collect()
    rss_pages = int(Path("/proc/self/statm").read_text().split()[1])
    return Sizes(
        rss_pages * os.sysconf("SC_PAGE_SIZE") // 1024,
        raw.dbsize(),
        # Of what is stored, rather than of the process: that has buffers, which come and go with connections.
        sum(raw.memory_usage(key, samples=0) for key in raw.scan_iter()) + raw.info("memory")["used_memory_scripts"],
        raw.info("clients")["connected_clients"],
        len(list(Path("/proc/self/fd").iterdir())),
        threading.active_count(),
    )


class Scene:
    """Both clients of one pool, and the clock that they go by."""

    def __init__(self, server: Server, seed: int) -> None:
        store, defaults = resolve_target(server.url), Defaults(POOL, "allocator", None)
        self.clock = Clock()
        self.blocking = Allocator._on(store, defaults, clock=self.clock)
        self.awaited = AsyncAllocator._on(resolve_target(server.url), defaults, clock=self.clock)
        self.raw: Any = redis.Redis.from_url(server.url, decode_responses=True)
        capacity = self.blocking.pools.create(POOL, {"cpu": 100, "memory": "200Gi"}).capacity
        self.beliefs = Beliefs(lambda: capacity, self.clock, side_by_side=True)
        self.tasks = [Task(self.awaited, seed + number, self.beliefs) for number in range(TASKS)]

    async def stretch(self, operations: int, count: Callable[[str], object]) -> None:
        """So many operations; then everything is given back."""
        for at in range(0, operations, TASKS):
            for word in await asyncio.gather(*(task.act() for task in self.tasks)):
                count(word)
            if at % ROUND < TASKS:
                self.clock.advance(TICK_S if at % (10 * ROUND) else 2 * settings.ENDED_KEEP_MS / 1000)
                count(self._block())
        self._cut()
        await asyncio.gather(*(task.give_back() for task in self.tasks))
        self.clock.advance(TICK_S)
        while self.blocking.maintenance.reclaim():
            count("reclaimed")

    def _block(self) -> str:
        """A hold, by the client that blocks."""
        with contextlib.suppress(ValueError), self.blocking.hold({"cpu": 1}, ttl=60) as hold:
            self.beliefs.told(hold.id, hold.allocation)
            self.beliefs.over(hold.allocation.fence)
            return "lost" if hold.lost else "held"
        return "denied"

    def _cut(self) -> None:
        """Every connection but the one that looks on."""
        self.raw.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

    async def close(self) -> None:
        await self.awaited.close()
        self.blocking.close()
        self.raw.close()


async def _work(scene: Scene, operations: int, report: StageReport) -> list[Sizes]:
    sizes: list[Sizes] = []
    for _ in range(STRETCHES):
        words: Counter[str] = Counter()
        await scene.stretch(operations // STRETCHES, lambda word: words.update([word]))  # noqa: B023 - within this turn
        report.counts["operations"] += words.total()
        report.counts.update({name: words[name] for name in ("granted", "held")})
        report.counts["sums_of_beliefs"] = scene.beliefs.checked
        assert not (left := scene.beliefs.believed()), f"somebody still believes in {left}"
        usage = scene.blocking.pools.usage()
        assert usage.allocations == 0, f"left over: {usage}"
        assert (verdict := scene.blocking.maintenance.audit()), verdict
        sizes.append(_measure(scene.raw))
    await scene.close()
    return sizes


def _one(engine: Engine, seed: int, scale: float, report: StageReport) -> None:
    with Server(engine) as server:
        sizes = asyncio.run(_work(Scene(server, seed), round(scale * OPERATIONS), report))
        with redis.Redis.from_url(server.url) as raw:
            wait_until(lambda: len(raw.client_list()) == 1, timeout_s=15.0, message="all connections are closed")
    warm, last = sizes[WARM - 1], sizes[-1]
    report.problems += [f"{engine}: {line}" for line in last.grown(warm, whole=scale >= 0.2)]
    report.counts.update({"kilobytes_grown": max(0, last.rss_kb - warm.rss_kb), "keys_left": last.keys})


def run(*, seed: int, scale: float, coverage: Coverage) -> StageReport:
    """On the newest engine; the counts are those of the whole run."""
    report = StageReport("steady", [seed])
    _one(engines()[0], seed, scale, report)
    return report
