"""`allocate_many(atomic=True, wait=)`, by both clients on every kind of store: all of a batch is granted, or none."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from allocator import (
    Allocation,
    AllocationConflict,
    AsyncAllocator,
    Insufficient,
    InvalidRequest,
    Request,
    RequestWithdrawn,
    UnknownScope,
    WaitTimeout,
    settings,
)
from tests.clients.conftest import Connect
from tests.clients.stores import EVERY
from tests.support.waiters import WAIT_S, Line
from tests.support.waiting import wait_until_async

STORES = EVERY

PAIR = (Request({"cpu": 2}, 30, id="a", metadata={"k": "v"}), Request({"cpu": 2}, None, id="b"))


async def join(line: Line, requests: Any = PAIR, *, wait: float = WAIT_S, name: str = "a") -> asyncio.Future[Any]:
    """Begin a batch, and return once it is in line, under the id of its first request."""
    begun = line.start(lambda client: client.allocate_many(requests, atomic=True, wait=wait))
    await line.has(name, begun)
    return begun


async def test_what_fits_does_not_wait(client: AsyncAllocator) -> None:
    """It is granted as by a call without `wait`; no requests are no allocations."""
    outcomes = await client.allocate_many(PAIR, atomic=True, wait=timedelta(hours=1))
    assert [one.id for one in outcomes if isinstance(one, Allocation)] == ["a", "b"]
    assert await client.allocate_many([], atomic=True, wait=1) == []
    assert await client.queue.list() == []


async def test_all_of_a_batch_is_granted_by_whoever_frees_the_room(
    client: AsyncAllocator, line: Line, full: Any
) -> None:
    """Room for one of two grants none."""
    waiting = await join(line)
    await client.resize(full, {"cpu": 2})
    assert (await line.ids(), await client.get("a")) == (["a"], None)
    await client.release(full)
    first, second = await waiting
    assert (first.id, first.created, first.ttl_ms, dict(first.metadata)) == ("a", True, 30_000, {"k": "v"})
    assert (second.id, second.pinned) == ("b", True)
    assert await client.queue.list() == []


async def test_random_ids_are_granted(client: AsyncAllocator, line: Line, full: Any) -> None:
    """As many allocations as requests."""
    waiting = line.start(lambda one: one.allocate_many([Request({"cpu": 2}, 30)] * 2, atomic=True, wait=WAIT_S))
    await wait_until_async(line.ids, message="a place in line")
    (name,) = await line.ids()
    await client.release(full)
    outcomes = await waiting
    assert len({one.id for one in outcomes}) == 2
    assert outcomes[0].id == name


async def test_the_line_shows_a_batch_as_one(client: AsyncAllocator, line: Line, full: Any) -> None:
    """With its members, the sum, and which of them is refused."""
    await client.resize(full, {"cpu": 1})
    await client.allocate({"cpu": 1}, ttl=60, id="live", owner="me")
    wanted = (
        Request({"cpu": 1}, 30, id="a", owner="you", priority=3),
        Request({"cpu": 1}, None, id="live", owner="me", priority=3),
        Request({"cpu": 2, "memory": "1Mi"}, 60, id="b", owner="me", priority=3, metadata={"k": "v"}),
    )
    await join(line, wanted)
    (waiter,) = await client.queue.list()
    assert (waiter.id, waiter.owner, waiter.priority, waiter.position, waiter.ttl_ms) == ("a", "you", 3, 1, 30_000)
    assert waiter.resources == {"cpu": 4000, "memory": 2**20}
    assert [(one.id, one.live) for one in waiter.members] == [("a", False), ("live", True), ("b", False)]
    assert (dict(waiter.members[2].metadata), waiter.members[1].ttl_ms) == ({"k": "v"}, None)
    assert waiter.denial is not None
    assert (waiter.denial.item, waiter.denial.shortages[0].short) == (2, 1000)
    assert type(waiter).from_dict(waiter.to_dict()) == waiter
    assert (await client.pools.usage()).waiting == 1


async def test_a_batch_that_waited_in_vain_says_which_request_was_short(client: AsyncAllocator, full: Any) -> None:
    """It has left the line, and nothing of it is granted later."""
    await client.resize(full, {"cpu": 2})
    for wait in (0, 0.05):
        with pytest.raises(WaitTimeout) as over:
            await client.allocate_many(PAIR, atomic=True, wait=wait)
        assert (over.value.denial.item, over.value.denial.code) == (1, "capacity_exceeded")
    assert await client.queue.list() == []
    await client.release(full)
    assert [one.id async for one in client.list()] == []


@pytest.mark.parametrize("name", ["a", "b"])
async def test_the_id_of_any_request_withdraws_the_batch(
    client: AsyncAllocator, line: Line, full: Any, name: str
) -> None:
    """Its caller is told."""
    waiting = await join(line)
    assert await client.queue.withdraw(name)
    with pytest.raises(RequestWithdrawn):
        await waiting
    assert await client.queue.list() == []


async def test_an_id_of_a_batch_that_waits_is_no_other_calls(client: AsyncAllocator, line: Line, full: Any) -> None:
    """Neither alone nor in another batch; the one that waits stays."""
    waiting = await join(line)
    with pytest.raises(AllocationConflict) as conflict:
        await client.allocate({"cpu": 1}, ttl=30, id="b", wait=1)
    assert (conflict.value.code, conflict.value.id) == ("waiting", "b")
    with pytest.raises(AllocationConflict) as conflict:
        await client.allocate_many([Request({"cpu": 1}, 30, id="c"), PAIR[1]], atomic=True, wait=1)
    assert (conflict.value.code, conflict.value.id) == ("waiting", "b")
    await client.release(full)
    assert len(await waiting) == 2


async def test_what_can_never_fit_together_does_not_wait(client: AsyncAllocator, line: Line, full: Any) -> None:
    """Nor for a scope that the pool has not; who waits already is told as it comes to be so."""
    with pytest.raises(Insufficient) as never:
        await client.allocate_many([PAIR[0], Request({"cpu": 3}, 30)], atomic=True, wait=60)
    assert (never.value.denial.never, never.value.denial.item) == (True, 1)
    with pytest.raises(UnknownScope):
        await client.allocate_many([PAIR[0], Request({"cpu": 1}, 30, scope="nobody")], atomic=True, wait=60)
    waiting = await join(line)
    await client.pools.update(None, {"cpu": 3})
    with pytest.raises(Insufficient) as never:
        await waiting
    assert never.value.denial.code == "never_fits"


@pytest.mark.parametrize(
    ("requests", "options", "field"),
    [
        (PAIR, {"wait": 1}, "wait"),
        (PAIR, {"atomic": True, "wait": -1}, "wait"),
        (PAIR, {"atomic": True, "wait": 8 * 86_400}, "wait"),
        ([PAIR[0]] * (settings.GANG_MAX + 1), {"atomic": True, "wait": 1}, "requests"),
        ([PAIR[0], Request({"cpu": 1}, 30, id="a")], {"atomic": True, "wait": 1}, "requests"),
        ([PAIR[0], Request({"cpu": 2}, 30, id="a", exclusive=True)], {"atomic": True, "wait": 1}, "requests"),
        ([PAIR[0], Request({"cpu": 1}, 30, priority=1)], {"atomic": True, "wait": 1}, "priority"),
        ([PAIR[0], Request({"cpu": 1}, 30, preempt=True)], {"atomic": True, "wait": 1}, "preempt"),
        ([PAIR[0], Request({"cpu": 1}, 30, estimate=True)], {"atomic": True, "wait": 1}, "estimate"),
        ([PAIR[0], Request({"cpu": 1}, 0)], {"atomic": True, "wait": 1}, "ttl"),
        ([Request({"cpu": 1}, 30, id="a" * 512, metadata={str(at): "x" * 250 for at in range(16)})] * 20,
         {"atomic": True, "wait": 1}, "requests"),
    ],
)  # fmt: skip
async def test_what_no_batch_may_wait_for_is_refused(
    client: AsyncAllocator, requests: Any, options: dict[str, Any], field: str
) -> None:
    """By the name of the field, before anything is sent."""
    with pytest.raises(InvalidRequest) as refused:
        await client.allocate_many(requests, **options)
    assert refused.value.field == field
    assert (await client.pools.usage()).allocations == 0


@pytest.mark.parametrize("kind", ["async"])
async def test_an_awaited_batch_that_is_cancelled_leaves_the_line(
    connect: Connect, client: AsyncAllocator, line: Line, full: Any
) -> None:
    """Whole; `close` of the client waits for its undo.  Only a task can be cancelled."""
    other = connect(owner="me")
    begun = Line(other)
    waiting = await join(begun)
    waiting.cancel()
    await begun.close()
    await other.close()
    assert await client.queue.list() == []
    await client.release(full)
    assert [one.id async for one in client.list()] == []
