"""A server under test: empty to begin with, its CPU time read around a load that was packed beforehand."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import redis

from allocator import Allocator

__all__ = ["CAPACITY", "POOL", "Sizes", "Stage", "in_chunks"]

POOL: Final = "labs"

CAPACITY: Final = {"cpu": "100M", "memory": "6Pi"}
"""Room for a million allocations and more: no row measures a refusal."""

IN_FLIGHT: Final = 64
"""Commands that are sent before their replies are read."""


@dataclass(frozen=True)
class Sizes:
    """How much of everything one row does."""

    rounds: int = 9
    calls: int = 4000
    live: int = 1_000_000
    stored: int = 100_000
    tasks: int = 50
    awaited: int = 3000
    blocking: int = 1500


class Stage:
    """One server: two databases, `EMPTY` and `FULL`, so that a large ledger and a small one can be compared in turns.

    The server must be empty, for its databases are flushed again and again.
    """

    EMPTY: Final = 0
    FULL: Final = 1

    def __init__(self, url: str) -> None:
        self.url = url
        self._control = [redis.Redis.from_url(url, db=db, decode_responses=True) for db in (self.EMPTY, self.FULL)]
        self._lines: list[Any] = [client.connection_pool.get_connection() for client in self._control]
        for client in self._control:
            if client.dbsize():
                raise SystemExit(f"the server has data, which the benchmark would delete: {client}")
        info: Any = self._control[0].info("server")
        self.version = f"{info.get('server_name', 'redis')} {info.get('valkey_version', info['redis_version'])}"

    def close(self) -> None:
        """Leave the server as it was found."""
        for client, line in zip(self._control, self._lines, strict=True):
            client.flushdb(asynchronous=False)
            client.connection_pool.release(line)
            client.close()

    def client(self, db: int = EMPTY) -> redis.Redis:
        """A client for looking at a database."""
        return self._control[db]

    def fresh(self, db: int = EMPTY) -> None:
        """Empty a database and make the pool in it."""
        self._control[db].flushdb(asynchronous=False)
        own = redis.Redis.from_url(self.url, db=db)
        with Allocator(own, allow_eviction=True) as allocator:
            allocator.create_pool(POOL, CAPACITY)
        own.close()

    def load(self, text: str) -> str:
        """Make a script known to the server, and return its name there."""
        return str(self._control[0].script_load(text))

    def cpu_us(self, db: int, commands: Sequence[bytes]) -> float:
        """Microseconds of the server's main thread that these commands take in all, reading and answering included."""
        before = self._cpu_s()
        self.send(db, commands)
        return (self._cpu_s() - before) * 1e6

    def send(self, db: int, commands: Sequence[bytes]) -> list[Any]:
        """Send commands, so many at a time, and return their replies; the first error among them is raised."""
        line = self._lines[db]
        replies: list[Any] = []
        for chunk in in_chunks(commands, IN_FLIGHT):
            line.send_packed_command((b"".join(chunk),), False)
            replies += [line.read_response() for _ in chunk]
        return replies

    def _cpu_s(self) -> float:
        info: Any = self._control[0].info("cpu")
        return float(info["used_cpu_user_main_thread"]) + float(info["used_cpu_sys_main_thread"])


def in_chunks(commands: Sequence[bytes], size: int) -> Iterator[Sequence[bytes]]:
    """Slices of at most so many."""
    for at in range(0, len(commands), size):
        yield commands[at : at + size]


def load_average() -> float:
    """How busy the machine was, over the last minute."""
    return round(os.getloadavg()[0], 2)
