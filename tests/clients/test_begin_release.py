"""begin_release and reconcile, by both clients on every kind of store."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from allocator import (
    AllocationConflict,
    AllocationLost,
    AsyncAllocator,
    InvalidRequest,
    ReconcileRefused,
    UnknownAllocation,
)
from allocator.testing import Clock


async def test_a_release_that_has_begun_is_charged_until_its_grace_is_over(timed: AsyncAllocator, clock: Clock) -> None:
    """And cannot be undone."""
    held = await timed.allocate({"cpu": 4}, ttl=600, id="a")
    leaving = await timed.begin_release(held, grace=5)
    assert leaving.releasing_ms is not None
    assert leaving.deadline_ms == leaving.releasing_ms + 5000
    assert not await timed.try_allocate({"cpu": 1}, ttl=60)
    with pytest.raises(AllocationLost) as lost:
        await timed.renew(held)
    assert lost.value.code == "releasing"
    with pytest.raises(AllocationConflict, match="being released"):
        await timed.allocate({"cpu": 4}, ttl=600, id="a")
    clock.advance(5)
    assert await timed.try_allocate({"cpu": 1}, ttl=60)


async def test_what_has_stopped_earlier_is_released(client: AsyncAllocator) -> None:
    """A pinned one, too."""
    held = await client.allocate({"cpu": 4}, ttl=None)
    await client.begin_release(held, grace=60)
    assert await client.release(held)
    assert (await client.pools.usage()).allocations == 0


async def test_a_release_is_begun_by_its_holder_only(client: AsyncAllocator) -> None:
    """Typed refusals."""
    held = await client.allocate({"cpu": 1}, ttl=60, id="a")
    with pytest.raises(AllocationLost):
        await client.begin_release("a", grace=5, fence=held.fence + 1)
    with pytest.raises(UnknownAllocation):
        await client.begin_release("b", grace=5)
    for grace in (0, -1, 0.5, float("inf"), "5", None):
        with pytest.raises(InvalidRequest) as wrong:
            await client.begin_release(held, grace=grace)  # type: ignore[arg-type]
        assert wrong.value.field == "grace"


@pytest.fixture
async def crowd(client: AsyncAllocator) -> AsyncAllocator:
    """Four allocations of `me`, one of `me/other`."""
    for name in ("a", "b", "c", "d"):
        await client.allocate({"memory": "1Gi"}, ttl=60, id=name)
    await client.allocate({"memory": "1Gi"}, ttl=None, id="e", owner="me/other")
    return client


async def _now_listed(client: AsyncAllocator) -> int:
    """An instant after every grant: what was granted in the very millisecond of a listing is kept."""
    granted_ms = max([one.granted_ms async for one in client.list()])
    while (read_ms := (await client.pools.usage()).read_ms) <= granted_ms:
        pass
    return read_ms


async def test_a_reconcile_releases_what_its_owner_does_not_have(crowd: AsyncAllocator) -> None:
    """And says what the owner has that the ledger has not."""
    as_of = await _now_listed(crowd)
    done = await crowd.maintenance.reconcile(["a", "b", "z"], as_of, owner="me")
    assert (done.released, done.kept, done.missing) == (("c", "d"), ("a", "b"), ("z",))
    assert [one.id async for one in crowd.list(owner="me/other")] == ["e"]
    assert (await crowd.events.list(limit=1))[0].fields["reason"] == "reconciled"
    again = await crowd.maintenance.reconcile(["a", "b", "z"], as_of, owner="me")
    assert not again


async def test_a_dry_run_releases_nothing(crowd: AsyncAllocator) -> None:
    """It says what would be."""
    as_of = await _now_listed(crowd)
    would = await crowd.maintenance.reconcile(["a", "b"], as_of, owner="me", dry_run=True)
    assert (would.released, would.dry_run) == (("c", "d"), True)
    assert (await crowd.pools.usage()).allocations == 5


async def test_an_incomplete_listing_is_refused_with_the_numbers(crowd: AsyncAllocator) -> None:
    """More than half of them: is the listing whole?"""
    as_of = await _now_listed(crowd)
    with pytest.raises(ReconcileRefused, match=r"3 of 4 allocations .* is the listing whole") as refused:
        await crowd.maintenance.reconcile(["a"], as_of, owner="me")
    assert (refused.value.would_release, refused.value.owned, refused.value.max_released) == (3, 4, 2)
    with pytest.raises(ReconcileRefused):
        await crowd.maintenance.reconcile(["a", "b", "c"], as_of, owner="me", max_released=0)
    assert (await crowd.pools.usage()).allocations == 5
    assert len((await crowd.maintenance.reconcile([], as_of, owner="me", max_released=4)).released) == 4


async def test_an_empty_listing_releases_nothing_unless_a_number_is_given(crowd: AsyncAllocator) -> None:
    """Half of one, rounded up, is one: the last allocation of an owner whose query failed."""
    as_of = await _now_listed(crowd)
    with pytest.raises(ReconcileRefused, match=r"1 of 1 allocation of 'me/other' .*: the listing is empty") as refused:
        await crowd.maintenance.reconcile([], as_of, owner="me/other")
    assert (refused.value.would_release, refused.value.owned, refused.value.max_released) == (1, 1, 0)
    assert (await crowd.maintenance.reconcile([], as_of, owner="me/other", dry_run=True)).released == ("e",)
    assert not await crowd.maintenance.reconcile([], as_of, owner="nobody")
    assert (await crowd.maintenance.reconcile([], as_of, owner="me/other", max_released=1)).released == ("e",)


async def test_owners_that_begin_alike_are_reconciled_together(crowd: AsyncAllocator) -> None:
    """The lone last one of an owner may be released, too."""
    as_of = datetime.fromtimestamp(await _now_listed(crowd) / 1000, UTC)
    done = await crowd.maintenance.reconcile(["a", "b", "c", "d"], as_of, owner="me/*")
    assert done.released == ("e",)
    assert (await crowd.maintenance.reconcile(["a", "b"], as_of, owner="me*")).released == ("c", "d")


async def test_what_is_younger_than_the_listing_is_kept(timed: AsyncAllocator, clock: Clock) -> None:
    """It was granted while the owner listed."""
    as_of = (await timed.pools.usage()).read_ms
    clock.advance(1)
    await timed.allocate({"cpu": 1}, ttl=60, id="a")
    assert not await timed.maintenance.reconcile([], as_of, owner="me", max_released=10)


@pytest.mark.parametrize("as_of", [0, 1_795_737_600, 10**12 - 1])
async def test_an_as_of_in_seconds_is_refused(crowd: AsyncAllocator, as_of: int) -> None:
    """Nothing is as old as 1970, so nothing would be released, without a word."""
    with pytest.raises(InvalidRequest, match="is before 2001") as wrong:
        await crowd.maintenance.reconcile(["a"], as_of, owner="me")
    assert wrong.value.field == "as_of"


async def test_an_as_of_in_the_future_is_refused(crowd: AsyncAllocator) -> None:
    """Nothing changes, whatever is asked for."""
    future = (await crowd.pools.usage()).read_ms + 3_600_000
    with pytest.raises(InvalidRequest) as wrong:
        await crowd.maintenance.reconcile([], future, owner="me", max_released=10)
    assert wrong.value.field == "as_of"


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"as_of": -1}, "as_of"),
        ({"as_of": 1.5}, "as_of"),
        ({"as_of": datetime(2026, 1, 1)}, "as_of"),  # noqa: DTZ001 - that it has no zone is the point
        ({"owner": "*"}, "owner"),
        ({"owner": "a**"}, "owner"),
        ({"owner": ""}, "owner"),
        ({"max_released": -1}, "max_released"),
        ({"max_released": True}, "max_released"),
        ({"max_released": False}, "max_released"),
        ({"live_ids": "abc"}, "live_ids"),
        ({"live_ids": ["a b"]}, "id"),
    ],
)
async def test_nonsense_is_refused_before_anything_is_sent(crowd: AsyncAllocator, arguments: Any, field: str) -> None:
    """The field is named."""
    given = {"live_ids": [], "as_of": 10**12, "owner": "me", **arguments}
    with pytest.raises(InvalidRequest) as wrong:
        await crowd.maintenance.reconcile(given.pop("live_ids"), given.pop("as_of"), **given)
    assert wrong.value.field == field
