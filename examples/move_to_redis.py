"""A controller moves from memory to Redis without a stop: `python -m examples.move_to_redis`.

The program plays each step of docs/adopting.md with labs that run meanwhile: both stores side by side, an outage of the
new one, the cut-over, a second replica, the way back, and forward again.
"""

from __future__ import annotations

import asyncio

from allocator import AsyncAllocator
from allocator.testing import PrivateServer
from examples.side_by_side import POOL, Data, InMemoryAllocator, SideBySide, Stage
from examples.support import check_books_of

TIMEOUT_S = 30.0
"""Seconds; for a busy machine."""

NOBODY = "redis://127.0.0.1:1/0"
"""Where no server listens."""

LIMITS = {"cpu": "2.0", "memory": "4Gi"}


async def denied(allocator: SideBySide, name: str) -> bool:
    """Whether a lab of two cores is refused."""
    try:
        await allocator.allocate_resources(LIMITS, allocation_id=name)
    except ValueError:
        return True
    return False


async def main(server: PrivateServer) -> None:
    """Labs run through every step; at the end Redis has given exactly what the labs had."""
    both = SideBySide(InMemoryAllocator(8.0, 16384), server.url, timeout=TIMEOUT_S)
    labs: dict[str, Data] = {}

    async def start(name: str) -> None:
        labs[name] = await both.allocate_resources(LIMITS, allocation_id=name)

    async def end(name: str) -> None:
        await both.release_resources(labs.pop(name))

    await start("lab_1")
    await start("lab_2")
    await both.keep(labs)
    print("memory: two labs run; nothing was sent to Redis")

    both.stage = Stage.BOTH
    await both.keep(labs)
    await start("lab_3")
    await end("lab_1")
    await both.keep(labs)
    assert set(await both.shared.active_allocations()) == set(labs) == {"lab_2", "lab_3"}
    reachable, both.native = both.native, AsyncAllocator.from_url(NOBODY, pool=POOL, timeout=0.2)
    await start("lab_4")
    await both.keep(labs)
    await both.native.close()
    both.native = reachable
    await both.keep(labs)
    assert set(await both.shared.active_allocations()) == set(labs)
    print("both: Redis has what runs, also after an outage that no lab noticed")

    labs |= await both.cut_over()
    await start("lab_5")
    other = SideBySide(InMemoryAllocator(8.0, 16384), server.url, timeout=TIMEOUT_S)
    other.stage = Stage.REDIS
    assert await denied(both, "lab_6")
    assert await denied(other, "lab_6")
    await other.release_resources(labs.pop("lab_2"))
    assert not await denied(both, "lab_6")
    labs["lab_6"] = (await both.shared.active_allocations())["lab_6"]
    await both.keep(labs)
    print("redis: two replicas share the pool; four labs fit, and no fifth")

    await other.close()
    await both.way_back()
    assert await denied(both, "lab_7")
    await end("lab_3")
    await both.keep(labs)
    assert set(await both.shared.active_allocations()) == set(labs)
    print("way back: the memory has what runs, and decides")

    labs |= await both.cut_over()
    for name in list(labs):
        await end(name)
    await both.close()
    grants = check_books_of(server.url, POOL)
    assert set(grants) == {f"lab_{number}" for number in range(2, 7)} | {"lab_1"}
    print("forward again, and all labs ended: nothing is left")


if __name__ == "__main__":
    with PrivateServer() as started:
        asyncio.run(main(started))
