"""The names of all Redis keys; `parse` is the inverse.

A pool's keys share one hash tag, so that on Redis Cluster they are in one slot and a script may access them all:
`<prefix>:{<pool>}:<what>`, or `<prefix>:{<pool>}:allocation:<id>` for a record.  Names cannot contain braces
(`allocator.validation`), so the tag is always the pool's name and a key can be parsed unambiguously.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

from allocator import settings

FIXED = ("pool", "deadlines", "pinned", "ended", "events")
"""The keys that each pool has once, by their name in the script headers."""

RECORD = "allocation"

WAKE = "wake"
"""The channels of waiting calls: no keys, but named like them."""


@dataclass(frozen=True)
class PoolKeys:
    """The keys of one pool, and what its calls say of their caller.

    `epoch` is the only epoch of the pool that the caller accepts; "" is any.  `actor` is who calls; "" is unknown.
    """

    name: str
    prefix: str = settings.PREFIX_DEFAULT
    epoch: str = ""
    actor: str = ""

    @cached_property
    def base(self) -> str:
        return f"{self.prefix}:{{{self.name}}}:"

    def __getitem__(self, what: str, /) -> str:
        return self._fixed[what]

    @cached_property
    def _fixed(self) -> dict[str, str]:
        return {what: self.base + what for what in FIXED}

    def record(self, allocation_id: str) -> str:
        """The key of an allocation's record."""
        return f"{self.base}{RECORD}:{allocation_id}"

    def wake_channel(self, call: str) -> str:
        """The channel, in the slot of the pool, on which a script says that the waiting call may be asked again."""
        return f"{self.base}{WAKE}:{call}"

    @property
    def records_pattern(self) -> str:
        """A SCAN pattern that matches the pool's records.  Valid names have no glob characters."""
        return f"{self.base}{RECORD}:*"


@lru_cache(maxsize=1024)
def pool_keys(name: str, prefix: str, epoch: str = "", actor: str = "") -> PoolKeys:
    """The keys of a pool whose names were validated; cached, as every call needs them."""
    return PoolKeys(name, prefix, epoch, actor)


def pools_pattern(prefix: str) -> str:
    """A SCAN pattern that matches each pool's account."""
    return f"{prefix}:{{*}}:pool"


def parse(key: str, prefix: str) -> tuple[str, str, str] | None:
    """Parse a key.

    Returns:
        (pool, what, allocation id or ""), or None if the key does not belong to this library under this prefix.
    """
    head, tail = f"{prefix}:{{", key[len(prefix) + 2 :]
    if not key.startswith(head):
        return None
    pool, closed, rest = tail.partition("}:")
    what, colon, allocation_id = rest.partition(":")
    if not closed or not pool or "{" in pool:
        return None
    if what == RECORD and colon and allocation_id:
        return pool, what, allocation_id
    return (pool, what, "") if what in FIXED and not colon else None
