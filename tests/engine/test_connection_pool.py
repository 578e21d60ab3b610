"""Places for connections: what interrupts a caller who borrows one frees its place, and who waits may be sent away."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from allocator._engine.transport.connections import ConnectionPool
from allocator._engine.transport.connections_async import AsyncConnectionPool
from allocator._engine.transport.failures import AttemptFailure
from tests.support.waiting import wait_until, wait_until_async

MOST = 3


class Idle:
    """A connection that is looked at for as long as it takes, as redis-py 6.4 with hiredis looks."""

    def __init__(self) -> None:
        self.looks = asyncio.Event()
        self.closed = False

    async def connect(self) -> None: ...

    async def exchange(self, packed: bytes) -> Any: ...

    async def is_silent(self) -> bool:
        self.looks.set()
        await asyncio.Event().wait()
        return True

    async def close(self) -> None:
        self.closed = True


async def test_a_cancelled_look_at_an_idle_connection_gives_its_place_back() -> None:
    """Or after as many cancellations as there are places all of them are in use for ever."""
    made: list[Idle] = []

    async def make() -> Idle:
        made.append(Idle())
        return made[-1]

    lines = AsyncConnectionPool(make, address="here", max_connections=MOST, attempt_timeout_s=1.0)
    for _ in range(MOST + 1):
        await lines.release(await lines.acquire(time.monotonic() + 1.0))
        looking = asyncio.create_task(lines.acquire(time.monotonic() + 1.0))
        await asyncio.wait_for(made[-1].looks.wait(), 1.0)
        looking.cancel()
        await asyncio.wait((looking,))
    assert len(made) == MOST + 1
    assert all(line.closed for line in made)


class Interrupted:
    """A connection whose look, and whose end, somebody interrupts."""

    def connect(self) -> None: ...

    def can_read(self, timeout: float = 0) -> bool:
        raise KeyboardInterrupt

    def send_packed_command(self, command: Any, check_health: bool = True) -> None: ...

    def read_response(self) -> Any: ...

    def disconnect(self) -> None:
        raise KeyboardInterrupt


def test_an_interrupted_look_at_an_idle_connection_gives_its_place_back() -> None:
    """The same in a thread, by Ctrl-C."""
    lines = ConnectionPool(Interrupted, address="here", max_connections=MOST)
    for _ in range(MOST + 1):
        lines.release(lines.acquire(time.monotonic()))
        with pytest.raises(KeyboardInterrupt):
            lines.acquire(time.monotonic())


# -- a server that is given up -----------------------------------------------------------------------------------------


class Slow:
    """A connection during whose making something happens, for either side."""

    def __init__(self, happens: Callable[[], object] = lambda: None) -> None:
        self._happens = happens

    def connect(self) -> None:
        self._happens()

    def can_read(self, timeout: float = 0) -> bool:
        return False

    def send_packed_command(self, command: Any, check_health: bool = True) -> None: ...

    def read_response(self) -> Any: ...

    def disconnect(self) -> None: ...


class AwaitedSlow(Idle):
    """The same, awaited."""

    def __init__(self, happens: Callable[[], Any] | None = None) -> None:
        super().__init__()
        self._happens = happens

    async def connect(self) -> None:
        if self._happens is not None:
            await self._happens()


def expect_to_be_sent_away(fault: BaseException | None) -> None:
    """Nothing was sent, and the next attempt goes to whoever is the primary now."""
    assert isinstance(fault, AttemptFailure)
    assert (fault.transient, fault.ambiguous, fault.reconnect) == (True, False, False)
    assert fault.error.code == "demoted"


def test_who_waits_for_a_connection_does_not_open_one_to_a_server_that_was_given_up() -> None:
    """It is told at once, and asks the primary of now."""
    made: list[Slow] = []

    def make() -> Slow:
        made.append(Slow())
        return made[-1]

    lines = ConnectionPool(make, address="there", max_connections=1)
    lines.acquire(time.monotonic())
    told: list[BaseException] = []

    def wait() -> None:
        try:
            lines.acquire(time.monotonic() + 30.0)
        except BaseException as error:  # noqa: BLE001 - looked at below
            told.append(error)

    waiter = threading.Thread(target=wait)
    waiter.start()
    wait_until(lambda: lines._waiting)
    lines.supersede()
    waiter.join(60.0)
    expect_to_be_sent_away(told[0] if told else None)
    assert len(made) == 1


async def test_a_task_that_waits_does_not_open_one_either() -> None:
    """The same, awaited."""
    made: list[AwaitedSlow] = []

    async def make() -> AwaitedSlow:
        made.append(AwaitedSlow())
        return made[-1]

    lines = AsyncConnectionPool(make, address="there", max_connections=1, attempt_timeout_s=1.0)
    await lines.acquire(time.monotonic() + 1.0)
    waiter = asyncio.create_task(lines.acquire(time.monotonic() + 30.0))
    await wait_until_async(lambda: lines._waiting)
    await lines.supersede()
    await asyncio.wait((waiter,), timeout=5.0)
    expect_to_be_sent_away(waiter.exception())
    assert len(made) == 1


async def test_a_connection_that_was_being_made_meanwhile_is_not_used() -> None:
    """Connecting may take two seconds, in which the Sentinels name another."""
    lines = ConnectionPool(lambda: Slow(lines.supersede), address="there")
    with pytest.raises(AttemptFailure) as told:
        lines.acquire(time.monotonic())
    expect_to_be_sent_away(told.value)

    async def make() -> AwaitedSlow:
        return AwaitedSlow(awaited.supersede)

    awaited = AsyncConnectionPool(make, address="there", attempt_timeout_s=1.0)
    with pytest.raises(AttemptFailure) as told:
        await awaited.acquire(time.monotonic() + 1.0)
    expect_to_be_sent_away(told.value)


def test_a_signal_as_a_place_is_taken_does_not_lock_out_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Condition is entered in two steps: after the first it is locked, and nobody would unlock it."""

    def enter(_condition: threading.Condition) -> bool:
        raise AssertionError("in two steps")

    lines = ConnectionPool(Slow, address="here", max_connections=MOST)
    monkeypatch.setattr(threading.Condition, "__enter__", enter)
    lines.discard(lines.acquire(time.monotonic() + 1.0))
    lines.supersede()
