"""Reading a pool's stream of events: the latest, those after one, and what comes from now on."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from allocator import settings
from allocator._engine.operations.defaults import Defaults
from allocator._engine.operations.maintenance.audit_findings import readable
from allocator._engine.operations.replies import decode_fields, raise_refused
from allocator._engine.protocol.flows import Call, Flow, Operation, Reply, Sleep
from allocator._engine.protocol.scripts import load
from allocator.errors import BackendUnavailable
from allocator.models.events import MISSED, Event
from allocator.validation import count, event_id, instant_ms

__all__ = ["Following", "read", "read_since"]

_EVENTS: Final = load("read_events")

_BEGINNING: Final = "0"
"""Before the first event."""

_DRIFT: Final = "drift: "
"""The beginning of the reason of an event about a mended counter, whose resource is the event's id."""

_AGAIN_S: Final = 1.0
"""Seconds until a watch asks again for a store that is away."""


def read(defaults: Defaults, limit: int) -> Operation[list[Event]]:
    """The latest events, newest first.  One round trip."""
    return _read(defaults, "", count(limit, "limit", settings.PAGE_RECORDS_MAX))


def read_since(defaults: Defaults, since: str | int | datetime, limit: int) -> Operation[list[Event]]:
    """The events after an event or from an instant on, oldest first.  One round trip."""
    return _read(defaults, _position(since), count(limit, "limit", settings.PAGE_RECORDS_MAX))


def _position(since: str | int | datetime) -> str:
    return event_id(since, "since") if isinstance(since, str) else str(instant_ms(since, "since"))


def _read(defaults: Defaults, since: str, limit: int) -> Operation[list[Event]]:
    pool = defaults.pool
    args = _EVENTS.bind(epoch=pool.epoch, actor=pool.actor, since=since, count=limit)

    def decode(reply: Reply) -> list[Event]:
        word = reply[0]
        if word == "events":
            return _events(reply[1:])
        if word in ("trimmed", "lost"):
            return [Event(reply[1], MISSED, {"reason": word}), *_events(reply[2:])]
        raise_refused(pool, word)

    return Operation(Call(_EVENTS, pool, _EVENTS.bind_keys(pool), args), decode)


def _events(flat: Reply) -> list[Event]:
    return [_event(entry, fields) for entry, fields in zip(flat[::2], flat[1::2], strict=True)]


def _event(entry: str, flat: Sequence[str]) -> Event:
    fields = decode_fields(flat)
    kind = fields.pop("kind", "")
    if kind == "repaired" and fields.get("reason", "").startswith(_DRIFT):
        detail = fields["reason"].removeprefix(_DRIFT)
        fields["reason"] = _DRIFT + readable("drift", fields.get("id", ""), detail).detail
    return Event(entry, kind, fields)


class Following:
    """Where a watch stands in the stream.

    It reads the store until it has all there is, and from then on takes what the client follows.
    """

    def __init__(self, defaults: Defaults, since: str | int | datetime | None) -> None:
        """Validate; nothing is sent.  Without `since` it begins with what comes from the first reading on."""
        self.defaults = defaults
        self.position = "" if since is None else _position(since)
        """After which entry to go on."""
        self.is_behind = True
        """Whether the store has to be read."""
        self._has_begun = False
        self._is_away = False

    def read(self) -> Flow[list[Event]]:
        """What the store has.

        Raises:
            BackendUnavailable: The store cannot be reached.
        """
        begins = not self.position
        limit = 1 if begins else settings.PAGE_RECORDS_MAX
        found = yield from _read(self.defaults, self.position, limit)
        self._has_begun, self._is_away = True, False
        self.is_behind = len(found) >= limit and not begins
        self.position = found[-1].id if found else self.position or _BEGINNING
        return [] if begins else found

    def take(self, entries: Sequence[tuple[str, Sequence[str]]] | None) -> list[Event]:
        """What the client has followed; None: the store has to be read."""
        if entries is None:
            self.is_behind = True
            return []
        found = [_event(*entry) for entry in entries]
        self.position = found[-1].id if found else self.position
        return found

    def pause(self, error: BackendUnavailable) -> Flow[bool]:
        """Wait a moment for a store that is away.

        Returns:
            Whether that is new.

        Raises:
            BackendUnavailable: The watch has never reached it, or the client was closed, or a setting keeps it away.
        """
        if not self._has_begun or not error.retryable:
            raise error
        is_new, self._is_away = not self._is_away, True
        yield Sleep(_AGAIN_S)
        return is_new
