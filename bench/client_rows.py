"""What the clients reach on the wall clock, beside redis-py on the same server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import redis
import redis.asyncio

from allocator import Allocator, AsyncAllocator
from bench.rows import Result, alternate, row
from bench.stage import POOL, Sizes, Stage
from bench.verbs import ALLOCATE, OWNER, REQUEST, TTL_S, template


@row("async", "50 concurrent async allocate v. redis.asyncio evalsha", at_least=4.0, aim=6.0)
def awaited(stage: Stage, sizes: Sizes) -> Result:
    """Tasks that each allocate again and again on one loop; the same script, keys and arguments on both sides."""
    ALLOCATE.commands(stage, 1)  # so that the server knows the script
    fresh_words = template()
    with asyncio.Runner() as runner:
        ours = AsyncAllocator.from_url(stage.url, pool=POOL, owner=OWNER, allow_eviction=True)
        theirs = redis.asyncio.Redis.from_url(stage.url, decode_responses=True)

        async def allocate() -> None:
            await ours.allocate(REQUEST, ttl=TTL_S)

        async def evalsha() -> None:
            _, sha, keys, *rest = fresh_words()
            await theirs.evalsha(str(sha), int(keys), *rest)

        def per_second(call: Callable[[], Awaitable[None]]) -> Callable[[], float]:
            def measure() -> float:
                stage.fresh()
                return runner.run(_together(call, sizes))

            return measure

        try:
            return alternate(sizes.rounds, ("ours", "theirs"), ours=per_second(allocate), theirs=per_second(evalsha))
        finally:
            runner.run(_close(ours, theirs))


async def _together(call: Callable[[], Awaitable[None]], sizes: Sizes) -> float:
    """Calls a second of so many tasks."""

    async def work() -> None:
        for _ in range(sizes.awaited // sizes.tasks):
            await call()

    began = time.perf_counter()
    await asyncio.gather(*[work() for _ in range(sizes.tasks)])
    return sizes.awaited / (time.perf_counter() - began)


async def _close(ours: AsyncAllocator, theirs: redis.asyncio.Redis) -> None:
    await ours.close()
    await theirs.aclose()


@row("sync", "sync allocate v. redis-py ping(), calls a second", at_least=0.5, aim=0.65)
def blocking(stage: Stage, sizes: Sizes) -> Result:
    """One caller, one call at a time."""
    theirs = redis.Redis.from_url(stage.url)
    with Allocator.from_url(stage.url, pool=POOL, owner=OWNER, allow_eviction=True) as ours:

        def per_second(call: Callable[[], object]) -> Callable[[], float]:
            def measure() -> float:
                stage.fresh()
                call()
                began = time.perf_counter()
                for _ in range(sizes.blocking):
                    call()
                return sizes.blocking / (time.perf_counter() - began)

            return measure

        try:
            return alternate(
                sizes.rounds,
                ("allocate", "ping"),
                allocate=per_second(lambda: ours.allocate(REQUEST, ttl=TTL_S)),
                ping=per_second(theirs.ping),
            )
        finally:
            theirs.close()
