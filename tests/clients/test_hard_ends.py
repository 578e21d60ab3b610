"""Hard ends, by both clients on every kind of store: what callers are told, and when holds are lost."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from allocator import Allocation, AllocationLost, AsyncAllocator, InvalidRequest, Request
from allocator.testing import Clock, memory_async_allocator
from tests.support.waiting import wait_until


async def test_no_renewal_passes_the_end(timed: AsyncAllocator, clock: Clock) -> None:
    """A renewal that is cut succeeds and says so; after the end it is refused as over, and the capacity is free."""
    held = await timed.allocate({"cpu": 4}, ttl=60, id="a", max_lifetime=timedelta(seconds=90))
    assert held.ends_ms == held.granted_ms + 90_000
    assert held.deadline_ms == held.granted_ms + 60_000
    clock.advance(50)
    renewed = await timed.renew(held)
    assert (renewed.deadline_ms, renewed.ends_ms, renewed.left_ms) == (held.ends_ms, held.ends_ms, 40_000)
    assert renewed.ends_at == held.ends_at
    (again,) = await timed.renew_many([held], ttl=600)
    assert again.deadline_ms == held.ends_ms
    found = await timed.get("a")
    assert found is not None
    assert found.ends_ms == held.ends_ms
    assert [one.ends_ms async for one in timed.list()] == [held.ends_ms]
    clock.advance(40)
    with pytest.raises(AllocationLost, match="hard end") as lost:
        await timed.renew(held)
    assert lost.value.code == "over"
    assert [one.outcome for one in await timed.renew_many([held])] == ["over"]
    assert await timed.try_allocate({"cpu": 4}, ttl=60)


async def test_without_a_ttl_it_is_a_lease_until_then(timed: AsyncAllocator, clock: Clock) -> None:
    """Nothing renews it, and nothing needs to."""
    held = await timed.allocate({"cpu": 4}, ttl=None, max_lifetime=3600)
    assert held.ttl_ms == 3_600_000
    assert held.deadline_ms == held.ends_ms
    assert not held.pinned
    assert Allocation.from_dict(held.to_dict()) == held
    clock.advance(3599)
    assert not await timed.try_allocate({"cpu": 1}, ttl=60)
    clock.advance(1)
    assert await timed.try_allocate({"cpu": 1}, ttl=60)


@pytest.mark.parametrize("wrong", [0, 0.5, -1, float("nan"), "60", True, 11 * 366 * 86_400])
async def test_what_is_no_lifetime_is_refused(client: AsyncAllocator, wrong: object) -> None:
    """Before anything is sent, by the name of the argument."""
    for request in (
        client.try_allocate({"cpu": 1}, ttl=60, max_lifetime=wrong),  # type: ignore[arg-type]
        client.allocate_many([Request({"cpu": 1}, 60, max_lifetime=wrong)]),  # type: ignore[arg-type]
    ):
        with pytest.raises(InvalidRequest) as refused:
            await request
        assert refused.value.field == "max_lifetime"
    assert (await client.pools.usage()).allocations == 0


async def test_who_finds_it_live_gets_the_end_of_its_grant(timed: AsyncAllocator, clock: Clock) -> None:
    """A later caller neither moves nor removes it, whatever it asks for."""
    held = await timed.allocate({"cpu": 1}, ttl=30, id="a", max_lifetime=60)
    clock.advance(10)
    for ttl, lifetime in ((600, None), (None, None), (None, 6000), (30, 5)):
        found = await timed.allocate({"cpu": 1}, ttl=ttl, id="a", max_lifetime=lifetime)
        assert (found.fence, found.ends_ms) == (held.fence, held.ends_ms)
    assert found.deadline_ms == held.ends_ms
    clock.advance(50)
    anew = await timed.allocate({"cpu": 1}, ttl=30, id="a")
    assert anew.created
    assert anew.ends_ms is None


async def test_a_batch_takes_it_item_by_item(timed: AsyncAllocator) -> None:
    """One with an end, one without."""
    first, second = await timed.allocate_many([Request({"cpu": 1}, 60, max_lifetime=90), Request({"cpu": 1}, 60)])
    assert isinstance(first, Allocation)
    assert isinstance(second, Allocation)
    assert first.ends_ms == first.granted_ms + 90_000
    assert second.ends_ms is None


async def test_what_is_adopted_keeps_its_end(timed: AsyncAllocator, clock: Clock) -> None:
    """And after it nothing is adopted."""
    held = await timed.allocate({"cpu": 1}, ttl=60, id="a", max_lifetime=90)
    lost = replace(held, id="b", fence=held.fence + 1)
    adopted = await timed.adopt(lost, ttl=600, force="a test")
    assert (adopted.ends_ms, adopted.deadline_ms) == (held.ends_ms, held.ends_ms)
    clock.advance(90)
    for one in (adopted, replace(held, id="c")):
        with pytest.raises(AllocationLost) as over:
            await timed.adopt(one, force="a test")
        assert over.value.code == "over"


async def test_a_grace_is_no_longer_than_what_is_left(timed: AsyncAllocator, clock: Clock) -> None:
    """`begin_release` moves no end."""
    held = await timed.allocate({"cpu": 4}, ttl=60, id="a", max_lifetime=60)
    clock.advance(50)
    leaving = await timed.begin_release(held, grace=600)
    assert leaving.deadline_ms == held.ends_ms
    clock.advance(10)
    assert await timed.try_allocate({"cpu": 4}, ttl=60)


async def test_a_hold_is_lost_shortly_before_its_end(timed: AsyncAllocator, clock: Clock) -> None:
    """Renewed as long as that helps; the loss is no fault, and says so."""
    told: list[str] = []
    with pytest.raises(AllocationLost, match="hard end") as lost:
        async with timed.hold(
            {"cpu": 4}, ttl=30, max_lifetime=50, id="a", on_lost=lambda hold: told.append(hold.id)
        ) as hold:
            for _ in range(4):
                before = hold.deadline
                clock.advance(10)
                wait_until(
                    lambda before=before: hold.deadline != before or hold.deadline == hold.ends_at, message="a renewal"
                )
                assert not hold.lost
            assert hold.deadline == hold.ends_at
            clock.advance(6.9)
            assert not hold.lost
            clock.advance(0.2)
            assert hold.lost
            assert not await timed.try_allocate({"cpu": 1}, ttl=60)
    assert lost.value.code == "over"
    assert told == ["a"]
    assert await timed.get("a") is None, "it is released at the end of the block, before its hard end"


async def test_a_hold_that_finds_it_live_is_lost_before_its_end(timed: AsyncAllocator, clock: Clock) -> None:
    """Though it was granted long ago, to another call: the reply says how much is left."""
    held = await timed.allocate({"cpu": 1}, ttl=60, id="a", max_lifetime=60)
    clock.advance(40)
    async with timed.hold({"cpu": 1}, ttl=30, id="a") as hold:
        assert hold.ends_at == held.ends_at
        assert hold.deadline == held.ends_at
        assert hold.remaining == pytest.approx(18, abs=0.5)
    with pytest.raises(AllocationLost) as lost:
        async with timed.hold({"cpu": 1}, ttl=30, max_lifetime=20, id="b") as hold:
            clock.advance(18.5)
            hold.check()
    assert lost.value.code == "over"


async def test_a_hold_without_an_end_says_so(timed: AsyncAllocator) -> None:
    """As today."""
    async with timed.hold({"cpu": 1}, ttl=30) as hold:
        assert hold.ends_at is None


async def test_a_block_is_cancelled_before_its_end() -> None:
    """By the awaited client, as for any loss."""
    clock = Clock()
    async with memory_async_allocator({"cpu": 4}, clock=clock) as client:
        with pytest.raises(AllocationLost) as lost:
            async with client.hold({"cpu": 4}, ttl=30, max_lifetime=20, cancel=True):
                clock.advance(18.5)
                await asyncio.Event().wait()
        assert lost.value.code == "over"


async def test_a_pool_has_a_longest_life(client: AsyncAllocator) -> None:
    """For each grant from now on; what is pinned has an end, too."""
    pool = await client.pools.create("short", {"cpu": 4}, max_lifetime=timedelta(hours=1))
    assert pool.max_lifetime_ms == 3_600_000
    short = client.options(pool="short")
    for ttl, lifetime, lives_ms in ((60, None, 3_600_000), (None, 7200, 3_600_000), (60, 90, 90_000)):
        held = await short.allocate({"cpu": 1}, ttl=ttl, max_lifetime=lifetime)
        assert held.ends_ms == held.granted_ms + lives_ms
        assert held.deadline_ms is not None
    changed = await client.pools.create("short", {"cpu": 4}, max_lifetime=1800, update=True)
    assert changed.max_lifetime_ms == 1_800_000
    assert (await client.pools.update("short", max_lifetime=0)).max_lifetime_ms == 0
    assert (await short.allocate({"cpu": 1}, ttl=None)).pinned
    with pytest.raises(InvalidRequest) as wrong:
        await client.pools.update("short", max_lifetime=0.5)
    assert wrong.value.field == "max_lifetime"


async def test_what_an_older_version_wrote_has_no_end(client: AsyncAllocator) -> None:
    """Dicts of an allocation, a renewal, a request and a pool."""
    held = await client.allocate({"cpu": 1}, ttl=60)
    request = Request({"cpu": 1}, 60)
    for one in (held, await client.renew(held), request, await client.pools.get()):
        data = one.to_dict()
        for name in ("endsAt", "leftMs", "maxLifetimeMs"):
            data.pop(name, None)
        assert type(one).from_dict(data).to_dict() == one.to_dict()
    assert Request.from_dict(Request({"cpu": 1}, 60, max_lifetime=90).to_dict()).max_lifetime == 90
