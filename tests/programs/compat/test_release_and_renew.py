"""Giving back, keeping alive, cleaning up: quiet where there is nothing to do, and never a stale holder's doing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest

from allocator import Allocator, InvalidRequest
from allocator.testing import Clock
from tests.programs.compat.conftest import Make, warnings_of


async def test_a_status_from_json_is_released_by_another_replica(make: Make) -> None:
    """The object that allocated may be gone for days."""
    status = json.dumps(await make().allocate_resources({"cpu": "2", "memory": "4Gi"}))
    other = make()
    await other.release_resources(json.loads(status))
    assert await other.active_allocations() == {}
    assert (await other.usage())["allocated_cpu"] == 0.0


async def test_releasing_twice_is_quiet_and_takes_nothing_from_others(
    make: Make, log: pytest.LogCaptureFixture
) -> None:
    """Completed and Failed both release; the second one has to say nothing but in the log."""
    allocator = make()
    kept = await allocator.allocate_resources({"cpu": "2"})
    given = await allocator.allocate_resources({"cpu": "2"})
    await allocator.release_resources(given)
    assert warnings_of(log) == []
    await allocator.release_resources(given)
    (warned,) = warnings_of(log)
    assert given["allocation_id"] in warned
    assert await allocator.active_allocations() == {kept["allocation_id"]: kept}


RUBBISH: list[Any] = [
    None,
    {},
    "x",
    b"x",
    7,
    [],
    ["allocation_id"],
    {"id": "a"},
    {"allocation_id": None},
    {"allocation_id": ""},
    {"allocation_id": 7},
    {"allocation_id": "no spaces"},
    {"allocation_id": "x" * 500},
    {"allocation_id": "live", "fence": "x"},
    {"allocation_id": "live", "fence": "-1"},
    {"allocation_id": "live", "fence": "0"},
    {"allocation_id": "live", "fence": "9" * 5000},
    {"allocation_id": "live", "fence": "\u0663"},
    {"allocation_id": "live", "fence": True},
    {"allocation_id": "live", "fence": 1.5},
    {"allocation_id": "live", "pool": "another"},
    {"allocation_id": "live", "pool": None},
    {"allocation_id": "live", "pool": ["default"]},
]


@pytest.mark.parametrize("rubbish", RUBBISH, ids=lambda value: repr(value)[:40])
async def test_rubbish_is_neither_released_nor_renewed_and_only_logged(
    rubbish: Any, make: Make, log: pytest.LogCaptureFixture
) -> None:
    """A status may hold anything by the time somebody cleans up."""
    allocator = make()
    live = await allocator.allocate_resources({"cpu": "2"}, allocation_id="live")
    await allocator.release_resources(rubbish)
    assert await allocator.renew_resources(rubbish) is False
    assert await allocator.active_allocations() == {"live": live}
    assert [line.partition(":")[0] for line in warnings_of(log)] == ["release_resources", "renew_resources"]


async def test_a_dict_of_another_pool_is_not_released_there_or_here(make: Make, log: pytest.LogCaptureFixture) -> None:
    """The same id may be live in both."""
    here, there = make(pool="here"), make(pool="there")
    theirs = await there.allocate_resources({"cpu": "1"}, allocation_id="same")
    ours = await here.allocate_resources({"cpu": "1"}, allocation_id="same")
    await here.release_resources(theirs)
    assert await here.active_allocations() == {"same": ours}
    assert await there.active_allocations() == {"same": theirs}
    (warned,) = warnings_of(log)
    assert "'there'" in warned


async def test_a_stale_holder_releases_and_renews_nothing(make: Make, log: pytest.LogCaptureFixture) -> None:
    """The id was released and granted anew: the old dict's fence does not fit the new grant."""
    allocator = make(ttl=60)
    stale = await allocator.allocate_resources({"cpu": "1"}, allocation_id="labs/a/1")
    await allocator.release_resources(stale)
    fresh = await allocator.allocate_resources({"cpu": "1"}, allocation_id="labs/a/1")
    assert int(fresh["fence"]) > int(stale["fence"])
    await allocator.release_resources(stale)
    assert await allocator.renew_resources(stale) is False
    assert await allocator.active_allocations() == {"labs/a/1": fresh}
    assert len(warnings_of(log)) == 2


