"""A counting script, and one face for both drivers."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
from collections.abc import Callable, Iterator
from typing import Any, Final, Protocol, TypeVar

import pytest

from allocator import settings
from allocator._engine.execution.driver import Driver
from allocator._engine.execution.driver_async import AsyncDriver
from allocator._engine.protocol.flows import Call, Flow, Item, Operation
from allocator._engine.protocol.keys import PoolKeys, pool_keys
from allocator._engine.protocol.scripts import Script, Texts
from allocator._engine.transport.urls import Target, resolve_target
from allocator.errors import AllocatorError
from tests.support.proxy import FaultProxy
from tests.support.servers import Server
from tests.support.waiting import wait_until_async

R = TypeVar("R")

POOL: Final = pool_keys("lab", "allocator")
COUNTS: Final = f"{POOL.base}counts"
"""The key where the counting script keeps how often each call was executed."""

_numbers = itertools.count(1)


def script(text: str, *, writes: bool = True) -> Script:
    """A script that `scripts.load` did not load: one key, no fixed arguments."""
    origins = tuple(("probe.lua", line) for line in range(1, text.count("\n") + 2))
    texts = Texts(text, text, _sha(text), _sha(text), origins)
    return Script("probe", frozenset() if writes else frozenset({"no-writes"}), ("counts",), (), lambda: texts)


def _sha(text: str) -> str:
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


COUNT: Final = script(
    """
local replies = {}
for at = 4, #ARGV, 3 do
  if ARGV[at + 2] == 'contract' then return redis.error_reply('CONTRACT not so') end
  if ARGV[at + 2] == 'invariant' then return redis.error_reply('INVARIANT counters disagree') end
end
for at = 4, #ARGV, 3 do
  local times = redis.call('HINCRBY', KEYS[1], ARGV[at], 1)
  replies[#replies + 1] = {ARGV[at], tonumber(ARGV[at + 1]), times, ARGV[at + 2], ARGV[1]}
end
return replies
"""
)
"""Counts executions.  Answers each item with its call id, its `repeated`, the count, its argument and now_ms."""

SAY: Final = script(
    """
local replies = {}
for at = 4, #ARGV, 3 do replies[#replies + 1] = {ARGV[at + 2], tonumber(ARGV[at + 1])} end
return replies
"""
)
"""Answers each item with its argument, as the word, and its `repeated`."""

READ: Final = script("return {redis.call('HLEN', KEYS[1])}", writes=False)
"""Answers how many calls were counted, and writes nothing."""


def new_item(text: str = "fine") -> Item:
    """An item with a call id of its own."""
    number = next(_numbers)
    return Item(f"call-{number}", (text,), id=f"id-{number}")


def call_of(*items: Item, gather: bool = True) -> Call:
    """A call of the counting script."""
    return Call(COUNT, POOL, (COUNTS,), (), items, gather)


def count(item: Item | None = None) -> Operation[Any]:
    """Count one item; the result is its entry."""
    return Operation(call_of(item or new_item()), lambda reply: reply[0])


def count_all(*items: Item, gather: bool = True) -> Operation[list[Any]]:
    """Count several items; the result is the reply."""
    return Operation(call_of(*items, gather=gather), lambda reply: reply)


def say(*items: Item, gather: bool = True, undo: bool = False) -> Call:
    """A call whose items are answered with the words that they name."""
    return Call(SAY, POOL, (COUNTS,), (), items, gather, undo)


def read() -> Operation[int]:
    """How many different calls were counted."""
    return Operation(Call(READ, POOL, (COUNTS,), ()), lambda reply: int(reply[0]))


def executed(server: Server, item: Item) -> int:
    """How often the server executed this item."""
    return int(server.ask("EVAL", f"return redis.call('HGET', '{COUNTS}', '{item.call}') or '0'", "0"))


def is_undone(server: Server, item: Item) -> bool:
    """Whether the item's call is marked as ended."""
    return server.ask("EVAL", f"return redis.call('ZSCORE', '{POOL['ended']}', '{item.call}') or ''", "0") != ""


def error_of(perform: Callable[[], object]) -> AllocatorError:
    """The error that this raises."""
    try:
        result = perform()
    except AllocatorError as error:
        return error
    raise AssertionError(f"no error, but {result!r}")


class Side:
    """One driver of either kind, used from blocking code, so that a test of one is a test of both."""

    def __init__(
        self,
        kind: str,
        target: object,
        *,
        deadline_s: float = settings.DEADLINE_S,
        attempt_timeout_s: float = 0.3,
        allow_eviction: bool = False,
        clock: Callable[[], int] | None = None,
    ) -> None:
        self.kind = kind
        self._runner = asyncio.Runner()
        store = target if isinstance(target, Target) else resolve_target(
            target, attempt_timeout_s=attempt_timeout_s, allow_eviction=allow_eviction
        )  # fmt: skip
        self.driver: Driver | AsyncDriver = (
            Driver(store, deadline_s=deadline_s, clock=clock)
            if kind == "sync"
            else AsyncDriver(store, deadline_s=deadline_s, clock=clock)
        )

    def run(self, work: Operation[R] | Flow[R], *, deadline_s: float | None = None) -> R:
        """Perform it."""
        if isinstance(self.driver, Driver):
            return self.driver.run(work, deadline_s=deadline_s)
        return self._runner.run(self.driver.run(work, deadline_s=deadline_s))

    def wait_until(self, condition: Callable[[], object]) -> None:
        """Wait for a condition, while the event loop, if there is one, goes on turning."""
        from tests.support.waiting import wait_until, wait_until_async

        if self.kind == "sync":
            wait_until(condition)
        else:
            self._runner.run(wait_until_async(condition))

    def close_driver(self) -> None:
        """Close the driver; the event loop goes on."""
        if isinstance(self.driver, Driver):
            self.driver.close()
        else:
            self._runner.run(self.driver.close())

    def close(self) -> None:
        """Close the driver, and end the event loop."""
        self.close_driver()
        self._runner.close()


class Open(Protocol):
    """Makes a driver of the kind that the test is about."""

    def __call__(self, target: object, **options: Any) -> Side: ...


@pytest.fixture
def drive(kind: str) -> Iterator[Open]:
    """Drivers of each kind in turn."""
    sides: list[Side] = []

    def open_side(target: object, **options: Any) -> Side:
        side = Side(kind, target, **options)
        sides.append(side)
        return side

    yield open_side
    for side in sides:
        side.close()


def keys_of(name: str) -> PoolKeys:
    """The keys of a pool."""
    return pool_keys(name, "allocator")


def requests_of(proxy: FaultProxy) -> int:
    """How many requests there were so far."""
    return proxy.counts.get("requests", 0)


async def all_of(*work: Any) -> list[Any]:
    """The results, or errors, of these, awaited together."""
    return await asyncio.gather(*work, return_exceptions=True)


async def busy(driver: AsyncDriver, proxy: FaultProxy) -> list[asyncio.Task[Any]]:
    """As many script calls as may be under way, held back by the proxy, each begun in a turn of its own."""
    proxy.delay(match=b"first", times=settings.BATCH_IN_FLIGHT)
    before, tasks = requests_of(proxy), list[asyncio.Task[Any]]()
    for number in range(settings.BATCH_IN_FLIGHT):
        tasks.append(asyncio.create_task(driver.run(count(new_item("first")))))
        await wait_until_async(lambda number=number: requests_of(proxy) - before == number + 1)
    return tasks
