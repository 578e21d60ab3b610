"""The types of the awaited client; to forget an `await` is an error that the checkers find."""
# pyright: strict, reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from typing import assert_type

import redis.asyncio

from allocator import (
    Allocation,
    Allocator,
    AsyncAllocator,
    AsyncHold,
    Audit,
    Check,
    Denial,
    Event,
    Limit,
    Outcome,
    Pool,
    Quota,
    Reclaimed,
    Release,
    Renewal,
    Request,
    ResourceUnits,
    Usage,
)


async def makes_clients(ready: redis.asyncio.Redis) -> None:
    assert_type(AsyncAllocator.from_url("redis://localhost"), AsyncAllocator)
    assert_type(AsyncAllocator(ready, pool="lab", owner="me", timeout=5.0), AsyncAllocator)
    async with AsyncAllocator.from_url(pool="lab") as client:
        assert_type(client, AsyncAllocator)
    assert_type(await client.close(), None)
    AsyncAllocator(7)  # type: ignore[arg-type]
    with AsyncAllocator.from_url():  # type: ignore[attr-defined]
        pass


async def does_not_take_the_other_sides_client(blocking: redis.Redis, awaited: redis.asyncio.Redis) -> None:
    Allocator(awaited)  # type: ignore[arg-type]
    AsyncAllocator(blocking)  # type: ignore[arg-type]


async def has_the_same_verbs_awaited(client: AsyncAllocator, held: Allocation) -> None:
    assert_type(await client.pools.create("lab", {"cpu": 4}, whole_units=("cpu",)), Pool)
    units = {"cpu": ResourceUnits(reserved="500m", overcommit_permille=250, min_unit=1)}
    assert_type((await client.pools.update(units=units)).units, Mapping[str, ResourceUnits])
    assert_type(await client.pools.get("lab"), Pool)
    assert_type(await client.pools.list(), list[str])
    assert_type(await client.pools.update(None, {"cpu": 5}), Pool)
    assert_type(await client.pools.upgrade(), Pool)
    assert_type(await client.pools.delete("lab"), bool)
    assert_type(await client.allocate({"cpu": 1}, ttl=60), Allocation)
    assert_type(await client.try_allocate({"cpu": 1}, ttl=None), Allocation | Denial)
    assert_type(await client.allocate_many([Request({"cpu": 1}, 60)]), list[Outcome])
    assert_type(await client.check({"cpu": 1}), Check)
    assert_type(await client.renew(held), Renewal)
    assert_type(await client.renew_many([held]), list[Renewal])
    assert_type(await client.resize(held, {"cpu": 2}), Allocation)
    assert_type(await client.move(held, "team-a"), Allocation)
    assert_type(await client.quotas.set("team-a", {"cpu": Limit(2, 1), "memory": "4Gi"}), Quota)
    assert_type(await client.quotas.tree("team-a"), dict[str, Quota])
    assert_type(await client.quotas.list(), list[Quota])
    assert_type(await client.quotas.get("team-a"), Quota | None)
    assert_type(await client.quotas.delete("team-a"), bool)
    assert_type(await client.release(held), Release)
    assert_type(await client.release_many([held]), list[Release])
    assert_type(await client.get("a"), Allocation | None)
    assert_type(await client.pools.usage(), Usage)
    assert_type(await client.events.list(), list[Event])
    assert_type(await client.maintenance.reclaim(), Reclaimed)
    assert_type(await client.maintenance.audit(), Audit)
    assert_type(client.options(epoch="e"), AsyncAllocator)


async def walks(client: AsyncAllocator) -> None:
    assert_type(client.list(), AsyncIterator[Allocation])
    async for one in client.list(owner="me"):
        assert_type(one.granted_at, datetime)
    for _ in client.list():  # type: ignore[attr-defined]
        pass


async def holds(client: AsyncAllocator) -> None:
    async with client.hold({"cpu": 1}, ttl=60, exclusive=True, on_lost=lambda held: held.check(), cancel=True) as hold:
        assert_type(hold, AsyncHold)
        assert_type(hold.remaining, float)
    with client.hold({"cpu": 1}, ttl=60):  # type: ignore[attr-defined]
        pass


async def cannot_forget_to_await(client: AsyncAllocator, held: Allocation) -> None:
    client.release(held)  # type: ignore[unused-coroutine]
    client.renew(held)  # type: ignore[unused-coroutine]
    client.close()  # type: ignore[unused-coroutine]
    taken: Allocation = client.allocate({"cpu": 1}, ttl=60)  # type: ignore[assignment]
    if client.release(taken):  # pyright: ignore[reportUnnecessaryComparison]
        pass
    client.pools.usage().resources  # type: ignore[attr-defined]  # noqa: B018