async def test_a_dict_without_fence_and_pool_is_taken_for_what_it_names(make: Make) -> None:
    """A status that the in-memory original wrote has neither; a number for a fence is what some JSON layers make."""
    allocator = make()
    first = await allocator.allocate_resources({"cpu": "1"})
    second = await allocator.allocate_resources({"cpu": "1"})
    await allocator.release_resources({"allocation_id": first["allocation_id"]})
    numbered: Mapping[str, Any] = {**second, "fence": int(second["fence"])}
    await allocator.release_resources(numbered)
    assert await allocator.active_allocations() == {}


async def test_renewing_moves_the_deadline_and_tells_a_lost_one(make: Make, store: str) -> None:
    """From the reconcile loop: True means go on, False means stop what runs on it."""
    allocator = make(ttl=60)
    held = await allocator.allocate_resources({"cpu": "1"})
    with Allocator.from_url(store) as client:
        before = client.get(held["allocation_id"])
        assert await allocator.renew_resources(json.loads(json.dumps(held))) is True
        after = client.get(held["allocation_id"])
    assert before is not None
    assert after is not None
    assert before.deadline_ms is not None
    assert after.deadline_ms is not None
    assert after.deadline_ms >= before.deadline_ms
    await allocator.release_resources(held)
    assert await allocator.renew_resources(held) is False


async def test_renewing_a_pinned_one_says_that_it_is_held(make: Make) -> None:
    """The loop need not know which kind it holds."""
    allocator = make()
    held = await allocator.allocate_resources({"cpu": "1"})
    assert await allocator.renew_resources(held) is True


@pytest.mark.parametrize("hours", [-1, float("nan"), float("inf"), "24", None, True, 1e9])
async def test_an_age_that_is_none_is_refused_by_its_name(hours: Any, make: Make) -> None:
    """A wrong age must not clean up everything."""
    allocator = make()
    await allocator.allocate_resources({"cpu": "1"})
    with pytest.raises(InvalidRequest, match="max_age_hours") as caught:
        await allocator.cleanup_expired_allocations(max_age_hours=hours)
    assert caught.value.field == "max_age_hours"
    assert (await allocator.usage())["active_allocations"] == 1


async def test_cleaning_up_takes_what_is_due_and_what_is_pinned_and_old_but_no_living_lease(make: Make) -> None:
    """The original dropped by age alone, and a healthy lab of 25 hours lost its accounting."""
    clock = Clock()
    allocator = make(_clock=clock)
    leased = await allocator.allocate_resources({"cpu": "1"}, allocation_id="leased", ttl=3600)
    await allocator.allocate_resources({"cpu": "1"}, allocation_id="lapsed", ttl=3600)
    await allocator.allocate_resources({"cpu": "1"}, allocation_id="old")
    for _ in range(50):
        clock.advance(1800)
        assert await allocator.renew_resources(leased) is True
    young = await allocator.allocate_resources({"cpu": "1"}, allocation_id="young")
    assert await allocator.cleanup_expired_allocations() == 2
    assert await allocator.active_allocations() == {"leased": leased, "young": young}
    assert (await allocator.usage())["allocated_cpu"] == 2.0
    assert await allocator.cleanup_expired_allocations(max_age_hours=24) == 0
    clock.advance(0.001)
    assert await allocator.cleanup_expired_allocations(max_age_hours=0) == 1
    assert await allocator.active_allocations() == {"leased": leased}


async def test_cleaning_up_goes_on_over_as_many_batches_as_it_takes(make: Make) -> None:
    """More than one script call takes back; a cron job that stops half-way leaves the pool full."""
    allocator = make(total_cpu=1000.0)
    await asyncio.gather(*(allocator.allocate_resources({"cpu": "1"}) for _ in range(450)))
    assert await allocator.cleanup_expired_allocations(max_age_hours=0) == 450
    assert (await allocator.usage())["active_allocations"] == 0


async def test_a_lost_lease_is_told_by_renew_and_its_capacity_is_another_ones(make: Make) -> None:
    """What a holder that died had taken comes back by itself, at the next one that is short of room."""
    clock = Clock()
    allocator = make(total_cpu=2.0, _clock=clock)
    lost = await allocator.allocate_resources({"cpu": "2"}, ttl=30)
    assert not await allocator.check_availability({"cpu": "1"})
    clock.advance(31)
    assert await allocator.check_availability({"cpu": "1"})
    taken = await allocator.allocate_resources({"cpu": "2"}, ttl=30)
    assert await allocator.renew_resources(lost) is False
    await allocator.release_resources(lost)
    assert await allocator.active_allocations() == {taken["allocation_id"]: taken}
