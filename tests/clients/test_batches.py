"""Many at once: decided in order, each seeing those before it; and gangs, all or none."""

from __future__ import annotations

import pytest

from allocator import (
    Allocation,
    AllocationConflict,
    AsyncAllocator,
    Denial,
    Insufficient,
    InvalidRequest,
    Request,
)
from allocator.testing import Clock


def granted(outcomes: object) -> list[bool]:
    assert isinstance(outcomes, list)
    return [isinstance(one, Allocation) for one in outcomes]


async def test_many_requests_are_decided_in_order(client: AsyncAllocator) -> None:
    """A large one that does not fit does not keep a later, smaller one out; the denial counts what went before."""
    outcomes = await client.allocate_many(
        [
            Request({"cpu": 3}, 60),
            Request({"cpu": 2}, 60),
            Request({"cpu": 1}, None, id="x", owner="o", metadata={"a": "b"}),
        ]
    )
    assert granted(outcomes) == [True, False, True]
    denial, last = outcomes[1], outcomes[2]
    assert isinstance(denial, Denial)
    assert (denial.item, denial.shortages[0].allocated) == (1, 3000)
    assert isinstance(last, Allocation)
    assert (last.id, last.owner, last.pinned, dict(last.metadata)) == ("x", "o", True, {"a": "b"})


async def test_conflicts_are_returned_and_stop_nothing(client: AsyncAllocator) -> None:
    """An outcome for each request."""
    await client.allocate({"cpu": 1}, ttl=60, id="a")
    outcomes = await client.allocate_many([Request({"cpu": 2}, 60, id="a"), Request({"cpu": 1}, 60, id="b")])
    assert isinstance(outcomes[0], AllocationConflict)
    assert granted(outcomes) == [False, True]


async def test_the_same_id_twice_in_a_batch_is_one_allocation(client: AsyncAllocator) -> None:
    """The second sees the first; with other amounts it is a conflict."""
    first, second, third = await client.allocate_many(
        [Request({"cpu": 1}, 60, id="a"), Request({"cpu": 1}, 90, id="a"), Request({"cpu": 2}, 60, id="a")]
    )
    assert isinstance(first, Allocation)
    assert isinstance(second, Allocation)
    assert isinstance(third, AllocationConflict)
    assert (first.created, second.created, first.fence) == (True, False, second.fence)
    usage = await client.pools.usage()
    assert (usage.allocations, usage.resources["cpu"].allocated) == (1, 1000)
    held = await client.get("a")
    assert held is not None
    assert held.ttl_ms == 90_000


async def test_more_than_a_script_call_takes_are_sent_in_several(client: AsyncAllocator) -> None:
    """250 items, and the answers stay in order: the last fifty do not fit."""
    await client.pools.update(None, {"cpu": "200m"})
    outcomes = await client.allocate_many([Request({"cpu": "1m"}, 60, id=f"a{n}") for n in range(250)])
    assert granted(outcomes) == [True] * 200 + [False] * 50
    assert [one.id for one in outcomes[:200] if isinstance(one, Allocation)] == [f"a{n}" for n in range(200)]
    assert [one.item for one in outcomes[200:] if isinstance(one, Denial)] == list(range(200, 250))
    renewals = await client.renew_many([f"a{n}" for n in range(250)], ttl=120)
    assert [bool(one) for one in renewals] == [True] * 200 + [False] * 50
    assert {one.outcome for one in renewals[200:]} == {"unknown"}
    releases = await client.release_many([f"a{n}" for n in range(250)])
    assert [bool(one) for one in releases] == [True] * 200 + [False] * 50
    assert (await client.pools.usage()).allocations == 0


async def test_large_metadata_is_cut_into_script_calls_by_bytes(client: AsyncAllocator) -> None:
    """60 items of 4 KiB are four script calls, and nobody notices."""
    outcomes = await client.allocate_many(
        [Request({"cpu": "1m"}, 60, metadata={"text": "x" * 4000}) for _ in range(60)]
    )
    assert granted(outcomes) == [True] * 60


