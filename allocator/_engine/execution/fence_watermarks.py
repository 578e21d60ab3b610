"""The highest fence that a driver has seen of each pool: its high-water mark; no I/O.

A pool's fences only grow.  So a store that does not know a fence which it has given has lost data: it was rolled back
to a backup, or a replica was promoted that lacked the last writes.  The mark goes along with each call, and the
script compares (`lua/modules/recovery.lua`).  It is tied to the pool's epoch: a pool that is made again counts anew.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from allocator._engine.protocol.keys import PoolKeys
from allocator._engine.protocol.scripts import Argument, Script

__all__ = ["FenceWatermarks"]

_GRANTED: Final = "granted"
_GRANTING: Final = "allocate"
_NONE: Final = ("", 0)


class FenceWatermarks:
    """The marks of one driver, by pool.  Threads may share it: each step is one of a dictionary's own."""

    __slots__ = ("_clock", "_seen")

    def __init__(self, clock: Callable[[], int] | None) -> None:
        """Know of no fence.

        Args:
            clock: Gives the instant that the scripts take for now; None: they ask the server.
        """
        self._clock = clock
        self._seen: dict[str, tuple[str, int]] = {}

    def envelope(self, pool: PoolKeys) -> tuple[Argument, ...]:
        """The arguments of a call that come before its own: the instant and the mark."""
        return (self._clock() if self._clock else 0, *self._seen.get(pool.base, _NONE))

    def observe(self, script: Script, pool: PoolKeys, reply: Any) -> None:
        """Learn from a reply.  Fences grow from item to item, so the last grant has the largest."""
        if script.name != _GRANTING:
            return
        for pending in reversed(reply):
            if pending[0] == _GRANTED:
                fence, epoch = pending[1], pending[4]
                known = self._seen.get(pool.base, _NONE)
                if known[0] != epoch or known[1] < fence:
                    self._seen[pool.base] = (epoch, fence)
                return
