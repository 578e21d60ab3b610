"""Looking: pages of allocations, events, checks and their explanations.  None of it changes anything."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from allocator import AsyncAllocator, Request
from allocator.testing import Clock


async def test_all_allocations_are_listed_once_over_many_pages(client: AsyncAllocator) -> None:
    """Leases and pinned ones, more than one page of each."""
    wanted = [Request({"cpu": "1m"}, 60 if n % 2 else None, id=f"a{n}") for n in range(1300)]
    await client.allocate_many(wanted)
    listed = [one async for one in client.list()]
    assert sorted(one.id for one in listed) == sorted(f"a{n}" for n in range(1300))
    assert sum(one.pinned for one in listed) == 650
    assert (await client.pools.usage()).allocations == 1300


async def test_what_moves_between_the_indexes_during_the_walk_is_listed_once(client: AsyncAllocator) -> None:
    """A lease may be pinned, or a pinned one given a deadline, while somebody walks."""
    await client.allocate_many([Request({"cpu": "1m"}, 60 if n % 2 else None, id=f"a{n}") for n in range(1200)])
    seen: list[str] = []
    async for one in client.list():
        if not seen:
            await client.allocate_many([Request({"cpu": "1m"}, None, id=f"a{n}") for n in range(1, 200, 2)])
            for n in range(0, 100, 2):
                await client.renew(f"a{n}", ttl=60, shorten=True)
        seen.append(one.id)
    assert len(seen) == len(set(seen)) == 1200


async def test_the_list_can_be_filtered_by_owner_and_age(timed: AsyncAllocator, clock: Clock) -> None:
    """Age counts from the grant, whatever was renewed since."""
    await timed.allocate({"cpu": "1m"}, ttl=3600, id="old-mine")
    await timed.allocate({"cpu": "1m"}, ttl=None, id="old-theirs", owner="them")
    clock.advance(100)
    await timed.renew("old-mine")
    await timed.allocate({"cpu": "1m"}, ttl=3600, id="new-mine")

    async def ids(**filters: object) -> list[str]:
        return sorted([one.id async for one in timed.list(**filters)])  # type: ignore[arg-type]

    assert await ids(owner="me") == ["new-mine", "old-mine"]
    assert await ids(owner="nobody") == []
    assert await ids(older_than=100) == ["old-mine", "old-theirs"]
    assert await ids(older_than=timedelta(seconds=100.001)) == []
    assert await ids(older_than=0) == ["new-mine", "old-mine", "old-theirs"]
    assert await ids(owner="them", older_than=1) == ["old-theirs"]


async def test_usage_counts_what_is_due(timed: AsyncAllocator, clock: Clock) -> None:
    """It is still charged: nobody has needed its room."""
    await timed.allocate({"cpu": 1}, ttl=10)
    await timed.allocate({"cpu": 1}, ttl=20)
    await timed.allocate({"cpu": 1}, ttl=None)
    clock.advance(10)
    usage = await timed.pools.usage()
    assert (usage.allocations, usage.pinned, usage.due, usage.read_ms) == (3, 1, 1, clock())
    assert usage.resources["cpu"].allocated == 3000
    assert usage.resources["cpu"].utilization == 75.0


async def test_every_change_is_an_event_and_nothing_else_is(timed: AsyncAllocator, clock: Clock) -> None:
    """Newest first, with who, what and why; a denial, a replay and a plain renewal write nothing."""
    held = await timed.allocate({"cpu": 1}, ttl=10, id="a")
    await timed.allocate({"cpu": 1}, ttl=10, id="a")
    await timed.try_allocate({"cpu": 9}, ttl=10)
    await timed.renew(held)
    await timed.renew(held, ttl=5, shorten=True)
    await timed.resize(held, {"cpu": 2})
    await timed.pools.update(None, {"cpu": 5})
    clock.advance(10)
    await timed.maintenance.reclaim()
    await timed.release(await timed.allocate({"cpu": 1}, ttl=10, id="b", owner="them"))
    events = await timed.events.list()
    assert [one.kind for one in events] == [
        "released", "granted", "reclaimed", "configured", "resized", "renewed", "granted", "created",
    ]  # fmt: skip
    released, granted, reclaimed = events[:3]
    assert granted.fields["owner"] == released.fields["owner"] == "them"
    assert granted.fields["fence"] == released.fields["fence"]
    assert (reclaimed.fields["id"], reclaimed.fields["reason"]) == ("a", "deadline")
    assert reclaimed.fields["cpu.allocated"] == "2000"
    assert abs(released.at - datetime.now(UTC)) < timedelta(minutes=5)
    assert [one.id for one in await timed.events.list(limit=3)] == [one.id for one in events[:3]]


async def test_a_check_says_what_an_allocation_would(client: AsyncAllocator) -> None:
    """Decided by the same code; and it changes nothing."""
    await client.allocate({"cpu": 3}, ttl=None)
    before = (await client.pools.get()).revision
    assert await client.check({"cpu": 1})
    for request in ({"cpu": 2}, {"cpu": 5}, {"disk": 1}, {"nvidia.com/gpu": "100m"}):
        check = await client.check(request)
        assert not check
        assert check.denial == await client.try_allocate(request, ttl=60)
        assert check.fits_at is None
    assert (await client.pools.get()).revision == before


async def test_an_explanation_says_when_it_fits_at_the_latest(timed: AsyncAllocator, clock: Clock) -> None:
    """The deadline by which enough will have come back; None where that is not foreseeable."""
    await timed.allocate({"cpu": 1}, ttl=100)
    second = await timed.allocate({"cpu": 2}, ttl=200)
    await timed.allocate({"cpu": 1}, ttl=None)
    check = await timed.check({"cpu": 3}, explain=True)
    assert not check
    assert (check.fits_ms, check.fits_at) == (second.deadline_ms, second.deadline)
    assert (await timed.check({"cpu": 1}, explain=True)).fits_ms == clock() + 100_000
    assert (await timed.check({"cpu": 4}, explain=True)).fits_ms is None
    assert (await timed.check({"cpu": 5}, explain=True)).fits_ms is None
    assert (await timed.check({"cpu": 1})).fits_ms is None
    clock.advance(150)
    assert (await timed.check({"cpu": 1}, explain=True)).fits


async def test_a_check_counts_what_is_due_as_free_and_takes_nothing_back(timed: AsyncAllocator, clock: Clock) -> None:
    """However much is due: beyond what one look takes in, it is reclaimed first."""
    await timed.allocate_many([Request({"cpu": "10m"}, 10) for _ in range(200)])
    clock.advance(11)
    assert await timed.check({"cpu": 4})
    assert (await timed.pools.usage()).due == 200
    assert not await timed.check({"cpu": 5})
