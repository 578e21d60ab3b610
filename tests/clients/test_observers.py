"""What a client reports to its observers: calls with their outcomes, batches, waits, holds; nothing once closed."""

from __future__ import annotations

import asyncio
import gc
import logging
import weakref
from typing import Any, Final

import pytest

from allocator import (
    AllocationConflict,
    AllocationLost,
    AsyncAllocator,
    BackendUnavailable,
    ClientState,
    InvalidRequest,
    ObservedBatch,
    ObservedCall,
    ObservedRenewal,
    Observer,
    Request,
    UnknownAllocation,
)
from allocator._engine.execution.instrumentation import OUTCOMES
from allocator.testing import Clock, memory_allocator
from tests.clients.conftest import Connect
from tests.support.waiters import Line
from tests.support.waiting import wait_until, wait_until_async

METHODS: Final = tuple(name for name in vars(Observer) if not name.startswith("_"))


class Seen(Observer):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.calls: list[ObservedCall] = []
        self.begun: list[str] = []
        self.batches: list[ObservedBatch] = []
        self.renewals: list[ObservedRenewal] = []
        self.lost: list[tuple[str, str]] = []
        self.undone: list[tuple[str, str, int]] = []
        self.read: Any = None

    def client_added(self, read: Any) -> None:
        self.read = read

    def call_started(self, call: ObservedCall) -> None:
        self.begun.append(call.verb)

    def call_ended(self, call: ObservedCall) -> None:
        self.calls.append(call)

    def batch_sent(self, batch: ObservedBatch) -> None:
        self.batches.append(batch)

    def undos_changed(self, pool: str, change: str, count: int) -> None:
        self.undone.append((pool, change, count))

    def lease_renewed(self, renewal: ObservedRenewal) -> None:
        self.renewals.append(renewal)

    def lease_lost(self, pool: str, code: str) -> None:
        self.lost.append((pool, code))

    @property
    def told(self) -> list[tuple[str, str]]:
        return [(call.verb, call.outcome) for call in self.calls]


def plain(client: AsyncAllocator) -> Any:
    """The client itself: `observe` is not awaited."""
    return getattr(client, "surface", client)


def watching(client: AsyncAllocator) -> Seen:
    seen = Seen()
    plain(client).observe(seen)
    return seen


async def test_each_call_is_reported_with_its_verb_and_outcome(client: AsyncAllocator) -> None:
    """Also those whose error is no error of the store."""
    seen = watching(client)
    held = await client.allocate({"cpu": 1}, ttl=60, id="one")
    assert not await client.try_allocate({"cpu": 40}, ttl=60)
    with pytest.raises(AllocationConflict):
        await client.allocate({"cpu": 2}, ttl=60, id="one")
    await client.renew(held)
    await client.release(held)
    await client.release(held)
    with pytest.raises(UnknownAllocation):
        await client.renew(held)
    await client.pools.usage()
    assert await client.quotas.list() == []
    assert seen.told == [
        ("allocate", "granted"), ("try_allocate", "denied"), ("allocate", "conflict"), ("renew", "ok"),
        ("release", "ok"), ("release", "unchanged"), ("renew", "lost"), ("pools.usage", "ok"), ("quotas.list", "ok"),
    ]  # fmt: skip
    assert seen.begun == [call.verb for call in seen.calls]
    assert {call.pool for call in seen.calls} == {"lab"}
    assert all(call.duration_s > 0 and call.waited_s is None and not call.retries for call in seen.calls)
    assert all(call.outcome in OUTCOMES for call in seen.calls)


async def test_the_outcome_of_many_is_theirs_if_they_have_the_same(client: AsyncAllocator) -> None:
    """Else it is mixed."""
    seen = watching(client)
    granted = await client.allocate_many([Request({"cpu": 1}, ttl=60)] * 2)
    await client.allocate_many([Request({"cpu": 1}, ttl=60, id="a"), Request({"cpu": 40}, ttl=60, id="b")])
    await client.allocate_many([Request({"cpu": 40}, ttl=60)] * 2)
    await client.release_many([one for one in granted if one])
    assert seen.told == [
        ("allocate_many", "granted"), ("allocate_many", "mixed"), ("allocate_many", "denied"), ("release_many", "ok"),
    ]  # fmt: skip


async def test_a_script_call_of_several_items_is_reported_with_their_calls(client: AsyncAllocator) -> None:
    """By either client for one call of many items."""
    seen = watching(client)
    await client.allocate_many([Request({"cpu": "1m"}, ttl=60)] * 120)
    (call,) = seen.calls
    assert [(one.script, one.pool, one.calls) for one in seen.batches] == [("allocate", "lab", (call,))] * len(
        seen.batches
    )
    assert sum(one.items for one in seen.batches) == 120
    assert all(one.items <= 100 and one.duration_s > 0 and one.error is None for one in seen.batches)


@pytest.mark.parametrize("kind", ["async"])
async def test_calls_of_one_turn_of_the_loop_share_a_script_call(connect: Connect) -> None:
    """The batch has them all as its members; the blocking client has no loop."""
    client = connect()
    await client.pools.create("lab", {"cpu": 100})
    seen = watching(client)
    await asyncio.gather(*(client.allocate({"cpu": 1}, ttl=60) for _ in range(30)))
    assert len(seen.batches) < 30
    assert sum(one.items for one in seen.batches) == 30
    assert {member for one in seen.batches for member in one.calls} == set(seen.calls)


