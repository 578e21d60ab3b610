"""Slot map: which node of a cluster serves which slot; no I/O.

redis-py's cluster client is not used because it retries by itself.  The map is updated by CLUSTER SLOTS from any node,
and by a MOVED reply for one slot.  Where a node does not reply, CLUSTER SLOTS is sent to another.
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
    """The slot of all keys of a pool: their hash tag is the pool's name."""
    return key_slot(pool.name.encode())


class SlotMap:
    """The slot map of one cluster.  Threads may share it: a reader sees the old map or the new one."""

    def __init__(self, seeds: Sequence[Address], remap: Callable[[Address], Address] | None = None) -> None:
        """Start with an empty map.

        Args:
            seeds: The nodes to ask first.
            remap: Maps an address that a node reports to the one to connect to.
        """
        self._seeds = tuple(seeds)
        self._remap = remap
        self._owners: list[Address | None] = []
        self.outdated = True
        """Whether the map must be read before the next call."""

    def owner(self, slot: int) -> Address | None:
        """The primary that serves the slot; None if unknown."""
        return self._owners[slot] if self._owners else None

    def primaries(self) -> list[Address]:
        """All nodes that serve a slot."""
        return list(dict.fromkeys(owner for owner in self._owners if owner is not None))

    def candidates(self, *, last: Address | None = None) -> list[Address]:
        """The nodes to ask for the map, in order: known primaries shuffled, then the seeds, then `last`.

        `last` is the node that has just failed.
        """
        known = self.primaries()
        random.shuffle(known)
        order = list(dict.fromkeys([*known, *self._seeds]))
        if last in order:
            order.remove(last)
            order.append(last)
        return order

    def update(self, reply: Iterable[Any], told_by: Address) -> None:
        """Replace the map by the reply to `SLOTS_COMMAND` from the node `told_by`."""
        owners: list[Address | None] = [None] * _SLOTS
        for first, last, primary, *_ in reply:
            owner = self.address(str(primary[0] or ""), int(primary[1]), told_by)
            owners[int(first) : int(last) + 1] = [owner] * (int(last) - int(first) + 1)
        self._owners = owners
        self.outdated = False

    def set_owner(self, slot: int, owner: Address) -> None:
        """Set the owner of one slot, as a MOVED reply names it."""
        if self._owners:
            self._owners[slot] = owner

    def address(self, host: str, port: int, told_by: Address) -> Address:
        """The address to connect to for one that a node reports; an empty or unknown host means that node's host."""
        address = (told_by[0] if host in ("", "?") else host, port)
        return self._remap(address) if self._remap is not None else address
