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
from allocator._engine.protocol.flows import Call, Item, Reply
from allocator._engine.protocol.keys import PoolKeys

__all__ = ["UndoLog", "items_to_undo", "needs_undo"]

_DONE: Final = frozenset({"granted", "replayed", "existing"})
"""Words of an item that has had its effect: what is there already may have been extended, or pinned, for it."""

_REFUSED: Final = frozenset(
    {
        "offline", "deleting", "unknown_pool", "pool_lost", "other_epoch", "schema", "recovering",
        "denied", "conflict", "ttl_too_long",
    }
)  # fmt: skip
"""Words of an item that was refused, without a mark in the store."""

_UNDECIDED: Final = frozenset({"reclaim_first", "aborted"})
"""Words of an item that is asked for again, unless its flow gives up."""


class UndoLog:
    """What is known of one flow's calls."""

    __slots__ = ("_ambiguous", "_answered", "overdue_s")

    def __init__(self) -> None:
        self._answered: list[tuple[Call, Reply]] = []
        self._ambiguous: dict[str, tuple[PoolKeys, Item]] = {}
        self.overdue_s = 0.0
        """Seconds beyond `SENTINEL_BELIEF_S` that went by before something was sent; 0.0 where nobody has to vouch."""

    def record_reply(self, call: Call, reply: Reply) -> None:
        """Remember a call whose effect must not outlive the flow."""
        self._answered.append((call, reply))

    def rely(self, confirmed: float, sent: float) -> None:
        """A primary has changed something that was sent then, and a Sentinel named it last at `confirmed`."""
        self.overdue_s = max(self.overdue_s, sent - confirmed - settings.SENTINEL_BELIEF_S)

    def set_ambiguous(self, pool: PoolKeys, item: Item, *, lasts: bool) -> None:
        """Note whether a doubt about an item lasts after its latest reply."""
        if lasts:
            self._ambiguous[item.call] = (pool, item)
        else:
            self._ambiguous.pop(item.call, None)

    def is_ambiguous(self, item: Item) -> bool:
        """Whether an attempt of an earlier step may still be executed."""
        return item.call in self._ambiguous

    def any_ambiguous(self, items: Iterable[Item]) -> bool:
        """Whether one of these is in doubt."""
        return bool(self._ambiguous) and any(item.call in self._ambiguous for item in items)

    def pending(self, *, returned: bool) -> list[tuple[PoolKeys, Sequence[Item]]]:
        """What is to be withdrawn at the flow's end: doubts, and where it did not return what it was granted."""
        ends: list[tuple[PoolKeys, Sequence[Item]]] = [(pool, (item,)) for pool, item in self._ambiguous.values()]
        if not returned:
            for call, reply in self._answered:
                pending_items = zip(call.items, reply, strict=False)
                ends.append((call.pool, [item for item, pending in pending_items if _word(pending) in _DONE]))
        return ends


def needs_undo(pool: PoolKeys, item: Item, pending: Any, undo_log: UndoLog | None) -> bool:
    """Whether an item must be withdrawn now: an attempt is in doubt, and this reply to a later one does not end that.

    An item that a flow will ask for again is left to its story.
    """
    word = _word(pending)
    undecided = word in _UNDECIDED
    if undo_log is not None:
        undo_log.set_ambiguous(pool, item, lasts=undecided)
        return word in _REFUSED
    return undecided or word in _REFUSED


def items_to_undo(call: Call, reply: Reply, undo_log: UndoLog | None) -> list[Item]:
    """The items of a repeated call that must be withdrawn now."""
    if not call.items:
        return []
    pending_items = zip(call.items, reply, strict=False)
    return [item for item, pending in pending_items if needs_undo(call.pool, item, pending, undo_log)]


def _word(pending: Any) -> str:
    """An entry's first word; "" where an error stands in its place."""
    words = cast("list[object]", pending) if isinstance(pending, list) else []
    return str(words[0]) if words else ""
