"""What concurrent callers did and were told: each operation with the instants between which it took effect.

Instants are nanoseconds of this process's monotonic clock: all callers are its threads and tasks.  An operation whose
outcome nobody heard of may have taken effect at any instant after its beginning, or never.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

__all__ = ["NEVER", "UNKNOWN", "Amounts", "Op", "Recorder", "amounts_of"]

Amounts: TypeAlias = tuple[tuple[str, int], ...]
"""Exact amounts by resource, sorted by name."""

NEVER: Final = 1 << 62
"""The return of an operation that has none."""

UNKNOWN: Final = ("?",)
"""The outcome that nobody heard of."""


@dataclass(slots=True, eq=False)
class Op:
    """One operation on one pool.

    `outcome` begins with what the caller was told: see `model`.  `sent` is how often the library sent it, at the most:
    where that is more than once, its answer may be of a later instant than its effect.  Its `number` stands for its
    call id, which all that was sent had in common.
    """

    number: int
    process: int
    pool: str
    verb: str
    args: tuple[Any, ...]
    began: int
    ended: int = NEVER
    outcome: tuple[Any, ...] = UNKNOWN
    sent: int = 1

    @property
    def known(self) -> bool:
        """Whether the caller was told anything."""
        return self.outcome is not UNKNOWN

    @property
    def again(self) -> bool:
        """Whether more of it may arrive than what was answered."""
        return self.sent > 1 or not self.known

    def __str__(self) -> str:
        took = "         ?" if self.ended == NEVER else f"{(self.ended - self.began) / 1e6:7.2f} ms"
        again = f" (sent {self.sent} times)" if self.sent > 1 else ""
        return f"#{self.number} p{self.process} +{took} {self.verb}{self.args} -> {self.outcome}{again}"


class Recorder:
    """Collects what threads and tasks did."""

    def __init__(self) -> None:
        self.ops: list[Op] = []
        self._lock = threading.Lock()
        self._next = 1

    def begin(self, process: int, pool: str, verb: str, *args: Any) -> Op:
        """Note the beginning, before the first byte is sent."""
        with self._lock:
            op = Op(self._next, process, pool, verb, args, time.monotonic_ns())
            self._next += 1
            self.ops.append(op)
        return op

    def end(self, op: Op, *outcome: Any, sent: int = 1) -> None:
        """Note what the caller was told, once it was."""
        op.ended = time.monotonic_ns()
        op.outcome, op.sent = outcome, sent

    def forget(self, op: Op) -> None:
        """It was never executed: so the caller was told, and it is held to it."""
        with self._lock:
            self.ops.remove(op)

    def by_pool(self) -> dict[str, list[Op]]:
        """The operations of each pool by their beginnings: what one pool does is no other's business."""
        pools: dict[str, list[Op]] = defaultdict(list)
        for op in sorted(self.ops, key=lambda op: (op.began, op.number)):
            pools[op.pool].append(op)
        return pools


def amounts_of(resources: Iterable[tuple[str, int]]) -> Amounts:
    """As they are compared."""
    return tuple(sorted(resources))
