"""One process that allocates and releases, again and again: `python bench/pairs.py SIDE`.

It obeys its standard input, first the server's URL, then lines of `prepare` or `run COUNT`; it answers each with
`done`, and ends with that input.
It is run by its path, for `redis-allocator` lives in an environment of its own, which has neither this project nor its
dependencies.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from typing import Any, Final

LIFE_S: Final = 900
"""Seconds after which it ends in any case."""

OBJECTS: Final = 1000
"""Keys in the pool of `redis-allocator`, which hands out one of them at a time."""

TTL_S: Final = 60

Side = tuple[Callable[[], Any], Callable[[], Any]]
"""What makes the pool ready, and what makes one pair."""


def ours(url: str) -> Side:
    """A client of ours; the pool is there already."""
    from allocator import Allocator  # noqa: PLC0415 - of this side only
    from bench.stage import POOL  # noqa: PLC0415
    from bench.verbs import OWNER, REQUEST  # noqa: PLC0415

    client = Allocator.from_url(url, pool=POOL, owner=OWNER, allow_eviction=True)

    def pair() -> None:
        assert client.release(client.allocate(REQUEST, ttl=TTL_S))

    return lambda: None, pair


def handwritten(url: str) -> Side:
    """Twenty lines of one's own, for the same request."""
    import redis  # noqa: PLC0415

    from bench.handwritten import Pool  # noqa: PLC0415
    from bench.verbs import OWNER  # noqa: PLC0415

    pool = Pool(redis.Redis.from_url(url, decode_responses=True), "labs")

    def pair() -> None:
        identity = pool.allocate(OWNER, cpu=1500, memory=2 << 30, ttl=TTL_S)
        assert identity is not None
        assert pool.release(identity)

    return lambda: pool.create(cpu=100_000_000_000, memory=6 << 50), pair


def redis_allocator(url: str) -> Side:
    """The package of that name, with its defaults."""
    import redis  # noqa: PLC0415
    from redis_allocator import RedisAllocator  # type: ignore[import-not-found]  # noqa: PLC0415

    pool: Any = RedisAllocator(redis.Redis.from_url(url, decode_responses=True), "labs")

    def pair() -> None:
        held = pool.malloc(timeout=TTL_S)
        assert held is not None
        pool.free(held)

    return lambda: pool.extend([f"object-{number}" for number in range(OBJECTS)]), pair


SIDES: Final[dict[str, Callable[[str], Side]]] = {
    "ours": ours,
    "handwritten": handwritten,
    "redis-allocator": redis_allocator,
}


def main(side: str) -> None:
    """Do what is asked until there is nothing more to read."""
    signal.alarm(LIFE_S)
    prepare, pair = SIDES[side](sys.stdin.readline().strip())
    print("done", flush=True)
    for line in sys.stdin:
        word, *count = line.split()
        if word == "prepare":
            prepare()
        else:
            for _ in range(int(count[0])):
                pair()
        print("done", flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
