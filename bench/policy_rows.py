"""Quotas and the line: what scopes and waiters cost, and how soon a waiter has what was freed."""

from __future__ import annotations

import asyncio
import itertools
import secrets
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from typing import Final

import redis

from allocator import Allocator, AsyncAllocator, Limit
from allocator._engine.operations import release
from allocator._engine.operations.allocate import ValidRequest, allocate_call
from allocator._engine.operations.durability_levels import PLAIN
from allocator.models.allocations import Request
from bench.link import linked
from bench.rows import Result, alternate, row
from bench.stage import CAPACITY, POOL, Sizes, Stage
from bench.verbs import DEFAULTS, KEYS, OWNER, REQUEST, TTL_S, command, first, live

ROOM: Final = 50
"""Allocations that fill the pool of the rows about waiting: so many are released, and so many waiters granted."""

FULL: Final = {"cpu": f"{ROOM * 1500}m", "memory": f"{ROOM * 2}Gi"}

LINK_S: Final = 0.002
"""Seconds of a round trip over the link."""

WAIT_MS: Final = 600_000

# -- scopes ------------------------------------------------------------------------------------------------------------


def _scoped(stage: Stage, calls: int, scopes: list[str | None]) -> list[bytes]:
    """Requests that take the scopes in turn."""
    named = itertools.islice(itertools.cycle(scopes), calls)
    wanted = [Request(REQUEST, ttl=TTL_S, id=secrets.token_hex(8), scope=scope) for scope in named]
    return [
        command(stage, allocate_call(KEYS, (ValidRequest.validate(one, OWNER),), PLAIN, atomic=False)) for one in wanted
    ]


def _make_scopes(stage: Stage, scopes: list[str]) -> None:
    with Allocator.from_url(stage.url, pool=POOL, owner=OWNER, allow_eviction=True) as allocator:
        for scope in scopes:
            allocator.quotas.set(scope, {"cpu": Limit("1M", "1M"), "memory": Limit("1Pi", "1Pi")})


def _granted(stage: Stage, calls: int, scopes: list[str | None]) -> float:
    stage.fresh()
    _make_scopes(stage, [scope for scope in scopes if scope is not None])
    return stage.cpu_us(Stage.EMPTY, _scoped(stage, calls, scopes), "granted") / calls


@row("scope", "allocate: none v. with a scope three deep", at_least=0.6, aim=0.75)
def scope(stage: Stage, sizes: Sizes) -> Result:
    """Three quotas with limits are read and written beside the pool."""
    return alternate(
        sizes.rounds,
        ("plain", "scope"),
        plain=lambda: _granted(stage, sizes.calls, [None]),
        scope=lambda: _granted(stage, sizes.calls, ["a/b/c"]),
    )


@row("scopes", "allocate: 10,000 scopes with live use v. 10", at_least=1.15, aim=1.05, smaller_is_better=True)
def scopes(stage: Stage, sizes: Sizes) -> Result:
    """A decision costs by its depth, not by how many scopes there are."""
    many: list[str | None] = [f"team-{at}" for at in range(sizes.scopes)]
    few = many[:10]
    stage.fresh()
    _make_scopes(stage, [str(name) for name in many])
    stage.send(Stage.EMPTY, _scoped(stage, len(many), many))
    stage.keep()
    stage.fresh()
    _make_scopes(stage, [str(name) for name in few])

    def spent(db: int, names: list[str | None]) -> Callable[[], float]:
        def measure() -> float:
            commands = _scoped(stage, sizes.calls, names)
            return stage.cpu_us(db, commands, "granted") / sizes.calls

        return measure

    try:
        return alternate(
            sizes.rounds, ("many", "few"), many=spent(Stage.FULL, many[: sizes.calls]), few=spent(Stage.EMPTY, few)
        )
    finally:
        stage.client(Stage.FULL).flushdb(asynchronous=False)


# -- waiting -----------------------------------------------------------------------------------------------------------


def _queue(stage: Stage, count: int, requests: Iterator[dict[str, str]], now_ms: int) -> None:
    """Put so many requests into the line, at this instant."""
    wanted = [
        ValidRequest.validate(Request(next(requests), ttl=TTL_S, id=secrets.token_hex(8)), OWNER)._replace(
            wait_ms=WAIT_MS
        )
        for _ in range(count)
    ]
    # At one instant, so that none of them falls silent while the others come.
    calls = [command(stage, allocate_call(KEYS, (one,), PLAIN, atomic=False), now_ms) for one in wanted]
    replies = stage.send(Stage.EMPTY, calls)
    assert {reply[0][0] for reply in replies} == {"waiting"}, replies[0]


