"""The fault switch of `allocator.testing`: the errors of real outages, by the code that handles those."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from redis.exceptions import ConnectionError as ConnectionLostError

from allocator import (
    AllocationLost,
    Allocator,
    AsyncAllocator,
    BackendUnavailable,
    Denial,
    Insufficient,
    InvalidRequest,
    OutcomeUnknown,
    Recovering,
    Request,
    ResourceAllocator,
)
from allocator._engine.protocol.flows import Item
from allocator.testing import (
    Clock,
    Faults,
    MemoryStore,
    faults,
    memory_allocator,
    memory_async_allocator,
    memory_resource_allocator,
    wait_undone,
    wait_undone_async,
)

CAPACITY = {"cpu": 4, "memory": "8Gi"}

QUICK_S = 2.0
"""Far below the ten seconds of a call's timeout, and enough for a busy machine."""


@pytest.fixture
def store() -> Iterator[MemoryStore]:
    """A store whose books are right at the end."""
    store = MemoryStore(clock=Clock())
    yield store
    with store.client() as client:
        assert client.maintenance.audit()


@pytest.fixture
def allocator(store: MemoryStore) -> Iterator[Allocator]:
    with memory_allocator(CAPACITY, store=store, recovery_grace=60) as allocator:
        allocator.allocate({"cpu": 1}, ttl=30, id="held")
        yield allocator


@pytest.fixture
def switch(allocator: Allocator) -> Faults:
    return faults(allocator)


# -- down --------------------------------------------------------------------------------------------------------------


def test_down_is_what_a_refused_connection_is(allocator: Allocator, switch: Faults) -> None:
    """The error has the type, the code, the words and the cause of a server that is away, at once."""
    with Allocator.from_url("redis://127.0.0.1:1/0", timeout=0.01) as away, pytest.raises(BackendUnavailable) as real:
        away.allocate({"cpu": 1}, ttl=5)
    began = time.monotonic()
    with switch.down() as fault, pytest.raises(BackendUnavailable) as made:
        allocator.allocate({"cpu": 1}, ttl=5)
    assert time.monotonic() - began < QUICK_S
    assert fault.fired == 1
    assert type(made.value) is type(real.value)
    assert (made.value.code, made.value.retryable) == (real.value.code, real.value.retryable)
    assert str(made.value).startswith("cannot connect to memory://")
    assert str(real.value).startswith("cannot connect to redis://")
    assert isinstance(made.value.__cause__, ConnectionLostError)
    assert isinstance(real.value.__cause__, ConnectionLostError)
    assert allocator.pools.usage().allocations == 1


def test_down_is_over_at_the_end_of_the_block_also_if_it_raises(allocator: Allocator, switch: Faults) -> None:
    """A test that fails does not take the next one with it."""
    with pytest.raises(BackendUnavailable), switch.down():
        allocator.pools.usage()
    assert allocator.pools.usage().allocations == 1


def test_a_short_outage_is_ridden_out(allocator: Allocator, switch: Faults) -> None:
    """The attempts are real ones: two fail, the third succeeds."""
    with switch.down(attempts=2) as fault:
        assert allocator.allocate({"cpu": 1}, ttl=5)
    assert (fault.fired, fault.left) == (2, 0)


def test_a_call_that_waits_is_answered_once_the_server_is_back(allocator: Allocator, switch: Faults) -> None:
    """With `wait` the call is retried until its timeout."""
    granted: list[object] = []
    thread = threading.Thread(target=lambda: granted.append(allocator.allocate({"cpu": 1}, ttl=5)))
    with switch.down(wait=True) as fault:
        thread.start()
        while not fault.fired:
            thread.join(0.001)
        assert not granted
    thread.join(60)
    assert granted


def test_waiting_ends_at_the_timeout(allocator: Allocator, switch: Faults) -> None:
    """Several attempts, and the error of the last."""
    with switch.down(wait=True) as fault, pytest.raises(BackendUnavailable, match="cannot connect"):
        allocator.options(timeout=1.0).release("held")
    assert fault.fired > 1


