"""The queues of a gatherer: the waiting items of one script, with one set of keys and arguments; no I/O."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from allocator import settings
from allocator._engine.execution.batch_items import GroupedItem, PendingItem
from allocator._engine.protocol.flows import Call, DurabilityRequirement
from allocator._engine.protocol.scripts import Argument

__all__ = ["Key", "Pause", "Queue", "followers", "size_of", "words_of"]

Key = tuple[str, tuple[str, ...], tuple[Argument, ...], DurabilityRequirement | None]


@dataclass(slots=True)
class Queue:
    """The waiting items of one script, with one set of keys and arguments."""

    key: Key
    call: Call
    waiting: deque[PendingItem] = field(default_factory=deque[PendingItem])
    send_loops: int = 0
    send_due: bool = False
    ordered: int = 0
    paused: int = 0
    under_way: list[list[PendingItem]] = field(default_factory=list[list[PendingItem]])

    @property
    def room(self) -> int:
        """How many more script calls may be under way."""
        return (1 if self.ordered else settings.BATCH_IN_FLIGHT) - self.send_loops


@dataclass(eq=False, slots=True)
class Pause:
    """Items that wait before they are sent again."""

    queue: Queue
    pending_items: list[PendingItem]
    timer: asyncio.TimerHandle | None = None


def followers(queue: Queue, failed: Iterable[PendingItem]) -> list[PendingItem]:
    """Take the later items of callers out of their queue of whom an earlier item is to be sent again.

    They wait with it: the items of one caller are decided in order.
    """
    callers = {pending.future for pending in failed if isinstance(pending, GroupedItem)}
    if not callers:
        return []
    later = [pending for pending in queue.waiting if pending.future in callers]
    if later:
        queue.waiting = deque([pending for pending in queue.waiting if pending.future not in callers])
    return later


def words_of(call: Call, batch: Sequence[PendingItem], leading: Sequence[Argument]) -> list[Argument]:
    """The words of a script call with the items of several callers (`resp.encode_call` has those of one)."""
    keys = [*call.keys, *[pending.item.key for pending in batch if pending.item.key]]
    words: list[Argument] = [len(keys), *keys, *leading, *call.args]
    for pending in batch:
        item = pending.item
        words.append(item.call)
        words.append(1 if pending.ambiguous else 0)
        words += item.args
    return words


def size_of(words: Sequence[Argument]) -> int:
    """About the bytes of the words: exact for ASCII, and too little by half at the most for what people write."""
    return len("".join(map(str, words))) + 8 * len(words)
