"""What is granted, refused and shown."""

from __future__ import annotations

import json
import pickle
from datetime import UTC, datetime, timedelta

import pytest

from allocator import AllocationConflict, Allocator, Insufficient, InvalidRequest, ResourceAllocator, ResourceUnits
from allocator.testing import memory_resource_allocator
from tests.programs.compat.conftest import POOL, Make, warnings_of


async def test_the_dict_has_exactly_the_documented_keys_and_only_texts(make: Make) -> None:
    """It lies in a resource's status, which is JSON with a schema."""
    allocation = await make().allocate_resources({"cpu": "0.5", "memory": "4Gi"})
    assert set(allocation) == {"allocation_id", "cpu", "memory", "allocated_at", "original_limits", "fence", "pool"}
    assert all(type(value) is str for value in allocation.values())
    assert (allocation["cpu"], allocation["memory"], allocation["pool"]) == ("0.5", "4096Mi", POOL)
    assert int(allocation["fence"]) > 0
    assert json.loads(json.dumps(allocation)) == allocation


async def test_allocated_at_is_an_instant_in_utc(make: Make) -> None:
    """RFC 3339 with a `Z`, as everything around Kubernetes writes it."""
    allocation = await make().allocate_resources({"cpu": "1"})
    assert allocation["allocated_at"].endswith("Z")
    assert abs(datetime.fromisoformat(allocation["allocated_at"]) - datetime.now(UTC)) < timedelta(minutes=1)


async def test_only_what_is_named_is_charged(make: Make) -> None:
    """The sample charged one CPU and 1 GiB where nothing was said."""
    allocator = make()
    allocation = await allocator.allocate_resources({"memory": "1536Mi"})
    assert (allocation["cpu"], allocation["memory"]) == ("0", "1536Mi")
    usage = await allocator.usage()
    assert (usage["allocated_cpu"], usage["allocated_memory_mb"]) == (0.0, 1536)


async def test_any_other_resource_is_charged_and_shown_under_its_name(make: Make, store: str) -> None:
    """GPUs are why people want this."""
    with Allocator.from_url(store) as client:
        client.pools.create(POOL, {"cpu": 8, "memory": "16Gi", "nvidia.com/gpu": 2})
    allocator = make()
    allocation = await allocator.allocate_resources({"cpu": "1", "nvidia.com/gpu": "2"})
    assert allocation["nvidia.com/gpu"] == "2"
    assert await allocator.active_allocations() == {allocation["allocation_id"]: allocation}
    assert not await allocator.check_availability({"nvidia.com/gpu": "1"})
    await allocator.release_resources(allocation)
    assert await allocator.check_availability({"nvidia.com/gpu": "1"})


async def test_active_allocations_are_the_dicts_that_were_returned(make: Make) -> None:
    """Who lost a status can take it from here; plain and awaited say the same."""
    allocator = make()
    made = [await allocator.allocate_resources({"cpu": "1", "memory": "1Gi"}) for _ in range(3)]
    expected = {allocation["allocation_id"]: allocation for allocation in made}
    assert allocator.get_active_allocations() == expected
    assert await allocator.active_allocations() == expected


async def test_a_refusal_has_the_originals_words_and_all_the_numbers(make: Make) -> None:
    """A ValueError, as documented, and still the native class with its denial."""
    allocator = make(total_cpu=4.0, total_memory_gb=8)
    await allocator.allocate_resources({"cpu": "3", "memory": "6Gi"})
    with pytest.raises(ValueError, match="Insufficient resources") as caught:
        await allocator.allocate_resources({"cpu": "1.5", "memory": "4Gi"})
    assert str(caught.value) == (
        "Insufficient resources available. Requested: cpu=1.5, memory=4096Mi. "
        "Available: cpu=1 of 4, memory=2048Mi of 8192Mi"
    )
    assert type(caught.value) is Insufficient
    assert [short.resource for short in caught.value.denial.shortages] == ["cpu", "memory"]
    assert (caught.value.code, caught.value.retryable) == ("capacity_exceeded", True)
    assert pickle.loads(pickle.dumps(caught.value)).denial == caught.value.denial


@pytest.mark.parametrize(
    ("limits", "ending"),
    [
        ({"cpu": "9"}, "Available: cpu=8 of 8 (more than the whole capacity: it will never fit)"),
        ({"example.com/fpga": "1"}, "Available: example.com/fpga=0 of 0 (the pool does not count it)"),
    ],
)
async def test_a_refusal_that_waiting_cannot_help_says_so(
    make: Make, limits: dict[str, str], ending: str, log: pytest.LogCaptureFixture
) -> None:
    """A controller can fail the lab instead of requeueing it for ever; both calls warn, with the numbers."""
    allocator = make()
    with pytest.raises(Insufficient) as caught:
        await allocator.allocate_resources(limits)
    assert str(caught.value).endswith(ending)
    assert caught.value.denial.never
    assert not await allocator.check_availability(limits)
    assert [line.endswith(ending) for line in warnings_of(log)] == [True, True]


