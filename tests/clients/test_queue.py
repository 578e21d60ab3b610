"""The line of a pool as an administrator sees it: who waits, its policy, and taking requests out of it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from allocator import (
    AsyncAllocator,
    Denial,
    Insufficient,
    InvalidRequest,
    QueuePolicy,
    Request,
    RequestWithdrawn,
    Waiter,
    WaitingPriority,
)
from tests.support.waiters import Line


def _denial(waiter: Waiter) -> Denial:
    assert waiter.denial is not None
    return waiter.denial


async def test_who_waits_is_seen_in_line(client: AsyncAllocator, line: Line, full: Any) -> None:
    """With all that it asks for, what it is short of, and how many there are."""
    await line.join(
        "next",
        {"cpu": 1, "memory": "1Gi"},
        ttl=30,
        owner="you",
        priority=7,
        metadata={"k": "v"},
        wait=timedelta(hours=1),
    )
    (waiter,) = await client.queue.list()
    assert (waiter.id, waiter.pool, waiter.position, waiter.owner, waiter.priority) == ("next", "lab", 1, "you", 7)
    assert waiter.resources == {"cpu": 1000, "memory": 2**30}
    assert (waiter.ttl_ms, waiter.scope, dict(waiter.metadata)) == (30_000, None, {"k": "v"})
    assert [(one.resource, one.short) for one in _denial(waiter).shortages] == [("cpu", 1000)]
    assert waiter.until_ms is not None
    assert abs(waiter.until_ms - waiter.since_ms - 3_600_000) < 100_000, "each question tells anew how long it waits"
    assert waiter.start_ms is None, "what it waits for has no deadline"
    assert type(waiter).from_dict(waiter.to_dict()) == waiter
    usage = await client.pools.usage()
    assert (usage.waiting, usage.line) == (1, (WaitingPriority(7, 1, waiter.since_ms),))
    assert (usage.deadline_ms, usage.pinned_ms) == (None, full.granted_ms)
    assert await client.get("next") is None


async def test_the_policy_of_a_pool_is_set_by_parts(client: AsyncAllocator) -> None:
    """What is not given stays; a default is stored as none.  The model round-trips, and recovers a pool as it was."""
    pool = await client.pools.get()
    assert pool.queue == QueuePolicy("contended", 100, 600.0, 100_000, False, 86_400.0)
    changed = await client.pools.update(queue=QueuePolicy(passes_max=0, wait_max=timedelta(minutes=1)))
    assert changed.queue == QueuePolicy("contended", 0, 60.0, 100_000, False, 86_400.0)
    changed = await client.pools.update(queue=QueuePolicy("strict", length_max=5, backfill=True))
    assert changed.queue == QueuePolicy("strict", 0, 60.0, 5, True, 86_400.0)
    assert type(changed).from_dict(changed.to_dict()) == changed
    made = await client.pools.create("lab", {"cpu": 4}, queue=QueuePolicy("best_effort"))
    assert (made.created, made.queue) == (False, changed.queue)
    made = await client.pools.create("lab", {"cpu": 4}, queue=pool.queue, update=True)
    assert made.queue == pool.queue
    assert await client.pools.update("lab", {"cpu": 4}, queue=QueuePolicy()) is not None


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        (QueuePolicy("fair"), "queue_policy"),
        (QueuePolicy(passes_max=-1), "queue_passes_max"),
        (QueuePolicy(passes_max=True), "queue_passes_max"),
        (QueuePolicy(wait_max=-1), "queue_wait_max"),
        (QueuePolicy(wait_max=float("nan")), "queue_wait_max"),
        (QueuePolicy(length_max=100_001), "queue_length_max"),
        (QueuePolicy(backfill=1), "queue_backfill"),  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        (QueuePolicy(half_life=59), "queue_half_life"),
        (QueuePolicy(half_life=float("nan")), "queue_half_life"),
        ("strict", "queue"),
    ],
    ids=str,
)
async def test_what_is_no_policy_is_refused(client: AsyncAllocator, wrong: Any, field: str) -> None:
    """By name; nothing is changed."""
    before = await client.pools.get()
    for attempt in (
        client.pools.update(queue=wrong),
        client.pools.create("new", {"cpu": 1}, queue=wrong),
    ):
        with pytest.raises(InvalidRequest) as refused:
            await attempt
        assert refused.value.field == field
    assert await client.pools.get() == before
    assert await client.pools.list() == ["lab"]


async def test_who_surely_ends_in_time_passes_the_first(client: AsyncAllocator, line: Line) -> None:
    """Where the pool permits it; a denial says when the others could start, and a check the same."""
    await client.pools.update(queue=QueuePolicy(backfill=True))
    leased = await client.allocate({"cpu": 2}, ttl=60)
    await line.join("large", {"cpu": 4})
    denied = await client.try_allocate({"cpu": 1}, ttl=60, max_lifetime=90, estimate=True)
    assert isinstance(denied, Denial)
    assert (denied.code, denied.position, denied.start_ms) == ("queued", 2, None)
    first = await client.try_allocate({"cpu": 4}, ttl=60, priority=1, estimate=True)
    assert isinstance(first, Denial)
    assert (first.code, first.position, first.start_ms) == ("capacity_exceeded", 1, leased.deadline_ms)
    assert Denial.from_dict(first.to_dict()) == first
    checked = await client.check({"cpu": 4}, priority=1, explain=True)
    assert (checked.denial, checked.fits_ms) == (first, leased.deadline_ms)
    assert [bool(await client.check({"cpu": 1}, max_lifetime=lifetime)) for lifetime in (50, 90)] == [True, False]
    assert (await client.allocate({"cpu": 1}, ttl=60, max_lifetime=50)).ends_ms is not None
    with pytest.raises(Insufficient) as refused:
        await client.allocate({"cpu": 4}, ttl=60, estimate=True)
    assert refused.value.denial.position == 2
    (several,) = await client.allocate_many([Request({"cpu": 4}, 60, estimate=True)])
    assert isinstance(several, Denial)
    assert several.position == 2
    with pytest.raises(InvalidRequest) as together:
        await client.allocate_many([Request({"cpu": 4}, 60, estimate=True)], atomic=True)
    assert together.value.field == "estimate"


async def test_a_withdrawn_request_is_refused(client: AsyncAllocator, line: Line, full: Any) -> None:
    """Its caller learns it at once; the next in line moves up, and a live allocation is not touched."""
    waiting, second = [await line.join(one) for one in ("first", "second")]
    assert await client.queue.withdraw("first")
    with pytest.raises(RequestWithdrawn, match="'first' was taken out of the line of pool 'lab'") as withdrawn:
        await waiting
    assert (withdrawn.value.id, withdrawn.value.code, withdrawn.value.retryable) == ("first", "withdrawn", False)
    assert not await client.queue.withdraw("first")
    assert not await client.queue.withdraw("full")
    assert await client.get("full") is not None
    assert await line.ids() == ["second"]
    await client.release(full)
    assert (await second).id == "second"


async def test_withdrawing_the_first_grants_who_it_kept_waiting(client: AsyncAllocator, line: Line) -> None:
    """A large request at the head has kept a small one from room that was free."""
    await client.allocate({"cpu": 2}, ttl=60)
    await line.join("large", {"cpu": 4})
    small = await line.join("small", {"cpu": 1})
    assert [_denial(one).code for one in await client.queue.list()] == ["capacity_exceeded", "queued"]
    await client.queue.withdraw("large")
    assert (await small).id == "small"


@pytest.mark.parametrize("limit", [0, -1, 100_001, "5"])
async def test_a_limit_of_a_listing_is_a_count(client: AsyncAllocator, limit: Any) -> None:
    """By name."""
    with pytest.raises(InvalidRequest) as refused:
        await client.queue.list(limit=limit)
    assert refused.value.field == "limit"


async def test_a_listing_is_read_from_the_first_on(client: AsyncAllocator, line: Line, full: Any) -> None:
    """As many as wanted."""
    for name in ("a", "b", "c"):
        await line.join(name)
    assert [one.id for one in await client.queue.list(limit=2)] == ["a", "b"]


async def test_the_start_is_estimated_by_known_deadlines(client: AsyncAllocator, line: Line) -> None:
    """One after the other, as they would be granted."""
    first = await client.allocate({"cpu": 2}, ttl=100)
    second = await client.allocate({"cpu": 2}, ttl=200)
    for name in ("a", "b", "c"):
        await line.join(name, {"cpu": 2})
    starts = [one.start_ms for one in await client.queue.list()]
    assert starts == [first.deadline_ms, second.deadline_ms, None]
    waiter = (await client.queue.list())[0]
    assert waiter.start == first.deadline
