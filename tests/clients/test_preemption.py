"""Preemption, by both clients on every kind of store: requests, victims, dry runs, and the policy of a pool."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from allocator import (
    Allocation,
    AllocationConflict,
    AllocationLost,
    AsyncAllocator,
    InvalidRequest,
    Pool,
    PreemptionPolicy,
    Renewal,
    Request,
    WaitTimeout,
)
from allocator.testing import Clock
from tests.support.waiters import Line

PERMITTED = PreemptionPolicy(True, grace=20)


@pytest.fixture
async def pool(client: AsyncAllocator) -> AsyncAllocator:
    """Pool `lab` permits preemption, with a grace of 20 s."""
    await client.pools.update("lab", preemption=PERMITTED)
    return client


@pytest.fixture
async def line(client: AsyncAllocator) -> AsyncIterator[Line]:
    """Calls that wait for the pool `lab`."""
    begun = Line(client)
    yield begun
    await begun.close()


async def test_a_victim_is_told_and_its_release_gives_the_room_away(pool: AsyncAllocator, line: Line) -> None:
    """By its renewal, its record and an event; the waiter is granted at once."""
    low = await pool.allocate({"cpu": 4}, ttl=60, id="low", priority=-3)
    assert (low.priority, low.preempted_by) == (-3, None)
    task = await line.join("new", {"cpu": 2}, priority=1, preempt=True)
    found = await pool.get("low")
    assert found is not None
    assert (found.priority, found.preempted_by) == (-3, "new")
    assert found.deadline_ms == (found.releasing_ms or 0) + 20_000
    assert Allocation.from_dict(found.to_dict()) == found
    with pytest.raises(AllocationLost, match="preempted by 'new'") as lost:
        await pool.renew(low)
    assert lost.value.code == "preempted"
    (renewal,) = await pool.renew_many([low])
    assert (bool(renewal), renewal.outcome, renewal.preempted_by) == (False, "preempted", "new")
    assert renewal.deadline_ms == found.deadline_ms
    assert 0 < (renewal.left_ms or 0) <= 20_000
    assert Renewal.from_dict(renewal.to_dict()) == renewal
    with pytest.raises(AllocationConflict, match="being released"):
        await pool.allocate({"cpu": 4}, ttl=60, id="low")
    assert "preempted" in [event.kind for event in await pool.events.list()]
    assert await pool.release(low)
    granted = await task
    assert (granted.id, granted.priority) == ("new", 1)


async def test_after_the_grace_the_room_is_taken(timed: AsyncAllocator, clock: Clock) -> None:
    """A victim that does nothing is reclaimed; with a grace of 0 it is gone at once."""
    await timed.pools.update("lab", preemption=PreemptionPolicy(True, grace=0))
    low = await timed.allocate({"cpu": 4}, ttl=None)
    clock.advance(1)
    assert (await timed.allocate({"cpu": 3}, ttl=60, wait=1, priority=1, preempt=True)).resources["cpu"] == 3000
    assert await timed.get(low.id) is None
    assert (await timed.pools.get("lab")).allocated["cpu"] == 3000


async def test_a_pool_that_does_not_permit_it_lets_the_request_wait(client: AsyncAllocator) -> None:
    """As any other request: nobody is taken, and nothing is refused."""
    low = await client.allocate({"cpu": 4}, ttl=60)
    with pytest.raises(WaitTimeout):
        await client.allocate({"cpu": 1}, ttl=60, wait=0.2, priority=9, preempt=True)
    assert (await client.check({"cpu": 1}, priority=9, preempt=True)).victims == ()
    assert await client.renew(low)


async def test_preempt_is_for_requests_that_wait(pool: AsyncAllocator) -> None:
    """Anything else is refused by the name of the argument, before it is sent."""
    calls = (
        pool.allocate({"cpu": 1}, ttl=60, preempt=True),
        pool.allocate_many([Request({"cpu": 1}, 60, preempt=True)]),
        pool.allocate_many([Request({"cpu": 1}, 60, preempt=True)], atomic=True),
    )
    for call in calls:
        with pytest.raises(InvalidRequest, match="wait") as refused:
            await call
        assert refused.value.field == "preempt"
    with pytest.raises(InvalidRequest) as refused:
        async with pool.hold({"cpu": 1}, ttl=60, preempt=True):
            pass
    assert refused.value.field == "preempt"
    request = Request({"cpu": 1}, 60, priority=3, preempt=True)
    assert Request.from_dict(request.to_dict()).preempt is True


async def test_a_dry_run_names_the_victims(pool: AsyncAllocator) -> None:
    """In the order in which they are taken; nothing is changed, and a request that fits names none."""
    for number, priority in enumerate((2, 0, -1)):
        await pool.allocate({"cpu": 1}, ttl=60, id=f"a{number}", priority=priority)
    assert (await pool.check({"cpu": 1}, priority=9, preempt=True)).victims == ()
    answer = await pool.check({"cpu": 3}, priority=1, preempt=True)
    assert (bool(answer), answer.victims) == (False, ("a2", "a1"))
    assert type(answer).from_dict(answer.to_dict()) == answer
    assert (await pool.check({"cpu": 3}, priority=1)).victims == ()
    assert (await pool.check({"cpu": 4}, priority=1, preempt=True)).victims == ()
    assert [one.preempted_by async for one in pool.list()] == [None] * 3
    for wrong in (1001, -1001, 1.5, "1", True):
        with pytest.raises(InvalidRequest) as refused:
            await pool.check({"cpu": 1}, priority=wrong)  # type: ignore[arg-type]
        assert refused.value.field == "priority"


async def test_the_policy_of_a_pool(client: AsyncAllocator, caplog: pytest.LogCaptureFixture) -> None:
    """What is not given stays; the defaults are not stored, and a pool reads back what it has."""
    assert (await client.pools.get("lab")).preemption == PreemptionPolicy(False, 30.0, 0.0)
    given = PreemptionPolicy(True, protect=timedelta(minutes=1))
    assert (await client.pools.update("lab", preemption=given)).preemption == PreemptionPolicy(True, 30.0, 60.0)
    pool = await client.pools.update("lab", preemption=PreemptionPolicy(grace=0))
    assert pool.preemption == PreemptionPolicy(True, 0.0, 60.0)
    assert Pool.from_dict(pool.to_dict()) == pool
    pool = await client.pools.update("lab", preemption=PreemptionPolicy(False, grace=30, protect=0))
    assert pool.preemption == PreemptionPolicy(False, 30.0, 0.0)
    made = await client.pools.create("other", {"cpu": 1}, preemption=PERMITTED)
    assert made.preemption == PreemptionPolicy(True, 20.0, 0.0)
    await client.pools.create("other", {"cpu": 1}, preemption=PreemptionPolicy(False))
    assert "preemption=off" in caplog.text


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        (PreemptionPolicy(True, grace=0.5), "preempt_grace"),
        (PreemptionPolicy(True, grace="5"), "preempt_grace"),  # type: ignore[arg-type]
        (PreemptionPolicy(True, protect=-1), "preempt_protect"),
        (PreemptionPolicy(1), "preemption"),  # type: ignore[arg-type]
        (True, "preemption"),
    ],
    ids=str,
)
async def test_what_is_no_policy_is_refused(client: AsyncAllocator, wrong: PreemptionPolicy, field: str) -> None:
    """Before anything is sent."""
    for call in (client.pools.update("lab", preemption=wrong), client.pools.create("x", {"cpu": 1}, preemption=wrong)):
        with pytest.raises(InvalidRequest) as refused:
            await call
        assert refused.value.field == field


async def test_a_pool_that_permits_it_later_ranks_what_it_has_by_a_repair(client: AsyncAllocator) -> None:
    """Until then nobody is taken."""
    await client.allocate({"cpu": 4}, ttl=60, id="low")
    await client.pools.update("lab", preemption=PERMITTED)
    assert (await client.check({"cpu": 1}, priority=1, preempt=True)).victims == ()
    assert [one.kind for one in (await client.maintenance.audit()).findings] == ["unranked"]
    assert (await client.maintenance.audit(repair=True)).status == "repaired"
    assert (await client.check({"cpu": 1}, priority=1, preempt=True)).victims == ("low",)


async def test_an_adopted_allocation_keeps_its_priority(timed: AsyncAllocator, clock: Clock) -> None:
    """So it is taken by nobody who could not have taken it before."""
    await timed.pools.update("lab", preemption=PERMITTED)
    held = await timed.allocate({"cpu": 4}, ttl=60, id="a", priority=7)
    await timed.release(held)
    adopted = await timed.adopt(held, force="by hand")
    assert adopted.priority == 7
    assert (await timed.check({"cpu": 1}, priority=7, preempt=True)).victims == ()
    assert (await timed.check({"cpu": 1}, priority=8, preempt=True)).victims == ("a",)
