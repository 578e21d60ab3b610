"""Durability levels in replies: the level that the pool requires, and where the reached level is recorded."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

from allocator._engine.protocol.flows import DurabilityRequirement
from allocator.durability import MEMORY, Durability

__all__ = ["PLAIN", "reached", "requirement"]

_PLAIN: Final = {"granted": 5, "renewed": 3}
"""Entries with fixed positions, and the position of the level."""

_RECORDS: Final = frozenset({"replayed", "existing", "adopted", "resized", "moved"})
"""Entries that are fields and values."""

PLAIN: Final = Durability()
"""No level of the call: the pool's applies."""


def _requested(entry: Any) -> Durability | None:
    if isinstance(entry, Exception):
        return None
    words: list[Any] = entry
    word = words[0]
    place = _PLAIN.get(word)
    if place is not None:
        return Durability.read(words[place]) if len(words) > place else PLAIN
    if word not in _RECORDS:
        return None
    fields: dict[str, str] = dict(zip(words[1::2], words[2::2], strict=False))
    return Durability.read(fields.get("durability", ""))


def _record(entry: Any, level: str) -> None:
    place = _PLAIN.get(entry[0])
    if place is not None:
        entry[place : place + 1] = [level]  # behind it may stand the scope
    else:
        entry += ["durability", level]


@lru_cache(maxsize=64)
def requirement(level: Durability) -> DurabilityRequirement:
    """The requirement of a call with this level."""
    return DurabilityRequirement(level, _requested, _record)


def reached(entry: list[Any]) -> str:
    """The level that the driver has recorded in an entry with fixed positions."""
    place = _PLAIN[entry[0]]
    return entry[place] or MEMORY if len(entry) > place else MEMORY
