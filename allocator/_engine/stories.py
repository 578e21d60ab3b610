"""What the calls of one flow may have done, as long as its caller does not know; no I/O.

Three things must not be forgotten between the steps of a flow.  What was granted, should the flow not return: nobody
would hear of it.  And a doubt that a reply did not end: a call that was repeated and then refused for the pool's state
left no mark, so a late copy of an earlier attempt would be executed once the state has passed.  And for how long the
Sentinels had been silent about a primary that answered, for what it said is believed for less time by that.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, cast

from allocator import settings
from allocator._engine.keys import PoolKeys
from allocator._engine.steps import Call, Item, Reply

__all__ = ["Story", "leaves_doubt", "left_in_doubt"]

_DONE: Final = frozenset({"granted", "replayed", "existing"})
"""Words of an item that has had its effect: what is there already may have been extended, or pinned, for it."""

_REFUSED: Final = frozenset(
    {
        "offline", "deleting", "unknown_pool", "pool_lost", "other_epoch", "schema", "recovering",
        "denied", "conflict", "ttl_too_long",
    }
)  # fmt: skip
"""Words of an item that was refused, without a mark in the store."""

_UNDECIDED: Final = frozenset({"behind", "aborted"})
"""Words of an item that is asked for again, unless its flow gives up."""


class Story:
    """What is known of one flow's calls."""

    __slots__ = ("_answered", "_doubts", "overdue_s")

    def __init__(self) -> None:
        self._answered: list[tuple[Call, Reply]] = []
        self._doubts: dict[str, tuple[PoolKeys, Item]] = {}
        self.overdue_s = 0.0
        """Seconds beyond `SENTINEL_BELIEF_S` that went by before something was sent; 0.0 where nobody has to vouch."""

    def answered(self, call: Call, reply: Reply) -> None:
        """Remember a call whose effect must not outlive the flow."""
        self._answered.append((call, reply))

    def relied(self, vouched: float, sent: float) -> None:
        """A primary has changed something that was sent then, and a Sentinel named it last at `vouched`."""
        self.overdue_s = max(self.overdue_s, sent - vouched - settings.SENTINEL_BELIEF_S)

    def doubt(self, pool: PoolKeys, item: Item, *, lasts: bool) -> None:
        """Note whether a doubt about an item lasts after its latest reply."""
        if lasts:
            self._doubts[item.call] = (pool, item)
        else:
            self._doubts.pop(item.call, None)

    def doubts(self, item: Item) -> bool:
        """Whether an attempt of an earlier step may still be executed."""
        return item.call in self._doubts

    def doubts_any(self, items: Iterable[Item]) -> bool:
        """Whether one of these is in doubt."""
        return bool(self._doubts) and any(item.call in self._doubts for item in items)

    def open_ends(self, *, returned: bool) -> list[tuple[PoolKeys, Sequence[Item]]]:
        """What is to be withdrawn at the flow's end: doubts, and where it did not return what it was granted."""
        ends: list[tuple[PoolKeys, Sequence[Item]]] = [(pool, (item,)) for pool, item in self._doubts.values()]
        if not returned:
            for call, reply in self._answered:
                entries = zip(call.items, reply, strict=False)
                ends.append((call.pool, [item for item, entry in entries if _word(entry) in _DONE]))
        return ends


def leaves_doubt(pool: PoolKeys, item: Item, entry: Any, story: Story | None) -> bool:
    """Whether an item must be withdrawn now: an attempt is in doubt, and this reply to a later one does not end that.

    An item that a flow will ask for again is left to its story.
    """
    word = _word(entry)
    undecided = word in _UNDECIDED
    if story is not None:
        story.doubt(pool, item, lasts=undecided)
        return word in _REFUSED
    return undecided or word in _REFUSED


def left_in_doubt(call: Call, reply: Reply, story: Story | None) -> list[Item]:
    """The items of a repeated call that must be withdrawn now."""
    if not call.items:
        return []
    entries = zip(call.items, reply, strict=False)
    return [item for item, entry in entries if leaves_doubt(call.pool, item, entry, story)]


def _word(entry: Any) -> str:
    """An entry's first word; "" where an error stands in its place."""
    words = cast("list[object]", entry) if isinstance(entry, list) else []
    return str(words[0]) if words else ""
