"""A server whose clock is set an hour forward and an hour back while leases are held, and one whose clock runs fast.

Wanted: no lease that lives ends early, what nobody keeps is taken back all the same, and never more is granted than
there is, by what everybody was told and their own clocks.  Somebody asks for more than the living leave all the while,
so that whatever looks due is taken at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

import redis

from allocator import Allocation, Allocator, AsyncAllocator, AsyncHold, Hold
from tests.soak.reality import Belief, worst
from tests.soak.report import Coverage, StageReport
from tests.support.clock import ClockedServer, clocked_engines
from tests.support.servers import Engine
from tests.support.waiting import wait_until

POOL: Final = "lab"
CAPACITY: Final = 10
HOLDS: Final = 3
"""Of each kind of client; each holds one."""

FREE: Final = CAPACITY - 2 * HOLDS
"""What the living leave."""

TTL_S: Final = 3.0
HOUR_S: Final = 3600.0
LONG_TTL_S: Final = 60.0
"""Of what is taken back on the fast server: 3 seconds there."""

FACTOR: Final = 20

STEPS: Final = 12
"""On each engine, of a whole run."""

LATE_S: Final = 4.0
"""Seconds after its time within which what nobody keeps is back: a renewal notes the time once a second."""


class Holders:
    """Leases of both clients that are kept for as long as a block lasts."""

    def __init__(self, server: ClockedServer, ttl: float = TTL_S) -> None:
        self._url = server.url
        self._ttl = ttl
        self.holds: list[Hold | AsyncHold] = []
        self.since = self.until = 0.0
        self._over = threading.Event()
        self._ready = threading.Event()

    async def _hold_awaited(self) -> None:
        async with AsyncAllocator.from_url(self._url, pool=POOL) as client, contextlib.AsyncExitStack() as stack:
            for _ in range(HOLDS):
                self.holds.append(await stack.enter_async_context(client.hold({"cpu": 1}, ttl=self._ttl)))
            self._ready.set()
            await asyncio.get_running_loop().run_in_executor(None, self._over.wait)

    @contextlib.contextmanager
    def held(self, client: Allocator) -> Iterator[None]:
        """For the length of a block."""
        thread = threading.Thread(target=lambda: asyncio.run(self._hold_awaited()))
        thread.start()
        try:
            with contextlib.ExitStack() as stack:
                self.holds += [stack.enter_context(client.hold({"cpu": 1}, ttl=self._ttl)) for _ in range(HOLDS)]
                assert self._ready.wait(10.0), "the awaited holds have not begun"
                self.since = time.monotonic()
                yield
                self.until = time.monotonic()
        finally:
            self._over.set()
            thread.join()

    def lost(self) -> list[str]:
        """Those that were told that their lease is lost."""
        return [f"{hold.id}: {hold.loss}" for hold in self.holds if hold.lost]


class Scene:
    """A pool on a server with a clock, and what is seen in it."""

    def __init__(self, server: ClockedServer, client: Allocator, seen: Counter[str]) -> None:
        self.server = server
        self.client = client
        self.seen = seen
        self.raw: Any = redis.Redis.from_url(server.url, decode_responses=True)
        self.offset_s = 0.0
        self.granted = 0.0
        self.beliefs: list[Belief] = []
        client.pools.create(POOL, {"cpu": CAPACITY})

    def abandon(self, ttl: float = TTL_S, factor: float = 1.0) -> float:
        """Take all that is free and never renew it; returns when.  It is believed in until its time is over.

        Where the server's clock runs faster by that factor, nobody may believe for as long as its own clock says.
        """
        began = time.monotonic()
        one = self.client.allocate({"cpu": FREE}, ttl=ttl)
        self.beliefs.append(Belief(one.id, FREE, time.monotonic(), began + ttl / factor))
        self.seen["abandoned"] += 1
        return began

    def comes_back(self, since: float, least_s: float, most_s: float, living: Holders) -> None:
        """What was abandoned is granted to somebody else after that long, and not before; the living keep theirs."""

        def taken() -> Allocation | None:
            lost = living.lost()
            self.seen["live_leases_lost"] += len(lost)
            assert not lost, f"live leases were lost: {lost}"
            assert not self.client.try_allocate({"cpu": FREE + 1}, ttl=TTL_S), "granted what the living hold"
            found = self.client.try_allocate({"cpu": FREE}, ttl=TTL_S)
            self.granted = time.monotonic()
            usage = self.client.pools.usage().resources["cpu"]
            assert not usage.overcommitted, f"over-allocated: {usage}"
            self.seen["readings"] += 1
            return found if isinstance(found, Allocation) else None

        left_s = most_s - (time.monotonic() - since)
        found = wait_until(taken, timeout_s=left_s, message="time goes on: what nobody keeps is back")
        age_s = time.monotonic() - since
        assert age_s >= least_s, f"taken back after {age_s:.2f} s of {least_s:g} s"
        assert found is not None
        self.beliefs.append(Belief(found.id, FREE, self.granted, time.monotonic()))
        self.client.release(found)
        self.seen["came_back"] += 1

    def linger(self, seconds: float) -> None:
        """So long only the holders renew: the pool need not have noted the time just before its clock is set."""
        ends = time.monotonic() + seconds
        wait_until(lambda: time.monotonic() >= ends)

    def step(self, to_s: float, coverage: Coverage) -> None:
        """Set the server's clock; the pool must have noticed with its next calls."""
        self.server.set_clock(to_s)
        way, self.offset_s = to_s - self.offset_s, to_s
        assert not self.client.try_allocate({"cpu": CAPACITY}, ttl=TTL_S), "granted what the living hold"
        name = "gap_to_ms" if way > 0 else "clock_offset_ms"
        wait_until(lambda: self._noticed(name), message=f"the pool has noticed a step of {way:+.0f} s ({name})")
        self.seen["steps_forward" if way > 0 else "steps_back"] += 1
        coverage.saw("clock_jump")

    def _noticed(self, name: str) -> bool:
        return int(self.raw.hget(f"allocator:{{{POOL}}}:pool", name) or 0) > 0

    def close(self, living: Holders) -> None:
        """Everything has come back, the ledger is in order, and nobody ever believed in more than there is."""
        held = [Belief(hold.id, 1, living.since, living.until) for hold in living.holds]
        peak = worst([*self.beliefs, *held])
        assert peak.amount <= CAPACITY, f"{peak.amount} of {CAPACITY} were believed in at {peak.at}"
        self.seen["beliefs"] += len(held) + len(self.beliefs)
        wait_until(self._is_empty, timeout_s=3 * TTL_S, message="everything has come back")
        assert (report := self.client.maintenance.audit()), report
        self.raw.close()

    def _is_empty(self) -> bool:
        self.client.maintenance.reclaim()
        usage = self.client.pools.usage()
        return usage.allocations == 0 and not any(usage.pool.allocated.values())


