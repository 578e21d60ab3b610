"""What was written to a status or a file is read back by the library, and used by another process."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from allocator import Allocation, AsyncAllocator, InvalidRequest, Pool, Request
from allocator.settings import ID_LENGTH_MAX
from allocator.testing import Clock
from tests.clients.conftest import Connect

LONGEST = f"{'n' * 63}/{'o' * 253}/{'0' * 36}"
"""`namespace/name/uid`, each as long as Kubernetes has them."""

BOUND = "c" * 157 + "/" + LONGEST


@pytest.fixture
async def guarded(connect: Connect, clock: Clock) -> AsyncAllocator:
    """A client whose pool `lab` has 4 CPUs and a recovery grace."""
    client = connect(owner="me", clock=clock)
    await client.pools.create("lab", {"cpu": 4}, recovery_grace=30, max_ttl=60, new=True)
    return client


def stored(value: Allocation | Pool) -> Any:
    """The value as JSON that somebody else reads."""
    return json.loads(json.dumps(value.to_dict()))


async def test_an_allocation_of_a_status_is_renewed_resized_and_released(guarded: AsyncAllocator) -> None:
    """With its fence, as if this process had been granted it."""
    client = guarded.options(pool="lab")
    granted = await client.allocate({"cpu": 2}, ttl=60, id="a", metadata={"note": "\u2713"})
    status = stored(granted)
    read = Allocation.from_dict(status)
    assert read == granted
    assert await guarded.renew(read)
    assert (await guarded.resize(read, {"cpu": 1})).resources == {"cpu": 1000}
    assert await guarded.release(Allocation.from_dict(status))
    again = await client.allocate({"cpu": 2}, ttl=60, id="a")
    assert (await guarded.release(Allocation.from_dict(status))).outcome == "fenced", "an old status ends no new grant"
    assert await guarded.release(again)


async def test_an_emptied_store_is_filled_again_from_what_was_stored(
    guarded: AsyncAllocator, redis_cli: Callable[..., Any]
) -> None:
    """The pool from its file, the allocations from their statuses."""
    client = guarded.options(pool="lab")
    granted = await client.allocate({"cpu": 2}, ttl=60, id="a", metadata={"k": "v"})
    pool, status = stored(await guarded.pools.get("lab")), stored(granted)
    for key in ("pool", "deadlines", "pinned", "ended", "events", "allocation:a"):
        redis_cli("DEL", f"allocator:{{lab}}:{key}")
    made = await guarded.pools.recover(Pool.from_dict(pool))
    assert (made.state, made.epoch) == ("recovering", pool["epoch"])
    adopted = await guarded.adopt(Allocation.from_dict(status))
    assert (adopted.id, adopted.resources, adopted.fence, dict(adopted.metadata)) == (
        granted.id,
        granted.resources,
        granted.fence,
        {"k": "v"},
    )
    assert (await guarded.pools.usage("lab")).resources["cpu"].allocated == 2000


async def test_a_mapping_is_not_taken_for_an_allocation(guarded: AsyncAllocator) -> None:
    """`Allocation.from_dict` says what is wrong with it; a method would have to guess."""
    for attempt in (guarded.adopt, guarded.pools.recover):
        with pytest.raises(InvalidRequest) as caught:
            await attempt({"id": "a"})  # type: ignore[arg-type]
        assert "from_dict" in str(caught.value)


@pytest.mark.parametrize("name", [LONGEST, BOUND], ids=["namespace/name/uid", "bound"])
async def test_the_longest_ids_and_owners_pass_through_every_verb(
    guarded: AsyncAllocator, clock: Clock, name: str
) -> None:
    """In keys, fields, indexes and events."""
    assert len(BOUND) == ID_LENGTH_MAX
    client = guarded.options(pool="lab", owner=name)
    granted = await client.allocate({"cpu": 1}, ttl=60, id=name)
    assert (granted.id, granted.owner) == (name, name)
    assert (await client.allocate({"cpu": 1}, ttl=60, id=name)).fence == granted.fence
    assert await client.get(name) == (await client.adopt(granted))
    assert [one.id async for one in client.list(owner=name)] == [name]
    assert await client.renew(name)
    assert (await client.resize(name, {"cpu": 2})).resources == {"cpu": 2000}
    assert (await client.events.list(limit=1))[0].fields["id"] == name
    clock.advance(1)
    as_of = (await client.pools.usage()).read_ms
    assert (await client.maintenance.reconcile([name], as_of, owner=name)).kept == (name,)
    await client.begin_release(name, grace=5)
    assert await client.release(name)
    await client.allocate({"cpu": 1}, ttl=60, id=name)
    clock.advance(61)
    assert (await client.maintenance.reclaim()).ids == (name,)
    assert await client.maintenance.audit()


async def test_batches_of_the_longest_ids_are_sent_in_parts(connect: Connect) -> None:
    """A script call has at most 64 KiB, whatever the ids are."""
    client = connect(pool="wide", owner=BOUND)
    await client.pools.create("wide", {"cpu": 1000})
    made = await client.allocate_many([Request({"cpu": 1}, 60, id=f"{at:03}{BOUND[3:]}") for at in range(250)])
    assert len({one.id for one in made if isinstance(one, Allocation)}) == 250
    assert all(await client.renew_many([one for one in made if isinstance(one, Allocation)]))
    assert all(await client.release_many([one for one in made if isinstance(one, Allocation)]))
