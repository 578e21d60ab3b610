"""Quotas: scopes, what is refused and at which level, the tree, moving, default scopes."""

from __future__ import annotations

from typing import Any

import pytest

from allocator import (
    AllocationConflict,
    AsyncAllocator,
    Denial,
    FairShare,
    Insufficient,
    InvalidRequest,
    Limit,
    PoolConflict,
    QuotaExceeded,
    Request,
    UnknownAllocation,
    UnknownScope,
)
from allocator.testing import Clock, wait_undone, wait_undone_async
from tests.support.clients import Awaited


async def test_a_quantity_is_the_most_that_a_scope_may_have(client: AsyncAllocator) -> None:
    """Its parent is made without limits; what is allocated counts for both."""
    quota = await client.quotas.set("team-a/alice", {"cpu": 2, "allocations": 3})
    assert (quota.scope, quota.pool, quota.generation, quota.over) == ("team-a/alice", "lab", 1, {})
    assert (quota.parent, quota.depth) == ("team-a", 1)
    cpu = quota.resources["cpu"]
    assert (cpu.nominal, cpu.borrowing_limit, cpu.lending_limit, cpu.maximum) == (2000, 0, None, 2000)
    held = await client.allocate({"cpu": 1}, ttl=60, scope="team-a/alice")
    assert held.scope == "team-a/alice"
    tree = await client.quotas.tree()
    assert list(tree) == ["team-a", "team-a/alice"]
    assert [one.resources["cpu"].allocated for one in tree.values()] == [1000, 1000]
    assert tree["team-a/alice"].resources["cpu"].available == 1000
    assert tree["team-a/alice"].resources["allocations"].available == 2000
    with pytest.raises(QuotaExceeded) as caught:
        await client.allocate({"cpu": "1500m"}, ttl=60, scope="team-a/alice")
    (short,) = caught.value.denial.shortages
    assert (short.level, short.name, short.resource, short.short) == ("quota", "team-a/alice", "cpu", 500)
    assert isinstance(caught.value, Insufficient)
    assert "quota team-a/alice" in str(caught.value)
    await client.release(held)
    found = await client.quotas.get("team-a")
    assert found is not None
    assert found.resources["cpu"].allocated == 0


async def test_an_unknown_scope_is_refused(client: AsyncAllocator) -> None:
    """Wherever one is named; what the rest of a batch was granted is undone."""
    for attempt in (
        lambda: client.allocate({"cpu": 1}, ttl=60, scope="nobody"),
        lambda: client.try_allocate({"cpu": 1}, ttl=60, scope="nobody"),
        lambda: client.check({"cpu": 1}, scope="nobody"),
        lambda: client.allocate_many([Request({"cpu": 1}, 60, scope="nobody")], atomic=True),
    ):
        with pytest.raises(UnknownScope) as caught:
            await attempt()
        assert (caught.value.pool, caught.value.scope, caught.value.code) == ("lab", "nobody", "unknown_scope")
    await client.quotas.set("team-a", {"cpu": 1})
    with pytest.raises(UnknownScope):
        await client.allocate_many([Request({"cpu": 1}, 60, scope=scope) for scope in ("team-a", "nobody")])
    assert await client.quotas.get("nobody") is None
    assert wait_undone(client.surface) if isinstance(client, Awaited) else await wait_undone_async(client)
    assert (await client.pools.usage()).allocations == 0


async def test_what_is_guaranteed_is_there_for_its_scope(client: AsyncAllocator) -> None:
    """Others see what is kept; the scope itself takes it."""
    await client.quotas.set("team-a", {"cpu": Limit(3, None, 1)})
    await client.quotas.set("team-b", {"cpu": Limit(1, 2)})
    pool = await client.pools.get()
    assert pool.kept == {"cpu": 2000}
    usage = (await client.pools.usage()).resources["cpu"]
    assert (usage.kept, usage.available) == (2000, 2000)
    denial = await client.try_allocate({"cpu": 3}, ttl=60, scope="team-b")
    assert isinstance(denial, Denial)
    (short,) = denial.shortages
    assert (short.level, short.kept, short.available, short.short) == ("pool", 2000, 2000, 1000)
    assert "kept=2" in str(denial)
    assert await client.allocate({"cpu": 2}, ttl=60, scope="team-b")
    assert not await client.try_allocate({"cpu": "1m"}, ttl=60)
    assert await client.allocate({"cpu": 2}, ttl=60, scope="team-a")
    tree = await client.quotas.tree()
    assert (tree["team-b"].resources["cpu"].borrowed, tree["team-a"].resources["cpu"].lent) == (1000, 1000)


