"""Whose request fair share grants next: the rule as people read it, recomputed for each grant.

It shares no code with the scripts: it keeps no places, and integrates what was used grant by grant.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

__all__ = ["FairShare", "Sharer"]


@dataclass
class Sharer:
    """A scope with a weight, or the pool, which stands for all without."""

    weight: int
    live: float = 0.0
    used: float = 0.0


@dataclass
class FairShare:
    """What each of them has and had, in parts of the pool."""

    half_life_ms: int
    sharers: dict[str, Sharer]
    now: int = 0
    allocations: dict[str, tuple[str, float]] = field(default_factory=dict)

    def pass_time(self, ms: int) -> None:
        """The mean of what is live, where an instant weighs half as much as one a half-life later."""
        kept = math.exp(-math.log(2) * ms / self.half_life_ms)
        for one in self.sharers.values():
            one.used = one.used * kept + one.live * (1 - kept)
        self.now += ms

    def grant(self, identity: str, sharer: str, share: float) -> None:
        self.allocations[identity] = (sharer, share)
        self.sharers[sharer].live += share

    def end(self, identity: str) -> None:
        sharer, share = self.allocations.pop(identity)
        self.sharers[sharer].live -= share

    def load(self, sharer: str) -> float:
        """What is compared: the smallest goes first."""
        one = self.sharers[sharer]
        return (one.used + one.live / 10) / one.weight

    def unseen(self, sharer: str, stale_ms: int) -> float:
        """What it has used in that time, as it counts."""
        one = self.sharers[sharer]
        return 1.1 * one.live * (1 - 0.5 ** (stale_ms / self.half_life_ms)) / one.weight

    def best(self, sharers: Iterable[str]) -> float:
        return min(map(self.load, sharers))
