"""Calls whose outcome nobody will hear of, waiting to be undone; no I/O.

A call that ended in doubt, or whose caller was cancelled or interrupted, may have been granted what nobody will give
back. Its call id waits here until the script `undo` has ended it: that releases only a record which carries this
very call id, and makes a copy of the call that is still travelling come to nothing.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from allocator import settings
from allocator._engine.operations import undo
from allocator._engine.protocol.flows import Call, Item
from allocator._engine.protocol.keys import PoolKeys

__all__ = ["CLOSED", "Undo", "UndoQueue", "undo_call"]

_log = logging.getLogger("allocator")

CLOSED: Final = "the client was closed"
"""Why what is left when a client ends is not withdrawn."""

_SHOWN: Final = 20
"""Ids that a log line names."""


@dataclass(frozen=True, slots=True)
class Undo:
    """One call to be withdrawn, and until when to try."""

    pool: PoolKeys
    call: str
    id: str
    until: float


class UndoQueue:
    """The withdrawals of one driver, oldest first.  Threads may share it: each step is one of the deque's own."""

    def __init__(self) -> None:
        self._waiting: deque[Undo] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, pool: PoolKeys, items: Iterable[Item]) -> bool:
        """Queue the items that have a call id; say whether there were any."""
        until = time.monotonic() + settings.UNDO_FOR_S
        added = [Undo(pool, item.call, item.id, until) for item in items if item.call]
        self._waiting.extend(added)
        while len(self._waiting) > settings.UNDO_QUEUE_MAX:
            self._give_up([self._waiting.popleft()], "too many are waiting")
        return bool(added)

    def next_batch(self) -> list[Undo]:
        """The oldest ones that one script call can take: of one pool, at most a batch; [] when none are left."""
        now = time.monotonic()
        group: list[Undo] = []
        for _ in range(len(self._waiting)):
            oldest = self._waiting.popleft()
            if oldest.until < now:
                self._give_up([oldest], "the store was out of reach, or refused, for too long")
            elif group and (oldest.pool != group[0].pool or len(group) >= settings.BATCH_ITEMS_MAX):
                self._waiting.appendleft(oldest)
                break
            else:
                group.append(oldest)
        return group

    def put_back(self, group: list[Undo]) -> None:
        """Return what could not be sent, in its place."""
        self._waiting.extendleft(reversed(group))

    def discard(self, group: list[Undo], reason: str) -> None:
        """Note that these cannot be withdrawn."""
        self._give_up(group, reason)

    def abandon(self, reason: str) -> None:
        """Note that all that are left will not be withdrawn."""
        left = list(self._waiting)
        self._waiting.clear()
        if left:
            self._give_up(left, reason)

    def _give_up(self, group: list[Undo], reason: str) -> None:
        shown = ", ".join(f"{one.pool.name}/{one.id or one.call}" for one in itertools.islice(group, _SHOWN))
        more = f" and {len(group) - _SHOWN} more" if len(group) > _SHOWN else ""
        _log.warning("not withdrawn (%s): %s%s; what was granted stays until its deadline", reason, shown, more)


def undo_call(group: list[Undo]) -> Call:
    """The script call that withdraws a group."""
    return undo.undo(group[0].pool, [(one.call, one.id) for one in group]).call
