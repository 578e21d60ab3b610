"""What was in use in truth: the sum of what all holders believed they held, whatever the store says.

A holder believes that it has an allocation from the instant at which the reply to its request was there, until it sent
the release, or its hold said that it is lost, or its own clock said that the time is over.  Each process notes that in
a `Journal` of its own, by CLOCK_MONOTONIC, which all processes of a machine share; so the journals can be laid over
each other, and `worst` sweeps over them.

The notes are written at once, a line each: what a process that was killed had believed is believed until its end.
"""

from __future__ import annotations

import collections
import json
import math
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

__all__ = ["Belief", "History", "Journal", "Loss", "Outage", "Peak", "Reality", "lost_alive", "read", "worst"]

LAPSED: Final = "lapsed"
"""The code of a loss that the holder's own clock told it of."""


def now() -> float:
    """Seconds of the clock that all processes of this machine share."""
    return time.clock_gettime(time.CLOCK_MONOTONIC)


@dataclass(frozen=True, slots=True)
class Belief:
    """Somebody believed to have `amount` from `since` until `until`."""

    id: str
    amount: int
    since: float
    until: float


@dataclass(frozen=True, slots=True)
class Loss:
    """A holder was told at `at` that its allocation is its no more; `code` is the hold's."""

    id: str
    at: float
    code: str


@dataclass(frozen=True, slots=True)
class Outage:
    """Nobody's calls could get through from `since` until `until`."""

    since: float
    until: float


@dataclass(frozen=True, slots=True)
class Peak:
    """The instant at which most was in use."""

    amount: int = 0
    at: float = 0.0


@dataclass(slots=True)
class History:
    """What the processes have noted, laid over each other."""

    beliefs: list[Belief] = field(default_factory=list)
    losses: list[Loss] = field(default_factory=list)
    seen: collections.Counter[str] = field(default_factory=collections.Counter)


class Journal:
    """What one process believes; its threads share it.  `seen` counts what else it met, by name."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", encoding="utf-8", buffering=1)
        self._lock = threading.Lock()
        self._open: set[str] = set()

    def begins(self, id: str, amount: int) -> None:
        """A grant was answered: from now on it is held.  Each belief has an id of its own."""
        with self._lock:
            self._open.add(id)
            self._write("begins", id, amount)

    def ends(self, id: str) -> None:
        """It is given back, or known to be over: from now on it is not held.  Repeating changes nothing."""
        with self._lock:
            if id in self._open:
                self._open.remove(id)
                self._write("ends", id)

    def lost(self, id: str, code: str) -> None:
        """Its holder was told so; it stops at this instant."""
        with self._lock:
            self._write("lost", id, code)
            if id in self._open:
                self._open.remove(id)
                self._write("ends", id)

    def saw(self, name: str, times: int = 1) -> None:
        """Something of that name was met."""
        with self._lock:
            self._write("saw", name, times)

    def _write(self, kind: str, *words: str | int) -> None:
        self._file.write(json.dumps([kind, now(), *words]) + "\n")

    def close(self) -> None:
        """Write no more."""
        with self._lock:
            self._file.close()


def read(paths: Iterable[Path], *, until: float | None = None) -> History:
    """Lay the journals of all processes over each other; what was not ended was believed until then (None: for ever).

    A half-written last line, of a process that was killed, is left out.
    """
    history = History()
    for path in paths:
        begun: dict[str, tuple[float, int]] = {}
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                kind, at, *words = json.loads(line)
            except ValueError:
                continue
            _take(history, begun, kind, at, words)
        end = math.inf if until is None else until
        history.beliefs += [Belief(name, amount, since, end) for name, (since, amount) in begun.items()]
    return history


def _take(history: History, begun: dict[str, tuple[float, int]], kind: str, at: float, words: list[Any]) -> None:
    match kind, words:
        case "begins", [id, amount]:
            begun[id] = (at, amount)
        case "ends", [id] if id in begun:
            since, amount = begun.pop(id)
            history.beliefs.append(Belief(id, amount, since, at))
        case "lost", [id, code]:
            history.losses.append(Loss(id, at, code))
        case "saw", [name, times]:
            history.seen[name] += times


def worst(beliefs: Iterable[Belief]) -> Peak:
    """The most that was held at any instant; what ends at an instant is not held at it."""
    changes = [(one.since, one.amount) for one in beliefs if one.until > one.since]
    changes += [(one.until, -one.amount) for one in beliefs if one.until > one.since]
    total, peak = 0, Peak()
    for at, change in sorted(changes):  # at the same instant what ends, a negative change, comes first
        total += change
        if total > peak.amount:
            peak = Peak(total, at)
    return peak


def lost_alive(losses: Iterable[Loss], outages: Sequence[Outage], *, slack_s: float) -> list[Loss]:
    """Losses of holders that were alive and whose renewals could get through.

    Any but those that lapsed while calls could not get through, or so shortly afterwards (`slack_s`) that the next
    renewal had not been due.
    """

    def is_excused(loss: Loss) -> bool:
        return loss.code == LAPSED and any(one.since <= loss.at <= one.until + slack_s for one in outages)

    return [loss for loss in losses if not is_excused(loss)]


@dataclass(frozen=True, slots=True)
class Reality:
    """The figures of a run.

    `excess` is the worst real over-allocation; `lost` counts live leases that were lost, `lapsed` those whose holders
    could not be heard.
    """

    capacity: int
    peak: Peak
    beliefs: int
    lost: int
    lapsed: int

    @classmethod
    def of(cls, history: History, capacity: int, outages: Sequence[Outage], *, slack_s: float) -> Reality:
        """Of what was noted, where the same outages were everybody's."""
        return cls.judged(history, capacity, lost_alive(history.losses, outages, slack_s=slack_s))

    @classmethod
    def judged(cls, history: History, capacity: int, lost: Sequence[Loss]) -> Reality:
        """Of what was noted, and of the losses which have no excuse."""
        peak = worst(list(history.beliefs))
        return cls(capacity, peak, len(history.beliefs), len(lost), len(history.losses) - len(lost))

    @property
    def excess(self) -> int:
        """How much more than there is was in use at the worst instant."""
        return max(0, self.peak.amount - self.capacity)
