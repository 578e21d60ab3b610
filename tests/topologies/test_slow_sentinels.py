"""Sentinels that are slow, silent or of two minds: which primary is used, and for how long what it says is believed."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from allocator import AllocationLost, AsyncAllocator, settings
from allocator._engine.transport import sentinel as blocking
from tests.support import clients
from tests.support.pretend import PretendSentinel
from tests.support.servers import Server
from tests.support.waiting import wait_until_async

CPUS = 8


class World:
    """Two servers that take writes, of which either may be the primary, and three Sentinels."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self.old, self.new = (stack.enter_context(Server(tcp=True)) for _ in range(2))
        self.sentinels = [stack.enter_context(PretendSentinel(self._address(self.old))) for _ in range(3)]
        self.url = f"redis+sentinel://{','.join(one.place for one in self.sentinels)}/ledger"

    @staticmethod
    def _address(server: Server) -> tuple[str, int]:
        assert server.port is not None
        return "127.0.0.1", server.port

    def name_the_new_one(self, *whose: int) -> None:
        """What these Sentinels say from now on; all of them, where none is said."""
        for at in whose or range(3):
            self.sentinels[at].names = self._address(self.new)

    def hold_back(self, *whose: int) -> None:
        """Let these Sentinels, or all, be silent."""
        for at in whose or range(3):
            self.sentinels[at].hold_back()


@pytest.fixture
def world(audit_all: Callable[[str], None]) -> Iterator[World]:
    """Both servers are audited at the end."""
    with contextlib.ExitStack() as stack:
        world = World(stack)
        yield world
        for server in (world.old, world.new):
            audit_all(server.url)