@contextlib.contextmanager
def scene(engine: Engine, ttl: float, seen: Counter[str]) -> Iterator[tuple[Scene, Holders]]:
    """A pool in which six leases live for as long as the block lasts, and which is empty in the end."""
    with ClockedServer(engine) as server, Allocator.from_url(server.url, pool=POOL) as client:
        made = Scene(server, client, seen)
        holders = Holders(server, ttl)
        with holders.held(client):
            yield made, holders
            assert not (lost := holders.lost()), lost
            seen["leases_kept"] += len(holders.holds)
        made.close(holders)


def hours(engine: Engine, chance: random.Random, steps: int, seen: Counter[str], coverage: Coverage) -> None:
    """Step after step, each an hour or two either way."""
    with scene(engine, TTL_S, seen) as (at, living):
        for _ in range(steps):
            since = at.abandon()
            at.linger(chance.uniform(0.0, 1.5))
            others = [offset for offset in (-HOUR_S, 0.0, HOUR_S) if offset != at.offset_s]
            at.step(chance.choice(others), coverage)
            at.comes_back(since, TTL_S, TTL_S + LATE_S, living)


def fast(engine: Engine, seen: Counter[str], coverage: Coverage) -> None:
    """The clock leaps an hour ahead and runs twenty times as fast from there on: so do deadlines, but for the leap."""
    with scene(engine, HOUR_S, seen) as (at, living):
        time_s = LONG_TTL_S / FACTOR
        since = at.abandon(LONG_TTL_S, FACTOR)
        at.server.speed_up(HOUR_S, FACTOR)
        at.comes_back(since, 0.9 * time_s, time_s + LATE_S, living)
        coverage.saw("clock_jump")
        at.comes_back(at.abandon(LONG_TTL_S, FACTOR), 0.9 * time_s, time_s + LATE_S, living)


def run(*, seed: int, scale: float, coverage: Coverage) -> StageReport:
    """Each engine that runs under libfaketime; at a small scale one of them."""
    report = StageReport("clock", [seed], Counter(live_leases_lost=0))
    chosen = clocked_engines()
    if not chosen:
        report.skipped = "libfaketime is not installed (apt-get install faketime)"
        return report
    chance = random.Random(seed)
    for engine in chosen if scale >= 0.1 else (chance.choice(chosen),):
        try:
            hours(engine, chance, max(2, round(scale * STEPS)), report.counts, coverage)
            if scale >= 0.1:
                fast(engine, report.counts, coverage)
        except AssertionError as error:
            report.problems.append(f"{engine}: {error}"[:2000])
    return report
