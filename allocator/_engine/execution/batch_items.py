"""The items that wait to be gathered, each with its own caller, doubt and time."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from allocator._engine.execution.undo_log import UndoLog
from allocator._engine.protocol.flows import Item
from allocator._engine.transport.failures import AttemptFailure
from allocator.errors import AllocatorError

__all__ = ["GroupReplies", "GroupedItem", "PendingItem"]


class PendingItem:
    """One item of one caller."""

    __slots__ = ("alone", "ambiguous", "count", "failure", "future", "item", "log", "sent", "until")

    def __init__(self, item: Item, until: float, future: asyncio.Future[Any], undo_log: UndoLog | None) -> None:
        self.item = item
        self.until = until
        self.future = future
        self.log = undo_log
        self.count = 0
        self.ambiguous = undo_log is not None and undo_log.is_ambiguous(item)
        self.sent = False
        self.alone = False
        self.failure: AttemptFailure | None = None

    @property
    def settled(self) -> bool:
        """Whether nobody waits for this item any more."""
        return self.future.done()

    def settle(self, reply: Any) -> None:
        """The item's reply is there."""
        if not self.future.done():
            self.future.set_result([reply])

    def fail(self, error: AllocatorError) -> None:
        """The item has failed for good."""
        if not self.future.done():
            self.future.set_exception(error)


_OPEN: Final = object()
"""In the place of a reply that is not there yet."""


class GroupReplies:
    """What a caller with several items has been answered so far."""

    __slots__ = ("open", "pending_items")

    def __init__(self, size: int) -> None:
        self.pending_items: list[Any] = [_OPEN] * size
        self.open = size


class GroupedItem(PendingItem):
    """One item of a caller with several: an error takes its place in the reply."""

    __slots__ = ("_index", "_replies")

    def __init__(
        self,
        item: Item,
        until: float,
        future: asyncio.Future[Any],
        undo_log: UndoLog | None,
        replies: GroupReplies,
        index: int,
    ) -> None:
        super().__init__(item, until, future, undo_log)
        self._replies = replies
        self._index = index

    @property
    def settled(self) -> bool:
        return self.future.done() or self._replies.pending_items[self._index] is not _OPEN

    def settle(self, reply: Any) -> None:
        replies = self._replies
        if replies.pending_items[self._index] is _OPEN:
            replies.pending_items[self._index] = reply
            replies.open -= 1
        if not replies.open and not self.future.done():
            self.future.set_result(replies.pending_items)

    def fail(self, error: AllocatorError) -> None:
        self.settle(error)
