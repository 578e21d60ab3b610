"""The watcher: reads the pool during the whole run, and only reads.

Each reading of `usage` is atomic, so a single one with more allocated than the capacity would prove an over-allocation.
Audits compare the counters with the records while they change.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Final

from allocator import Allocator, AllocatorError, Event, Usage

__all__ = ["Seen", "Watcher"]

READ_S: Final = 0.025
"""Seconds between two readings of the usage."""

EVENTS_S: Final = 0.05
AUDIT_S: Final = 1.0

EVENTS_FEW: Final = 50
EVENTS_MOST: Final = 500
"""Events of one call: few, and the maximum if the few do not reach back to those read before."""

SHOWN: Final = 12
"""The number of last events that are shown."""


@dataclass(slots=True)
class Seen:
    """The watcher's results so far."""

    usage: Usage | None = None
    readings: int = 0
    over_allocations: list[str] = field(default_factory=list[str])
    peak: dict[str, float] = field(default_factory=dict[str, float])
    area: dict[str, float] = field(default_factory=dict[str, float])
    watched_s: float = 0.0
    audits: int = 0
    drift: list[str] = field(default_factory=list[str])
    events: Counter[str] = field(default_factory=Counter[str])
    reclaimed_of: Counter[str] = field(default_factory=Counter[str])
    from_line: set[str] = field(default_factory=set[str])
    """The ids of what was granted to requests that waited in line."""
    events_missed: bool = False
    last_events: deque[Event] = field(default_factory=lambda: deque[Event](maxlen=SHOWN))
    answered_s: float = field(default_factory=time.monotonic)
    """When the server last replied, in monotonic seconds."""
    last_error: str = ""

    def read(self, usage: Usage, passed_s: float) -> None:
        """Add one atomic reading, which counts for `passed_s` seconds."""
        self.usage = usage
        self.readings += 1
        self.watched_s += passed_s
        for name, resource in usage.resources.items():
            self.peak[name] = max(self.peak.get(name, 0.0), resource.utilization)
            self.area[name] = self.area.get(name, 0.0) + resource.utilization * passed_s
            if resource.overcommitted:
                self.over_allocations.append(f"{name}: {resource.allocated} of {resource.capacity} at {usage.read_ms}")

    def mean(self) -> dict[str, float]:
        """Utilisation over all the time watched, in per cent."""
        return {name: area / self.watched_s if self.watched_s else 0.0 for name, area in self.area.items()}


class Watcher:
    """A thread that reads.  `seen` may be read from any thread at any time."""

    def __init__(self, allocator: Allocator) -> None:
        self.seen = Seen()
        self._allocator = allocator
        self._ended = threading.Event()
        self._newest = ""
        self._read_s = time.monotonic()
        self._thread = threading.Thread(target=self._watch, name="watcher", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._read_s = time.monotonic()
        self._thread.start()

    def stop(self) -> None:
        """End the thread, after one last reading.  It may be called again."""
        self._ended.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _watch(self) -> None:
        events_s = audit_s = 0.0
        while True:
            last = self._ended.wait(READ_S)
            now_s = time.monotonic()
            try:
                self._read_usage()
                if last or now_s >= events_s:
                    events_s = now_s + EVENTS_S
                    self._read_events()
                if last or now_s >= audit_s:
                    audit_s = now_s + AUDIT_S
                    self._audit()
            except AllocatorError as error:  # the replicas handle an unreachable server
                self.seen.last_error = f"{type(error).__name__}: {error}"
            if last:
                return

    def _read_usage(self) -> None:
        usage = self._allocator.pools.usage()
        now_s = self.seen.answered_s = time.monotonic()
        self.seen.read(usage, now_s - self._read_s)
        self._read_s = now_s

    def _read_events(self) -> None:
        """Read the events since the last call: newest first, up to the last known one."""
        events: list[Event] = []
        known: int | None = None
        for limit in (EVENTS_FEW, EVENTS_MOST):
            events = self._allocator.events.list(limit=limit)
            known = next((i for i, event in enumerate(events) if event.id == self._newest), None)
            if known is not None or len(events) < limit:
                break
        if known is None and (self._newest or len(events) == EVENTS_MOST):
            self.seen.events_missed = True
        fresh = events[:known]
        self.seen.events.update(event.kind for event in fresh)
        self.seen.reclaimed_of.update(event.fields.get("owner", "") for event in fresh if event.kind == "reclaimed")
        self.seen.from_line.update(
            event.fields.get("id", "")
            for event in fresh
            if event.kind == "granted" and event.fields.get("reason") == "waited"
        )
        self.seen.last_events.extend(reversed(fresh))
        if events:
            self._newest = events[0].id

    def _audit(self) -> None:
        audit = self._allocator.maintenance.audit()
        self.seen.audits += audit.status != "inconclusive"
        if audit.status == "drift":
            self.seen.drift.extend(f"{finding.kind} {finding.subject} {finding.detail}" for finding in audit.findings)
