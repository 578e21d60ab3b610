"""Events: the recorded changes of a pool."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Final

from allocator.models.instants import instant
from allocator.models.read_only import read_only
from allocator.serialization import (
    TEXT,
    Value,
    amounts,
    derived,
    field,
    read_amount,
    read_integer,
    read_mapping,
    read_text,
    rfc3339,
)
from allocator.settings import AMOUNT_MAX

MISSED: Final = "missed"
"""The kind of an event that is not stored: it says that some before it are missing, and its reason why."""

_AMOUNT: Final = ".allocated"

_NAMED: Final = ("id", "owner", "reason")

_ACTOR: Final = "actor"
"""The field that names who made the change, where that is not the owner."""


@dataclass(frozen=True, slots=True)
class Event(Value):
    """One entry of a pool's event stream; `kind` is a past participle, such as `granted` or `reclaimed`.

    In its dict `event` is the entry's id, `type` its kind, `id` the allocation's id; `details` has the other fields.
    """

    KIND: ClassVar = "Event"
    FORMAT: ClassVar = (
        field("id", "event", TEXT),
        derived("at", lambda event: rfc3339(_ms(event.id))),
        field("kind", "type", TEXT),
        derived("id", lambda event: event.fields.get("id")),
        derived("owner", lambda event: event.fields.get("owner")),
        derived("fence", lambda event: _integer(event.fields.get("fence", ""))),
        derived("actor", lambda event: event.actor),
        derived("reason", lambda event: event.fields.get("reason")),
        derived("resources", lambda event: amounts(event.amounts)),
        derived("details", lambda event: event.details),
    )

    id: str
    kind: str
    fields: Mapping[str, str]

    def __post_init__(self) -> None:
        object.__setattr__(self, "fields", read_only(self.fields))

    @property
    def at(self) -> datetime:
        """When it was written, by the server's clock."""
        return instant(int(self.id.partition("-")[0]))

    @property
    def actor(self) -> str | None:
        """Who made the change: the owner that its client was given; None where that is not known.

        Where the event names no other it is the owner.  What follows from a call by itself (a lease that is over is
        reclaimed, a waiter is granted) has the caller as its actor, too.
        """
        return self.fields.get(_ACTOR, self.fields.get("owner"))

    @property
    def amounts(self) -> dict[str, int]:
        """The amounts among its fields: resource name -> units."""
        found = {name.removesuffix(_AMOUNT): _integer(text) for name, text in self.fields.items() if _is_amount(name)}
        return {name: number for name, number in found.items() if number is not None}

    @property
    def details(self) -> dict[str, str]:
        """The fields that are neither the allocation's id, owner, fence or amounts nor the actor or the reason."""
        return {
            name: text
            for name, text in self.fields.items()
            if name not in (*_NAMED, _ACTOR)
            and not ((name == "fence" or _is_amount(name)) and _integer(text) is not None)
        }

    @classmethod
    def from_several(cls, found: Mapping[str, Any], path: str) -> dict[str, Any]:
        """The fields of the entry, which are spread over those of the dict."""
        prefix = f"{path}." if path else ""
        fields = {name: read_text(found[name], prefix + name) for name in _NAMED if found.get(name) is not None}
        actor = found.get(_ACTOR)
        if actor is not None and actor != fields.get("owner"):
            fields[_ACTOR] = read_text(actor, prefix + _ACTOR)
        if found.get("fence") is not None:
            fields["fence"] = str(read_integer(found["fence"], f"{prefix}fence"))
        for name, row in read_mapping(found.get("resources", {}), f"{prefix}resources").items():
            fields[name + _AMOUNT] = str(read_amount(row, f"{prefix}resources.{name}"))
        for name, text in read_mapping(found.get("details", {}), f"{prefix}details").items():
            fields[name] = read_text(text, f"{prefix}details.{name}")
        return {"fields": fields}


def _is_amount(name: str) -> bool:
    return name.endswith(_AMOUNT)


def _integer(text: str) -> int | None:
    """The integer of a text that is written as integers are, or None: it is shown among the details as it is."""
    if not (text.isascii() and text.isdecimal() and len(text) <= len(str(AMOUNT_MAX))):
        return None
    number = int(text)
    return number if str(number) == text and number <= AMOUNT_MAX else None


def _ms(entry: str) -> int | None:
    """The instant in the id of a stream's entry, or None if it is no such id."""
    return _integer(entry.partition("-")[0])
