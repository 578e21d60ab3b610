"""Hard ends, by both clients on every kind of store: what callers are told, and when holds are lost."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from allocator import Allocation, AllocationLost, AsyncAllocator, InvalidRequest, Request
from allocator.testing import Clock
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
    wait_until(lambda: hold._renewer is None or not len(hold._renewer._schedule) or clock.advance(1))
    assert await timed.get("a") is None
