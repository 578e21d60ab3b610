"""Waiting in line, by both clients on every kind of store: who is granted, when, and what is left behind."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import pytest

from allocator import (
    AllocationConflict,
    AsyncAllocator,
    Denial,
    Insufficient,
    InvalidRequest,
    QueuePolicy,
    RequestWithdrawn,
    UnknownScope,
    Waiter,
    WaitTimeout,
)
from tests.clients.conftest import Connect
from tests.clients.stores import EVERY
from tests.support.waiters import Line

STORES = EVERY


@pytest.fixture
async def line(client: AsyncAllocator) -> AsyncIterator[Line]:
    """Calls that wait for the pool `lab`; nothing of them is left in it."""
    begun = Line(client)
    yield begun
    await begun.close()
    assert (await client.pools.usage()).waiting == 0


@pytest.fixture
async def full(client: AsyncAllocator) -> Any:
    """What all four CPUs are allocated to, by the id `full`."""
    return await client.allocate({"cpu": 4}, ttl=None, id="full")


def _denial(waiter: Waiter) -> Denial:
    assert waiter.denial is not None
    return waiter.denial


async def test_what_fits_does_not_wait(client: AsyncAllocator) -> None:
    """It is granted as by a call without `wait`, whatever its priority."""
    held = await client.allocate({"cpu": 4}, ttl=30, wait=timedelta(hours=1), priority=-7)
    assert (held.created, held.ttl_ms) == (True, 30_000)
    assert await client.queue.list() == []


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
    assert 3_500_000 < waiter.until_ms - waiter.since_ms <= 3_600_000
    assert waiter.start_ms is None, "what it waits for has no deadline"
    assert type(waiter).from_dict(waiter.to_dict()) == waiter
    assert (await client.pools.usage()).waiting == 1
    assert await client.get("next") is None


async def _release(client: AsyncAllocator) -> None:
    await client.release("full")


async def _begin_release(client: AsyncAllocator) -> None:
    await client.begin_release("full", grace=1)
    await client.release("full")


async def _resize(client: AsyncAllocator) -> None:
    await client.resize("full", {"cpu": 3})


async def _reclaim(client: AsyncAllocator) -> None:
    await client.maintenance.reclaim(older_than=0)


async def _reconcile(client: AsyncAllocator) -> None:
    now_ms = (await client.pools.usage()).read_ms
    await client.maintenance.reconcile([], now_ms + 1, owner="me", max_released=1)


async def _grow(client: AsyncAllocator) -> None:
    await client.pools.update(None, {"cpu": 5})


FREES: list[Callable[[AsyncAllocator], Any]] = [_release, _begin_release, _resize, _reclaim, _reconcile, _grow]


@pytest.mark.parametrize("free", FREES, ids=lambda free: free.__name__.strip("_"))
async def test_whatever_frees_room_grants_it(
    client: AsyncAllocator, line: Line, full: Any, free: Callable[[AsyncAllocator], Any]
) -> None:
    """To the first in line, with the time to live that it asked for."""
    waiting = await line.join("next", {"cpu": 1}, ttl=30, metadata={"k": "v"})
    await free(client)
    held = await waiting
    assert (held.id, held.created, held.ttl_ms, dict(held.metadata)) == ("next", True, 30_000, {"k": "v"})
    live = await client.get("next")
    assert live is not None
    assert (live.fence, live.ttl_ms) == (held.fence, 30_000)
    assert await client.queue.list() == []


async def test_a_raised_quota_grants_it(client: AsyncAllocator, line: Line) -> None:
    """Also one that is removed; until then the scope is what the waiter is short of."""
    await client.quotas.set("team-a", {"cpu": 1})
    await client.allocate({"cpu": 1}, ttl=60, scope="team-a")
    first, second = [await line.join(one, scope="team-a") for one in ("first", "second")]
    assert [short.name for one in await client.queue.list() for short in _denial(one).shortages] == ["team-a"] * 2
    await client.quotas.set("team-a", {"cpu": 2})
    assert (await first).scope == "team-a"
    assert await line.ids() == ["second"]
    await client.quotas.set("team-a", {"cpu": 3})
    assert (await second).scope == "team-a"


async def test_a_pinned_request_is_pinned(client: AsyncAllocator, line: Line, full: Any) -> None:
    """Once its caller has it; a grant that is not yet asked for has a deadline."""
    waiting = await line.join("next", ttl=None)
    await client.release(full)
    held = await waiting
    assert held.pinned
    live = await client.get("next")
    assert live is not None
    assert live.pinned


async def test_the_higher_priority_is_first_then_the_earlier(client: AsyncAllocator, line: Line, full: Any) -> None:
    """Below 0, too.  Each is granted when its turn has come."""
    order = {"late": -1, "one": 0, "two": 0, "soon": 1000}
    waiting = {one: await line.join(one, {"cpu": 4}, priority=priority) for one, priority in order.items()}
    expected = ["soon", "one", "two", "late"]
    assert [(one.position, one.id) for one in await client.queue.list()] == list(enumerate(expected, 1))
    await client.release(full)
    for at, name in enumerate(expected):
        held = await waiting[name]
        assert await line.ids() == expected[at + 1 :]
        await client.release(held)


async def test_nobody_passes_who_competes_for_the_same(client: AsyncAllocator, line: Line) -> None:
    """By default: a request that takes what a waiter before it is short of is refused as `queued`; others pass."""
    half = await client.allocate({"cpu": 2}, ttl=60, id="half")
    waiting = await line.join("large", {"cpu": 4})
    refused = await client.try_allocate({"cpu": 1}, ttl=60)
    assert isinstance(refused, Denial)
    assert (refused.code, refused.never) == ("queued", False)
    assert str(refused).startswith("others wait before it: pool lab: cpu requested=1 available=2")
    check = await client.check({"cpu": 1})
    assert check.denial is not None
    assert check.denial.code == "queued"
    with pytest.raises(Insufficient) as queued:
        await client.allocate({"cpu": 1}, ttl=60)
    assert queued.value.code == "queued"
    with pytest.raises(Insufficient):
        await client.resize(half, {"cpu": 3})
    assert await client.try_allocate({"memory": "1Gi"}, ttl=60, id="other"), "the waiter is not short of memory"
    assert await client.try_allocate({"cpu": 2}, ttl=60, priority=1, id="above"), "its place is before the waiter's"
    assert await line.ids() == ["large"]
    await client.release_many(["half", "above"])
    assert (await waiting).resources == {"cpu": 4000}


async def test_a_strict_pool_lets_nobody_pass(client: AsyncAllocator, line: Line) -> None:
    """Whatever a request asks for."""
    await client.pools.update(queue=QueuePolicy("strict"))
    await client.allocate({"cpu": 2}, ttl=60)
    await line.join("large", {"cpu": 4})
    for request in ({"cpu": 1}, {"memory": "1Gi"}):
        refused = await client.try_allocate(request, ttl=60)
        assert isinstance(refused, Denial)
        assert refused.code == "queued"


async def test_a_best_effort_pool_lets_pass_what_fits_until_the_first_was_passed_enough(
    client: AsyncAllocator, line: Line
) -> None:
    """Then room is kept for it."""
    await client.pools.update(queue=QueuePolicy("best_effort", passes_max=2))
    await client.allocate({"cpu": 1}, ttl=60)
    await line.join("large", {"cpu": 4})
    for _ in range(2):
        assert await client.try_allocate({"cpu": 1}, ttl=60)
    refused = await client.try_allocate({"cpu": 1}, ttl=60)
    assert isinstance(refused, Denial)
    assert refused.code == "queued"


async def test_the_policy_of_a_pool_is_set_by_parts(client: AsyncAllocator) -> None:
    """What is not given stays; a default is stored as none.  The model round-trips, and recovers a pool as it was."""
    pool = await client.pools.get()
    assert pool.queue == QueuePolicy("contended", 100, 600.0, 100_000)
    changed = await client.pools.update(queue=QueuePolicy(passes_max=0, wait_max=timedelta(minutes=1)))
    assert changed.queue == QueuePolicy("contended", 0, 60.0, 100_000)
    changed = await client.pools.update(queue=QueuePolicy("strict", length_max=5))
    assert changed.queue == QueuePolicy("strict", 0, 60.0, 5)
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


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"wait": -1}, "wait"),
        ({"wait": 8 * 86_400}, "wait"),
        ({"wait": "60"}, "wait"),
        ({"wait": float("nan")}, "wait"),
        ({"wait": 1, "priority": 1001}, "priority"),
        ({"wait": 1, "priority": 1.0}, "priority"),
        ({"priority": -1001}, "priority"),
        ({"wait": 1, "ttl": 0}, "ttl"),
    ],
    ids=str,
)
async def test_what_is_no_wait_is_refused(client: AsyncAllocator, options: dict[str, Any], field: str) -> None:
    """By the name of the argument, before anything is sent."""
    with pytest.raises(InvalidRequest) as refused:
        await client.allocate({"cpu": 1}, **{"ttl": 60, **options})
    assert refused.value.field == field
    with pytest.raises(InvalidRequest):
        async with client.hold({"cpu": 1}, **{"ttl": 60, **options}):
            pass
    assert (await client.pools.usage()).allocations == 0


@pytest.mark.parametrize("wait", [0, 0.05])
async def test_a_wait_that_was_in_vain_says_what_was_short(client: AsyncAllocator, full: Any, wait: float) -> None:
    """`WaitTimeout` is a `TimeoutError` and an `Insufficient`; it has left the line."""
    with pytest.raises(WaitTimeout) as over:
        await client.allocate({"cpu": 1}, ttl=60, wait=wait, id="next")
    assert isinstance(over.value, TimeoutError)
    assert isinstance(over.value, Insufficient)
    assert over.value.retryable
    assert (over.value.denial.code, over.value.denial.shortages[0].short) == ("capacity_exceeded", 1000)
    assert await client.queue.list() == []
    await client.release(full)
    assert await client.get("next") is None


async def test_what_can_never_fit_does_not_wait(client: AsyncAllocator) -> None:
    """Nor for a scope that the pool has not, or a resource that it does not count."""
    for request in ({"cpu": 5}, {"tape": 1}, {"nvidia.com/gpu": "500m"}):
        with pytest.raises(Insufficient) as never:
            await client.allocate(request, ttl=60, wait=60)
        assert not isinstance(never.value, WaitTimeout)
        assert never.value.denial.never
    with pytest.raises(UnknownScope):
        await client.allocate({"cpu": 1}, ttl=60, wait=60, scope="nobody")
    assert await client.queue.list() == []


async def test_who_waits_for_what_can_no_longer_fit_is_told(client: AsyncAllocator, line: Line, full: Any) -> None:
    """The pool is made smaller: its caller learns it as it asks again."""
    waiting = await line.join("large", {"cpu": 4})
    await client.pools.update(None, {"cpu": 3})
    with pytest.raises(Insufficient) as never:
        await waiting
    assert never.value.denial.code == "never_fits"
    assert await client.queue.list() == []


async def test_a_full_line_takes_nobody(client: AsyncAllocator, line: Line, full: Any) -> None:
    """`queue_full` is refused at once; with a length of 0 nobody waits."""
    await client.pools.update(queue=QueuePolicy(length_max=1))
    await line.join("first")
    with pytest.raises(Insufficient) as refused:
        await client.allocate({"cpu": 1}, ttl=60, wait=60)
    assert (refused.value.code, refused.value.denial.never) == ("queue_full", False)
    assert str(refused.value).startswith("the line is full: pool lab")
    assert await line.ids() == ["first"]


async def test_another_call_for_an_id_that_waits_is_refused(client: AsyncAllocator, line: Line, full: Any) -> None:
    """Whoever it is of; the waiter stays."""
    waiting = await line.join("next")
    for options in ({}, {"wait": 60}, {"owner": "you"}):
        with pytest.raises(AllocationConflict) as conflict:
            await client.allocate({"cpu": 1}, ttl=60, id="next", **options)
        assert (conflict.value.code, conflict.value.id) == ("waiting", "next")
    assert await line.ids() == ["next"]
    await client.release(full)
    assert (await waiting).id == "next"


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


async def test_a_hold_waits_and_holds(client: AsyncAllocator, line: Line, full: Any) -> None:
    """It is renewed and released as any other."""
    inside: list[str] = []

    async def hold(one: AsyncAllocator) -> None:
        async with one.hold({"cpu": 1}, ttl=30, id="held", wait=60, priority=1) as held:
            inside.append(held.id)
            held.check()
            assert held.remaining > 20

    waiting = line.start(hold)
    await line.has("held", waiting)
    await client.release(full)
    await waiting
    assert inside == ["held"]
    assert await client.get("held") is None


async def test_a_hold_that_waits_in_vain_holds_nothing(client: AsyncAllocator, full: Any) -> None:
    """The block is not entered."""
    with pytest.raises(WaitTimeout):
        async with client.hold({"cpu": 1}, ttl=30, wait=0.05):
            raise AssertionError("entered")
    assert await client.queue.list() == []


async def test_an_awaited_wait_that_is_cancelled_leaves_the_line(
    connect: Connect, kind: str, client: AsyncAllocator, line: Line, full: Any
) -> None:
    """Its undo takes it out; `close` of the client waits for it.  A blocking call has nobody to cancel it."""
    if kind == "sync":
        pytest.skip("only a task can be cancelled")
    other = connect(owner="me")
    begun = Line(other)
    waiting = await begun.join("next")
    waiting.cancel()
    await begun.close()
    await other.close()
    assert await client.queue.list() == []
    await client.release(full)
    assert await client.get("next") is None