# -- lost replies ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("times", [1, 3])
def test_the_retry_finds_what_the_lost_attempt_did(allocator: Allocator, switch: Faults, times: int) -> None:
    """One grant, one charge."""
    with switch.lost_reply("allocate", times=times) as fault:
        granted = allocator.allocate({"cpu": 1}, ttl=5)
    assert fault.fired == times
    usage = allocator.pools.usage()
    assert (usage.allocations, usage.resources["cpu"].allocated) == (2, 2000)
    assert allocator.release(granted)


def test_a_release_whose_reply_is_lost_has_released(allocator: Allocator, switch: Faults) -> None:
    """The retry is told that this call did it."""
    with switch.lost_reply("release") as fault:
        assert allocator.release("held")
    assert fault.fired == 1


def test_only_the_named_verb_loses_its_reply(allocator: Allocator, switch: Faults) -> None:
    """A test says which of the controller's calls it is about."""
    with switch.lost_reply("renew") as fault:
        allocator.allocate({"cpu": 1}, ttl=5, id="other")
        assert fault.fired == 0
        assert allocator.renew("other")
    assert fault.fired == 1


def test_the_first_call_of_a_script_loses_its_reply_too(allocator: Allocator, switch: Faults) -> None:
    """The server does not know the script yet: not that reply is lost, but the one to the script's text."""
    with switch.unknown("resize") as fault, pytest.raises(OutcomeUnknown):
        allocator.resize("held", {"cpu": 2})
    assert fault.fired == 1
    assert allocator.pools.usage().resources["cpu"].allocated == 2000


@pytest.mark.parametrize("executed", [True, False])
def test_an_unknown_outcome_is_undone(allocator: Allocator, switch: Faults, *, executed: bool) -> None:
    """At once, with nothing left of it."""
    began = time.monotonic()
    with switch.unknown(executed=executed) as fault:
        with pytest.raises(OutcomeUnknown, match="lost the connection to memory://") as caught:
            allocator.allocate({"cpu": 1}, ttl=5, id="new")
        assert fault.fired == 1
        assert caught.value.id == "new"
    assert wait_undone(allocator)
    assert time.monotonic() - began < QUICK_S
    assert allocator.get("new") is None
    assert allocator.pools.usage().allocations == 1
    assert allocator.allocate({"cpu": 1}, ttl=5, id="new").created


# -- full --------------------------------------------------------------------------------------------------------------


def test_a_full_pool_denies_with_its_numbers_and_stays_as_it_is(allocator: Allocator, switch: Faults) -> None:
    """The same denial as where others have taken the rest; what is counted of it is that it was denied."""
    before = allocator.pools.usage()
    with switch.full() as fault:
        with pytest.raises(Insufficient) as caught:
            allocator.allocate({"cpu": 1, "memory": "1Gi"}, ttl=5)
        assert not allocator.try_allocate({"cpu": 1}, ttl=5)
        assert not allocator.check({"cpu": 1})
        with pytest.raises(Insufficient):
            allocator.resize("held", {"cpu": 2})
        with pytest.raises(Insufficient):
            allocator.allocate_many([Request({"cpu": 1}, 5)], atomic=True)
        assert fault.fired == 5
        during = allocator.pools.usage()
    short = [(one.resource, one.requested, one.allocated, one.capacity) for one in caught.value.denial.shortages]
    assert short == [("cpu", 1000, 4000, 4000), ("memory", 2**30, 2**33, 2**33)]
    counters = {**before.counters, "denied.capacity_exceeded": 4}
    assert replace(before, counters=counters) == during == allocator.pools.usage()
    assert allocator.maintenance.audit()
    with memory_allocator(CAPACITY) as real:
        real.allocate(CAPACITY, ttl=5)
        with pytest.raises(Insufficient) as told:
            real.allocate({"cpu": 1, "memory": "1Gi"}, ttl=5)
    assert told.value.denial == caught.value.denial


def test_in_a_full_pool_what_is_held_is_found_renewed_and_released(allocator: Allocator, switch: Faults) -> None:
    """But what is released makes no room, as long as the block lasts."""
    with switch.full():
        assert not allocator.allocate({"cpu": 1}, ttl=30, id="held").created
        assert allocator.renew("held")
        assert allocator.release("held")
        assert not allocator.try_allocate({"cpu": 1}, ttl=5)
    assert allocator.try_allocate({"cpu": 4}, ttl=5)


