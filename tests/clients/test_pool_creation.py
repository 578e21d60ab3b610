"""Creating a pool that is there: what differs is said once, or changed by generation."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from allocator import AsyncAllocator, InvalidRequest, PoolConflict
from tests.clients.conftest import CAPACITY, Connect


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """What the library logs as a warning."""
    caplog.set_level(logging.WARNING, "allocator")
    return caplog


def differences(log: pytest.LogCaptureFixture) -> list[str]:
    """The warnings about pools."""
    return [record.getMessage() for record in log.records if record.name == "allocator.pools"]


async def test_another_capacity_is_said_once(client: AsyncAllocator, log: pytest.LogCaptureFixture) -> None:
    """With both values and what changes it; a loop that creates its pool in each turn says no more."""
    before = await client.pools.get()
    for _ in range(3):
        pool = await client.pools.create("lab", {"cpu": 100, "disk": 7})
        assert (pool.created, pool.revision) == (False, before.revision)
    (told,) = differences(log)
    assert f"pool lab is there with cpu={CAPACITY['cpu']},disk=none; that counts" in told
    assert "not the given cpu=100,disk=7" in told
    assert "pools.create(..., update=True)" in told
    assert "resource-allocator pool set lab cpu=100 disk=7" in told


async def test_replicas_that_agree_say_nothing(connect: Connect, log: pytest.LogCaptureFixture) -> None:
    """Whoever is first; resources and settings that one does not name are no difference."""
    settings: dict[str, Any] = {"whole_units": ("gpu",), "recovery_grace": 60, "durability": "fsynced"}
    replicas = [connect() for _ in range(4)]
    capacity = {"cpu": "2", "gpu": 1}
    await asyncio.gather(*(one.pools.create("many", capacity, **settings) for one in replicas))
    assert not (await replicas[0].pools.create("many", {"cpu": "2000m"})).created
    assert differences(log) == []


async def test_other_settings_are_said(connect: Connect, log: pytest.LogCaptureFixture) -> None:
    """Each by its name."""
    client = connect()
    await client.pools.create("set", {"cpu": 1, "gpu": 2}, new=True)
    await client.pools.create("set", {"cpu": 1, "gpu": 2}, whole_units=["gpu"], recovery_grace=60, durability="fsynced")
    (told,) = differences(log)
    assert "whole_units=none,recovery_grace=0s,max_ttl=0s,durability=memory" in told
    assert "--whole-units gpu --recovery-grace 1m --max-ttl 55s --durability fsynced" in told


async def test_an_update_configures_the_pool(client: AsyncAllocator, log: pytest.LogCaptureFixture) -> None:
    """Merged, as by `update`; a repeat changes nothing."""
    before = await client.pools.get()
    pool = await client.pools.create("lab", {"cpu": 100}, durability="fsynced", update=True)
    assert pool.generation == before.generation + 1
    assert pool.capacity == {**before.capacity, "cpu": 100_000}
    assert (pool.durability, pool.whole_units) == ("fsynced", before.whole_units)
    again = await client.pools.create("lab", {"cpu": 100}, durability="fsynced", update=True)
    assert (again.generation, again.created) == (pool.generation, False)
    assert differences(log) == []


async def test_an_update_makes_a_pool_that_is_not_there(connect: Connect) -> None:
    """It is `create` before all."""
    pool = await connect().pools.create("fresh", {"cpu": 1}, update=True)
    assert (pool.created, pool.generation) == (True, 1)


async def test_updates_of_many_replicas_end_with_one_of_their_values(connect: Connect) -> None:
    """None is lost half-way: the last one counts."""
    replicas = [connect() for _ in range(4)]
    await replicas[0].pools.create("race", {"cpu": 1, "memory": "1Gi"})
    wanted = [{"cpu": number, "memory": f"{number}Gi"} for number in range(2, 6)]
    results = await asyncio.gather(
        *(one.pools.create("race", capacity, update=True) for one, capacity in zip(replicas, wanted, strict=True)),
        return_exceptions=True,
    )
    assert all(isinstance(one, PoolConflict) or one.capacity for one in results)  # type: ignore[union-attr]
    pool = await replicas[0].pools.get("race")
    assert {"cpu": pool.capacity["cpu"] // 1000, "memory": f"{pool.capacity['memory'] >> 30}Gi"} in wanted


async def test_whole_units_are_checked_as_ever(client: AsyncAllocator) -> None:
    """A text is no list of them."""
    with pytest.raises(InvalidRequest, match="whole_units"):
        await client.pools.create("lab", {"cpu": 1}, whole_units="cpu", update=True)