def _alike() -> Iterator[dict[str, str]]:
    return itertools.repeat(REQUEST)


def _different() -> Iterator[dict[str, str]]:
    """Requests of which each takes the room of one, and no two are equal."""
    return ({"cpu": "1500m", "memory": str((2 << 30) - at * 4096)} for at in itertools.count())


def _served(stage: Stage, waiting: int, requests: Callable[[], Iterator[dict[str, str]]]) -> Callable[[], float]:
    """Microseconds of a release that grants one, with at least so many waiting."""

    def measure() -> float:
        stage.fresh(capacity=FULL)
        held = live(stage, ROOM)
        now_ms = max(one.one.granted_ms for one in held)
        _queue(stage, waiting + ROOM, requests(), now_ms)
        calls = [command(stage, first(release.release(DEFAULTS, one.one)), now_ms) for one in held]
        spent = stage.cpu_us(Stage.EMPTY, calls, "released") / ROOM
        left = int(stage.client().zcard(f"{KEYS.base}waiting"))
        assert left == waiting, f"{waiting + ROOM - left} of {ROOM} were granted"
        return spent

    return measure


@row("waiting", "a release that grants: 10,000 waiting v. one", at_least=2.0, aim=1.3, smaller_is_better=True)
def waiting(stage: Stage, sizes: Sizes) -> Result:
    """All ask for the same; at most 50 wait on the other side, the last of them alone."""
    return alternate(
        max(3, sizes.rounds // 3),
        ("many", "few"),
        many=_served(stage, sizes.waiting, _alike),
        few=_served(stage, 0, _alike),
    )


@row("waiting-mixed", "the same, of which no two ask for the same", at_least=2.0, aim=1.3, smaller_is_better=True)
def waiting_mixed(stage: Stage, sizes: Sizes) -> Result:
    """Each release looks at the first 32."""
    return alternate(
        max(3, sizes.rounds // 3),
        ("many", "few"),
        many=_served(stage, sizes.waiting, _different),
        few=_served(stage, 0, _different),
    )


@row("woken", "release to the waiter's return, in round trips", at_least=3.0, aim=2.0, smaller_is_better=True)
def woken(stage: Stage, sizes: Sizes) -> Result:
    """On this machine, where a round trip takes no time, so that the processors' time is what is seen."""
    return _woken(stage, sizes, stage.url)


@row("woken-link", "the same, over a link of 2 ms", at_least=3.0, aim=2.0, smaller_is_better=True)
def woken_link(stage: Stage, sizes: Sizes) -> Result:
    """As between two sites of a region: the release, its message, and the waiter's question are two and a half."""
    with linked(stage.url, LINK_S / 2) as url:
        return _woken(stage, sizes, url)


def _woken(stage: Stage, sizes: Sizes, url: str) -> Result:
    """One blocking client each, in two threads; a round trip is a PING of redis-py."""
    stage.fresh(capacity={"cpu": "1500m", "memory": "2Gi"})
    ping = redis.Redis.from_url(url)
    with (
        Allocator.from_url(url, pool=POOL, owner="first", allow_eviction=True) as one,
        Allocator.from_url(url, pool=POOL, owner="second", allow_eviction=True) as other,
    ):
        turns = itertools.cycle([(one, other), (other, one)])
        held = [one.allocate(REQUEST, ttl=TTL_S)]

        def returned() -> float:
            times: list[float] = []
            for holder, waiter in itertools.islice(turns, 20):
                times.append(_handed_over(stage, holder, waiter, held))
            return statistics.median(times)

        def round_trip() -> float:
            times: list[float] = []
            for _ in range(200):
                began = time.perf_counter()
                ping.ping()
                times.append(time.perf_counter() - began)
            return statistics.median(times)

        result = alternate(max(3, sizes.rounds // 3), ("returned", "ping"), returned=returned, ping=round_trip)
        one.release(held[0])
        ping.close()
        return result


def _handed_over(stage: Stage, holder: Allocator, waiter: Allocator, held: list[object]) -> float:
    """Seconds from the release to the return of the other's `allocate`."""
    arrived: list[float] = []

    def wait() -> None:
        held.append(waiter.allocate(REQUEST, ttl=TTL_S, wait=30))
        arrived.append(time.perf_counter())

    thread = threading.Thread(target=wait)
    thread.start()
    while not _channels(stage):
        time.sleep(0.001)
    time.sleep(0.02)  # it has asked again by then
    began = time.perf_counter()
    holder.release(held.pop(0))  # type: ignore[arg-type]
    thread.join()
    return arrived[0] - began


@row("slot", "200 waiters on one freed slot: wake-ups a grant", at_least=1.0, aim=1.0, smaller_is_better=True)
def slot(stage: Stage, sizes: Sizes) -> Result:
    """As many return as were granted, though each listens."""
    tasks = sizes.waiters
    stage.fresh(capacity={"cpu": "1500m", "memory": "2Gi"})
    with asyncio.Runner() as runner:
        return runner.run(_free_one(stage, tasks))


async def _free_one(stage: Stage, tasks: int) -> Result:
    async with AsyncAllocator.from_url(stage.url, pool=POOL, owner=OWNER, allow_eviction=True) as allocator:
        held = await allocator.allocate(REQUEST, ttl=TTL_S)
        waiting = [asyncio.create_task(allocator.allocate(REQUEST, ttl=TTL_S, wait=60)) for _ in range(tasks)]
        async with asyncio.timeout(30):
            while len(_channels(stage)) < tasks:  # noqa: ASYNC110 - the server has no event for it
                await asyncio.sleep(0.01)
        granted_before = _granted_so_far(stage)
        await allocator.release(held)
        done, others = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED, timeout=4)
        granted = _granted_so_far(stage) - granted_before
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        for task in done:
            await allocator.release(task.result())
        assert granted == 1
        return Result(len(done) / granted, 1.0, 1.0, {"granted": float(granted), "returned": float(len(done))})


def _channels(stage: Stage) -> list[str]:
    found: list[str] = stage.client().execute_command("PUBSUB", "SHARDCHANNELS")  # type: ignore[no-untyped-call]
    return found


def _granted_so_far(stage: Stage) -> int:
    return sum(1 for _, event in stage.client().xrange(f"{KEYS.base}events") if event["kind"] == "granted")


# -- the same work as another scheduler --------------------------------------------------------------------------------

PEER_A_SECOND: Final = 43.0
"""Workloads a second that Kueue's published baseline admits: 15,000 of 30 queues in five cohorts."""

COHORTS, QUEUES = 5, 6
CLASSES: Final = (("20", 200, 50), ("5", 100, 100), ("1", 50, 350))
"""CPUs, priority, and how many of each queue."""

AT_A_TIME: Final = 20
"""Workloads of a queue that ask at the same time."""


@row("kueue", "15,000 workloads, 30 queues that borrow, v. 43 a second", at_least=40.0, aim=200.0)
def workloads(stage: Stage, sizes: Sizes) -> Result:
    """Each waits in line until it is admitted, and ends at once; one asyncio client asks as fast as it can."""
    stage.fresh(capacity={"cpu": str(COHORTS * QUEUES * 20), "memory": CAPACITY["memory"]})
    names = [f"cohort-{one}/queue-{other}" for one in range(COHORTS) for other in range(QUEUES)]
    with Allocator.from_url(stage.url, pool=POOL, owner=OWNER, allow_eviction=True) as allocator:
        for one in range(COHORTS):
            allocator.quotas.set(f"cohort-{one}", {"cpu": Limit(str(QUEUES * 20), 0)})
        for name in names:
            allocator.quotas.set(name, {"cpu": Limit("20", "100")})
    began = time.perf_counter()
    with asyncio.Runner() as runner:
        count = runner.run(_admit_all(stage, names, sizes.part))
    a_second = count / (time.perf_counter() - began)
    figure = a_second / PEER_A_SECOND
    return Result(figure, figure, figure, {"workloads a second": a_second})


async def _admit_all(stage: Stage, names: list[str], part: int) -> int:
    async with AsyncAllocator.from_url(stage.url, pool=POOL, owner=OWNER, allow_eviction=True) as allocator:
        work = [(cpu, priority) for cpu, priority, count in CLASSES for _ in range(max(1, count // part))]
        queues = [iter(work) for _ in names]

        async def admit(name: str, queue: Iterator[tuple[str, int]]) -> int:
            count = 0
            for cpu, priority in queue:
                request = {"cpu": cpu}
                one = await allocator.allocate(request, ttl=TTL_S, scope=name, wait=600, priority=priority)
                await allocator.release(one)
                count += 1
            return count

        tasks = [admit(name, queue) for name, queue in zip(names, queues, strict=True) for _ in range(AT_A_TIME)]
        return sum(await asyncio.gather(*tasks))
