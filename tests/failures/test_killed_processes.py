"""Workers that are SIGKILLed, and a server that is: 0 over-allocations at any reading, 0 leaks after the deadlines.

Which worker dies when is drawn from a seed; a kill comes after so many changes of the pool, not after so much time.
"""

from __future__ import annotations

import random
import threading
import time

import pytest

from allocator import Allocator, BackendUnavailable
from allocator.quantity import Quantity
from tests.failures.crew import Crew, crew
from tests.failures.watching import Watcher, assert_nothing_leaked
from tests.support.servers import Server
from tests.support.waiting import wait_until

POOL = "lab"
CAPACITY: dict[str, Quantity] = {"cpu": 12, "memory": "24Gi"}
WORKERS = 4
KILLS = 6
CHANGES_BETWEEN_KILLS = (400, 1200)
PATIENCE_S = 60.0

pytestmark = pytest.mark.slow


def let_them_work(watcher: Watcher, workers: Crew, chance: random.Random, kills: int) -> None:
    """Watch without a pause, and kill a worker whenever the pool has changed often enough since the last time."""
    ends = time.monotonic() + PATIENCE_S
    due = watcher.look().pool.revision + chance.randint(*CHANGES_BETWEEN_KILLS)
    while kills:
        assert time.monotonic() < ends, f"the workers do not work: {watcher.readings} readings, {kills} kills to go"
        workers.check()
        revision = watcher.look().pool.revision
        if revision >= due:
            workers.kill_one()
            kills -= 1
            due = revision + chance.randint(*CHANGES_BETWEEN_KILLS)


def test_workers_that_are_killed_neither_overdraw_nor_leak(server: Server) -> None:
    """Four at a time, on each engine; what the dead had taken is used by the living."""
    chance = random.Random(2026)
    with Allocator.from_url(server.url, pool=POOL) as client:
        client.pools.create(POOL, CAPACITY)
        watcher = Watcher(client)
        with crew(server.url, POOL, WORKERS, chance) as workers:
            let_them_work(watcher, workers, chance, KILLS)
            assert workers.killed == KILLS
        assert watcher.over_allocations == []
        assert watcher.fullest > 90.0, "the pool was too large for the test to mean anything"
        assert client.maintenance.audit()
    assert_nothing_leaked(server.url, POOL)


class Holder:
    """Takes one pinned allocation after another, and remembers which ones it was told of."""

    def __init__(self, url: str) -> None:
        self._client = Allocator.from_url(url, pool="kept", timeout=20.0, attempt_timeout=1.0)
        self._over = threading.Event()
        self.told: list[str] = []
        self._thread = threading.Thread(target=self._work)

    def _work(self) -> None:
        while not self._over.is_set():
            self.told.append(self._client.allocate({"cpu": "1m"}, ttl=None).id)

    def __enter__(self) -> Holder:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        self._thread.join()
        self._client.close()


def test_a_server_that_is_killed_and_comes_back_has_lost_nothing_that_it_confirmed() -> None:
    """With an append-only file that is written before each reply; the clients ride through the restart."""
    chance = random.Random(2027)
    with Server(options={"appendonly": "yes", "appendfsync": "always"}) as server:
        with Allocator.from_url(server.url, pool=POOL, timeout=30.0) as client:
            client.pools.create(POOL, CAPACITY)
            client.pools.create("kept", {"cpu": 1000})
            watcher = Watcher(client)
            with crew(server.url, POOL, WORKERS, chance) as workers, Holder(server.url) as holder:
                let_them_work(watcher, workers, chance, 2)
                before = len(holder.told)
                server.restart()
                let_them_work(watcher, workers, chance, 2)
                wait_until(lambda: len(holder.told) > before + 10, message="the holder has gone on")
            assert watcher.over_allocations == []
            kept = {one.id for one in client.options(pool="kept").list()}
            assert kept == set(holder.told)
            assert client.options(pool="kept").maintenance.audit()
            assert client.maintenance.audit()
        assert_nothing_leaked(server.url, POOL)


def test_a_client_whose_server_is_gone_for_good_says_so(one_server: Server) -> None:
    """Down is an error, and never *full*."""
    with Allocator.from_url(one_server.url, pool=POOL, timeout=0.3) as client:
        client.pools.create(POOL, CAPACITY)
        one_server.kill()
        with pytest.raises(BackendUnavailable):
            client.allocate({"cpu": 1}, ttl=60)
        one_server.start()