@pytest.fixture(params=clients.KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """The blocking client and the awaited one."""
    kind: str = request.param
    return kind


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls look before each of them, and wait for hardly any time."""
    monkeypatch.setattr(settings, "SENTINEL_REFRESH_S", 0.0)
    monkeypatch.setattr(settings, "SENTINEL_TIMEOUT_S", 0.01)
    monkeypatch.setattr(settings, "SENTINEL_PATIENCE_S", 60.0)


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets the clock by which the Sentinels' silence is measured forward by so many seconds."""
    real, ahead = time.monotonic, [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: real() + ahead[0])

    def turn(seconds: float) -> None:
        ahead[0] += seconds

    return turn


async def a_pool(kind: str, world: World, **options: Any) -> AsyncAllocator:
    """A client of a pool that both servers have."""
    for server in (world.old, world.new):
        direct = clients.connect(kind, server.url)
        await direct.pools.create("lab", {"cpu": CPUS})
        await direct.close()
    client = clients.connect(kind, world.url, attempt_timeout=5.0, **options)
    await client.pools.usage()
    return client


def has(server: Server, identity: str) -> bool:
    """Whether the server has this allocation."""
    return server.ask("EXISTS", f"allocator:{{lab}}:allocation:{identity}") == "1"


# -- which primary -----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("impatient")
async def test_slow_sentinels_are_heard_when_they_answer(kind: str, world: World) -> None:
    """Each answer comes when the call that looked has gone on without it; the old primary is left all the same."""
    client = await a_pool(kind, world)
    world.name_the_new_one()
    world.hold_back()
    found = await client.allocate({"cpu": "1m"}, ttl=60)
    assert has(world.old, found.id), "nobody knows better yet"
    for _ in range(5):
        late = time.monotonic() + 20 * settings.SENTINEL_TIMEOUT_S
        await wait_until_async(lambda at=late: time.monotonic() >= at)
        for one in world.sentinels:
            one.resume()
        await wait_until_async(lambda: all(one.answered == one.asked for one in world.sentinels))
        world.hold_back()
        found = await client.allocate({"cpu": "1m"}, ttl=60)
    assert has(world.new, found.id), "it stays at a primary that was replaced"
    await client.close()


@pytest.mark.usefixtures("impatient")
async def test_one_sentinel_that_answers_is_enough(kind: str, world: World) -> None:
    """All are asked at once: two that are silent do not keep the third from being heard."""
    client = await a_pool(kind, world)
    world.hold_back(0, 1)
    world.name_the_new_one(2)

    async def at_the_new_one() -> bool:
        return has(world.new, (await client.allocate({"cpu": "1m"}, ttl=60)).id)

    await wait_until_async(at_the_new_one)
    await client.close()


async def test_a_call_that_knows_no_primary_waits_for_slow_sentinels(kind: str, world: World) -> None:
    """Within its time, however long a look again would wait."""
    world.hold_back()
    client = clients.connect(kind, world.url, timeout=30.0)
    lets = threading.Timer(2 * settings.SENTINEL_TIMEOUT_S, lambda: [one.resume() for one in world.sentinels])
    lets.start()
    await client.pools.create("lab", {"cpu": CPUS})
    lets.join()
    await client.close()


async def test_a_sentinel_that_has_not_heard_of_it_does_not_lead_back(kind: str, world: World) -> None:
    """It is cut off with the old primary, and answers first: who has changed its answer knows more."""
    client = await a_pool(kind, world)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(settings, "SENTINEL_REFRESH_S", 0.0)
        world.name_the_new_one(0, 1)

        async def at_the_new_one() -> bool:
            return has(world.new, (await client.allocate({"cpu": "1m"}, ttl=60)).id)

        await wait_until_async(at_the_new_one)
        asked = world.sentinels[2].asked
        while world.sentinels[2].asked < asked + 20:
            assert await at_the_new_one()
    await client.close()


async def test_sentinels_are_asked_without_threads_where_there_are_none(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system has no more of them: then one after the other."""

    class NoThread(threading.Thread):
        def start(self) -> None:
            raise RuntimeError("can't start new thread")

    monkeypatch.setattr(
        blocking, "threading", SimpleNamespace(Thread=NoThread, RLock=threading.RLock, Condition=threading.Condition)
    )
    world.name_the_new_one()
    client = await a_pool("sync", world)
    assert has(world.new, (await client.allocate({"cpu": 1}, ttl=60)).id)
    await client.close()


# -- what is believed --------------------------------------------------------------------------------------------------


async def test_what_is_told_ends_earlier_the_longer_no_sentinel_has_named_the_primary(
    kind: str, world: World, later: Callable[[float], None]
) -> None:
    """From two seconds on: by then another may be the primary, whose grace goes by that."""
    client = await a_pool(kind, world)
    fresh = await client.allocate({"cpu": 1}, ttl=60)
    assert fresh.deadline_ms == fresh.granted_ms + 60_000
    world.hold_back()
    later(30.0)
    stale = await client.allocate({"cpu": 1}, ttl=60)
    assert stale.deadline_ms is not None
    assert stale.granted_ms + 31_000 <= stale.deadline_ms <= stale.granted_ms + 32_000
    recorded = int(world.old.ask("HGET", f"allocator:{{lab}}:allocation:{stale.id}", "deadline_ms"))
    assert recorded == stale.granted_ms + 60_000, "the ledger keeps it for as long as ever"
    many = await client.renew_many([fresh, stale])
    assert all(recorded - 29_500 <= (one.deadline_ms or 0) <= recorded - 26_000 for one in many)
    read = await client.get(stale.id)
    assert read is not None
    assert (read.deadline_ms or 0) >= recorded, "a reading says what is recorded"
    await client.close()


async def test_a_hold_lasts_for_less_time_then_and_is_not_begun_where_nothing_is_left(
    kind: str, world: World, later: Callable[[float], None]
) -> None:
    """By the holder's own clock; what was granted goes back."""
    client = await a_pool(kind, world)
    async with client.hold({"cpu": 1}, ttl=60) as hold:
        assert 50 <= hold.remaining <= 54
    world.hold_back()
    later(30.0)
    async with client.hold({"cpu": 1}, ttl=60) as hold:
        assert 20 <= hold.remaining <= 26
    with pytest.raises(AllocationLost, match="no Sentinel has named its primary for 3") as lost:
        async with client.hold({"cpu": 1}, ttl=20):
            pytest.fail("it was begun")
    assert lost.value.code == "lapsed"
    for one in world.sentinels:
        one.resume()
    await wait_until_async(lambda: world.old.ask("HGET", "allocator:{lab}:pool", "cpu.allocated") == "0")
    await client.close()


async def test_nobody_has_to_vouch_for_one_server(kind: str, world: World, later: Callable[[float], None]) -> None:
    """Without Sentinels nothing changes."""
    client = clients.connect(kind, world.old.url)
    await client.pools.create("lab", {"cpu": CPUS})
    later(1_000.0)
    one = await client.allocate({"cpu": 1}, ttl=60)
    assert one.deadline_ms == one.granted_ms + 60_000
    await client.close()
