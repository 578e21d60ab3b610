"""What the parent reads of the pool ten times a second: its counters, the tree of scopes, and the line.

Each of the three is one script call, so what it shows was true at one instant.  Each reading of the tree is checked:
no scope above its limits, each sum right, each guarantee there.  Each reading of the line is checked for a waiter that
could have gone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from allocator import Allocator, Quota, QuotaUsage, Resources, Usage
from allocator.apps.demo.students_plan import INSTRUCTOR
from allocator.models.queue import Waiter

__all__ = ["COULD_GO_MAX_S", "Reading", "Sight", "could_go", "kept_for", "wrong_in"]

COULD_GO_MAX_S: Final = 1.0
"""Seconds for which a request may be in line although nothing stands against it: 10 readings."""


@dataclass(frozen=True, slots=True)
class Reading:
    """The pool, its scopes and its line, read one after another."""

    usage: Usage
    tree: Mapping[str, Quota]
    line: Sequence[Waiter]


@dataclass(slots=True)
class Sight:
    """The readings so far."""

    last: Reading | None = None
    readings: int = 0
    wrong: list[str] = field(default_factory=list[str])
    longest_line: int = 0
    longest_idle_s: float = 0.0
    """The longest time for which one request was in line although it could have gone."""
    idle: list[str] = field(default_factory=list[str])
    passed: list[str] = field(default_factory=list[str])
    """Readings in which somebody stood before the instructor's lab."""
    borrowed_peak: dict[str, int] = field(default_factory=dict[str, int])
    _idle_since_s: dict[str, float] = field(default_factory=dict[str, float])

    def read(self, allocator: Allocator, capacity: Resources, at_s: float) -> Reading:
        """Read the pool and check it.

        Raises:
            AllocatorError: The server did not answer.
        """
        line = allocator.queue.list()
        tree = allocator.quotas.tree()
        reading = Reading(allocator.pools.usage(), tree, line)
        self.add(reading, capacity, at_s)
        return reading

    def add(self, reading: Reading, capacity: Resources, at_s: float) -> None:
        """Add a reading, made `at_s` seconds after the beginning."""
        self.last = reading
        self.readings += 1
        self.wrong += wrong_in(reading.tree, capacity)
        self.longest_line = max(self.longest_line, len(reading.line))
        for scope, quota in reading.tree.items():
            row = quota.resources.get("cpu")
            if row and row.borrowed:
                self.borrowed_peak[scope] = max(self.borrowed_peak.get(scope, 0), row.borrowed)
        self.passed += [f"{waiter.id} was number {waiter.position}" for waiter in _not_first(reading.line)]
        self._idle_since_s = {one: self._idle_since_s.get(one, at_s) for one in could_go(reading.line)}
        for one, since_s in self._idle_since_s.items():
            self.longest_idle_s = max(self.longest_idle_s, at_s - since_s)
            if at_s - since_s > COULD_GO_MAX_S and one not in self.idle:
                self.idle.append(one)


def _not_first(line: Sequence[Waiter]) -> list[Waiter]:
    return [waiter for waiter in line if waiter.owner == INSTRUCTOR and waiter.position != 1]


def kept_for(row: QuotaUsage) -> int:
    """The part of a scope's guarantee that is not used: others cannot have it."""
    return max(0, row.guaranteed - row.used)


def wrong_in(tree: Mapping[str, Quota], capacity: Resources) -> list[str]:
    """What contradicts the promises in one reading of the tree; labs are charged to its leaves only."""
    wrong: list[str] = []
    below: dict[tuple[str, str], int] = {}
    for scope, quota in tree.items():
        for name, row in quota.resources.items():
            key = quota.parent, name
            below[key] = below.get(key, 0) + row.allocated
            if row.above:
                wrong.append(f"{scope}: {row.used} of {name} is above its limit {row.maximum}")
            if row.guaranteed and row.available < kept_for(row):
                wrong.append(f"{scope}: {row.available} of {name} is available, less than its guarantee")
            if quota.parent == "" and row.used > capacity.get(name, row.used):
                wrong.append(f"{scope}: {row.used} of {name} is more than there is")
    for parent in {quota.parent for quota in tree.values()} - {""}:
        for name, row in tree[parent].resources.items():
            if row.allocated != (total := below.get((parent, name), 0)):
                wrong.append(f"{parent}: {row.allocated} of {name} is allocated, and {total} in the scopes below it")
    return wrong


def could_go(line: Sequence[Waiter]) -> list[str]:
    """The ids that nothing stands against: they fit, and nobody before them is short of what they ask for.

    Of a waiter that is short of a quota, more may be short than its denial names, so all that it asks for counts.
    """
    free: list[str] = []
    short: set[tuple[str, str]] = set()
    for waiter in line:
        chain = {"", *_scopes_of(waiter)}
        names = {*waiter.resources, "allocations"}
        if waiter.denial is None:
            continue
        if waiter.denial.code != "queued":
            if all(one.level == "pool" for one in waiter.denial.shortages):
                names = {one.resource for one in waiter.denial.shortages}
            short |= {(scope, name) for scope in chain for name in names}
        elif not any((scope, name) in short for scope in chain for name in names):
            free.append(waiter.id)
    return free


def _scopes_of(waiter: Waiter) -> list[str]:
    parts = (waiter.scope or "").split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]
