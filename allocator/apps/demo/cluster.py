"""The labs and their phases: the counterpart of a controller's API server.

It has no capacities, and the pool has no labs.  The fence links the two: a status is written with the fence of the
allocation under which the lab runs, and a write with an older fence is refused.  So a replica that was stalled, while
its lease lapsed and its lab went to another, cannot overwrite the status of the other.

Replicas read the statuses like an informer: each asks for the changes since the version that it has.
"""

from __future__ import annotations

import enum
import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

__all__ = ["Change", "Cluster", "Phase", "Status", "Transition"]


class Phase(enum.StrEnum):
    """The phases of a lab."""

    PENDING = "Pending"
    PROVISIONING = "Provisioning"
    RUNNING = "Running"
    COMPLETED = "Completed"
    FAILED = "Failed"

    @property
    def final(self) -> bool:
        """Whether no phase follows it."""
        return self in (Phase.COMPLETED, Phase.FAILED)

    @property
    def held(self) -> bool:
        """Whether a lab in this phase has an allocation."""
        return self in (Phase.PROVISIONING, Phase.RUNNING)


@dataclass(frozen=True, slots=True)
class Status:
    """A lab's phase, the replica and fence that wrote it (0: never granted), and how often the lab was begun."""

    phase: Phase = Phase.PENDING
    replica: str = ""
    fence: int = 0
    reason: str = ""
    runs: int = 0


@dataclass(frozen=True, slots=True)
class Transition:
    """A write of a replica: lab `index` is in `phase` now, under `fence`."""

    index: int
    phase: Phase
    fence: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Change:
    """A change that a replica reads: the status of lab `index`."""

    index: int
    phase: Phase
    replica: str
    fence: int


_MOVES: Final[dict[Phase, frozenset[Phase]]] = {
    Phase.PENDING: frozenset(),
    Phase.PROVISIONING: frozenset({Phase.PROVISIONING, Phase.RUNNING, Phase.FAILED, Phase.PENDING}),
    Phase.RUNNING: frozenset({Phase.RUNNING, Phase.COMPLETED, Phase.PENDING}),
    Phase.COMPLETED: frozenset(),
    Phase.FAILED: frozenset(),
}
"""The phases that may follow each phase under the same fence."""


class Cluster:
    """The statuses of all labs.  Threads may share it."""

    def __init__(self, labs: int) -> None:
        self._lock = threading.Lock()
        self._statuses = [Status() for _ in range(labs)]
        self._phases = Counter({Phase.PENDING: labs})
        self._log: list[int] = []

    def write(self, replica: str, transitions: Iterable[Transition]) -> list[bool]:
        """Write statuses, each independently; False for each that is refused and has no effect."""
        with self._lock:
            return [self._write(replica, transition) for transition in transitions]

    def _write(self, replica: str, wanted: Transition) -> bool:
        now = self._statuses[wanted.index]
        if not _may_follow(now, replica, wanted):
            return False
        runs = now.runs + (wanted.fence > now.fence)
        self._phases[now.phase] -= 1
        self._phases[wanted.phase] += 1
        self._statuses[wanted.index] = Status(wanted.phase, replica, wanted.fence, wanted.reason, runs)
        self._log.append(wanted.index)
        return True

    @property
    def version(self) -> int:
        """The number of statuses written so far."""
        return len(self._log)

    def since(self, version: int) -> tuple[int, list[Change]]:
        """The statuses written since `version` (0: ever), each lab once, and the present version."""
        with self._lock:
            return len(self._log), [
                Change(index, status.phase, status.replica, status.fence)
                for index in dict.fromkeys(self._log[version:])
                for status in (self._statuses[index],)
            ]

    def snapshot(self) -> Sequence[Status]:
        """All statuses at one instant."""
        with self._lock:
            return tuple(self._statuses)

    def phases(self) -> Counter[Phase]:
        """How many labs are in each phase."""
        with self._lock:
            return self._phases.copy()

    def in_hand(self, replica: str) -> list[int]:
        """The labs that a replica is working on."""
        return [i for i, status in enumerate(self.snapshot()) if status.replica == replica and status.phase.held]


def _may_follow(now: Status, replica: str, wanted: Transition) -> bool:
    """Whether a status may replace another.

    A final phase is final.  A newer fence begins the lab again.  Under the same fence its holder may change the phase.
    Fence 0, which no grant has, may only mark a lab as one that can never be granted.
    """
    if now.phase.final or wanted.fence < now.fence:
        return False
    if wanted.fence > now.fence:
        return wanted.phase is Phase.PROVISIONING
    if wanted.fence == 0:
        return wanted.phase is Phase.FAILED
    return replica == now.replica and wanted.phase in _MOVES[now.phase]
