"""The commands that are measured: `allocate` as the clients send it, and the two floors with the same values."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any, Final

from allocator._engine.keys import pool_keys
from allocator._engine.operations.granting import Wanted
from allocator._engine.operations.wire import call_of
from allocator._engine.scripts import Argument, load
from allocator._engine.steps import Call
from allocator._engine.wire import pack, payload
from allocator.models import Request
from bench.floors import BARE, OWN
from bench.stage import POOL, Stage

__all__ = ["ALLOCATE", "OWNER", "REQUEST", "Commands", "FloorDiffers", "batches", "fill", "words"]

OWNER: Final = "team-a/alice-123"
"""16 characters, as an id of ours has."""

REQUEST: Final = {"cpu": "1500m", "memory": "2Gi"}

ALLOCATE: Final = load("allocate")
_KEYS: Final = pool_keys(POOL, "allocator")
_NOW_MS: Final = 1_900_000_000_000
"""An instant for the comparison of what was written, so that it is the same on both sides."""


class FloorDiffers(AssertionError):
    """The floor does not write what `allocate` writes: the ratio would mean nothing."""


def wanted() -> Wanted:
    """A request with fresh ids, which ends some time within the next day."""
    return Wanted.of(Request(REQUEST, ttl=3600 + random.randrange(80_000)), OWNER)


def words(items: Sequence[Wanted], now_ms: int = 0) -> list[Argument]:
    """What follows the script's name in a call of `allocate`."""
    return payload(_call(items), 0, (now_ms, "", 0))


def _call(items: Sequence[Wanted]) -> Call:
    return call_of(ALLOCATE, _KEYS, [one.item(_KEYS) for one in items], gather=True, epoch="", atomic=0)


class Commands:
    """Makes packed commands for one server."""

    def __init__(self, stage: Stage) -> None:
        self._own, self._bare = stage.load(OWN), stage.load(BARE)
        stage.load(ALLOCATE.text)

    def allocate(self, count: int) -> list[bytes]:
        """Single calls."""
        return [pack(("EVALSHA", ALLOCATE.sha, *words([wanted()]))) for _ in range(count)]

    def own(self, count: int) -> list[bytes]:
        """The same writes, unchecked."""
        return [self._own_call(wanted(), _NOW_MS) for _ in range(count)]

    def bare(self, count: int) -> list[bytes]:
        """Two counters, a record of four fields, a deadline."""
        return [self._bare_call(wanted(), _NOW_MS) for _ in range(count)]

    def _own_call(self, one: Wanted, now_ms: int) -> bytes:
        keys = [_KEYS[name] for name in ("pool", "deadlines", "events")] + [_KEYS.record(one.id)]
        deadline_ms = now_ms + one.ttl_ms
        values: list[Argument] = [*one.resources.values(), one.owner, one.call, now_ms, one.ttl_ms, deadline_ms, one.id]
        return pack(("EVALSHA", self._own, len(keys), *keys, *values))

    def _bare_call(self, one: Wanted, now_ms: int) -> bytes:
        keys = [_KEYS["pool"], _KEYS["deadlines"], _KEYS.record(one.id)]
        values: list[Argument] = [*one.resources.values(), one.owner, now_ms + one.ttl_ms, one.id]
        return pack(("EVALSHA", self._bare, len(keys), *keys, *values))

    def compare(self, stage: Stage) -> None:
        """Make sure that the own floor leaves behind, field by field, what `allocate` does.

        Raises:
            FloorDiffers: It does not.
        """
        one = wanted()
        stage.fresh()
        before: Any = stage.client().hgetall(_KEYS["pool"])
        left: list[Any] = []
        for command in (pack(("EVALSHA", ALLOCATE.sha, *words([one], _NOW_MS))), self._own_call(one, _NOW_MS)):
            stage.client().flushdb()
            stage.client().hset(_KEYS["pool"], mapping=before)
            stage.send(Stage.EMPTY, [command])
            left.append(_contents(stage))
        if left[0] != left[1]:
            raise FloorDiffers(f"allocate left {left[0]}, its floor {left[1]}")


def _contents(stage: Stage) -> dict[str, Any]:
    """All keys of the database as they can be compared: without the order of fields and the ids of a stream."""
    client: Any = stage.client()
    readers = {
        "hash": client.hgetall,
        "zset": lambda key: client.zrange(key, 0, -1, withscores=True),
        "stream": lambda key: [fields for _, fields in client.xrange(key)],
    }
    return {key: readers[client.type(key)](key) for key in sorted(client.keys())}


def batches(count: int, size: int) -> Iterator[bytes]:
    """So many allocations, in script calls of so many items."""
    for at in range(0, count, size):
        items = [wanted() for _ in range(min(size, count - at))]
        yield pack(("EVALSHA", ALLOCATE.sha, *words(items)))


def fill(stage: Stage, db: int, count: int) -> None:
    """Put live allocations into a database, a hundred in a script call."""
    pending: list[bytes] = []
    for command in batches(count, 100):
        pending.append(command)
        if len(pending) == 50:
            stage.send(db, pending)
            pending.clear()
    stage.send(db, pending)
