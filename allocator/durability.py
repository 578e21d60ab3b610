"""Durability: the level that a change must reach before its call returns: `memory`, `replicated:N`, `fsynced`, or both.

`memory`: the primary has executed it.  `replicated:N`: at least N replicas have it too (WAIT).  `fsynced`: it is on the
primary's disk (WAITAOF, or `appendfsync always` where the server has no WAITAOF).  No level makes a failover lossless
by itself: `docs/reliability.md` has the cost and guarantee of each.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Self

from allocator.errors import InvalidRequest
from allocator.quantity import shown
from allocator.settings import DURABLE_REPLICAS_MAX

__all__ = ["MEMORY", "Durability", "durability"]

MEMORY: Final = "memory"

_FORM: Final = re.compile(r"memory|(fsynced)?(?(1)(?:\+replicated:([0-9]{1,2}))?|replicated:([0-9]{1,2}))", re.ASCII)


@dataclass(frozen=True, slots=True)
class Durability:
    """A level: the number of replicas, and whether on disk."""

    replicas: int = 0
    fsynced: bool = False

    def __bool__(self) -> bool:
        return bool(self.replicas or self.fsynced)

    def __str__(self) -> str:
        parts = ["fsynced"] if self.fsynced else []
        if self.replicas:
            parts.append(f"replicated:{self.replicas}")
        return "+".join(parts) or MEMORY

    def __or__(self, other: Durability) -> Durability:
        """The lowest level that satisfies both."""
        return Durability(max(self.replicas, other.replicas), self.fsynced or other.fsynced)

    def covers(self, wanted: Durability) -> bool:
        """Whether this level, once reached, satisfies the wanted one."""
        return self.replicas >= wanted.replicas and self.fsynced >= wanted.fsynced

    @classmethod
    def read(cls, text: str) -> Self:
        """Decode a level from its text in a script's reply."""
        fsynced, _, rest = text.rpartition("replicated:") if "replicated:" in text else (text, "", "")
        return cls(int(rest) if rest.isdecimal() else 0, fsynced.startswith("fsynced"))


@lru_cache(maxsize=64)
def _durability(text: str) -> Durability:
    level = Durability.read(text)
    if not _FORM.fullmatch(text) or level.replicas > DURABLE_REPLICAS_MAX or "replicated:0" in text.split("+"):
        raise InvalidRequest(
            f"durability: {shown(text)} is none of memory, replicated:N, fsynced, fsynced+replicated:N "
            f"(N from 1 to {DURABLE_REPLICAS_MAX})",
            field="durability",
        )
    return level


def durability(value: object) -> Durability:
    """Validate a level as a caller writes it; None: the pool's level."""
    if value is None:
        return Durability()
    if not isinstance(value, str) or len(value) > 64:
        raise InvalidRequest(f"durability: {shown(value)} is not the text of a level", field="durability")
    return _durability(value)
