"""Pools: made once, changed by merging, lowered below use, upgraded, deleted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from allocator import (
    AsyncAllocator,
    ContractError,
    Denial,
    Insufficient,
    InvalidRequest,
    PoolConflict,
    Request,
    UnknownPool,
)
from allocator.testing import Clock
from tests.clients.conftest import CAPACITY, Connect

GIB = 2**30


async def test_a_new_pool_is_described_as_it_was_made(connect: Connect) -> None:
    """Capacity is rounded down to the unit; nothing is allocated."""
    client = connect()
    pool = await client.pools.create("lab", {"cpu": "1.0009", "memory": "1Gi", "fpga": "1.5"}, whole_units=("fpga",))
    assert (pool.name, pool.created, pool.generation, pool.state, pool.schema) == ("lab", True, 1, "active", 1)
    assert pool.capacity == {"cpu": 1000, "memory": GIB, "fpga": 1500}
    assert pool.allocated == {"cpu": 0, "memory": 0, "fpga": 0}
    assert pool.whole_units == ("fpga",)
    assert pool.epoch
    read = await client.pools.get()
    assert not read.created
    assert (read.epoch, read.capacity, read.generation, read.created_ms) == (
        pool.epoch, pool.capacity, 1, pool.created_ms,
    )  # fmt: skip


async def test_creating_a_pool_that_exists_changes_nothing(client: AsyncAllocator) -> None:
    """Every replica may call it when it starts."""
    before = await client.pools.get()
    again = await client.pools.create("lab", {"cpu": 100, "disk": 1})
    assert (again.created, again.capacity, again.revision) == (False, before.capacity, before.revision)
    assert again.whole_units == ("nvidia.com/gpu",)


async def test_pools_are_listed_by_prefix(client: AsyncAllocator, connect: Connect) -> None:
    """Sorted; what another prefix has is not seen, and shares nothing."""
    for name in ("zeta", "alpha", "a.b-c_d"):
        await client.pools.create(name, {"cpu": 1})
    other = connect(prefix="staging:eu")
    await other.pools.create("lab", {"cpu": 1})
    await other.allocate({"cpu": 1}, ttl=60)
    assert await client.pools.list() == ["a.b-c_d", "alpha", "lab", "zeta"]
    assert await other.pools.list() == ["lab"]
    assert (await client.pools.usage()).allocations == 0
    assert await other.maintenance.audit()


async def test_configure_merges_what_is_named(client: AsyncAllocator) -> None:
    """Other resources stay; a new one is counted from now on; the generation grows."""
    await client.allocate({"cpu": 1}, ttl=60)
    changed = await client.pools.update(None, {"cpu": 8, "disk": 5}, remove=["memory"])
    assert changed.capacity == {"cpu": 8000, "disk": 5000, "nvidia.com/gpu": 2000}
    assert changed.allocated == {"cpu": 1000, "disk": 0, "nvidia.com/gpu": 0}
    assert changed.generation == 2
    assert await client.allocate({"cpu": 7, "disk": 5}, ttl=60)


async def test_a_resource_in_use_cannot_be_removed(client: AsyncAllocator) -> None:
    """Its counter would be lost; the whole call is refused, also what else it named."""
    await client.allocate({"memory": "1Gi"}, ttl=60)
    with pytest.raises(PoolConflict) as refused:
        await client.pools.update(None, {"cpu": 8}, remove=["memory"])
    assert (refused.value.code, refused.value.pool) == ("in_use", "lab")
    assert "1Gi" in str(refused.value)
    assert (await client.pools.get()).capacity["cpu"] == 4000


async def test_lowering_below_use_overcommits_and_takes_nothing_away(client: AsyncAllocator) -> None:
    """Requests that touch the resource are refused, others are not; shrinking passes, growing does not."""
    held = await client.allocate({"cpu": 3, "memory": "1Gi"}, ttl=60)
    lowered = await client.pools.update(None, {"cpu": 2})
    assert lowered.overcommitted == ("cpu",)
    usage = await client.pools.usage()
    assert usage.resources["cpu"].overcommitted
    assert usage.resources["cpu"].available == 0
    assert isinstance(await client.try_allocate({"cpu": "1m"}, ttl=60), Denial)
    assert await client.allocate({"memory": "1Gi"}, ttl=60)
    assert (await client.resize(held, {"cpu": "2900m", "memory": "2Gi"})).resources["cpu"] == 2900
    with pytest.raises(Insufficient):
        await client.resize(held, {"cpu": 3})
    report = await client.maintenance.audit()
    assert report
    assert report.overcommitted == ("cpu",)
    assert await client.renew(held)
    assert await client.release(held)
    assert not (await client.pools.get()).overcommitted


async def test_strict_refuses_to_lower_below_use(client: AsyncAllocator) -> None:
    """Down to what is allocated is allowed."""
    await client.allocate({"cpu": 3}, ttl=60)
    with pytest.raises(PoolConflict):
        await client.pools.update(None, {"cpu": "2999m", "memory": "1Gi"}, strict=True)
    assert (await client.pools.get()).capacity["memory"] == 8 * GIB
    assert (await client.pools.update(None, {"cpu": 3}, strict=True)).capacity["cpu"] == 3000


async def test_an_expected_generation_keeps_two_administrators_from_undoing_each_other(client: AsyncAllocator) -> None:
    """The second finds the generation moved, and nothing is changed."""
    assert (await client.pools.update(None, {"cpu": 5}, generation=1)).generation == 2
    with pytest.raises(PoolConflict) as refused:
        await client.pools.update(None, {"cpu": 6}, generation=1)
    assert refused.value.code == "generation"
    assert (await client.pools.get()).capacity["cpu"] == 5000


async def test_whole_units_can_be_changed_and_follow_removed_resources(client: AsyncAllocator) -> None:
    """None leaves them; a list replaces them; a resource that is not counted cannot have any."""
    assert (await client.pools.update(None, {"cpu": 5})).whole_units == ("nvidia.com/gpu",)
    changed = await client.pools.update(whole_units=["cpu", "nvidia.com/gpu"])
    assert changed.whole_units == ("cpu", "nvidia.com/gpu")
    denial = await client.try_allocate({"cpu": "500m"}, ttl=60)
    assert isinstance(denial, Denial)
    assert denial.code == "constraint_violation"
    assert (await client.pools.update(remove=["nvidia.com/gpu"])).whole_units == ("cpu",)
    assert (await client.pools.update(whole_units=[])).whole_units == ()
    with pytest.raises(InvalidRequest):
        await client.pools.update(whole_units=["disk"])


async def test_what_the_pool_cannot_become_is_refused(client: AsyncAllocator) -> None:
    """To remove what it does not count, or everything, or to count more than 32."""
    with pytest.raises(InvalidRequest):
        await client.pools.update(remove=["disk"])
    with pytest.raises(InvalidRequest):
        await client.pools.update(remove=list(CAPACITY))
    with pytest.raises(InvalidRequest):
        await client.pools.update(None, {f"r{number}": 1 for number in range(30)})
    assert (await client.pools.get()).generation == 1


async def test_a_pool_in_use_is_deleted_only_by_force(client: AsyncAllocator) -> None:
    """Force ends what is live, more than one batch of it, and says what happened to each in no record."""
    for start in (0, 100, 200):
        await client.allocate_many([Request({"cpu": "1m"}, None, id=f"a{start + n}") for n in range(100)])
    with pytest.raises(PoolConflict) as refused:
        await client.pools.delete("lab")
    assert refused.value.code == "in_use"
    assert (await client.pools.usage()).allocations == 300
    assert await client.pools.delete("lab", force=True) is True
    assert await client.pools.delete("lab") is False
    assert await client.pools.list() == []
    with pytest.raises(UnknownPool):
        await client.pools.usage()


async def test_nothing_of_a_deleted_pool_is_left_but_the_memory_of_ended_calls(
    client: AsyncAllocator, redis_cli: Callable[..., Any]
) -> None:
    """And that goes with time."""
    await client.allocate({"cpu": 1}, ttl=60, id="a")
    await client.allocate({"cpu": 1}, ttl=None, id="b")
    await client.pools.delete("lab", force=True)
    base = "allocator:{lab}:"
    for key in ("pool", "deadlines", "pinned", "events", "allocation:a", "allocation:b"):
        assert redis_cli("EXISTS", base + key) == 0, key
    assert 0 < redis_cli("PTTL", base + "ended") <= 120_000


async def test_a_pool_made_again_repeats_neither_epoch_nor_fence(client: AsyncAllocator) -> None:
    """An allocation of the old one is unknown in the new one."""
    old_pool = await client.pools.get()
    old = await client.allocate({"cpu": 1}, ttl=60, id="a")
    await client.pools.delete("lab", force=True)
    new_pool = await client.pools.create("lab", CAPACITY)
    assert new_pool.created
    assert new_pool.epoch != old_pool.epoch
    assert (await client.release(old)).outcome == "unknown"
    new = await client.allocate({"cpu": 1}, ttl=60, id="a")
    assert new.fence > old.fence
    assert (await client.release(old)).outcome == "fenced"


async def test_an_expected_epoch_turns_a_pool_made_again_into_an_unknown_one(client: AsyncAllocator) -> None:
    """Also a missing one; until the caller expects another, or any."""
    epoch = (await client.pools.get()).epoch
    client, any_client = client.options(epoch=epoch), client
    await client.allocate({"cpu": 1}, ttl=60)
    await client.pools.delete("lab", force=True)
    for _ in range(2):
        for call in (
            client.allocate({"cpu": 1}, ttl=60),
            client.pools.usage(),
            client.release("a"),
            client.maintenance.reclaim(),
        ):
            with pytest.raises(UnknownPool) as unknown:
                await call
            assert unknown.value.code == "epoch"
        await client.pools.create("lab", CAPACITY)
    assert await any_client.allocate({"cpu": 1}, ttl=60)
    assert await client.options(epoch="").allocate({"cpu": 1}, ttl=60)


async def test_a_pool_of_a_newer_schema_can_be_read_and_not_written(
    client: AsyncAllocator, redis_cli: Callable[..., Any]
) -> None:
    """An older client must not write what it does not understand; and `pools.upgrade` never lowers the schema."""
    held = await client.allocate({"cpu": 1}, ttl=60)
    redis_cli("HSET", "allocator:{lab}:pool", "schema", 2)
    for call in (
        client.allocate({"cpu": 1}, ttl=60),
        client.allocate_many([Request({"cpu": 1}, None), Request({"cpu": 1}, None)], atomic=True),
        client.renew(held),
        client.resize(held, {"cpu": 2}),
        client.release(held),
        client.maintenance.reclaim(),
        client.pools.update(None, {"cpu": 1}),
        client.pools.upgrade(),
        client.pools.delete("lab", force=True),
    ):
        with pytest.raises(ContractError) as refused:
            await call
        assert refused.value.code == "schema"
    assert (await client.pools.usage()).allocations == 1
    assert (await client.pools.get()).schema == 2
    assert not (await client.pools.create("lab", {"cpu": 1})).created
    assert await client.get(held.id)
    assert [one.id async for one in client.list()] == [held.id]
    assert await client.check({"cpu": 1})
    assert await client.events.list()
    assert await client.maintenance.audit()


async def test_upgrading_a_pool_keeps_older_versions_from_writing_to_it(
    client: AsyncAllocator, redis_cli: Callable[..., Any]
) -> None:
    """After a rolling upgrade; every version may write until then."""
    redis_cli("HSET", "allocator:{lab}:pool", "schema", 0)
    assert await client.allocate({"cpu": 1}, ttl=60)
    assert (await client.pools.get()).schema == 0
    upgraded = await client.pools.upgrade()
    assert (upgraded.schema, upgraded.generation) == (1, 2)


async def test_an_offline_pool_grants_nothing_and_goes_on_releasing(
    client: AsyncAllocator, redis_cli: Callable[..., Any]
) -> None:
    """While a large repair runs; `Recovering` says when to come back."""
    held = await client.allocate({"cpu": 1}, ttl=60)
    redis_cli("HSET", "allocator:{lab}:pool", "state", "offline")
    assert (await client.pools.get()).state == "offline"
    for call in (client.allocate({"cpu": 1}, ttl=60), client.check({"cpu": 1}), client.resize(held, {"cpu": 2})):
        with pytest.raises(Exception, match="repaired") as refused:
            await call
        assert getattr(refused.value, "code", None) == "offline"
        assert getattr(refused.value, "retry_after", None) == 1.0
    assert await client.renew(held)
    assert await client.release(held)


async def test_whoever_configures_is_told_the_pool_as_it_then_is(timed: AsyncAllocator, clock: Clock) -> None:
    """`created_ms` is the instant of the creation, by the clock of the store."""
    created = (await timed.pools.get()).created_ms
    clock.advance(10)
    assert (await timed.pools.update(None, {"cpu": 1})).created_ms == created == clock() - 10_000
