"""Undo queue: calls whose outcome no caller receives, waiting to be undone; no I/O.

A call that ended ambiguous, or whose caller was cancelled or interrupted, may have been granted something that no
caller would release.  Its call id stays here until the script `undo` has ended it.  That script releases only a record
with this call id, and completes the call, so that a late copy of it has no effect.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from allocator import settings
from allocator._engine.operations import undo
from allocator._engine.protocol.flows import Call, Item
from allocator._engine.protocol.keys import PoolKeys

__all__ = ["CLOSED", "Undo", "UndoQueue", "undo_call"]

_log = logging.getLogger("allocator")

CLOSED: Final = "the client was closed"
"""The reason logged for calls that are not undone because the client was closed."""

_WHAT_STAYS: Final = "a lease that was granted stays until its deadline, a pinned allocation until it is released"

_SHOWN: Final = 20
"""The maximum number of ids in a log record."""


class Undo(NamedTuple):
    """One call to undo, and the instant until which to try."""

    pool: PoolKeys
    call: str
    id: str
    until: float


class UndoQueue:
    """The calls of one driver to undo, oldest first.  Threads may share it: each step is an atomic deque operation."""

    def __init__(self, report: Callable[[str, str, int], object] | None = None) -> None:
        """Start empty.

        Args:
            report: Called with a pool's name, a change and a number: so many are `queued`, `done` or `failed`.
        """
        self._report = report
        self._waiting: deque[Undo] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, pool: PoolKeys, items: Iterable[Item]) -> bool:
        """Queue the items that have a call id; returns whether there were any."""
        until = time.monotonic() + settings.UNDO_FOR_S
        added = [Undo(pool, item.call, item.id, until) for item in items if item.call]
        self._waiting.extend(added)
        if self._report is not None and added:
            self._report(pool.name, "queued", len(added))
        while len(self._waiting) > settings.UNDO_QUEUE_MAX:
            self._give_up([self._waiting.popleft()], "too many are waiting")
        return bool(added)

    def next_batch(self) -> list[Undo]:
        """Take the oldest ones for one script call: of one pool, at most a batch; [] when none are left."""
        now = time.monotonic()
        group: list[Undo] = []
        for _ in range(len(self._waiting)):
            oldest = self._waiting.popleft()
            if oldest.until < now:
                self._give_up([oldest], "the server was out of reach, or refused, for too long")
            elif group and (oldest.pool != group[0].pool or len(group) >= settings.BATCH_ITEMS_MAX):
                self._waiting.appendleft(oldest)
                break
            else:
                group.append(oldest)
        return group

    def put_back(self, group: list[Undo]) -> None:
        """Return a group that could not be sent to the head of the queue."""
        self._waiting.extendleft(reversed(group))

    def finish(self, group: list[Undo]) -> None:
        """Record that these are undone."""
        if self._report is not None:
            self._report(group[0].pool.name, "done", len(group))

    def discard(self, group: list[Undo], reason: str) -> None:
        """Log that these are not undone."""
        self._give_up(group, reason)

    def abandon(self, reason: str) -> None:
        """Empty the queue and log that the calls in it are not undone."""
        left = list(self._waiting)
        self._waiting.clear()
        if left:
            self._give_up(left, reason)

    def _give_up(self, group: list[Undo], reason: str) -> None:
        if self._report is not None:
            for name, count in Counter(one.pool.name for one in group).items():
                self._report(name, "failed", count)
        shown = ", ".join(f"{one.pool.name}/{one.id or one.call}" for one in itertools.islice(group, _SHOWN))
        more = f" and {len(group) - _SHOWN} more" if len(group) > _SHOWN else ""
        _log.warning("not undone (%s): %s%s; %s", reason, shown, more, _WHAT_STAYS)


def undo_call(group: list[Undo]) -> Call:
    """The script call that undoes a group; one round trip."""
    return undo.undo(group[0].pool, [(one.call, one.id) for one in group]).call