async def test_nothing_at_all_is_answered_with_nothing(client: AsyncAllocator) -> None:
    """No call is made."""
    assert await client.allocate_many([]) == []
    assert await client.allocate_many([], atomic=True) == []
    assert await client.renew_many([]) == []
    assert await client.release_many([]) == []


async def test_many_may_be_of_several_pools(client: AsyncAllocator) -> None:
    """Each allocation brings its own along; the answers stay in order."""
    await client.pools.create("other", {"cpu": 1})
    one = await client.allocate({"cpu": 1}, ttl=60)
    two = await client.options(pool="other").allocate({"cpu": 1}, ttl=60)
    renewals = await client.renew_many([two, one, "nothing"])
    assert [(r.id, r.outcome) for r in renewals] == [(two.id, "renewed"), (one.id, "renewed"), ("nothing", "unknown")]
    releases = await client.release_many([two, one, two, "nothing"])
    assert [r.outcome for r in releases] == ["released", "released", "unknown", "unknown"]


async def test_a_stale_fence_is_said_item_by_item(client: AsyncAllocator) -> None:
    """A holder that lost one of its leases keeps the others."""
    old = await client.allocate({"cpu": 1}, ttl=60, id="a")
    kept = await client.allocate({"cpu": 1}, ttl=60, id="b")
    await client.release(old)
    new = await client.allocate({"cpu": 1}, ttl=60, id="a")
    lost, renewed = await client.renew_many([old, kept])
    assert (lost.outcome, lost.fence, renewed.outcome) == ("fenced", new.fence, "renewed")
    assert [r.outcome for r in await client.release_many([old, kept])] == ["fenced", "released"]


async def test_many_make_room_from_what_is_due_beyond_what_one_call_may_reclaim(
    timed: AsyncAllocator, clock: Clock
) -> None:
    """A denial is never the artefact of a bound: 300 are due, and all of their room is wanted at once."""
    await timed.allocate_many([Request({"cpu": "10m"}, 10) for _ in range(300)])
    clock.advance(11)
    assert await timed.check({"cpu": 4})
    assert await timed.allocate({"cpu": 4}, ttl=60)


async def test_every_item_of_a_batch_may_need_room_that_is_due(timed: AsyncAllocator, clock: Clock) -> None:
    """Those that one script call cannot serve are asked for again."""
    await timed.allocate_many([Request({"cpu": "10m"}, 10) for _ in range(400)])
    clock.advance(11)
    assert granted(await timed.allocate_many([Request({"cpu": 1}, 60) for _ in range(5)])) == [True] * 4 + [False]


# -- gangs -------------------------------------------------------------------------------------------------------------


async def test_a_gang_is_granted_whole(client: AsyncAllocator) -> None:
    """All of them, in order."""
    outcomes = await client.allocate_many([Request({"cpu": 2}, 60, id=f"g{n}") for n in range(2)], atomic=True)
    assert [one.id for one in outcomes if isinstance(one, Allocation)] == ["g0", "g1"]


async def test_a_gang_that_does_not_fit_leaves_nothing_behind(client: AsyncAllocator) -> None:
    """The denial names the item; nothing is charged, recorded or changed."""
    before = (await client.pools.get()).revision
    requests = [
        Request({"cpu": 2}, 60, id="g0"),
        Request({"cpu": 1}, 60, id="g1"),
        Request({"cpu": "1500m"}, 60, id="g2"),
    ]
    with pytest.raises(Insufficient) as refused:
        await client.allocate_many(requests, atomic=True)
    assert refused.value.denial.item == 2
    usage = await client.pools.usage()
    assert (usage.allocations, usage.pool.revision) == (0, before)


async def test_a_gang_that_asks_for_more_than_there_is_never_fits(client: AsyncAllocator) -> None:
    """Each of its items would, but not all together."""
    with pytest.raises(Insufficient) as refused:
        await client.allocate_many([Request({"cpu": 3}, 60), Request({"cpu": 3}, 60)], atomic=True)
    assert (refused.value.denial.never, refused.value.denial.item) == (True, 1)


