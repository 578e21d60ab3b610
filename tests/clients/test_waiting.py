"""Waiting in line, by both clients on every kind of store: who is granted, when, and what is left behind."""

from __future__ import annotations

from collections.abc import Callable
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
    UnknownScope,
    Waiter,
    WaitTimeout,
)
from tests.clients.conftest import Connect
from tests.clients.stores import EVERY
from tests.support.waiters import Line

STORES = EVERY


def _denial(waiter: Waiter) -> Denial:
    assert waiter.denial is not None
    return waiter.denial


async def test_what_fits_does_not_wait(client: AsyncAllocator) -> None:
    """It is granted as by a call without `wait`, whatever its priority."""
    held = await client.allocate({"cpu": 4}, ttl=30, wait=timedelta(hours=1), priority=-7)
    assert (held.created, held.ttl_ms) == (True, 30_000)
    assert await client.queue.list() == []


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
    while (await client.pools.usage()).read_ms <= now_ms:
        pass
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


@pytest.mark.parametrize("kind", ["async"])
async def test_an_awaited_wait_that_is_cancelled_leaves_the_line(
    connect: Connect, client: AsyncAllocator, line: Line, full: Any
) -> None:
    """Its undo takes it out; `close` of the client waits for it.  A blocking call has nobody to cancel it."""
    other = connect(owner="me")
    begun = Line(other)
    waiting = await begun.join("next")
    waiting.cancel()
    await begun.close()
    await other.close()
    assert await client.queue.list() == []
    await client.release(full)
    assert await client.get("next") is None
