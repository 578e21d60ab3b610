"""read: the latest entries of a pool's stream."""

from __future__ import annotations

from typing import Final

from allocator import settings
from allocator._engine.operations.defaults import Defaults
from allocator._engine.operations.maintenance.audit_findings import readable
from allocator._engine.operations.replies import decode_fields, raise_refused
from allocator._engine.protocol.flows import Call, Operation, Reply
from allocator._engine.protocol.scripts import load
from allocator.models.events import Event
from allocator.validation import count

_EVENTS: Final = load("read_events")

_DRIFT: Final = "drift: "
"""The beginning of the reason of an event about a mended counter, whose resource is the event's id."""


def read(defaults: Defaults, limit: int) -> Operation[list[Event]]:
    """The latest events, newest first.  One round trip."""
    pool = defaults.pool
    args = _EVENTS.bind(epoch=pool.epoch, count=count(limit, "limit", settings.PAGE_RECORDS_MAX))

    def decode(reply: Reply) -> list[Event]:
        if reply[0] != "events":
            raise_refused(pool, reply[0])
        found: list[Event] = []
        for at in range(1, len(reply), 2):
            fields = decode_fields(reply[at + 1])
            kind = fields.pop("kind", "")
            if kind == "repaired" and fields.get("reason", "").startswith(_DRIFT):
                detail = fields["reason"].removeprefix(_DRIFT)
                fields["reason"] = _DRIFT + readable("drift", fields.get("id", ""), detail).detail
            found.append(Event(reply[at], kind, fields))
        return found

    return Operation(Call(_EVENTS, pool, _EVENTS.bind_keys(pool), args), decode)
