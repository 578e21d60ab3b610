"""get, usage: a pool and its counters, read at one instant."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from allocator._engine.operations.defaults import Defaults
from allocator._engine.operations.pools import decode_pool
from allocator._engine.operations.replies import decode_fields, raise_refused
from allocator._engine.operations.requests import make_call
from allocator._engine.operations.usage_history import decode_counters
from allocator._engine.protocol.flows import Operation, Reply
from allocator._engine.protocol.scripts import load
from allocator.models.pools import Pool, Usage, WaitingPriority

_USAGE: Final = load("read_pool")


def get(defaults: Defaults, name: str | None = None) -> Operation[Pool]:
    """A pool as configured, and its counters.  One round trip."""
    read = usage(defaults, name)
    return Operation(read.call, lambda reply: read.decode(reply).pool)


def _decode_line(line: Sequence[int]) -> Iterator[WaitingPriority]:
    for at in range(0, len(line), 3):
        yield WaitingPriority(line[at], line[at + 1], line[at + 2] or None)


def usage(defaults: Defaults, name: str | None = None) -> Operation[Usage]:
    """The usage of a pool, read atomically.  One round trip."""
    pool = defaults.keys(name)

    def decode(reply: Reply) -> Usage:
        if reply[0] != "usage":
            raise_refused(pool, reply[0])
        _, read_ms, leased, pinned, due, waiting, deadline_ms, pinned_ms, scopes, line, *flat = reply
        fields = decode_fields(flat)
        described = decode_pool(pool.name, fields, read_ms=read_ms)
        return Usage(
            described,
            described.rows(),
            leased + pinned,
            pinned,
            due,
            read_ms,
            waiting,
            deadline_ms or None,
            pinned_ms or None,
            scopes,
            tuple(_decode_line(line)),
            decode_counters(fields),
        )

    return Operation(make_call(_USAGE, pool, epoch=pool.epoch), decode)
