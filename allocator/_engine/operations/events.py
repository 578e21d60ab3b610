"""events: the latest entries of a pool's stream."""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

from allocator._engine.operations.replies import decode_fields, raise_refused
from allocator._engine.protocol.flows import Call, Operation, Reply
from allocator._engine.protocol.keys import PoolKeys
from allocator._engine.protocol.scripts import load
from allocator.models.events import Event

_EVENTS: Final = load("read_events")


def events(pool: PoolKeys, limit: int) -> Operation[list[Event]]:
    """The latest events, newest first.  One round trip."""
    keys = _EVENTS.bind_keys(pool)

    def decode(reply: Reply) -> list[Event]:
        if reply[0] != "events":
            raise_refused(pool, reply[0])
        found: list[Event] = []
        for at in range(1, len(reply), 2):
            fields = decode_fields(reply[at + 1])
            kind = fields.pop("kind", "")
            found.append(Event(reply[at], kind, MappingProxyType(fields)))
        return found

    return Operation(Call(_EVENTS, pool, keys, _EVENTS.bind(epoch=pool.epoch, count=limit)), decode)