def test_only_the_named_resources_are_full(allocator: Allocator, switch: Faults) -> None:
    """As where all GPUs are taken, and CPUs are not."""
    with switch.full("memory"):
        assert allocator.try_allocate({"cpu": 1}, ttl=5)
        assert not allocator.try_allocate({"cpu": 1, "memory": "1Gi"}, ttl=5)


def test_blocks_of_full_resources_add_up(allocator: Allocator, switch: Faults) -> None:
    """Each resource of each block is full."""
    with switch.full("memory") as outer, switch.full("cpu") as inner:
        denial = allocator.try_allocate({"cpu": 1, "memory": "1Gi"}, ttl=5)
        assert isinstance(denial, Denial)
        assert [one.resource for one in denial.shortages] == ["cpu", "memory"]
        assert (outer.fired, inner.fired) == (1, 1)
    assert allocator.pools.usage().resources["cpu"].allocated == 1000


def test_no_other_thread_sees_the_pool_filled(allocator: Allocator, store: MemoryStore, switch: Faults) -> None:
    """The denials of one thread and the readings of another interleave."""
    seen: set[int] = set()
    stop = threading.Event()

    def look() -> None:
        with store.client() as client:
            while not stop.is_set():
                seen.add(client.pools.usage().resources["cpu"].allocated)

    thread = threading.Thread(target=look)
    with switch.full():
        thread.start()
        for _ in range(50):
            assert not allocator.try_allocate({"cpu": 1}, ttl=5)
        stop.set()
        thread.join()
    assert seen == {1000}


# -- recovering --------------------------------------------------------------------------------------------------------


def test_a_pool_recovers_and_grants_again(allocator: Allocator, switch: Faults) -> None:
    """Holders renew meanwhile; blocks may be nested."""
    with switch.recovering():
        with switch.recovering(), pytest.raises(Recovering):
            allocator.allocate({"cpu": 1}, ttl=5)
        assert allocator.pools.get().state == "recovering"
        assert allocator.renew("held")
        assert allocator.allocate({"cpu": 1}, ttl=30, id="held").id == "held"
    assert allocator.pools.get().state == "active"
    assert allocator.allocate({"cpu": 1}, ttl=5)
    assert allocator.pools.usage().allocations == 2


def test_a_recovery_ends_by_the_clock(allocator: Allocator, store: MemoryStore, switch: Faults) -> None:
    """When the grace has passed, as on a server."""
    assert store.clock is not None
    with switch.recovering():
        store.clock.advance(61)
        assert allocator.allocate({"cpu": 1}, ttl=5)


def test_a_pool_without_a_grace_does_not_recover() -> None:
    """The error says so, rather than a block in which nothing happens."""
    with memory_allocator(CAPACITY) as allocator:
        recovering = faults(allocator).recovering()
        with pytest.raises(InvalidRequest, match="never recovers") as caught:
            recovering.__enter__()
    assert caught.value.field == "recovery_grace"


# -- clients -----------------------------------------------------------------------------------------------------------


async def test_the_awaited_client_meets_the_same(store: MemoryStore) -> None:
    """Alone and in a batch."""
    async with memory_async_allocator(CAPACITY, store=store, recovery_grace=60) as awaited:
        switch = faults(awaited)
        began = time.monotonic()
        with switch.down(), pytest.raises(BackendUnavailable, match="cannot connect to memory://"):
            await awaited.allocate({"cpu": 1}, ttl=5)
        with switch.down(attempts=2) as refused:
            assert await awaited.allocate({"cpu": 1}, ttl=5, id="a")
        with switch.lost_reply() as lost:
            both = await asyncio.gather(*[awaited.allocate({"cpu": 1}, ttl=5, id=name) for name in "bc"])
        assert (refused.fired, lost.fired, len(both)) == (2, 1, 2)
        with switch.full(), pytest.raises(Insufficient, match="available=0"):
            await awaited.allocate({"cpu": 1}, ttl=5)
        with switch.recovering(), pytest.raises(Recovering):
            await awaited.allocate({"cpu": 1}, ttl=5)
        for executed in (True, False):
            with switch.unknown(executed=executed), pytest.raises(OutcomeUnknown):
                await awaited.allocate({"cpu": 1}, ttl=5)
            assert await wait_undone_async(awaited)
        assert time.monotonic() - began < 2 * QUICK_S
        assert sorted([one.id async for one in awaited.list()]) == ["a", "b", "c"]


