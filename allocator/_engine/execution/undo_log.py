"""Undo log of one flow: the calls to undo if the flow does not return; no I/O.

It keeps three facts between the steps of a flow:

- What was granted.  If the flow does not return, no caller receives it, and it is undone.
- Which items are still ambiguous after a reply.  A retry that is refused for the pool's state records no completed
  call, so a late copy of an earlier attempt would be executed once that state has passed.
- For how long no Sentinel had named the primary that replied.  Deadlines in its replies are reduced by that.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, cast

from allocator import settings
from allocator._engine.protocol.flows import Call, Item, Reply
from allocator._engine.protocol.keys import PoolKeys

__all__ = ["UndoLog", "items_to_undo", "needs_undo"]

_DONE: Final = frozenset({"granted", "replayed", "existing", "waiting"})
"""Reply words of an item that took effect; an existing allocation may have been extended or pinned by it."""

_REFUSED: Final = frozenset(
    {
        "offline", "deleting", "unknown_pool", "pool_lost", "other_epoch", "schema", "recovering",
        "denied", "estimated", "conflict", "ttl_too_long", "unknown_scope", "scope_required", "queue_full",
        "conflict_waiting",
    }
)  # fmt: skip
"""Reply words of an item that was refused, without a record of the completed call."""

_UNDECIDED: Final = frozenset({"reclaim_first", "aborted"})
"""Reply words of an item that its flow sends again, unless the flow gives up."""


class UndoLog:
    """The replies and ambiguous items of one flow."""

    __slots__ = ("_ambiguous", "_answered", "overdue_s")

    def __init__(self) -> None:
        self._answered: list[tuple[Call, Reply]] = []
        self._ambiguous: dict[str, tuple[PoolKeys, Item]] = {}
        self.overdue_s = 0.0
        """Seconds beyond `SENTINEL_BELIEF_S` by which the primary was unconfirmed at a send; 0.0 without Sentinels."""

    def record_reply(self, call: Call, reply: Reply) -> None:
        """Record a call that must be undone if the flow does not return.

        Of a call that waits, and is sent again and again, the last reply counts.
        """
        if _waits(reply) and self._answered:
            last = self._answered[-1]
            if _waits(last[1]) and last[0].items[0].call == call.items[0].call:
                self._answered.pop()
        self._answered.append((call, reply))

    def rely(self, confirmed: float, sent: float) -> None:
        """Record a write that was sent at `sent` to a primary that a Sentinel last named at `confirmed`."""
        self.overdue_s = max(self.overdue_s, sent - confirmed - settings.SENTINEL_BELIEF_S)

    def set_ambiguous(self, pool: PoolKeys, item: Item, *, lasts: bool) -> None:
        """Record whether an item is still ambiguous after its latest reply."""
        if lasts:
            self._ambiguous[item.call] = (pool, item)
        else:
            self._ambiguous.pop(item.call, None)

    def is_ambiguous(self, item: Item) -> bool:
        """Whether an attempt of an earlier step may have been, or may still be, executed."""
        return item.call in self._ambiguous

    def any_ambiguous(self, items: Iterable[Item]) -> bool:
        """Whether one of these items is ambiguous."""
        return bool(self._ambiguous) and any(item.call in self._ambiguous for item in items)

    def pending(self, *, returned: bool) -> list[tuple[PoolKeys, Sequence[Item]]]:
        """The items to undo at the flow's end: the ambiguous ones and, if it did not return, the granted ones."""
        ends: list[tuple[PoolKeys, Sequence[Item]]] = [(pool, (item,)) for pool, item in self._ambiguous.values()]
        if not returned:
            for call, reply in self._answered:
                pending_items = zip(call.items, reply, strict=False)
                ends.append((call.pool, [item for item, pending in pending_items if _word(pending) in _DONE]))
        return ends


def needs_undo(pool: PoolKeys, item: Item, pending: Any, undo_log: UndoLog | None) -> bool:
    """Whether an item must be undone now: an attempt is ambiguous, and the reply to a later one does not end that.

    An item that its flow will send again stays in the flow's undo log.
    """
    word = _word(pending)
    undecided = word in _UNDECIDED
    if undo_log is not None:
        undo_log.set_ambiguous(pool, item, lasts=undecided)
        return word in _REFUSED
    return undecided or word in _REFUSED


def items_to_undo(call: Call, reply: Reply, undo_log: UndoLog | None) -> list[Item]:
    """The items of a retried call that must be undone now."""
    if not call.items:
        return []
    pending_items = zip(call.items, reply, strict=False)
    return [item for item, pending in pending_items if needs_undo(call.pool, item, pending, undo_log)]


def _waits(reply: Reply) -> bool:
    return len(reply) == 1 and _word(reply[0]) == "waiting"


def _word(pending: Any) -> str:
    """The reply word of an entry; "" for an error in its place."""
    words = cast("list[object]", pending) if isinstance(pending, list) else []
    return str(words[0]) if words else ""
