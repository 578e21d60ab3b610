"""Items that wait to be batched, each with its caller, its deadline and its ambiguity."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from allocator._engine.execution.instrumentation import CURRENT
from allocator._engine.execution.undo_log import UndoLog
from allocator._engine.protocol.flows import Item
from allocator._engine.transport.failures import AttemptFailure
from allocator.errors import AllocatorError

__all__ = ["GroupReplies", "GroupedItem", "PendingItem"]


class PendingItem:
    """One item of one caller.  Its future gets the reply or the error."""

    __slots__ = (
        "alone", "ambiguous", "count", "failure", "future", "item", "limited", "log", "observed", "sent", "until",
    )  # fmt: skip

    def __init__(self, item: Item, until: float, future: asyncio.Future[Any], undo_log: UndoLog | None) -> None:
        self.item = item
        self.until = until
        self.future = future
        self.log = undo_log
        self.count = 0
        self.limited = 0
        self.ambiguous = undo_log is not None and undo_log.is_ambiguous(item)
        self.sent = False
        self.alone = False
        self.failure: AttemptFailure | None = None
        self.observed = CURRENT.get()

    @property
    def settled(self) -> bool:
        """Whether no caller waits for this item any more."""
        return self.future.done()

    def settle(self, reply: Any) -> None:
        """Give the reply to the caller."""
        if not self.future.done():
            self.future.set_result([reply])

    def fail(self, error: AllocatorError) -> None:
        """Give the final error to the caller."""
        if not self.future.done():
            self.future.set_exception(error)


_OPEN: Final = object()
"""Placeholder for a reply that has not arrived."""


class GroupReplies:
    """The replies so far to the items of one caller."""

    __slots__ = ("open", "pending_items")

    def __init__(self, size: int) -> None:
        self.pending_items: list[Any] = [_OPEN] * size
        self.open = size


class GroupedItem(PendingItem):
    """One item of a caller with several.  Its error takes its place in the caller's list of replies."""

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
