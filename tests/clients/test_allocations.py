"""From grant to release: the verbs that a holder's life depends on, on every engine and protocol."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, cast

import pytest

from allocator import (
    AllocationConflict,
    AllocationLost,
    AsyncAllocator,
    Denial,
    Insufficient,
    InvalidRequest,
    Resources,
    UnknownAllocation,
    UnknownPool,
)
from allocator.testing import Clock
from tests.clients.conftest import Connect
from tests.clients.stores import EVERY

STORES = EVERY


# -- allocate ----------------------------------------------------------------------------------------------------------


async def test_a_grant_is_charged_and_recorded_as_it_was_asked_for(client: AsyncAllocator) -> None:
    """What the caller gets, what `get` reads, and what the pool is charged are the same."""
    granted = await client.allocate(
        {"cpu": "1.5", "memory": "2Gi"},
        ttl=60,
        id="default/lab-1/uid",
        owner="controller-a",
        metadata={"note": "é\n{}"},
    )
    assert (granted.id, granted.pool, granted.owner) == ("default/lab-1/uid", "lab", "controller-a")
    assert granted.resources == {"cpu": 1500, "memory": 2 * 2**30}
    assert granted.deadline_ms == granted.granted_ms + 60_000
    assert granted.ttl_ms == 60_000
    assert granted.created
    assert not granted.pinned
    read = await client.get("default/lab-1/uid")
    assert read is not None
    assert not read.created
    assert (read.resources, read.fence, read.deadline_ms) == (granted.resources, granted.fence, granted.deadline_ms)
    assert dict(read.metadata) == dict(granted.metadata) == {"note": "é\n{}"}
    usage = await client.pools.usage()
    assert usage.resources["cpu"].allocated == 1500
    assert usage.resources["memory"].available == 6 * 2**30
    assert usage.resources["nvidia.com/gpu"].allocated == 0
    assert (usage.allocations, usage.pinned, usage.due) == (1, 0, 0)


async def test_a_grant_without_a_ttl_is_pinned(client: AsyncAllocator) -> None:
    """It has no deadline and counts as pinned."""
    granted = await client.allocate({"cpu": 1}, ttl=None)
    assert granted.pinned
    assert (granted.ttl_ms, granted.deadline) == (None, None)
    usage = await client.pools.usage()
    assert (usage.allocations, usage.pinned) == (1, 1)


async def test_a_request_is_rounded_up_and_only_named_resources_are_charged(client: AsyncAllocator) -> None:
    """A ten-thousandth of a CPU costs a whole millicore; zeros are not charged."""
    granted = await client.allocate({"cpu": "0.0001", "memory": 0}, ttl=timedelta(minutes=1))
    assert granted.resources == {"cpu": 1}
    assert granted.ttl_ms == 60_000


async def test_the_whole_capacity_can_be_granted_and_not_one_unit_more(client: AsyncAllocator) -> None:
    """The boundary is exact."""
    await client.allocate({"cpu": "3999m", "nvidia.com/gpu": 2}, ttl=60)
    assert isinstance(await client.try_allocate({"cpu": "2m"}, ttl=60), Denial)
    assert await client.try_allocate({"cpu": "1m"}, ttl=60)
    usage = await client.pools.usage()
    assert usage.resources["cpu"].available == 0
    assert usage.resources["cpu"].utilization == 100.0


async def test_a_denial_says_in_numbers_what_was_short(client: AsyncAllocator) -> None:
    """Every resource that was short, and nothing was changed by asking."""
    await client.allocate({"cpu": 3, "memory": "7Gi"}, ttl=60)
    before = await client.pools.usage()
    with pytest.raises(Insufficient) as refused:
        await client.allocate({"cpu": "1500m", "memory": "2Gi", "nvidia.com/gpu": 1}, ttl=60)
    denial = refused.value.denial
    assert denial == await client.try_allocate({"cpu": "1500m", "memory": "2Gi", "nvidia.com/gpu": 1}, ttl=60)
    assert (denial.code, denial.never, refused.value.code) == ("capacity_exceeded", False, "capacity_exceeded")
    short = {
        one.resource: (one.requested, one.allocated, one.capacity, one.available, one.short) for one in denial.shortages
    }
    assert short == {
        "cpu": (1500, 3000, 4000, 1000, 500),
        "memory": (2 * 2**30, 7 * 2**30, 8 * 2**30, 2**30, 2**30),
    }
    assert (await client.pools.usage()).pool.revision == before.pool.revision


@pytest.mark.parametrize(
    ("request_", "code", "resources"),
    [
        ({"disk": 1, "cpu": 100}, "unknown_resource", ["disk"]),
        ({"nvidia.com/gpu": "1500m", "cpu": 100}, "constraint_violation", ["nvidia.com/gpu"]),
        ({"cpu": "4001m", "memory": "9Gi"}, "never_fits", ["cpu", "memory"]),
    ],
)
async def test_what_can_never_be_granted_is_said_so(
    client: AsyncAllocator, request_: dict[str, str | int], code: str, resources: list[str]
) -> None:
    """In the documented order of checks: unknown, constraint, never fits."""
    denial = await client.try_allocate(request_, ttl=60)
    assert isinstance(denial, Denial)
    assert (denial.code, denial.never) == (code, True)
    assert [one.resource for one in denial.shortages] == resources


async def test_the_same_request_of_the_same_id_is_answered_with_the_record(timed: AsyncAllocator, clock: Clock) -> None:
    """A reconcile loop may repeat its call after a crash: same fence, and a deadline no earlier than now + ttl."""
    first = await timed.allocate({"cpu": 1}, ttl=60, id="lab-1", metadata={"try": "1"})
    clock.advance(10)
    second = await timed.allocate({"cpu": "1000m"}, ttl=60, id="lab-1", metadata={"try": "2"})
    assert (second.created, second.fence, dict(second.metadata)) == (False, first.fence, {"try": "1"})
    assert second.deadline_ms == clock() + 60_000
    third = await timed.allocate({"cpu": 1}, ttl=5, id="lab-1")
    assert third.deadline_ms == second.deadline_ms
    assert (await timed.pools.usage()).resources["cpu"].allocated == 1000


async def test_repeating_without_a_ttl_pins_what_was_leased(timed: AsyncAllocator, clock: Clock) -> None:
    """No deadline is the latest of all."""
    await timed.allocate({"cpu": 1}, ttl=60, id="lab-1")
    assert (await timed.allocate({"cpu": 1}, ttl=None, id="lab-1")).pinned
    assert (await timed.allocate({"cpu": 1}, ttl=60, id="lab-1")).pinned
    clock.advance(3600)
    assert not await timed.maintenance.reclaim()
    usage = await timed.pools.usage()
    assert (usage.allocations, usage.pinned) == (1, 1)


@pytest.mark.parametrize(
    "differs", [{"owner": "somebody"}, {"request": {"cpu": 2}}, {"request": {"cpu": 1, "memory": "1Gi"}}]
)
async def test_a_live_id_with_another_owner_or_other_amounts_is_a_conflict(
    client: AsyncAllocator, differs: dict[str, object]
) -> None:
    """The message names both sides, and nothing is changed."""
    held = await client.allocate({"cpu": 1}, ttl=60, id="lab-1")
    with pytest.raises(AllocationConflict) as refused:
        await client.allocate(**{"request": {"cpu": 1}, "ttl": 60, "id": "lab-1", **differs})  # type: ignore[arg-type]
    assert refused.value.id == "lab-1"
    assert "'me'" in str(refused.value)
    assert await client.get("lab-1") == Same(held)


async def test_an_id_past_its_deadline_is_granted_anew(timed: AsyncAllocator, clock: Clock) -> None:
    """To anyone, with a new fence; what the old holder says afterwards changes nothing."""
    old = await timed.allocate({"cpu": 3, "memory": "1Gi"}, ttl=60, id="lab-1", metadata={"old": "1"})
    clock.advance(60)
    new = await timed.allocate({"cpu": 4}, ttl=None, id="lab-1", owner="somebody")
    assert new.created
    assert new.fence > old.fence
    assert await timed.get("lab-1") == Same(new)
    with pytest.raises(AllocationLost):
        await timed.renew(old)
    with pytest.raises(AllocationLost):
        await timed.resize(old, {"cpu": 1})
    assert (await timed.release(old)).outcome == "fenced"
    assert (await timed.pools.usage()).resources["cpu"].allocated == 4000


async def test_what_is_past_its_deadline_makes_room_for_a_request(timed: AsyncAllocator, clock: Clock) -> None:
    """Nobody needs to run a reclaim for that; and only as much as is needed is taken back."""
    first = await timed.allocate({"cpu": 2}, ttl=10)
    second = await timed.allocate({"cpu": 2}, ttl=20)
    clock.advance(30)
    assert (await timed.pools.usage()).due == 2
    await timed.allocate({"cpu": 1}, ttl=60)
    assert await timed.get(first.id) is None
    assert await timed.get(second.id) is not None


async def test_the_dict_of_an_allocation_is_answered_with_how_to_read_it(client: AsyncAllocator) -> None:
    """Nothing is sent; that it is no text would not help."""
    lab = await client.allocate({"cpu": 1}, ttl=60)
    stored: Any = lab.to_dict()
    for call in (client.renew, client.release, lambda one: client.resize(one, {"cpu": 2})):
        with pytest.raises(InvalidRequest, match=r"it is a dict: Allocation\.from_dict makes") as wrong:
            await call(stored)
        assert wrong.value.field == "allocation"
    with pytest.raises(InvalidRequest, match="is not a text but an int"):
        await client.renew(cast("Any", 7))


async def test_fences_grow_with_every_grant(client: AsyncAllocator) -> None:
    """Whatever guards a resource by fence can tell an older grant from a newer one."""
    fences = [(await client.allocate({"cpu": "10m"}, ttl=60)).fence for _ in range(5)]
    await client.release_many([one async for one in client.list()])
    fences += [(await client.allocate({"cpu": "10m"}, ttl=60, id="a")).fence]
    assert fences == sorted(set(fences))


# -- renew, resize, release --------------------------------------------------------------------------------------------


async def test_renew_extends_by_the_ttl_of_the_record(timed: AsyncAllocator, clock: Clock) -> None:
    """Counted from now; a shorter ttl does not shorten."""
    held = await timed.allocate({"cpu": 1}, ttl=60)
    clock.advance(30)
    renewed = await timed.renew(held)
    assert (renewed.outcome, renewed.fence, renewed.deadline_ms) == ("renewed", held.fence, clock() + 60_000)
    assert (await timed.renew(held, ttl=5)).deadline_ms == clock() + 60_000
    assert (await timed.renew(held.id, ttl=timedelta(hours=1))).deadline_ms == clock() + 3_600_000
    read = await timed.get(held.id)
    assert read is not None
    assert read.deadline_ms == clock() + 3_600_000


async def test_renew_shortens_only_when_asked(timed: AsyncAllocator, clock: Clock) -> None:
    """And what was shortened ends at its new deadline."""
    held = await timed.allocate({"cpu": 1}, ttl=60)
    assert (await timed.renew(held, ttl=5, shorten=True)).deadline_ms == clock() + 5_000
    clock.advance(5)
    assert (await timed.maintenance.reclaim()).ids == (held.id,)


async def test_renewing_a_pinned_one_leaves_it_pinned_unless_it_is_to_be_shortened(
    timed: AsyncAllocator, clock: Clock
) -> None:
    """`shorten` gives it a deadline."""
    held = await timed.allocate({"cpu": 1}, ttl=None)
    assert (await timed.renew(held, ttl=60)).deadline_ms is None
    assert (await timed.renew(held, ttl=60, shorten=True)).deadline_ms == clock() + 60_000
    usage = await timed.pools.usage()
    assert (usage.allocations, usage.pinned) == (1, 0)
    clock.advance(60)
    assert (await timed.maintenance.reclaim()).count == 1


async def test_a_lease_past_its_deadline_can_be_renewed_until_its_room_is_given_away(
    timed: AsyncAllocator, clock: Clock
) -> None:
    """Nobody had been given its room; afterwards it is unknown."""
    held = await timed.allocate({"cpu": 4}, ttl=60)
    clock.advance(61)
    assert (await timed.renew(held)).deadline_ms == clock() + 60_000
    clock.advance(61)
    await timed.allocate({"cpu": 1}, ttl=60)
    with pytest.raises(UnknownAllocation) as lost:
        await timed.renew(held)
    assert lost.value.id == held.id


async def test_resize_changes_what_is_named_and_leaves_the_rest(client: AsyncAllocator) -> None:
    """Growing, shrinking, adding and giving up in one call; id, fence and deadline stay."""
    held = await client.allocate({"cpu": 1, "memory": "2Gi"}, ttl=60, metadata={"k": "v"})
    resized = await client.resize(held, {"cpu": "2500m", "memory": 0, "nvidia.com/gpu": 1})
    assert resized.resources == {"cpu": 2500, "nvidia.com/gpu": 1000}
    assert (resized.id, resized.fence, resized.deadline_ms) == (held.id, held.fence, held.deadline_ms)
    assert await client.get(held.id) == Same(resized)
    allocated = (await client.pools.usage()).pool.allocated
    assert allocated == {"cpu": 2500, "memory": 0, "nvidia.com/gpu": 1000}


async def test_a_resize_that_does_not_fit_changes_nothing_and_says_how_much_it_grows(client: AsyncAllocator) -> None:
    """All of it or nothing: the shrinking part is not done either."""
    held = await client.allocate({"cpu": 1, "memory": "2Gi"}, ttl=60)
    await client.allocate({"cpu": 2}, ttl=60)
    with pytest.raises(Insufficient) as refused:
        await client.resize(held, {"cpu": 3, "memory": "1Gi"})
    [short] = refused.value.denial.shortages
    assert (short.resource, short.requested, short.held, short.growth) == ("cpu", 3000, 1000, 2000)
    assert (short.allocated, short.capacity, short.available, short.short) == (3000, 4000, 1000, 1000)
    assert str(short) == "cpu requested=3 held=1 growth=2 available=1 short=1 (allocated=3 capacity=4)"
    assert await client.get(held.id) == Same(held)
    assert (await client.pools.usage()).pool.allocated["memory"] == 2 * 2**30


async def test_a_growing_resize_takes_the_room_of_what_is_past_its_deadline(
    timed: AsyncAllocator, clock: Clock
) -> None:
    """As an allocation does; but never its own room."""
    held = await timed.allocate({"cpu": 1}, ttl=10)
    await timed.allocate({"cpu": 3}, ttl=10)
    clock.advance(20)
    assert (await timed.resize(held, {"cpu": 4})).resources == {"cpu": 4000}


async def test_release_gives_everything_back_once(client: AsyncAllocator) -> None:
    """The second time there is nothing of that id, which is no error."""
    held = await client.allocate({"cpu": 1, "nvidia.com/gpu": 2}, ttl=60)
    released = await client.release(held)
    assert released
    assert (released.id, released.outcome) == (held.id, "released")
    assert released.ended_ms is not None
    again = await client.release(held)
    assert not again
    assert (again.outcome, again.ended_ms) == ("unknown", None)
    assert await client.get(held.id) is None
    usage = await client.pools.usage()
    assert (usage.allocations, dict(usage.pool.allocated)) == (0, {"cpu": 0, "memory": 0, "nvidia.com/gpu": 0})


async def test_a_text_is_an_id_with_any_fence_unless_one_is_given(client: AsyncAllocator) -> None:
    """An operator may release by name; a program should compare the fence."""
    held = await client.allocate({"cpu": 1}, ttl=60)
    assert (await client.release(held.id, fence=held.fence + 1)).outcome == "fenced"
    with pytest.raises(AllocationLost) as fenced:
        await client.renew(held.id, fence=held.fence - 1)
    assert (fenced.value.code, fenced.value.id) == ("fenced", held.id)
    with pytest.raises(AllocationLost):
        await client.resize(held.id, {"cpu": 2}, fence=1)
    assert await client.renew(held.id, fence=held.fence)
    assert await client.release(held.id)


async def test_what_is_unknown_is_said_so(client: AsyncAllocator) -> None:
    """Renew and resize raise, for their caller goes on using it; release and get do not."""
    with pytest.raises(UnknownAllocation):
        await client.renew("nothing")
    with pytest.raises(UnknownAllocation):
        await client.resize("nothing", {"cpu": 1})
    assert (await client.release("nothing")).outcome == "unknown"
    assert await client.get("nothing") is None


async def test_a_missing_pool_is_never_full_and_never_made_silently(connect: Connect) -> None:
    """Every verb says `UnknownPool` and names it."""
    client = connect(pool="absent")
    for call in (
        client.allocate({"cpu": 1}, ttl=60),
        client.try_allocate({"cpu": 1}, ttl=60),
        client.check({"cpu": 1}),
        client.renew("a"),
        client.resize("a", {"cpu": 1}),
        client.release("a"),
        client.get("a"),
        client.pools.usage(),
        client.pools.get(),
        client.pools.update(None, {"cpu": 1}),
        client.pools.upgrade(),
        client.maintenance.reclaim(),
        client.events.list(),
        client.maintenance.audit(),
        client.maintenance.audit(repair=True),
        client.renew_many(["a"]),
        client.release_many(["a"]),
    ):
        with pytest.raises(UnknownPool) as missing:
            await call
        assert missing.value.pool == "absent"
    with pytest.raises(UnknownPool):
        [one async for one in client.list()]
    assert await client.pools.list() == []


async def test_an_allocation_brings_its_pool_along(client: AsyncAllocator) -> None:
    """It can be released, renewed and resized by a client of another pool."""
    await client.pools.create("other", {"cpu": 1})
    held = await client.options(pool="other").allocate({"cpu": 1}, ttl=60)
    assert held.pool == "other"
    assert await client.renew(held)
    assert (await client.resize(held, {"cpu": "500m"})).pool == "other"
    assert await client.get(held.id) is None
    assert await client.options(pool="other").get(held.id)
    assert await client.release(held)
    assert (await client.pools.usage("other")).allocations == 0


async def test_a_vector_of_resources_can_be_asked_for_again_as_it_is(client: AsyncAllocator) -> None:
    """Amounts are not read as quantities a second time."""
    held = await client.allocate({"cpu": "1500m", "memory": "1Gi"}, ttl=60)
    assert isinstance(held.resources, Resources)
    twin = await client.allocate(held.resources, ttl=60)
    assert twin.resources == held.resources


class Same:
    """Equal to what reads like this allocation; only `created` may differ."""

    def __init__(self, allocation: object) -> None:
        self._allocation = allocation

    def _facts(self, one: object) -> list[object]:
        return [
            getattr(one, name) for name in ("id", "pool", "owner", "resources", "fence", "granted_ms", "deadline_ms")
        ]

    def __eq__(self, other: object) -> bool:
        return self._facts(other) == self._facts(self._allocation)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Same({self._allocation!r})"
