"""The queues of a batcher: the waiting items of one script with the same keys and arguments; no I/O."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from allocator import settings
from allocator._engine.execution.batch_items import GroupedItem, PendingItem
from allocator._engine.protocol.flows import Call, DurabilityRequirement
from allocator._engine.protocol.resp import other_keys
from allocator._engine.protocol.scripts import Argument

__all__ = ["Key", "Pause", "Queue", "followers", "size_of", "words_of"]

Key = tuple[str, tuple[str, ...], tuple[Argument, ...], DurabilityRequirement | None]


@dataclass(slots=True)
class Queue:
    """The waiting items of one script with the same keys and arguments."""

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
    """Items that wait for their next retry."""

    queue: Queue
    pending_items: list[PendingItem]
    timer: asyncio.TimerHandle | None = None


def followers(queue: Queue, failed: Iterable[PendingItem]) -> list[PendingItem]:
    """Take from the queue the later items of those callers whose earlier item is retried.

    They wait with it, so that the items of one caller are decided in order.
    """
    callers = {pending.future for pending in failed if isinstance(pending, GroupedItem)}
    if not callers:
        return []
    later = [pending for pending in queue.waiting if pending.future in callers]
    if later:
        queue.waiting = deque([pending for pending in queue.waiting if pending.future not in callers])
    return later


def words_of(call: Call, batch: Sequence[PendingItem], leading: Sequence[Argument]) -> list[Argument]:
    """The arguments of a script call with the items of several callers (`resp.encode_call` has those of one)."""
    keys = [*call.keys, *[pending.item.key for pending in batch if pending.item.key]]
    keys += other_keys([pending.item for pending in batch])
    words: list[Argument] = [len(keys), *keys, *leading, *call.args]
    for pending in batch:
        item = pending.item
        words.append(item.call)
        words.append(1 if pending.ambiguous else 0)
        words += item.args
    return words


def size_of(words: Sequence[Argument]) -> int:
    """The approximate size of the words in bytes: exact for ASCII, and at least half for other common text."""
    return len("".join(map(str, words))) + 8 * len(words)