async def test_allocations_are_counted(client: AsyncAllocator) -> None:
    """Labs per student, whatever they take; a resize is none more."""
    await client.quotas.set("s1", {"allocations": 2})
    held = [await client.allocate({"cpu": "100m"}, ttl=60, scope="s1") for _ in range(2)]
    denial = await client.try_allocate({"cpu": "100m"}, ttl=60, scope="s1")
    assert isinstance(denial, Denial)
    assert [(one.resource, one.requested, one.capacity) for one in denial.shortages] == [("allocations", 1000, 2000)]
    assert (await client.resize(held[0], {"cpu": 1})).scope == "s1"
    await client.release(held[1])
    assert await client.check({"cpu": 1}, scope="s1")


async def test_the_same_id_in_another_scope_is_a_conflict(client: AsyncAllocator) -> None:
    """Nobody is charged for another's allocation."""
    for scope in ("a", "b"):
        await client.quotas.set(scope, {"cpu": 2})
    held = await client.allocate({"cpu": 1}, ttl=60, id="x", scope="a")
    again = await client.allocate({"cpu": 1}, ttl=60, id="x", scope="a")
    assert (again.created, again.scope, again.fence) == (False, "a", held.fence)
    with pytest.raises(AllocationConflict):
        await client.allocate({"cpu": 1}, ttl=60, id="x", scope="b")
    found = await client.get("x")
    assert found is not None
    assert found.scope == "a"
    assert [one.scope async for one in client.list()] == ["a"]


async def test_a_default_scope_is_charged_and_one_may_be_required(client: AsyncAllocator) -> None:
    """The pool says so; "" and False remove it."""
    await client.quotas.set("rest", {"cpu": 1})
    pool = await client.pools.update(default_scope="rest", require_scope=True)
    assert (pool.default_scope, pool.require_scope) == ("rest", True)
    assert (await client.allocate({"cpu": 1}, ttl=60)).scope == "rest"
    assert not await client.check({"cpu": 1})
    pool = await client.pools.update(default_scope="")
    assert (pool.default_scope, pool.require_scope) == (None, True)
    for attempt in (lambda: client.allocate({"cpu": 1}, ttl=60), lambda: client.check({"cpu": 1})):
        with pytest.raises(InvalidRequest) as caught:
            await attempt()
        assert caught.value.field == "scope"
    assert not (await client.pools.update(require_scope=False)).require_scope
    assert (await client.allocate({"cpu": 1}, ttl=60)).scope is None


async def test_a_pool_is_updated_to_its_scopes(client: AsyncAllocator) -> None:
    """`create(update=True)` of a program that starts."""
    capacity = (await client.pools.get()).capacity
    pool = await client.pools.create("lab", capacity, default_scope="rest", require_scope=True)
    assert (pool.default_scope, pool.require_scope) == (None, False)
    pool = await client.pools.create("lab", capacity, default_scope="rest", require_scope=True, update=True)
    assert (pool.default_scope, pool.require_scope, pool.generation) == ("rest", True, 2)
    pool = await client.pools.create("lab", capacity, default_scope="rest", require_scope=True, update=True)
    assert pool.generation == 2


