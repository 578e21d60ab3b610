"""The items that wait to be gathered, each with its own caller, doubt and time."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from allocator._engine.execution.undo_log import Story
from allocator._engine.protocol.flows import Item
from allocator._engine.transport.failures import Fault
from allocator.errors import AllocatorError

__all__ = ["Entry", "Member", "Replies"]


class Entry:
    """One item of one caller."""

    __slots__ = ("alone", "count", "doubt", "fault", "future", "item", "sent", "story", "until")

    def __init__(self, item: Item, until: float, future: asyncio.Future[Any], story: Story | None) -> None:
        self.item = item
        self.until = until
        self.future = future
        self.story = story
        self.count = 0
        self.doubt = story is not None and story.doubts(item)
        self.sent = False
        self.alone = False
        self.fault: Fault | None = None

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


class Replies:
    """What a caller with several items has been answered so far."""

    __slots__ = ("entries", "open")

    def __init__(self, size: int) -> None:
        self.entries: list[Any] = [_OPEN] * size
        self.open = size


class Member(Entry):
    """One item of a caller with several: an error takes its place in the reply."""

    __slots__ = ("_index", "_replies")

    def __init__(
        self,
        item: Item,
        until: float,
        future: asyncio.Future[Any],
        story: Story | None,
        replies: Replies,
        index: int,
    ) -> None:
        super().__init__(item, until, future, story)
        self._replies = replies
        self._index = index

    @property
    def settled(self) -> bool:
        return self.future.done() or self._replies.entries[self._index] is not _OPEN

    def settle(self, reply: Any) -> None:
        replies = self._replies
        if replies.entries[self._index] is _OPEN:
            replies.entries[self._index] = reply
            replies.open -= 1
        if not replies.open and not self.future.done():
            self.future.set_result(replies.entries)

    def fail(self, error: AllocatorError) -> None:
        self.settle(error)