async def test_an_amount_that_the_pool_does_not_give_out_says_so() -> None:
    """And what is reserved is no total, so that the totals add up."""
    units = {"cpu": ResourceUnits(reserved=2, max_unit=4)}
    allocator = memory_resource_allocator(8, 16, ttl=60, units=units)
    with pytest.raises(Insufficient) as caught:
        await allocator.allocate_resources({"cpu": "5"})
    assert str(caught.value).endswith("Available: cpu=6 of 6 (it is given in other amounts only)")
    assert (caught.value.code, caught.value.denial.never) == ("unit_violation", True)
    await allocator.allocate_resources({"cpu": "4"})
    usage = await allocator.usage()
    assert (usage["total_cpu"], usage["allocated_cpu"], usage["available_cpu"]) == (6, 4, 2)


INVALID = [
    {},
    {"cpu": "0"},
    {"cpu": "two"},
    {"cpu": ""},
    {"cpu": "-1"},
    {"cpu": "1", "memory": "0"},
    {"cpu": 0, "memory": "1Gi"},
    {"memory": "512"},
    {"memory": "4GB"},
    {"cpu": None},
    {"c p u": "1"},
    {"pool": "1"},
    {"fence": "1"},
    {"original_limits": "1"},
    None,
    "cpu=1",
    [("cpu", "1")],
]


@pytest.mark.parametrize("limits", INVALID, ids=repr)
async def test_invalid_limits_are_a_value_error_that_shows_them_and_are_not_available(
    limits: object, make: Make, log: pytest.LogCaptureFixture
) -> None:
    """`check_availability` has no other way to say it than False, so the log has the reason."""
    allocator = make()
    with pytest.raises(ValueError) as caught:
        await allocator.allocate_resources(limits)  # type: ignore[arg-type]
    assert isinstance(caught.value, InvalidRequest)
    assert await allocator.check_availability(limits) is False  # type: ignore[arg-type]
    (warned,) = warnings_of(log)
    assert str(caught.value) in warned


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"allocation_id": "no spaces"}, "id"),
        ({"allocation_id": "x" * 513}, "id"),
        ({"owner": "{braces}"}, "owner"),
        ({"ttl": 0}, "ttl"),
        ({"ttl": "60"}, "ttl"),
    ],
)
async def test_a_wrong_argument_is_named_before_anything_is_sent(arguments: dict[str, object], field: str) -> None:
    """There is no server here: an attempt to reach it would be another error."""
    async with ResourceAllocator(url="redis://127.0.0.1:1", timeout=0.1) as allocator:
        with pytest.raises(InvalidRequest) as caught:
            await allocator.allocate_resources({"cpu": "1"}, **arguments)  # type: ignore[arg-type]
    assert caught.value.field == field


async def test_a_repeated_call_with_the_same_id_gets_the_same_allocation(make: Make) -> None:
    """A reconcile loop that died after the grant repeats it; so does the replica that takes over."""
    limits = {"cpu": "2", "memory": "4Gi"}
    first = await make().allocate_resources(limits, allocation_id="labs/python/7f9c")
    again = await make().allocate_resources(limits, allocation_id="labs/python/7f9c")
    assert first["allocation_id"] == "labs/python/7f9c"
    assert again == first
    assert (await make().usage())["active_allocations"] == 1


async def test_an_id_that_is_live_with_another_request_is_a_conflict(make: Make) -> None:
    """Neither silently the old amounts nor twice the charge; and it is not "full"."""
    allocator = make()
    await allocator.allocate_resources({"cpu": "2"}, allocation_id="labs/python/7f9c", owner="alice")
    with pytest.raises(AllocationConflict) as caught:
        await allocator.allocate_resources({"cpu": "3"}, allocation_id="labs/python/7f9c", owner="alice")
    assert not isinstance(caught.value, ValueError)
    with pytest.raises(AllocationConflict):
        await allocator.allocate_resources({"cpu": "2"}, allocation_id="labs/python/7f9c", owner="bob")


async def test_owner_and_ttl_are_the_calls_or_else_the_objects(make: Make, store: str) -> None:
    """`None` is a ttl, too: it pins what the object would have given a deadline."""
    allocator = make(owner="team-a", ttl=60)
    made = [
        await allocator.allocate_resources({"cpu": "1"}),
        await allocator.allocate_resources({"cpu": "1"}, owner="team-b", ttl=timedelta(seconds=90)),
        await allocator.allocate_resources({"cpu": "1"}, ttl=None),
    ]
    with Allocator.from_url(store) as client:
        found = [client.get(each["allocation_id"]) for each in made]
    assert [(each.owner, each.ttl_ms) for each in found if each] == [
        ("team-a", 60_000),
        ("team-b", 90_000),
        ("team-a", None),
    ]


async def test_an_allocation_is_pinned_unless_told_otherwise(make: Make, store: str) -> None:
    """As in the original: it ends by release or by age."""
    allocation = await make().allocate_resources({"cpu": "1"})
    with Allocator.from_url(store) as client:
        found = client.get(allocation["allocation_id"])
    assert found is not None
    assert found.pinned


async def test_a_prefix_keeps_two_installations_apart(make: Make) -> None:
    """On a Redis that is shared with others."""
    ours, theirs = make(prefix="ours"), make(prefix="theirs")
    await ours.allocate_resources({"cpu": "8"})
    assert await theirs.check_availability({"cpu": "8"})