async def test_lowering_ends_nothing_and_says_who_is_over(client: AsyncAllocator) -> None:
    """A dry run says the same before."""
    await client.quotas.set("a", {"cpu": 4})
    held = await client.allocate({"cpu": 3}, ttl=60, scope="a")
    would = await client.quotas.set("a", {"cpu": 1}, dry_run=True)
    assert would.over == {"a": {"cpu": 2000}}
    assert would.resources["cpu"].above == 2000
    now = await client.quotas.get("a")
    assert now is not None
    assert (now.generation, now.resources["cpu"].maximum) == (1, 4000)
    done = await client.quotas.set("a", {"cpu": 1}, generation=1)
    assert (done.over, done.generation) == ({"a": {"cpu": 2000}}, 2)
    with pytest.raises(PoolConflict) as caught:
        await client.quotas.set("a", {"cpu": 2}, generation=1)
    assert caught.value.code == "generation"
    assert not await client.try_allocate({"cpu": "1m"}, ttl=60, scope="a")
    assert await client.renew(held)
    assert (await client.resize(held, {"cpu": 2})).resources == {"cpu": 2000}


async def test_what_the_tree_does_not_allow_is_refused(client: AsyncAllocator) -> None:
    """Nothing has changed; the message has the numbers."""
    await client.quotas.set("a", {"cpu": Limit(2, None, 1)})
    for limits, scope, words in (
        ({"cpu": 3}, "a/x", "above the 2 of scope 'a'"),
        ({"cpu": 5}, "b", "above the 4 of the pool"),
        ({"cpu": Limit(4, None, 0)}, "b", "5 would be guaranteed below the pool, which has 4"),
        ({"disk": 1}, "b", "does not count 'disk'"),
    ):
        with pytest.raises(InvalidRequest, match=words) as caught:
            await client.quotas.set(scope, limits)
        assert caught.value.field == "limits"
    assert [one.scope for one in await client.quotas.list()] == ["a"]


async def test_a_weight_is_set_told_and_removed(client: AsyncAllocator) -> None:
    """Without limits, and beside them; what is not given stays."""
    quota = await client.quotas.set("team-a", weight=3)
    assert (quota.share, list(quota.resources), quota.generation) == (FairShare(3, 0, 0), ["allocations"], 1)
    held = await client.allocate({"cpu": 1}, ttl=60, scope="team-a")
    await client.quotas.set("team-a", {"cpu": 2})
    assert (await client.quotas.set("team-a", weight=4, dry_run=True)).share == FairShare(4, 250_000, 0)
    found = await client.quotas.get("team-a")
    assert found is not None
    assert found.share is not None
    assert (found.share.weight, found.share.live, found.resources["cpu"].nominal) == (3, 250_000, 2000)
    assert type(found).from_dict(found.to_dict()) == found
    gone = (await client.quotas.set("team-a", weight=None)).share
    assert gone is not None
    assert (gone.weight, gone.live) == (None, 250_000)
    await client.release(held)
    assert (await client.quotas.list())[0].share is None


@pytest.mark.parametrize("weight", [0, -1, 1001, 1.5, float("nan"), True, "2"], ids=str)
async def test_what_is_no_weight_is_refused(client: AsyncAllocator, weight: Any) -> None:
    """By name; nothing is changed, and nothing is made."""
    with pytest.raises(InvalidRequest) as refused:
        await client.quotas.set("team-a", {"cpu": 1}, weight=weight)
    assert refused.value.field == "weight"
    with pytest.raises(InvalidRequest) as neither:
        await client.quotas.set("team-a")
    assert neither.value.field == "limits"
    assert await client.quotas.list() == []


async def test_a_scope_is_deleted_once_it_is_empty(client: AsyncAllocator) -> None:
    """Nothing may be charged to it, and nothing be below it."""
    await client.quotas.set("a/x", {"cpu": Limit(1)})
    held = await client.allocate({"cpu": 1}, ttl=60, scope="a/x")
    for scope in ("a", "a/x"):
        with pytest.raises(PoolConflict):
            await client.quotas.delete(scope)
    await client.release(held)
    assert await client.quotas.delete("a/x")
    assert await client.quotas.delete("a")
    assert not await client.quotas.delete("a")
    assert await client.quotas.list() == []


