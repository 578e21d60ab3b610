"""The test tools, as a type checker has to read them."""

from __future__ import annotations

from typing import assert_type

from allocator import Allocator, AsyncAllocator, ResourceAllocator, ResourceUnits
from allocator.testing import (
    Clock,
    Faults,
    InjectedFault,
    MemoryStore,
    faults,
    memory_allocator,
    memory_async_allocator,
    memory_resource_allocator,
    wait_undone,
    wait_undone_async,
)


def test_tools(store: MemoryStore, clock: Clock) -> None:
    plain = memory_allocator({"cpu": 4}, store=store, whole_units=["gpu"], recovery_grace=60, max_ttl=50, owner="me")
    assert_type(plain, Allocator)
    units = {"cpu": ResourceUnits(step=1)}
    assert_type(memory_async_allocator({"cpu": 4}, store="shared", durability="memory", units=units), AsyncAllocator)
    assert_type(memory_resource_allocator(4, 8, capacity={"gpu": 2}, clock=clock, ttl=60), ResourceAllocator)
    assert_type(store.client(pool="test"), Allocator)
    assert_type(store.clock, Clock | None)
    switch = faults(plain)
    assert_type(switch, Faults)
    with switch.down(attempts=2) as refused, switch.lost_reply("allocate", times=2) as lost, switch.full("cpu"):
        assert_type(refused, InjectedFault)
        assert_type(lost.fired, int)
    with switch.unknown(executed=False), switch.recovering() as nothing:
        assert_type(nothing, None)
    switch.lost_reply("grant")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    assert_type(wait_undone(plain), bool)


async def wait(awaited: AsyncAllocator, original: ResourceAllocator) -> None:
    assert_type(await wait_undone_async(awaited), bool)
    assert_type(await wait_undone_async(original, 0.1), bool)
    assert_type(faults(original), Faults)
