"""Workers that are killed at random and replaced."""

from __future__ import annotations

import multiprocessing
import multiprocessing.process
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.failures.worker import work

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["tests.failures.worker"])

Work = Callable[..., None]
"""What a worker does: its arguments are the URL, the pool, whatever else the crew was given, and a seed."""


class Crew:
    """So many workers; a killed one is replaced by another with the next seed."""

    def __init__(self, url: str, pool: str, size: int, chance: random.Random, work: Work = work, *more: object) -> None:
        self._work = work
        self._arguments = (url, pool, *more)
        self._chance = chance
        self._seed = 0
        self._workers: list[multiprocessing.process.BaseProcess] = []
        self.killed = 0
        for _ in range(size):
            self._hire()

    def _hire(self) -> None:
        self._seed += 1
        worker = _FORKS.Process(target=self._work, args=(*self._arguments, self._seed), daemon=True)
        worker.start()
        self._workers.append(worker)

    def kill_one(self) -> None:
        """SIGKILL: it had no chance to give anything back."""
        worker = self._workers.pop(self._chance.randrange(len(self._workers)))
        end(worker)
        self.killed += 1
        self._hire()

    def check(self) -> None:
        """None has ended by itself."""
        ended = [worker for worker in self._workers if not worker.is_alive()]
        assert not ended, f"ended by themselves, see their errors: {ended}"

    def close(self) -> None:
        """Kill all of them."""
        while self._workers:
            end(self._workers.pop())


def end(worker: multiprocessing.process.BaseProcess) -> None:
    worker.kill()
    worker.join()
    worker.close()


@contextmanager
def crew(url: str, pool: str, size: int, chance: random.Random, work: Work = work, *more: object) -> Iterator[Crew]:
    """Workers for the length of a block."""
    workers = Crew(url, pool, size, chance, work, *more)
    try:
        yield workers
    finally:
        workers.close()