async def test_the_same_id_twice_in_a_gang_is_asked_for_once(client: AsyncAllocator) -> None:
    """It would fit if somebody else gave something back, so it is not called impossible."""
    await client.allocate({"cpu": 1}, ttl=60)
    requests = [Request({"cpu": 3}, 60, id="g0"), Request({"cpu": 3}, 60, id="g0"), Request({"cpu": 1}, 60, id="g1")]
    with pytest.raises(Insufficient) as refused:
        await client.allocate_many(requests, atomic=True)
    assert (refused.value.denial.code, refused.value.denial.item) == ("capacity_exceeded", 2)


async def test_a_gang_that_is_asked_for_again_is_replayed(client: AsyncAllocator) -> None:
    """What is live of it stays, what is missing of it is granted."""
    requests = [Request({"cpu": 2}, 60, id="g0"), Request({"cpu": 2}, 60, id="g1")]
    first = await client.allocate_many(requests, atomic=True)
    await client.release("g1")
    again = await client.allocate_many(requests, atomic=True)
    kept, anew = [one for one in again if isinstance(one, Allocation)]
    assert isinstance(first[0], Allocation)
    assert (kept.created, kept.fence) == (False, first[0].fence)
    assert anew.created
    assert (await client.pools.usage()).resources["cpu"].allocated == 4000


async def test_a_gang_in_conflict_leaves_nothing_behind(client: AsyncAllocator) -> None:
    """Neither a grant nor a later deadline of those that were replayed."""
    held = await client.allocate({"cpu": 1}, ttl=60, id="g0")
    await client.allocate({"cpu": 1}, ttl=60, id="g2", owner="somebody")
    requests = [Request({"cpu": 1}, 900, id="g0"), Request({"cpu": 1}, 60, id="g1"), Request({"cpu": 1}, 60, id="g2")]
    with pytest.raises(AllocationConflict) as refused:
        await client.allocate_many(requests, atomic=True)
    assert refused.value.id == "g2"
    after = await client.get("g0")
    assert after is not None
    assert after.deadline_ms == held.deadline_ms
    assert await client.get("g1") is None


async def test_a_refused_gang_still_takes_back_what_is_due(timed: AsyncAllocator, clock: Clock) -> None:
    """It is over in any case; an id of the gang that was due counts as absent, too."""
    await timed.allocate({"cpu": 2}, ttl=10, id="g0")
    await timed.allocate({"cpu": 1}, ttl=10, id="due")
    await timed.allocate({"cpu": 1}, ttl=None, id="stays")
    clock.advance(11)
    with pytest.raises(Insufficient) as refused:
        await timed.allocate_many([Request({"cpu": 3}, 60, id="g0"), Request({"cpu": 1}, 60, id="g1")], atomic=True)
    assert refused.value.denial.item == 1
    usage = await timed.pools.usage()
    assert (usage.resources["cpu"].allocated, usage.allocations) == (1000, 1)


async def test_a_gang_makes_room_however_much_is_due(timed: AsyncAllocator, clock: Clock) -> None:
    """As a single request does."""
    await timed.allocate_many([Request({"cpu": "10m"}, 10) for _ in range(300)])
    clock.advance(11)
    assert len(await timed.allocate_many([Request({"cpu": 2}, 60)] * 2, atomic=True)) == 2


async def test_a_gang_of_more_than_a_hundred_is_refused(client: AsyncAllocator) -> None:
    """It must fit into one script call; nothing is sent."""
    with pytest.raises(InvalidRequest) as refused:
        await client.allocate_many([Request({"cpu": "1m"}, 60)] * 101, atomic=True)
    assert refused.value.field == "requests"
    assert len(await client.allocate_many([Request({"cpu": "1m"}, 60)] * 100, atomic=True)) == 100


async def test_a_gang_is_not_larger_than_one_script_call_may_be(client: AsyncAllocator) -> None:
    """It cannot be cut into several, and nothing may hold the server up; it is refused before anything is sent."""
    large = [Request({"cpu": "1m"}, 60, metadata={"note": "x" * 1000}) for _ in range(100)]
    with pytest.raises(InvalidRequest, match=r"100 of together \d{6} bytes, .* 65536") as refused:
        await client.allocate_many(large, atomic=True)
    assert refused.value.field == "requests"
    assert (await client.pools.usage()).allocations == 0
    assert all(granted(await client.allocate_many(large[:50], atomic=True)))
