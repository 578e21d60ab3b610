"""`total_cpu` and `total_memory_mb` can be set: the pool is configured, by its generation."""

from __future__ import annotations

from typing import Any

import pytest

from allocator import Allocator, InvalidRequest, PoolConflict
from tests.programs.compat.conftest import POOL, Make, warnings_of


@pytest.mark.parametrize("used", [False, True])
async def test_a_total_that_is_set_is_the_pools(make: Make, used: bool, log: pytest.LogCaptureFixture) -> None:
    """Before the first use it creates the pool; other replicas see it."""
    one, other = make(8.0, 16), make(8.0, 16)
    if used:
        await one.usage()
    one.total_cpu = 12.5
    one.total_memory_mb = 32768
    assert (one.total_cpu, one.total_memory_mb) == (12.5, 32768)
    usage = await other.usage()
    assert (usage["total_cpu"], usage["total_memory_mb"]) == (12.5, 32768)
    assert await one.check_availability({"cpu": "12.5", "memory": "32Gi"})
    assert len(warnings_of(log)) == 1, "the other's own totals do not count"


async def test_a_pool_that_is_there_is_changed_at_the_first_use_too(make: Make, store: str) -> None:
    """Only the total that was set, and no other resource."""
    with Allocator.from_url(store) as client:
        client.pools.create(POOL, {"cpu": 2, "memory": "4Gi", "nvidia.com/gpu": 1})
        one = make(8.0, 16)
        one.total_cpu = 3
        assert client.pools.get(POOL).capacity.text() == {"cpu": "3", "memory": "4Gi", "nvidia.com/gpu": "1"}
    assert (one.total_cpu, one.total_memory_mb) == (3.0, 4096)


async def test_a_change_of_another_is_not_overwritten(make: Make) -> None:
    """`+=` of a stale number would undo what somebody else has set; read again, it adds up."""
    one, other = make(8.0, 16), make(8.0, 16)
    await one.usage()
    await other.usage()
    one.total_cpu += 8
    with pytest.raises(PoolConflict) as caught:
        other.total_cpu += 1
    assert caught.value.code == "generation"
    assert other.total_cpu == 16.0
    other.total_cpu += 1
    assert (await one.usage())["total_cpu"] == 17.0


@pytest.mark.parametrize("value", ["8", None, -1, True, float("nan")])
@pytest.mark.parametrize("name", ["total_cpu", "total_memory_mb"])
async def test_a_total_that_is_none_is_refused_by_its_name(make: Make, name: str, value: Any) -> None:
    """And nothing is changed."""
    one = make(8.0, 16)
    with pytest.raises(InvalidRequest) as caught:
        setattr(one, name, value)
    assert caught.value.field == name
    assert (await one.usage())["total_cpu"] == 8.0
