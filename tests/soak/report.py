"""What a stage tells, and which rare outcomes were seen: a run that met none of them has proved little."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

__all__ = ["RARE", "Coverage", "StageReport"]

RARE: Final = (
    "replayed", "fenced", "adopted", "recovering", "noscript", "readonly", "moved", "ask", "busy", "oom", "noreplicas",
    "clock_jump", "overcommitted",
)  # fmt: skip
"""Outcomes that must have been seen in a whole run."""


@dataclass
class StageReport:
    """One stage: its seeds, what it counted, and what went wrong; without problems it has passed."""

    name: str
    seeds: list[int] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0
    skipped: str = ""

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "name": self.name, "seeds": self.seeds, "counts": dict(self.counts), "problems": self.problems,
            "seconds": self.seconds, "skipped": self.skipped,
        }  # fmt: skip

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> StageReport:
        """The inverse."""
        return cls(**{**told, "counts": Counter(told["counts"])})


class Coverage(Counter[str]):
    """How often each rare outcome was seen."""

    def saw(self, name: str, times: int = 1) -> None:
        """It was seen so often."""
        self[name] += times

    def missing(self, minimums: Mapping[str, int]) -> list[str]:
        """What was seen less often than it must be."""
        return [
            f"{name}: seen {self[name]} times, at least {least} are wanted"
            for name, least in minimums.items()
            if self[name] < least
        ]
