"""Which node of a cluster serves which slot; no I/O.

redis-py's cluster client would know it too, but it repeats calls on its own account.  Three things teach it: CLUSTER
SLOTS on any node, a MOVED reply (one slot), and, where a node does not answer, CLUSTER SLOTS on another.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from redis.crc import key_slot

from allocator._engine.protocol.keys import PoolKeys
from allocator._engine.transport.target import Address

__all__ = ["SLOTS_COMMAND", "SlotMap", "slot_of"]

SLOTS_COMMAND: Final = ("CLUSTER", "SLOTS")

_SLOTS: Final = 16_384


def slot_of(pool: PoolKeys) -> int:
    """The slot of all keys of a pool: that of its name, which is their hash tag."""
    return key_slot(pool.name.encode())


class SlotMap:
    """The map of one cluster.  Threads may share it: a reader sees the old map or the new one."""

    def __init__(self, seeds: Sequence[Address], remap: Callable[[Address], Address] | None = None) -> None:
        """Know nothing but some nodes.

        Args:
            seeds: Where to ask first.
            remap: Turns an address that a node tells into one to be used here.
        """
        self._seeds = tuple(seeds)
        self._remap = remap
        self._owners: list[Address | None] = []
        self.outdated = True
        """Whether the map is to be read anew before the next call."""

    def owner(self, slot: int) -> Address | None:
        """The primary that serves the slot, as far as is known."""
        return self._owners[slot] if self._owners else None

    def primaries(self) -> list[Address]:
        """All nodes that serve a slot."""
        return list(dict.fromkeys(owner for owner in self._owners if owner is not None))

    def candidates(self, *, last: Address | None = None) -> list[Address]:
        """Whom to ask for the map: known primaries in any order, then the seeds; `last`, who just failed, at the
        end.
        """
        known = self.primaries()
        random.shuffle(known)
        order = list(dict.fromkeys([*known, *self._seeds]))
        if last in order:
            order.remove(last)
            order.append(last)
        return order

    def update(self, reply: Iterable[Any], told_by: Address) -> None:
        """Take over the reply to `SLOTS_COMMAND`."""
        owners: list[Address | None] = [None] * _SLOTS
        for first, last, primary, *_ in reply:
            owner = self.address(str(primary[0] or ""), int(primary[1]), told_by)
            owners[int(first) : int(last) + 1] = [owner] * (int(last) - int(first) + 1)
        self._owners = owners
        self.outdated = False

    def set_owner(self, slot: int, owner: Address) -> None:
        """One slot has another owner."""
        if self._owners:
            self._owners[slot] = owner

    def address(self, host: str, port: int, told_by: Address) -> Address:
        """An address as a node tells it: an empty or unknown host means the node's own."""
        address = (told_by[0] if host in ("", "?") else host, port)
        return self._remap(address) if self._remap is not None else address
