"""What a reply says of the safety that its pool asks for, and where the level that was reached is written."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

from allocator._engine.protocol.flows import DurabilityRequirement
from allocator.durability import MEMORY, Durability

__all__ = ["PLAIN", "reached", "requirement"]

_PLAIN: Final = {"granted": 5, "renewed": 3}
"""Entries of fixed places, and the place of the level."""

_RECORDS: Final = frozenset({"replayed", "existing", "adopted", "resized"})
"""Entries of fields and values."""

PLAIN: Final = Durability()
"""As the pool asks for."""


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
        entry[place:] = [level]
    else:
        entry += ["durability", level]


@lru_cache(maxsize=64)
def requirement(level: Durability) -> DurabilityRequirement:
    """For a call of this level."""
    return DurabilityRequirement(level, _requested, _record)


def reached(entry: list[Any]) -> str:
    """The level that the driver has reached for an entry of fixed places."""
    place = _PLAIN[entry[0]]
    return entry[place] if len(entry) > place else MEMORY
