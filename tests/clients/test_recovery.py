"""After a loss of data: what holders, controllers and operators do, by both clients on every kind of store."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from allocator import (
    AllocationConflict,
    AllocationLost,
    AsyncAllocator,
    InvalidRequest,
    PoolConflict,
    Recovering,
    Request,
    UnknownPool,
)
from allocator.testing import Clock
from tests.clients.conftest import Connect
from tests.support.waiting import wait_until

GRACE = 30

KEYS = "allocator:{lab}:"


@pytest.fixture
async def guarded(connect: Connect, clock: Clock) -> AsyncAllocator:
    """A client whose pool `lab` has 4 CPUs and a recovery grace; time passes when `clock` is turned."""
    client = connect(owner="me", clock=clock)
    await client.pools.create("lab", {"cpu": 4}, recovery_grace=GRACE, max_ttl=60, new=True)
    return client


@pytest.fixture
def lose(redis_cli: Callable[..., Any]) -> Callable[[str], None]:
    """Take an allocation from the store, as if it had been rolled back to before its grant."""

    def lose(identity: str) -> None:
        amount = int(redis_cli("HGET", f"{KEYS}allocation:{identity}", "cpu.allocated"))
        redis_cli("HINCRBY", f"{KEYS}pool", "cpu.allocated", -amount)
        redis_cli("DEL", f"{KEYS}allocation:{identity}")
        redis_cli("ZREM", f"{KEYS}deadlines", identity)

    return lose


@pytest.fixture
def empty(redis_cli: Callable[..., Any]) -> Callable[[], None]:
    """Take everything of the pool from the store."""

    def empty() -> None:
        for key in ("pool", "deadlines", "pinned", "ended", "events", "allocation:a", "allocation:b"):
            redis_cli("DEL", f"{KEYS}{key}")

    return empty


async def test_a_renewal_of_what_was_lost_adopts_it(guarded: AsyncAllocator, lose: Callable[[str], None]) -> None:
    """The holder notices first; nobody is granted anything before all are back."""
    held = await guarded.allocate({"cpu": 2}, ttl=60, id="a", metadata={"k": "v"})
    lose("a")
    renewal = await guarded.renew(held)
    assert (renewal.outcome, bool(renewal), renewal.fence) == ("adopted", True, held.fence)
    again = await guarded.get("a")
    assert again == replace(held, created=False, deadline_ms=renewal.deadline_ms)
    with pytest.raises(Recovering) as refused:
        await guarded.allocate({"cpu": 1}, ttl=60)
    assert refused.value.retry_after == GRACE
    pool = await guarded.pools.get()
    assert (pool.state, pool.recovering_why) == ("recovering", "a lease that was live is missing")


async def test_what_is_adopted_again_has_its_hard_end(
    guarded: AsyncAllocator, lose: Callable[[str], None], clock: Clock
) -> None:
    """A renewal that adopts is cut as any other; after the end it adopts nothing, and says why."""
    held = await guarded.allocate({"cpu": 1}, ttl=60, id="a", max_lifetime=75)
    clock.advance(50)
    lose("a")
    renewal = await guarded.renew(held)
    known = (renewal.outcome, renewal.deadline_ms, renewal.ends_ms, renewal.left_ms)
    assert known == ("adopted", held.ends_ms, held.ends_ms, 25_000)
    lose("a")
    clock.advance(25)
    with pytest.raises(AllocationLost) as lost:
        await guarded.renew(held)
    assert lost.value.code == "over"
    assert await guarded.get("a") is None


async def test_many_renewals_say_which_were_adopted(guarded: AsyncAllocator, lose: Callable[[str], None]) -> None:
    """Each for itself; by id alone nobody can adopt."""
    a = await guarded.allocate({"cpu": 1}, ttl=60, id="a")
    b = await guarded.allocate({"cpu": 1}, ttl=60, id="b")
    lose("a")
    assert [one.outcome for one in await guarded.renew_many([a, b])] == ["adopted", "renewed"]
    lose("a")
    assert [one.outcome for one in await guarded.renew_many(["a", b])] == ["unknown", "renewed"]


async def test_the_client_s_own_fences_tell_of_a_rollback(
    guarded: AsyncAllocator, clock: Clock, redis_cli: Callable[..., Any]
) -> None:
    """The high-water mark goes along with each allocation; the fences jump past it."""
    first = await guarded.allocate({"cpu": 1}, ttl=60, id="a")
    redis_cli("HINCRBY", f"{KEYS}pool", "revision", -1)
    redis_cli("DEL", f"{KEYS}allocation:a")
    redis_cli("ZREM", f"{KEYS}deadlines", "a")
    redis_cli("HINCRBY", f"{KEYS}pool", "cpu.allocated", -1000)
    with pytest.raises(Recovering):
        await guarded.allocate({"cpu": 1}, ttl=60)
    assert (await guarded.adopt(first)).fence == first.fence
    clock.advance(GRACE)
    later = await guarded.allocate({"cpu": 1}, ttl=60)
    assert later.fence > first.fence + 1_000_000


async def test_a_hold_is_not_lost_with_the_store(
    guarded: AsyncAllocator, clock: Clock, lose: Callable[[str], None]
) -> None:
    """Its thread adopts; the block goes on, and its end gives it back."""
    async with guarded.hold({"cpu": 4}, ttl=30, id="a") as hold:
        lose("a")
        before = hold.deadline
        clock.advance(10)
        wait_until(lambda: hold.deadline != before, message="a renewal")
        assert not hold.lost
        assert (await guarded.pools.usage()).resources["cpu"].allocated == 4000
    assert await guarded.get("a") is None


async def test_a_block_that_ends_before_its_adoption_is_no_loss(
    guarded: AsyncAllocator, lose: Callable[[str], None]
) -> None:
    """Nobody else was granted its room."""
    async with guarded.hold({"cpu": 4}, ttl=30, id="a"):
        lose("a")
    assert (await guarded.pools.get()).state == "recovering"


async def test_an_emptied_store_gets_its_pool_back_with_its_holders(
    guarded: AsyncAllocator, empty: Callable[[], None]
) -> None:
    """Same epoch, same settings, recovering; whoever was there adopts."""
    pool = await guarded.pools.get()
    held = await guarded.allocate({"cpu": 2}, ttl=60, id="a")
    empty()
    with pytest.raises(UnknownPool) as gone:
        await guarded.renew(held)
    assert gone.value.code == "pool_lost"
    with pytest.raises(UnknownPool):
        await guarded.allocate({"cpu": 2}, ttl=60)
    again = await guarded.pools.recover(pool)
    assert (again.created, again.epoch, again.capacity, again.recovery_grace_ms) == (
        True, pool.epoch, pool.capacity, GRACE * 1000,
    )  # fmt: skip
    assert not (await guarded.pools.recover(pool)).created
    assert (await guarded.renew(held)).outcome == "adopted"
    with pytest.raises(Recovering):
        await guarded.allocate({"cpu": 1}, ttl=60)
    await guarded.pools.end_recovery()
    assert (await guarded.allocate({"cpu": 1}, ttl=60)).fence > held.fence


async def test_a_deleted_pool_is_not_brought_back(guarded: AsyncAllocator) -> None:
    """Somebody meant it; nor does a pool without a grace come back by itself, nor one that was made anew."""
    pool = await guarded.pools.get()
    held = await guarded.allocate({"cpu": 2}, ttl=60)
    await guarded.pools.delete("lab", force=True)
    with pytest.raises(UnknownPool) as deleted:
        await guarded.pools.recover(pool)
    assert deleted.value.code == "deleted"
    await guarded.pools.create("lab", {"cpu": 4})
    with pytest.raises(UnknownPool) as other:
        await guarded.pools.recover(pool)
    assert other.value.code == "epoch"
    with pytest.raises(AllocationLost) as foreign:
        await guarded.renew(held)
    assert foreign.value.code == "epoch"
    with pytest.raises(InvalidRequest):
        await guarded.pools.recover(await guarded.pools.get())


async def test_what_may_not_be_adopted_is_refused_by_its_kind(guarded: AsyncAllocator) -> None:
    """Typed, and nothing changes."""
    held = await guarded.allocate({"cpu": 2}, ttl=60, id="a")
    before = await guarded.pools.usage()
    for wrong, code in (
        (replace(held, id="b"), "not_recovering"),
        (replace(held, epoch="0" * 16), "epoch"),
        (replace(held, fence=held.fence - 1), "fenced"),
    ):
        with pytest.raises(AllocationLost) as lost:
            await guarded.adopt(wrong)
        assert lost.value.code == code
    with pytest.raises(AllocationConflict):
        await guarded.adopt(replace(held, owner="another"))
    with pytest.raises(InvalidRequest) as nonsense:
        await guarded.adopt("a")  # type: ignore[arg-type]
    assert nonsense.value.field == "allocation"
    with pytest.raises(InvalidRequest) as unreasoned:
        await guarded.adopt(held, force=" ")
    assert unreasoned.value.field == "force"
    assert (await guarded.pools.usage()).pool.revision == before.pool.revision
    assert (await guarded.adopt(held)).fence == held.fence


async def test_an_operator_may_adopt_with_a_reason(guarded: AsyncAllocator) -> None:
    """Above the capacity: the pool is overcommitted, and says so."""
    held = await guarded.allocate({"cpu": 4}, ttl=60, id="a")
    forced = await guarded.adopt(replace(held, id="b", fence=held.fence + 1), force="ticket 12")
    assert forced.id == "b"
    assert (await guarded.pools.get()).overcommitted == ("cpu",)
    event = (await guarded.events.list(limit=1))[0]
    assert (event.kind, event.fields["reason"]) == ("adopted", "ticket 12")
    await guarded.release(forced)


async def test_a_ttl_longer_than_the_pool_allows_is_refused(guarded: AsyncAllocator) -> None:
    """None is the longest; a gang is granted nothing."""
    for ttl in (61, None):
        with pytest.raises(InvalidRequest) as too_long:
            await guarded.allocate({"cpu": 1}, ttl=ttl)
        assert (too_long.value.field, too_long.value.code) == ("ttl", "ttl_too_long")
    with pytest.raises(InvalidRequest):
        await guarded.allocate_many([Request({"cpu": 1}, 60), Request({"cpu": 1}, 61)], atomic=True)
    assert (await guarded.pools.usage()).allocations == 0
    held = await guarded.allocate({"cpu": 1}, ttl=60)
    with pytest.raises(InvalidRequest):
        await guarded.renew(held, ttl=61)


async def test_a_grace_bounds_the_ttl_and_may_be_taken_away(client: AsyncAllocator) -> None:
    """By default with some seconds between, for holders of a primary that was replaced; what is pinned goes first."""
    pinned = await client.allocate({"cpu": 1}, ttl=None)
    with pytest.raises(PoolConflict) as conflict:
        await client.pools.update(recovery_grace=GRACE)
    assert conflict.value.code == "pinned"
    await client.release(pinned)
    pool = await client.pools.update(recovery_grace=GRACE, durability="memory")
    assert (pool.recovery_grace_ms, pool.max_ttl_ms, pool.durability) == (GRACE * 1000, (GRACE - 5) * 1000, "memory")
    pool = await client.pools.update(recovery_grace=GRACE, max_ttl=GRACE)
    assert pool.max_ttl_ms == GRACE * 1000, "whoever says so"
    pool = await client.pools.update(recovery_grace=6)
    assert pool.max_ttl_ms == 1000
    pool = await client.pools.update(recovery_grace=0)
    assert (pool.recovery_grace_ms, pool.max_ttl_ms) == (0, 0)


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"recovery_grace": -1}, "recovery_grace"),
        ({"recovery_grace": 3601}, "recovery_grace"),
        ({"recovery_grace": float("nan")}, "recovery_grace"),
        ({"recovery_grace": 5.9}, "recovery_grace"),
        ({"max_ttl": "60"}, "max_ttl"),
        ({"durability": "certain"}, "durability"),
        ({"durability": "replicated:0"}, "durability"),
        ({"durability": "replicated:17"}, "durability"),
        ({"durability": 2}, "durability"),
    ],
)
async def test_promises_that_are_none_are_refused(client: AsyncAllocator, options: Any, field: str) -> None:
    """Before anything is sent."""
    with pytest.raises(InvalidRequest) as wrong:
        await client.pools.update(**options)
    assert wrong.value.field == field