async def test_undoing_waits_for_the_server(store: MemoryStore, allocator: Allocator) -> None:
    """While it is down nothing is undone, and both clients say so."""
    pool, items = allocator._defaults.pool, [Item("a-call", (), id="x")]
    async with memory_async_allocator(CAPACITY, store=store) as awaited:
        await awaited.pools.get()
        (state,) = awaited._driver._loop_states.values()
        with faults(awaited).down():
            state.undo(pool, items)
            allocator._driver._undo_worker.add(pool, items)
            assert not await wait_undone_async(awaited, 0.05)
            assert not wait_undone(allocator, 0.05)
        assert await wait_undone_async(awaited)
        assert wait_undone(allocator)


async def test_the_original_api_meets_the_same(store: MemoryStore) -> None:
    """Its awaited methods and its plain getters."""
    async with memory_resource_allocator(4, 8, store=store) as original:
        switch = faults(original)
        with switch.down():
            with pytest.raises(BackendUnavailable):
                await original.allocate_resources({"cpu": 1})
            with pytest.raises(BackendUnavailable):
                original.get_resource_usage()
        with switch.full():
            assert not await original.check_availability({"cpu": 1})
            with pytest.raises(ValueError, match="Insufficient resources"):
                await original.allocate_resources({"cpu": 1})
        with switch.unknown(), pytest.raises(OutcomeUnknown):
            await original.allocate_resources({"cpu": 1})
        assert await wait_undone_async(original)
        with switch.lost_reply() as lost:
            granted = await original.allocate_resources({"cpu": 1})
        assert lost.fired == 1
        assert original.get_active_allocations() == {granted["allocation_id"]: json.loads(json.dumps(granted))}


async def test_all_clients_of_a_store_share_its_faults(store: MemoryStore, allocator: Allocator) -> None:
    """Also those that a program has made from the URL."""
    with faults(allocator).down(), Allocator.from_url(store.url, pool="test") as other:
        with pytest.raises(BackendUnavailable):
            other.get("held")
        async with AsyncAllocator.from_url(store.url, pool="test") as awaited:
            with pytest.raises(BackendUnavailable):
                await awaited.get("held")
        async with ResourceAllocator(url=store.url, pool="test") as original:
            with pytest.raises(BackendUnavailable):
                await original.usage()
        with store.client() as client:
            assert client.get("held")


def test_other_stores_are_not_touched(allocator: Allocator, switch: Faults) -> None:
    """Tests that run in threads do not meet."""
    with memory_allocator(CAPACITY) as other, switch.down(), switch.full():
        assert other.allocate({"cpu": 1}, ttl=5)


def test_a_hold_is_lost_when_no_renewal_gets_through(allocator: Allocator, store: MemoryStore, switch: Faults) -> None:
    """By the clock of the test."""
    assert store.clock is not None
    lost = threading.Event()
    held = allocator.hold({"cpu": 1}, ttl=30, on_lost=lambda _: lost.set())
    with pytest.raises(AllocationLost), held, switch.down():
        store.clock.advance(31)
        assert held.lost
        assert lost.wait(10)


# -- refused -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "arguments", "field"),
    [
        ("lost_reply", {"verb": "grant"}, "verb"),
        ("lost_reply", {"times": 0}, "times"),
        ("unknown", {"times": -1}, "times"),
        ("down", {"attempts": 0}, "attempts"),
    ],
)
def test_what_makes_no_sense_is_refused(switch: Faults, method: str, arguments: dict[str, Any], field: str) -> None:
    """With the argument's name."""
    with pytest.raises(InvalidRequest) as caught:
        getattr(switch, method)(**arguments)
    assert caught.value.field == field