async def test_time_in_line_is_reported_apart(client: AsyncAllocator, line: Line, full: Any) -> None:
    """It lasts up to days, and says nothing of the store."""
    seen = watching(client)
    waiting = await line.join("a", {"cpu": 1})
    await client.release(full)
    await waiting
    (call,) = [one for one in seen.calls if one.verb == "allocate"]
    assert call.outcome == "granted"
    assert call.waited_s is not None
    assert call.waited_s > 0
    assert call.duration_s > 0


async def test_a_hold_is_counted_while_its_block_runs_and_its_renewals_are_reported(
    timed: AsyncAllocator, clock: Clock
) -> None:
    """On time, and late where this process did not run."""
    seen = watching(timed)
    assert seen.read() is not None
    async with timed.hold({"cpu": 1}, ttl=30) as hold:
        assert seen.read().holds == 1
        for seconds, outcome in ((10, "on_time"), (15, "late")):
            count, before = len(seen.renewals), hold.deadline
            clock.advance(seconds)
            wait_until(lambda count=count: len(seen.renewals) > count, message="a renewal")
            wait_until(lambda before=before: hold.deadline != before, message="its deadline")
            assert seen.renewals[count].outcome == outcome
            assert (seen.renewals[count].pool, seen.renewals[count].ttl_s) == ("lab", 30)
            assert 0 < seen.renewals[count].age_s <= seconds
    assert seen.read().holds == 0
    assert [verb for verb, _ in seen.told] == ["hold", "release"]


async def test_a_lost_lease_is_reported_with_the_reason(timed: AsyncAllocator, clock: Clock) -> None:
    """As the hold has it."""
    seen = watching(timed)
    with pytest.raises(AllocationLost):
        async with timed.hold({"cpu": 4}, ttl=30):
            clock.advance(30)
            wait_until(lambda: bool(seen.lost), message="the loss")
    assert seen.lost == [("lab", "lapsed")]
    assert seen.read().holds == 0


async def test_the_connections_and_the_undos_are_read_without_a_call(client: AsyncAllocator) -> None:
    """One connection after one call, and nobody uses it."""
    seen = watching(client)
    await client.pools.usage()
    state = seen.read()
    assert isinstance(state, ClientState)
    assert (state.holds, state.undos, state.connections_used) == (0, 0, 0)
    assert state.connections >= 1


async def test_copies_of_a_client_report_as_it_does_until_it_is_closed(client: AsyncAllocator) -> None:
    """They share their connections, too; nothing of the observer is kept."""
    seen = watching(client)
    await client.options(owner="other").pools.get()
    assert seen.told == [("pools.get", "ok")]
    read, gone = seen.read, weakref.ref(seen)
    plain(client).observe(seen)
    await client.pools.get()
    assert len(seen.calls) == 2, "an observer that is added twice is told once"
    await client.close()
    assert read() is None
    with pytest.raises(BackendUnavailable):
        await client.pools.get()
    del seen, read
    gc.collect()
    assert gone() is None


async def test_an_observer_can_be_taken_away(client: AsyncAllocator) -> None:
    """The others stay."""
    first, second = watching(client), watching(client)
    plain(client).unobserve(first)
    await client.pools.get()
    assert (first.calls, len(second.calls), first.read()) == ([], 1, None)


class Broken(Observer):
    """Raises whatever it is told."""


def _raising(self: Observer, *what: object) -> None:
    raise RuntimeError("a bug of the observer")


for _name in METHODS:
    setattr(Broken, _name, _raising)


async def test_an_observer_that_raises_breaks_no_call_and_is_logged_once(
    timed: AsyncAllocator, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor the other observers."""
    with caplog.at_level(logging.ERROR, "allocator"):
        plain(timed).observe(Broken())
        seen = watching(timed)
        async with timed.hold({"cpu": 1}, ttl=30) as hold:
            before = hold.deadline
            clock.advance(10)
            wait_until(lambda: hold.deadline != before, message="a renewal")
        await timed.allocate_many([Request({"cpu": "1m"}, ttl=60)] * 2)
    assert [outcome for _, outcome in seen.told] == ["granted", "ok", "granted"]
    (logged,) = [one for one in caplog.records if "observer" in one.getMessage()]
    assert "a bug of the observer" in caplog.text
    assert "client_added" in logged.getMessage()


def test_what_is_no_observer_is_refused() -> None:
    """By the name of the argument."""
    client = memory_allocator({"cpu": 1})
    wrong: Any = object()
    with pytest.raises(InvalidRequest) as refused:
        client.observe(wrong)
    assert refused.value.field == "observer"


@pytest.mark.parametrize("kind", ["async"])
async def test_a_task_that_is_cancelled_is_reported_as_cancelled(client: AsyncAllocator, full: Any) -> None:
    """Not as an error.  A thread cannot be cancelled."""
    seen = watching(client)
    task = asyncio.ensure_future(client.allocate({"cpu": 1}, ttl=60, wait=60))

    async def waits() -> bool:
        return bool((await client.pools.usage()).waiting)

    await wait_until_async(waits, message="the request waits")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [outcome for verb, outcome in seen.told if verb == "allocate"] == ["cancelled"]
