"""The latest entries of a pool's event stream, as the watches of a client have read them; no I/O."""

from __future__ import annotations

from bisect import bisect_right
from typing import Any, Final, NamedTuple, TypeAlias, cast

from allocator import settings
from allocator._engine.protocol.keys import PoolKeys
from allocator._engine.protocol.resp import pack_command

__all__ = ["Entries", "EventTail", "entries_of", "read_stream"]

ENTRIES_MAX: Final = 1_000
"""Events that the watches of a client keep in memory for one another.  One that is further behind reads the store."""

Entries: TypeAlias = list[tuple[str, list[str]]]
"""Entries of a stream: the id of each, and its fields and values in turn."""

_Position: TypeAlias = tuple[int, int]


class _Kept(NamedTuple):
    position: _Position
    entry: tuple[str, list[str]]


_START: Final[_Position] = (0, 0)


def _position(entry_id: str) -> _Position:
    ms, _, number = entry_id.partition("-")
    return int(ms), int(number or 0)


class EventTail:
    """All entries after one position up to the last that was read; the oldest are dropped."""

    def __init__(self) -> None:
        self._kept: list[_Kept] = []
        self._floor: _Position | None = None
        """The position after which all entries are here; None: nothing is known."""
        self.last = ""
        """The id after which to read on."""

    def start(self, after: str) -> None:
        """Begin anew after this entry."""
        self._kept = []
        self._floor = _position(after)
        self.last = after

    def forget(self) -> None:
        """Forget everything, as entries may be missing."""
        self._kept = []
        self._floor = None

    def add(self, entries: Entries) -> None:
        """Add what was read after `last`."""
        self._kept += [_Kept(_position(entry[0]), entry) for entry in entries]
        if entries:
            self.last = entries[-1][0]
        too_many = len(self._kept) - ENTRIES_MAX
        if too_many > 0:
            self._floor = self._kept[too_many - 1].position
            del self._kept[:too_many]

    def after(self, entry_id: str) -> Entries | None:
        """The entries after this one; None: not all of them are here."""
        position = _position(entry_id)
        if self._floor is None or position < self._floor:
            return None
        return [kept.entry for kept in self._kept[bisect_right(self._kept, position, key=lambda kept: kept.position) :]]


def read_stream(pool: PoolKeys, after: str, seconds: float) -> bytes:
    """The command that waits for entries after this one, at most so many seconds."""
    block_ms = max(1, round(seconds * 1000))
    count = settings.PAGE_RECORDS_MAX
    return pack_command(("XREAD", "COUNT", count, "BLOCK", block_ms, "STREAMS", pool["events"], after))


def entries_of(reply: Any) -> Entries:
    """The entries in the reply, which is nothing if none came in time."""
    if not reply:
        return []
    ((_, found),) = cast("list[tuple[object, list[tuple[object, list[object]]]]]", reply)
    return [(str(entry), [str(word) for word in words]) for entry, words in found]
