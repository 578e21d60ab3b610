"""Where an object finds its store, and what its totals mean."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

import pytest

from allocator import Allocator, InvalidRequest, Recovering, ResourceAllocator
from tests.programs.compat.conftest import POOL, Make, warnings_of


def test_without_a_url_the_store_is_this_objects_own_and_one_warning_says_so(log: pytest.LogCaptureFixture) -> None:
    """As the original: it just works, but who runs two replicas must find out before the pool is oversold."""
    with ResourceAllocator(2.0, 4) as one, ResourceAllocator(3.0, 4) as other:
        assert one.get_resource_usage()["total_cpu"] == 2.0
        assert one.get_active_allocations() == {}
        assert other.get_resource_usage()["total_cpu"] == 3.0
    warned = warnings_of(log)
    assert len(warned) == 2, "one for each object"
    for words in ("ALLOCATOR_REDIS_URL", "REDIS_URL", "memory://", "other processes", "ALLOCATOR_REQUIRE_URL=1"):
        assert words in warned[0]


def test_a_memory_url_that_was_asked_for_is_not_warned_of(log: pytest.LogCaptureFixture) -> None:
    """The warning is about a forgotten setting."""
    with ResourceAllocator(url="memory://") as allocator:
        allocator.get_resource_usage()
    assert warnings_of(log) == []


def test_a_deployment_can_make_a_missing_url_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """At construction: a pod that would count for itself alone does not become ready."""
    monkeypatch.setenv("ALLOCATOR_REQUIRE_URL", "1")
    with pytest.raises(InvalidRequest, match="ALLOCATOR_REDIS_URL nor REDIS_URL is set") as caught:
        ResourceAllocator()
    assert caught.value.field == "url"
    ResourceAllocator(url="memory://").close()


def test_the_explicit_url_comes_before_ours_and_ours_before_the_common_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """`REDIS_URL` may be there for something else."""
    monkeypatch.setenv("REDIS_URL", "memory://order-common")
    with ResourceAllocator(pool="common") as allocator:
        allocator.get_resource_usage()
    monkeypatch.setenv("ALLOCATOR_REDIS_URL", "memory://order-ours")
    with ResourceAllocator(pool="ours") as allocator:
        allocator.get_resource_usage()
    with ResourceAllocator(pool="explicit", url="memory://order-explicit") as allocator:
        allocator.get_resource_usage()
    for name in ("common", "ours", "explicit"):
        with Allocator.from_url(f"memory://order-{name}") as client:
            assert client.pools.list() == [name]


@pytest.mark.parametrize(
    "number",
    [-1, -0.5, math.nan, math.inf, True, "32", None, 10**5000, 1e300],
    ids=lambda number: type(number).__name__,
)
@pytest.mark.parametrize("field", ["total_cpu", "total_memory_gb"])
def test_a_total_that_is_none_is_refused_by_its_name(field: str, number: object) -> None:
    """`os.getenv` without `float()` is the common one."""
    arguments: dict[str, Any] = {field: number}
    with pytest.raises(InvalidRequest, match=field) as caught:
        ResourceAllocator(**arguments, url="memory://")
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("argument", "value", "field"),
    [
        ("pool", "a{b}", "pool"),
        ("owner", "two words", "owner"),
        ("prefix", "", "prefix"),
        ("ttl", 0, "ttl"),
        ("ttl", timedelta(days=400), "ttl"),
        ("timeout", 61, "timeout"),
        ("url", "http://localhost", "url"),
    ],
)
def test_a_wrong_argument_is_refused_at_construction_by_its_name(argument: str, value: object, field: str) -> None:
    """Not at the first reconcile, hours later."""
    arguments: dict[str, Any] = {"url": "memory://", argument: value}
    with pytest.raises(InvalidRequest) as caught:
        ResourceAllocator(**arguments)
    assert caught.value.field == field


async def test_the_first_use_creates_the_pool_with_the_constructors_totals(make: Make, store: str) -> None:
    """A GB of the constructor is 1024 MiB; nothing is there before."""
    allocator = make(total_cpu=2.5, total_memory_gb=3)
    with Allocator.from_url(store) as client:
        assert client.pools.list() == []
        assert await allocator.check_availability({"cpu": "2.5", "memory": "3Gi"})
        assert client.pools.get(POOL).capacity == {"cpu": 2500, "memory": 3 * 2**30}


@pytest.mark.parametrize("plain", [True, False])
async def test_of_an_existing_pool_the_stored_totals_count_and_one_warning_says_how_to_change_them(
    make: Make, plain: bool, log: pytest.LogCaptureFixture
) -> None:
    """Two replicas with different settings must not disagree about what there is."""
    first, second = make(8.0, 16), make(32.0, 128)
    await first.usage()
    assert (second.total_cpu, second.total_memory_mb) == (32.0, 131072)
    for _ in range(2):
        usage = second.get_resource_usage() if plain else await second.usage()
        assert usage["total_cpu"] == 8.0
    assert (second.total_cpu, second.total_memory_mb) == (8.0, 16384)
    (warned,) = warnings_of(log)
    assert "cpu=8,memory=16Gi" in warned
    assert "resource-allocator pool set default cpu=32 memory=128Gi" in warned


async def test_the_attributes_follow_a_change_of_the_pool(make: Make, store: str) -> None:
    """They are what was last read, and figures that are not whole are not rounded."""
    allocator = make(8.0, 16)
    await allocator.usage()
    with Allocator.from_url(store) as client:
        client.pools.update(None, {"cpu": "12500m", "memory": "1073741824500m"})
    await allocator.usage()
    assert allocator.total_cpu == 12.5
    assert allocator.total_memory_mb == 1073741824 / 2**20
    assert isinstance(allocator.total_memory_mb, int)


async def test_a_pool_without_cpu_or_memory_reads_as_none_of_it(make: Make, store: str) -> None:
    """A pool of GPUs that was made by hand."""
    with Allocator.from_url(store) as client:
        client.pools.create(POOL, {"nvidia.com/gpu": 2})
    allocator = make()
    usage = await allocator.usage()
    assert (usage["total_cpu"], usage["total_memory_mb"], usage["cpu_utilization"]) == (0.0, 0, 0.0)
    assert await allocator.check_availability({"nvidia.com/gpu": "2"})
    assert not await allocator.check_availability({"cpu": "1"})


def test_a_repr_tells_the_pool_and_no_password() -> None:
    """It lands in logs."""
    allocator = ResourceAllocator(2.5, 4, url="redis://:secret@127.0.0.1:1/0", pool="labs")
    assert repr(allocator) == "<ResourceAllocator pool=labs cpu=2.5 memory=4096Mi>"
    allocator.close()


def test_a_recovery_grace_wants_a_ttl() -> None:
    """What is pinned outlives any grace."""
    with pytest.raises(InvalidRequest) as refused:
        ResourceAllocator(recovery_grace=30, url="memory://")
    assert refused.value.field == "recovery_grace"


async def test_a_pool_made_with_a_recovery_grace_grants_nothing_at_first() -> None:
    """Its store may just have lost the pool, whose holders go on."""
    async with ResourceAllocator(url="memory://", ttl=10, recovery_grace=30) as allocator:
        with pytest.raises(Recovering):
            await allocator.allocate_resources({"cpu": "1", "memory": "1Gi"})
