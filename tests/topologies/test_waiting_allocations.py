"""Clients that wait while servers die, come back, change roles or lose a slot: *down* is never told as *full*."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from allocator import Allocator, AsyncAllocator, BackendError, UnknownPool, WaitTimeout, settings
from tests.clients.stores import cluster_url
from tests.failures.queueing import Asked, asks
from tests.support import clients
from tests.support.beliefs import Beliefs
from tests.support.cluster import Cluster
from tests.support.sentinel import Sentinels
from tests.support.servers import Server
from tests.support.waiting import wait_until, wait_until_async
from tests.support.wakes import is_quiet

WAITERS = 4
CAPACITY = 2


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test does not wait for the seconds that a program waits."""
    monkeypatch.setattr(settings, "WAKE_POLL_S", 0.05)
    monkeypatch.setattr(settings, "HEARTBEAT_S", 0.2)


class Line:
    """A full pool, those who wait for its room, and what they believe to have."""

    def __init__(self, kind: str, url: str, **options: Any) -> None:
        self.direct = Allocator.from_url(url, pool="lab", timeout=20.0, attempt_timeout=1.0)
        self.direct.pools.create("lab", {"cpu": CAPACITY}, new=True, **options)
        self.full = self.direct.allocate({"cpu": CAPACITY}, ttl=60, id="full")
        self.client: AsyncAllocator = clients.connect(kind, url, attempt_timeout=0.5, timeout=3.0)
        self.asked: list[Asked] = []

    async def wait(self, seconds: float = 60.0) -> None:
        """Begin to wait."""
        for number in range(WAITERS):
            self.asked.append(asks(self.client, f"w{number}", wait=seconds))
            await self.until_in_line()

    async def until_in_line(self) -> None:
        """Wait until all of them are in line, again."""
        await wait_until_async(lambda: len(self.direct.queue.list()) == len(self.asked), message="all are in line")

    async def let_them_through(self) -> None:
        """Give back what is held, and check that each is granted, and no more than there is at once."""
        beliefs = Beliefs(lambda: self.direct.pools.get().capacity, lambda: 0)
        self.direct.release("full")
        waiting = list(self.asked)
        while waiting:
            await wait_until_async(lambda: any(one.ended for one in waiting), message="one is granted")
            for one in [one for one in waiting if one.ended]:
                waiting.remove(one)
                held = await one.answer()
                beliefs.told(one, held)
                beliefs.over(held.fence)
                self.direct.release(held)
        assert beliefs.checked == WAITERS

    async def close(self) -> None:
        """Nothing is left."""
        await self.client.close()
        assert self.direct.queue.list() == []
        assert self.direct.pools.usage().allocations == 0
        assert self.direct.maintenance.audit()
        self.direct.close()


@pytest.fixture
def kept() -> Iterator[Server]:
    """A server that has written down what it has confirmed."""
    with Server(options={"appendonly": "yes", "appendfsync": "always"}) as server:
        yield server


@pytest.fixture
async def line(kind: str, kept: Server) -> Line:
    """The pool on it."""
    return Line(kind, kept.url)


async def test_a_server_that_comes_back_has_the_line(line: Line, kept: Server) -> None:
    """In its order; those who wait notice nothing."""
    await line.wait()
    kept.restart()
    await line.until_in_line()
    assert [one.id for one in line.direct.queue.list()] == [f"w{number}" for number in range(WAITERS)]
    await line.let_them_through()
    await line.close()


async def test_a_server_that_is_away_is_waited_for(line: Line, kept: Server) -> None:
    """For longer than one call may take."""
    await line.wait()
    kept.kill()
    waits = [one for one in line.asked if not one.ended]
    pause = asks(line.client, "late", wait=2.0)
    with pytest.raises(BackendError):
        await pause.answer()
    assert [one.ended for one in waits] == [False] * WAITERS
    kept.start()
    await line.until_in_line()
    await line.let_them_through()
    await line.close()


async def test_a_wait_that_ends_while_the_server_is_stopped_is_not_told_as_full(line: Line, kept: Server) -> None:
    """It keeps its connections and answers nobody; when it goes on, those who have gone leave the line."""
    await line.wait(1.0)
    kept.stop_process()
    try:
        for one in line.asked:
            with pytest.raises(BackendError):
                await one.answer()
    finally:
        kept.cont()
    await wait_until_async(lambda: not line.direct.queue.list(), message="they have left the line")
    line.direct.release("full")
    await line.close()


async def test_a_server_that_has_lost_the_pool_is_not_full(kind: str) -> None:
    """Those who wait are told that there is no such pool."""
    with Server() as server:
        line = Line(kind, server.url)
        await line.wait()
        server.restart()
        for one in line.asked:
            with pytest.raises(UnknownPool):
                await one.answer()
        await line.client.close()
        line.direct.close()


async def test_those_who_wait_find_the_new_primary(kind: str, watched: Sentinels) -> None:
    """It has the line, or gets it anew from them."""
    line = Line(kind, watched.url)
    await line.wait()
    watched.fail_over()
    await line.until_in_line()
    await line.let_them_through()
    await line.close()


async def test_those_who_wait_find_the_one_that_replaces_a_dead_primary(kind: str, watched: Sentinels) -> None:
    """While nobody is the primary they wait on."""
    line = Line(kind, watched.url)
    await line.wait()
    old = watched.primary
    watched.kill_primary()
    watched.wait_for_another(old)
    await line.until_in_line()
    await line.let_them_through()
    await line.close()


async def test_those_who_wait_follow_the_slot(kind: str, cluster: Cluster) -> None:
    """To another node and back."""
    line = Line(kind, cluster_url(cluster))
    await line.wait()
    slot = cluster.slot_of("allocator:{lab}:pool")
    source = cluster.owner_of(slot)
    cluster.migrate(slot, cluster.other_than(source))
    await line.until_in_line()
    cluster.migrate(slot, source)
    await line.until_in_line()
    await line.let_them_through()
    await line.close()
    for node in cluster.masters:
        wait_until(lambda node=node: is_quiet(node.server))


async def test_a_wait_in_vain_says_full(line: Line) -> None:
    """Where the server answers."""
    with pytest.raises(WaitTimeout):
        await line.client.allocate({"cpu": 1}, ttl=60, wait=0.3)
    line.direct.release("full")
    await line.close()
