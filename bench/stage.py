"""A server under test: empty to begin with, its CPU time read around a load that was packed beforehand."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import redis

from allocator import Allocator, settings

__all__ = ["CAPACITY", "IN_FLIGHT", "PATIENT", "POOL", "Sizes", "Stage", "in_chunks"]

T = TypeVar("T")

POOL: Final = "labs"

CAPACITY: Final = {"cpu": "100M", "memory": "6Pi"}
"""Room for a million allocations and more."""

PATIENT: Final[dict[str, Any]] = {"timeout": 60.0, "attempt_timeout": 30.0}
"""For what is prepared: a machine may be busy with other things for seconds."""

IN_FLIGHT: Final = 64
"""Commands that are sent before their replies are read."""


@dataclass(frozen=True)
class Sizes:
    """How much of everything one row does."""

    rounds: int = 15
    calls: int = 1000
    live: int = 1_000_000
    stored: int = 100_000
    tasks: int = 50
    awaited: int = 2000
    blocking: int = 1000
    pairs: int = 1000
    processes: int = 8
    scopes: int = 10_000
    waiting: int = 10_000
    waiters: int = 200
    part: int = 1
    """What part of the workloads of the row `kueue` is done: one of so many."""
    audited: int = settings.AUDIT_FIELDS_MAX // (settings.RECORD_FIELDS + settings.RESOURCES_MAX)
    repeats: int = 3
    settles_s: float = 10.0
    """Seconds after which a program that was started is at rest."""
    resting_s: float = 60.0
    """Seconds for which a program at rest is looked at."""


class Stage:
    """One server: two databases, `EMPTY` and `FULL`, so that a large ledger and a small one can be compared in turns.

    The server must be empty, for its databases are flushed again and again.
    """

    EMPTY: Final = 0
    FULL: Final = 1

    def __init__(self, url: str) -> None:
        self.url = url
        self._control = [self._client(db) for db in (self.EMPTY, self.FULL)]
        self._lines: list[Any] = [client.connection_pool.get_connection() for client in self._control]
        for client in self._control:
            if client.dbsize():
                raise SystemExit(f"the server has data, which the benchmark would delete: {client}")
        self._loaded: dict[str, str] = {}
        info: Any = self._control[0].info("server")
        self.version = f"{info.get('server_name', 'redis')} {info.get('valkey_version', info['redis_version'])}"

    def _client(self, db: int) -> redis.Redis:
        """A client of one database.  The one in a URL, redis-py heeds more than its argument."""
        client = redis.Redis.from_url(self.url, decode_responses=True)
        settled = client.connection_pool.connection_kwargs
        if settled.get("db", self.EMPTY) != self.EMPTY:
            raise SystemExit(f"the databases {self.EMPTY} and {self.FULL} are used: the URL may name no other")
        settled["db"] = db
        return client

    def close(self) -> None:
        """Leave the server as it was found."""
        for client, line in zip(self._control, self._lines, strict=True):
            client.flushdb(asynchronous=False)
            client.connection_pool.release(line)
            client.close()

    def client(self, db: int = EMPTY) -> redis.Redis:
        """A client for looking at a database."""
        return self._control[db]

    def fresh(self, db: int = EMPTY, capacity: Mapping[str, str] = CAPACITY) -> None:
        """Empty a database and make the pool in it."""
        self._control[db].flushdb(asynchronous=False)
        own = self._client(db)
        with Allocator(own, allow_eviction=True, **PATIENT) as allocator:
            allocator.pools.create(POOL, capacity)
        own.close()

    def keep(self) -> None:
        """Lay a copy of what is in `EMPTY` aside, in `FULL`."""
        self._copy(self.EMPTY, self.FULL)

    def put_back(self) -> None:
        """Put it back in place of what is there now."""
        self._copy(self.FULL, self.EMPTY)
        self._control[self.FULL].flushdb(asynchronous=False)

    def _copy(self, source: int, target: int) -> None:
        self._control[target].flushdb(asynchronous=False)
        client: Any = self._control[source]
        for key in client.scan_iter():
            client.copy(key, key, destination_db=target)

    def load(self, text: str) -> str:
        """Make a script known to the server, once, and return its name there."""
        if text not in self._loaded:
            self._loaded[text] = str(self._control[0].script_load(text))
        return self._loaded[text]

    def cpu_us(self, db: int, commands: Sequence[bytes], answers: str | None = None) -> float:
        """Microseconds of the server's main thread that these commands take in all, reading and answering included.

        Raises:
            AssertionError: One was answered by another word: something else was measured than was meant.
        """
        before = self.cpu_s()
        replies = self.send(db, commands)
        spent = (self.cpu_s() - before) * 1e6
        if answers is not None:
            told = {word for reply in replies for word in _words(reply)}
            assert told == {answers}, f"wanted {answers}, was told {told}"
        return spent

    def send(self, db: int, commands: Sequence[bytes]) -> list[Any]:
        """Send commands, so many at a time, and return their replies; the first error among them is raised."""
        line = self._lines[db]
        replies: list[Any] = []
        for chunk in in_chunks(commands, IN_FLIGHT):
            line.send_packed_command((b"".join(chunk),), False)
            replies += [line.read_response() for _ in chunk]
        return replies

    def cpu_s(self) -> float:
        """Seconds of processor time of the server's main thread since its start."""
        info: Any = self._control[0].info("cpu")
        return float(info["used_cpu_user_main_thread"]) + float(info["used_cpu_sys_main_thread"])


def _words(reply: Any) -> set[str]:
    """How the reply of a script begins, or that of each of its items."""
    return {entry[0] for entry in reply} if isinstance(reply[0], list) else {reply[0]}


def in_chunks(things: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Slices of at most so many."""
    for at in range(0, len(things), size):
        yield things[at : at + size]


def load_average() -> float:
    """How busy the machine was, over the last minute."""
    return round(os.getloadavg()[0], 2)
