"""Reclaim, audit and repair: what keeps a pool clean, and how a broken one is found and mended."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from allocator import AsyncAllocator, InvariantError, Request
from allocator.testing import Clock

BASE = "allocator:{lab}:"


# -- reclaim -----------------------------------------------------------------------------------------------------------


async def test_reclaim_takes_what_is_past_its_deadline_and_nothing_else(timed: AsyncAllocator, clock: Clock) -> None:
    """At its deadline a lease is over; a millisecond before, it is not."""
    due = await timed.allocate({"cpu": 1}, ttl=60)
    await timed.allocate({"cpu": 1}, ttl=60.001)
    await timed.allocate({"cpu": 1}, ttl=None)
    assert not await timed.maintenance.reclaim()
    clock.advance(60)
    reclaimed = await timed.maintenance.reclaim()
    assert (reclaimed.count, reclaimed.ids, reclaimed.more) == (1, (due.id,), False)
    assert not await timed.maintenance.reclaim()
    assert (await timed.pools.usage()).resources["cpu"].allocated == 2000


async def test_pinned_allocations_go_by_age_and_kept_leases_only_when_that_is_asked_for(
    timed: AsyncAllocator, clock: Clock
) -> None:
    """What a living holder keeps renewing is never taken by age by accident."""
    await timed.allocate({"cpu": "1m"}, ttl=None, id="pinned-old")
    await timed.allocate({"cpu": "1m"}, ttl=7200, id="lease-old")
    clock.advance(3600)
    await timed.renew("lease-old")
    await timed.allocate({"cpu": "1m"}, ttl=None, id="pinned-new")
    await timed.allocate({"cpu": "1m"}, ttl=7200, id="lease-new")
    assert (await timed.maintenance.reclaim(older_than=3601)).count == 0
    assert (await timed.maintenance.reclaim(older_than=timedelta(hours=1))).ids == ("pinned-old",)
    assert (await timed.maintenance.reclaim(older_than=3600, include_live=True)).ids == ("lease-old",)
    assert sorted([one.id async for one in timed.list()]) == ["lease-new", "pinned-new"]
    reasons = [
        one.fields["reason"] for one in await timed.events.list(limit=20) if one.kind in ("reclaimed", "released")
    ]
    assert reasons == ["age", "age"]


async def test_reclaim_stops_at_its_limit_and_says_that_there_is_more(timed: AsyncAllocator, clock: Clock) -> None:
    """A cron job may bound its work; without a limit it goes on over many batches."""
    await timed.allocate_many([Request({"cpu": "1m"}, 10) for _ in range(450)])
    clock.advance(11)
    first = await timed.maintenance.reclaim(limit=3)
    assert (first.count, len(first.ids), first.more) == (3, 3, True)
    second = await timed.maintenance.reclaim(limit=250)
    assert (second.count, second.more) == (250, True)
    rest = await timed.maintenance.reclaim()
    assert (rest.count, rest.more) == (197, False)
    assert (await timed.pools.usage()).allocations == 0


async def test_a_limit_that_is_just_enough_leaves_nothing_more(timed: AsyncAllocator, clock: Clock) -> None:
    """`more` is about work left, not about the number."""
    await timed.allocate_many([Request({"cpu": "1m"}, 10) for _ in range(200)])
    clock.advance(11)
    reclaimed = await timed.maintenance.reclaim(limit=200)
    assert (reclaimed.count, reclaimed.more) == (200, False)


# -- audit -------------------------------------------------------------------------------------------------------------


async def test_an_audit_of_a_sound_pool_is_clean(client: AsyncAllocator) -> None:
    """It counts the records and names the revision that it read; a repair then has nothing to do."""
    for ttl in (60, None):
        await client.allocate({"cpu": 1, "memory": "1Gi"}, ttl=ttl)
    report = await client.maintenance.audit()
    assert report
    assert (report.status, report.records, report.findings, report.total) == ("clean", 2, (), 0)
    assert report.revision == (await client.pools.get()).revision
    assert (await client.maintenance.audit(repair=True)).status == "clean"
    assert (await client.pools.get()).revision == report.revision


async def repaired(client: AsyncAllocator, *kinds: str) -> None:
    """An audit finds exactly these, a repair mends them, and the pool is clean again."""
    found = await client.maintenance.audit()
    assert (found.status, sorted(one.kind for one in found.findings)) == ("drift", sorted(kinds)), found
    mended = await client.maintenance.audit(repair=True)
    assert mended.status == "repaired"
    assert {one.kind for one in mended.findings} <= set(kinds)
    report = await client.maintenance.audit()
    assert report, report
    assert "repaired" in [one.kind for one in await client.events.list()]


async def test_counters_that_drifted_are_set_to_what_the_records_say(
    client: AsyncAllocator, redis_cli: Callable[..., Any]
) -> None:
    """Records count, counters follow."""
    await client.allocate({"cpu": 1, "memory": "1Gi"}, ttl=60)
    redis_cli("HINCRBY", BASE + "pool", "cpu.allocated", 500)
    redis_cli("HDEL", BASE + "pool", "memory.allocated")
    await repaired(client, "drift", "drift")
    usage = await client.pools.usage()
    assert (usage.resources["cpu"].allocated, usage.resources["memory"].allocated) == (1000, 2**30)


async def test_a_record_that_vanished_leaves_the_index_and_its_charge_is_taken_back(
    client: AsyncAllocator, redis_cli: Callable[..., Any]
) -> None:
    """As a server that evicts, or a person, may have done."""
    held = await client.allocate({"cpu": 1}, ttl=60)
    redis_cli("DEL", BASE + "allocation:" + held.id)
    await repaired(client, "drift", "missing_record")
    assert (await client.pools.usage()).allocations == 0


async def test_an_orphan_record_is_indexed_again(client: AsyncAllocator, redis_cli: Callable[..., Any]) -> None:
    """Somebody holds it."""
    lease = await client.allocate({"cpu": 1}, ttl=60)
    pinned = await client.allocate({"cpu": 1}, ttl=None)
    redis_cli("ZREM", BASE + "deadlines", lease.id)
    redis_cli("ZREM", BASE + "pinned", pinned.id)
    await repaired(client, "orphan_record", "orphan_record", "drift")
    assert (await client.renew(lease)).outcome == "renewed"
    usage = await client.pools.usage()
    assert (usage.allocations, usage.pinned, usage.resources["cpu"].allocated) == (2, 1, 2000)


async def test_indexes_that_contradict_the_record_are_mended(
    client: AsyncAllocator, redis_cli: Callable[..., Any]
) -> None:
    """A wrong instant, the wrong index, and both indexes."""
    late, moved, twice = [await client.allocate({"cpu": 1}, ttl=60) for _ in range(3)]
    redis_cli("ZADD", BASE + "deadlines", 1, late.id)
    redis_cli("ZREM", BASE + "deadlines", moved.id)
    for one in (moved, twice):
        redis_cli("ZADD", BASE + "pinned", one.granted_ms, one.id)
    await repaired(client, "wrong_instant", "wrong_index", "indexed_twice")
    usage = await client.pools.usage()
    assert (usage.allocations, usage.pinned) == (3, 0)


async def test_a_record_that_would_vanish_by_itself_is_made_to_stay(
    client: AsyncAllocator, redis_cli: Callable[..., Any]
) -> None:
    """No key of ours has a time to live."""
    held = await client.allocate({"cpu": 1}, ttl=60)
    redis_cli("EXPIRE", BASE + "allocation:" + held.id, 1000)
    await repaired(client, "expiring_record")
    assert redis_cli("TTL", BASE + "allocation:" + held.id) == -1


async def test_a_broken_record_is_the_business_of_who_names_it_and_of_nobody_else(
    timed: AsyncAllocator, clock: Clock, redis_cli: Callable[..., Any]
) -> None:
    """A bystander that is due and broken leaves the index with an event; its charge stays until the repair."""
    broken = await timed.allocate({"cpu": 1}, ttl=10)
    typed = await timed.allocate({"cpu": 1}, ttl=10)
    redis_cli("HSET", BASE + "allocation:" + broken.id, "cpu.allocated", "many")
    redis_cli("DEL", BASE + "allocation:" + typed.id)
    redis_cli("SET", BASE + "allocation:" + typed.id, "text")
    for call in (timed.release(broken), timed.renew(typed), timed.resize(broken, {"cpu": 2})):
        with pytest.raises(InvariantError):
            await call
    clock.advance(10)
    await timed.allocate({"cpu": 2}, ttl=60)
    assert (await timed.try_allocate({"cpu": 1}, ttl=60)).__class__.__name__ == "Denial"
    assert [one.kind for one in await timed.events.list()].count("broken") == 2
    assert (await timed.pools.usage()).resources["cpu"].allocated == 4000
    await timed.maintenance.audit(repair=True)
    assert (await timed.pools.usage()).resources["cpu"].allocated == 2000


async def test_at_most_a_hundred_findings_are_listed_and_all_are_counted_and_mended(
    client: AsyncAllocator, redis_cli: Callable[..., Any]
) -> None:
    """A report stays readable."""
    await client.allocate_many([Request({"cpu": "1m"}, 60, id=f"a{n}") for n in range(150)])
    for n in range(150):
        redis_cli("ZADD", BASE + "deadlines", 1, f"a{n}")
    found = await client.maintenance.audit()
    assert (len(found.findings), found.total) == (100, 150)
    await client.maintenance.audit(repair=True)
    assert await client.maintenance.audit()
