"""What is shown of a pool: one reading, and a minute of history.  No I/O and no terminal."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from allocator.models.accounts import ResourceUsage
from allocator.models.allocations import Allocation
from allocator.models.pools import Usage
from allocator.models.queue import Waiter
from allocator.models.quotas import Quota

__all__ = ["HISTORY_S", "STALE_S", "History", "Reading", "level"]

HISTORY_S: Final = 60.0
"""Seconds of history beside each bar."""

STALE_S: Final = 12.0
"""Seconds after which figures that were not read again are called stale: two refreshes at rest, and some."""

_SAMPLES_MAX: Final = 400
"""Readings that the history keeps: more than a minute of them at the shortest interval."""

HIGH_AT: Final = 70.0
NEAR_FULL_AT: Final = 90.0
"""The percentages from which a bar is yellow, and red."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One reading of a pool.

    `is_whole` says whether `allocations` has all of them; `at_s` is the monotonic time of this process at the reading.
    Instants and ages are by the server's clock: `now_ms`.
    """

    usage: Usage
    allocations: tuple[Allocation, ...]
    waiters: tuple[Waiter, ...]
    scopes: tuple[Quota, ...]
    at_s: float
    is_whole: bool = True

    def now_ms(self, monotonic_s: float) -> int:
        """The server's time now: that of the reading, and what has passed here since."""
        return self.usage.read_ms + round(max(0.0, monotonic_s - self.at_s) * 1000)

    def age_s(self, monotonic_s: float) -> float:
        """Seconds since the reading."""
        return max(0.0, monotonic_s - self.at_s)


def level(row: ResourceUsage) -> tuple[str, str]:
    """The word for how full a resource is, and its colour; the word is "" below `HIGH_AT`."""
    if row.overcommitted:
        return "over", "red"
    if row.utilization >= NEAR_FULL_AT:
        return ("full" if row.available == 0 else "near full"), "red"
    if row.available == 0:
        return "full", "red"
    return ("high", "yellow") if row.utilization >= HIGH_AT else ("", "green")


class History:
    """How full each resource was in the last minute."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, Mapping[str, float]]] = deque(maxlen=_SAMPLES_MAX)

    def add(self, at_s: float, usage: Usage) -> None:
        """Keep the percentages of a reading."""
        self._samples.append((at_s, {name: row.utilization for name, row in usage.resources.items()}))
        while self._samples[0][0] < at_s - 2 * HISTORY_S:
            self._samples.popleft()

    def clear(self) -> None:
        """Forget all, for another pool."""
        self._samples.clear()

    def shares(self, resource: str, now_s: float, cells: int) -> list[float | None]:
        """The percentages of the last minute, oldest first, the highest of each interval; None: not known.

        An interval without a reading has the percentage of the one before, unless that is stale.
        """
        width = HISTORY_S / cells
        first = int(now_s // width) - cells + 1
        samples = [(at_s, shares[resource]) for at_s, shares in self._samples if resource in shares]
        found: list[float | None] = []
        before: tuple[float, float] | None = None
        at = 0
        for number in range(cells):
            begins_s = (first + number) * width
            highest: float | None = None
            while at < len(samples) and samples[at][0] < begins_s + width:
                if samples[at][0] >= begins_s:
                    highest = max(samples[at][1], highest or 0.0)
                before = samples[at]
                at += 1
            if highest is None and before is not None and begins_s - before[0] <= STALE_S:
                highest = before[1]
            found.append(highest)
        return found
