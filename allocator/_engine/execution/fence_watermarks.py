"""Fence watermarks: the highest fence that a driver has seen of each pool; no I/O.

A pool's fences only grow.  So a server whose pool is behind a fence that it has given has lost data: it was restored
from a backup, or a replica was promoted that lacked the last writes.  Each call carries the watermark, and the script
compares it (`lua/modules/recovery.lua`).  It belongs to the pool's epoch: a pool that is created again starts anew.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from allocator._engine.protocol.keys import PoolKeys
from allocator._engine.protocol.scripts import Argument, Script

__all__ = ["FenceWatermarks"]

_GRANTED: Final = "granted"
_REPLAYED: Final = "replayed"
_EPOCH_AT: Final = 2
_FENCE_AT: Final = 8
"""Where the fields of a replayed record stand (`records.reply`)."""

_GRANTING: Final = "allocate"
_NONE: Final = ("", 0)


class FenceWatermarks:
    """The watermarks of one driver, by pool.  Threads may share it: each step is an atomic dictionary operation."""

    __slots__ = ("_clock", "_seen")

    def __init__(self, clock: Callable[[], int] | None) -> None:
        """Start without watermarks.

        Args:
            clock: Returns the instant that the scripts take for now, in milliseconds; None: they use the server's.
        """
        self._clock = clock
        self._seen: dict[str, tuple[str, int]] = {}

    def envelope(self, pool: PoolKeys) -> tuple[Argument, ...]:
        """The first arguments of each call: the instant, and the epoch and fence of the watermark."""
        return (self._clock() if self._clock else 0, *self._seen.get(pool.base, _NONE))

    def observe(self, script: Script, pool: PoolKeys, reply: Any) -> None:
        """Raise the watermark to a reply's highest fence.  Fences grow from item to item, so the last grant has it.

        A grant from the line is replayed to the caller that waited.
        """
        if script.name != _GRANTING:
            return
        for pending in reversed(reply):
            if pending[0] == _GRANTED:
                self._raise(pool, pending[4], pending[1])
                return
            if pending[0] == _REPLAYED:
                self._raise(pool, pending[_EPOCH_AT], int(pending[_FENCE_AT]))

    def _raise(self, pool: PoolKeys, epoch: str, fence: int) -> None:
        known = self._seen.get(pool.base, _NONE)
        if known[0] != epoch or known[1] < fence:
            self._seen[pool.base] = (epoch, fence)