async def test_an_allocation_moves_with_its_charge(client: AsyncAllocator) -> None:
    """Or stays, if there is no room; None is the pool alone."""
    await client.quotas.set("a", {"cpu": 2})
    await client.quotas.set("b", {"cpu": 1})
    held = await client.allocate({"cpu": 2}, ttl=60, scope="a", metadata={"course": "os-101"})
    with pytest.raises(QuotaExceeded) as caught:
        await client.move(held, "b")
    assert caught.value.denial.shortages[0].name == "b"
    assert caught.value.denial.never
    await client.resize(held, {"cpu": 1})
    moved = await client.move(held, "b")
    assert (moved.scope, moved.fence, moved.metadata) == ("b", held.fence, {"course": "os-101"})
    tree = await client.quotas.tree()
    assert [one.resources["cpu"].allocated for one in tree.values()] == [0, 1000]
    assert (await client.move(held.id, None)).scope is None
    with pytest.raises(UnknownScope):
        await client.move(held, "nobody")
    with pytest.raises(UnknownAllocation):
        await client.move("nothing", "a")


async def test_what_has_expired_makes_room_for_a_move(timed: AsyncAllocator, clock: Clock) -> None:
    """As for a request, also if it is more than one call takes back."""
    await timed.quotas.set("b", {"cpu": "2"})
    await timed.quotas.set("a", {"cpu": "2"})
    for _ in range(2):
        await timed.allocate_many([Request({"cpu": "10m"}, 60, scope="b") for _ in range(100)])
    held = await timed.allocate({"cpu": 1}, ttl=600, scope="a")
    clock.advance(120)
    assert (await timed.move(held, "b")).scope == "b"


async def test_a_part_of_the_tree_is_read_alone(client: AsyncAllocator) -> None:
    """Each scope after those above it; a name that only begins alike is not below it."""
    for scope in ("a", "a/x", "a/x/y", "a-b", "ab", "b"):
        await client.quotas.set(scope, {"cpu": 1})
    assert [one.scope for one in await client.quotas.list("a")] == ["a", "a/x", "a/x/y"]
    assert list(await client.quotas.tree("a/x")) == ["a/x", "a/x/y"]
    assert await client.quotas.list("c") == []
    assert [one.scope for one in await client.quotas.list(limit=4)] == ["a", "a-b", "a/x", "a/x/y"]
    assert [one.scope for one in await client.quotas.list("a/x", limit=1)] == ["a/x"]
    assert (await client.pools.usage()).scopes == 6
    part = await client.quotas.get("a/x/y")
    whole = (await client.quotas.tree())["a/x/y"]
    assert part == whole


async def test_a_hold_is_charged_to_its_scope(client: AsyncAllocator) -> None:
    """Until it ends."""
    await client.quotas.set("a", {"cpu": 1})
    async with client.hold({"cpu": 1}, ttl=60, scope="a") as hold:
        assert hold.allocation.scope == "a"
        with pytest.raises(QuotaExceeded):
            async with client.hold({"cpu": 1}, ttl=60, scope="a"):
                pass
    assert await client.check({"cpu": 1}, scope="a")


async def test_a_pool_is_deleted_with_its_scopes(client: AsyncAllocator) -> None:
    """A pool of the same name has none of them."""
    for at in range(3):
        await client.quotas.set(f"team-{at}", {"cpu": 1})
    assert await client.pools.delete("lab")
    await client.pools.create("lab", {"cpu": 4})
    assert await client.quotas.list() == []
    assert (await client.pools.get()).kept == {}


async def test_an_adopted_allocation_brings_its_scope_back(client: AsyncAllocator) -> None:
    """The server has lost both: the scope is there again, without limits."""
    await client.quotas.set("a/x", {"cpu": 2})
    held = await client.allocate({"cpu": 2}, ttl=60, scope="a/x")
    await client.release(held)
    assert await client.quotas.delete("a/x")
    adopted = await client.adopt(held, force="the server lost it")
    assert adopted.scope == "a/x"
    found = await client.quotas.get("a/x")
    assert found is not None
    assert (found.resources["cpu"].allocated, found.resources["cpu"].nominal) == (2000, None)


async def test_many_scopes_are_read_in_pages(client: AsyncAllocator) -> None:
    """More than one round trip returns, in order, each once."""
    for at in range(12):
        await client.quotas.set(f"class/student-{at:03}", {"allocations": 1})
    found = [one.scope for one in await client.quotas.list("class")]
    assert found == ["class", *(f"class/student-{at:03}" for at in range(12))]
