"""Both drivers: what must not be forgotten between the steps of a flow, and after a repeat was refused."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from allocator._engine.execution.driver import Driver
from allocator._engine.execution.driver_async import AsyncDriver
from allocator._engine.protocol.flows import Flow, Item, Operation
from allocator._engine.transport.urls import resolve_target
from allocator.errors import AllocatorError, InvariantError
from tests.support.drivers import Open, call_of, error_of, is_undone, new_item, say
from tests.support.proxy import FaultProxy
from tests.support.servers import Server
from tests.support.waiting import wait_until, wait_until_async

REFUSALS = ["offline", "deleting", "unknown_pool", "pool_lost", "other_epoch", "schema"]


class GaveUpError(AllocatorError):
    """What a flow of these tests ends with."""


def granted_then_failing(*items: Item, undo: bool = True, gather: bool = True) -> Flow[None]:
    """A flow that does not return what it was granted."""
    yield say(*items, gather=gather, undo=undo)
    raise GaveUpError("after the grant")


# -- a flow that does not return ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("gather", [True, False])
def test_what_a_flow_was_granted_does_not_outlive_it(drive: Open, one_server: Server, gather: bool) -> None:
    """It fails because of another item, and its caller is told of that alone: nobody knows the others' ids."""
    side = drive(one_server.url)
    words = ("granted", "denied", "replayed", "existing", "conflict")
    items = [new_item(word) for word in words]
    assert type(error_of(lambda: side.run(granted_then_failing(*items, gather=gather)))) is GaveUpError
    side.close_driver()
    assert [word for word, item in zip(words, items, strict=True) if is_undone(one_server, item)] == [
        "granted",
        "replayed",
        "existing",
    ]


def test_the_only_item_of_a_call_is_no_exception(drive: Open, one_server: Server) -> None:
    """Each of several calls of one flow."""
    side = drive(one_server.url)
    items = [new_item("granted") for _ in range(3)]

    def story() -> Flow[None]:
        for item in items:
            yield say(item, undo=True)
        raise GaveUpError("after three grants")

    error_of(lambda: side.run(story()))
    side.close_driver()
    assert all(is_undone(one_server, item) for item in items)


def test_what_a_flow_returns_stays(drive: Open, one_server: Server) -> None:
    """Nor is anything undone of calls whose effect is no one's to give back."""
    side = drive(one_server.url)
    returned, kept = new_item("granted"), new_item("granted")

    def story() -> Flow[list[Any]]:
        reply: list[Any] = yield say(returned, undo=True)
        return reply

    assert side.run(story()) == [["granted", 0]]
    error_of(lambda: side.run(granted_then_failing(kept, undo=False)))
    side.close_driver()
    assert not is_undone(one_server, returned)
    assert not is_undone(one_server, kept)


def test_an_interrupted_flow_is_undone(one_server: Server) -> None:
    """Ctrl-C between two of its steps."""
    driver = Driver(resolve_target(one_server.url))
    item = new_item("granted")

    def story() -> Flow[None]:
        yield say(item, undo=True)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        driver.run(story())
    wait_until(lambda: is_undone(one_server, item))
    driver.close()


async def test_a_cancelled_flow_is_undone(proxy: FaultProxy, one_server: Server) -> None:
    """While a later step is under way: the earlier one's grant, too."""
    driver = AsyncDriver(resolve_target(proxy.url, attempt_timeout_s=5.0))
    first, second = new_item("granted"), new_item("slow")

    def story() -> Flow[None]:
        yield say(first, undo=True)
        yield call_of(second)

    proxy.swallow(match=b"slow")
    task = asyncio.create_task(driver.run(story()))
    await asyncio.to_thread(proxy.wait_fired)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await wait_until_async(lambda: is_undone(one_server, first) and is_undone(one_server, second))
    await driver.close()


# -- a repeat that is refused ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", [*REFUSALS, "reclaim_first"])
def test_a_refused_repeat_is_undone(drive: Open, proxy: FaultProxy, one_server: Server, word: str) -> None:
    """The refusal left no mark, and the first attempt may arrive after the pool's state has passed."""
    side = drive(proxy.url)
    proxy.reset_before(match=b"EVALSHA")
    item = new_item(word)
    assert side.run(Operation(say(item), list)) == [[word, 1]]
    side.close_driver()
    assert is_undone(one_server, item)


@pytest.mark.parametrize("gather", [True, False])
def test_of_a_refused_batch_each_item_is_looked_at(
    drive: Open, proxy: FaultProxy, one_server: Server, gather: bool
) -> None:
    """A refusal leaves no mark in the store, so a repeat that was refused is undone; a grant or an end is an answer."""
    side = drive(proxy.url)
    proxy.reset_before(match=b"EVALSHA")
    words = ("denied", "offline", "granted", "ended", "schema")
    items = [new_item(word) for word in words]
    assert side.run(Operation(say(*items, gather=gather), list)) == [[word, 1] for word in words]
    side.close_driver()
    undone = [word for word, item in zip(words, items, strict=True) if is_undone(one_server, item)]
    assert undone == ["denied", "offline", "schema"]


@pytest.mark.parametrize("word", REFUSALS)
def test_a_refusal_that_leaves_no_doubt_is_the_end(drive: Open, one_server: Server, word: str) -> None:
    """The only attempt was answered."""
    side = drive(one_server.url)
    item = new_item(word)
    side.run(Operation(say(item), list))
    side.close_driver()
    assert not is_undone(one_server, item)


def test_a_doubt_lasts_until_the_flow_has_its_answer(drive: Open, proxy: FaultProxy, one_server: Server) -> None:
    """Asked for again after a reclaim, the item is still a repeat; what decides it then ends the ambiguity."""
    side = drive(proxy.url)
    proxy.reset_before(match=b"EVALSHA")
    items = [new_item("reclaim_first"), new_item("reclaim_first")]
    again = [Item(item.call, (word,), id=item.id) for item, word in zip(items, ("granted", "offline"), strict=True)]

    def story() -> Flow[list[Any]]:
        first: list[Any] = yield say(*items)
        rest: list[Any] = yield say(*again)
        alone: list[Any] = yield say(again[0])
        return first + rest + alone

    assert side.run(story()) == [
        ["reclaim_first", 1],
        ["reclaim_first", 1],
        ["granted", 1],
        ["offline", 1],
        ["granted", 0],
    ]
    side.close_driver()
    assert not is_undone(one_server, items[0])
    assert is_undone(one_server, items[1])


@pytest.mark.parametrize("gather", [True, False])
@pytest.mark.parametrize("fails", [True, False])
def test_a_flow_that_gives_up_leaves_no_doubt(
    drive: Open, proxy: FaultProxy, one_server: Server, fails: bool, gather: bool
) -> None:
    """Its time is over before the reclaim has caught up."""
    side = drive(proxy.url)
    proxy.reset_before(match=b"EVALSHA")
    items = [new_item("reclaim_first"), new_item("aborted")]

    def story() -> Flow[None]:
        for item in items:
            yield say(item, gather=gather)
            proxy.reset_before(match=b"EVALSHA")
        proxy.clear()
        if fails:
            raise GaveUpError("no time left")

    if fails:
        error_of(lambda: side.run(story()))
    else:
        side.run(story())
    side.close_driver()
    assert all(is_undone(one_server, item) for item in items)


def test_an_error_after_an_ambiguous_attempt_is_undone(drive: Open, proxy: FaultProxy, one_server: Server) -> None:
    """The second time the script itself refuses; of the first time that says nothing."""
    side = drive(proxy.url)
    proxy.reset_before(match=b"EVALSHA")
    item = new_item("reclaim_first")

    def story() -> Flow[None]:
        yield say(item)
        yield call_of(Item(item.call, ("invariant",), id=item.id), gather=False)

    assert type(error_of(lambda: side.run(story()))) is InvariantError
    side.close_driver()
    assert is_undone(one_server, item)


# -- undos find their way ----------------------------------------------------------------------------------------------


@pytest.fixture
def other() -> Iterator[Server]:
    """A second server."""
    with Server() as other:
        yield other


def test_an_undo_follows_a_failover(drive: Open, proxy: FaultProxy, one_server: Server, other: Server) -> None:
    """Its connection is still the old primary's, which is a replica now; a new one leads to the new primary."""
    side = drive(proxy.url)
    item = new_item("granted")

    def story() -> Flow[None]:
        yield say(item, undo=True)
        one_server.ask("REPLICAOF", "127.0.0.1", "1")
        proxy.upstream = other.socket
        raise GaveUpError("after the failover")

    try:
        error_of(lambda: side.run(story()))
        side.wait_until(lambda: is_undone(other, item))
    finally:
        one_server.ask("REPLICAOF", "NO", "ONE")
    assert not is_undone(one_server, item)
