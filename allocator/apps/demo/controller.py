"""The reconcile loop of one replica: how a controller uses this library.

One round has these steps; none of them waits for another replica:

1. Labs in hand whose time has come change their phase: Provisioning, Running, Completed (or Failed).
2. The leases of all labs in hand are renewed in one call, every third of their time to live.  A lab whose lease could
   not be renewed is dropped, as another replica may have it.
3. Statuses are written, and those of the other replicas are read.  *Then* ended labs are released: a replica that is
   granted such a lab afterwards reads that it has ended.
4. At intervals, labs with the status running are compared with the live allocations.  One without is an orphan: its
   replica died and its lease has lapsed.
5. Waiting labs are requested in one `allocate_many`.  The id is the lab's, so one of the requesting replicas is granted
   it, and the others get a conflict.  If the pool is full the outcome is a denial, and any replica requests the lab
   again later.  A lab that can *never* fit has failed.

If the loop dies at any point, its leases lapse, and its statuses are complete without it.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from allocator import (
    Allocation,
    AllocationConflict,
    Allocator,
    BackendError,
    Denial,
    Outcome,
    Request,
)
from allocator.apps.demo.cluster import Change, Phase, Transition
from allocator.apps.demo.lab_requests import LabRequest

__all__ = ["Cluster", "Controller", "Counters", "News", "Plan"]

BATCH: Final = 24
"""Labs requested in one round: enough to find one that fits, few enough to leave some for the others."""

RETRY_MIN_S: Final = 0.1
RETRY_MAX_S: Final = 1.0
"""Seconds before the same replica requests a lab again that did not fit: doubled, with jitter."""

OTHERS_SHARE_DELAY_S: Final = 0.15
"""Seconds for which a replica does not request labs of another's share, so that two seldom request the same."""

PROVISIONING_SHARE: Final = 0.15
"""The share of a lab's time for provisioning."""

RENEWALS_PER_TTL: Final = 3
RESYNCS_PER_TTL: Final = 2


@dataclass(frozen=True, slots=True)
class Plan:
    """The configuration of all replicas."""

    labs: Sequence[LabRequest]
    ttl_s: float
    speed: float
    seed: int
    failing: float

    def fails(self, lab: LabRequest) -> bool:
        """Whether this lab's provisioning fails: the same on every replica and in every run with this seed."""
        return random.Random(f"{self.seed}/{lab.name}").random() < self.failing


@dataclass(slots=True)
class Counters:
    """The counters of a replica."""

    granted: int = 0
    refused: int = 0
    conflicts: int = 0
    renewed: int = 0
    lost: int = 0
    stale: int = 0
    errors: int = 0


@dataclass(frozen=True, slots=True)
class News:
    """The reply to a write: which transitions were accepted, the changes, the time, and whether the run is over."""

    elapsed_s: float
    stop: bool
    accepted: Sequence[bool]
    changes: Sequence[Change]


class Cluster(Protocol):
    """Access to the statuses of the labs."""

    def sync(self, transitions: Sequence[Transition], counters: Counters) -> News:
        """Write transitions and read what has changed since the last time."""
        ...


@dataclass(slots=True)
class _Lab:
    """A lab in hand."""

    index: int
    allocation: Allocation
    phase: Phase
    next_s: float
    """When its next phase begins."""


@dataclass(slots=True)
class _Waiting:
    """Labs to request, by the time when they are due.  A lab is in it at most once; `put` moves it."""

    heap: list[tuple[float, int]] = field(default_factory=list[tuple[float, int]])
    due: dict[int, float] = field(default_factory=dict[int, float])

    def put(self, index: int, due_s: float) -> None:
        self.due[index] = due_s
        heapq.heappush(self.heap, (due_s, index))

    def drop(self, index: int) -> None:
        self.due.pop(index, None)

    def take(self, now_s: float, most: int) -> list[int]:
        taken: list[int] = []
        while self.heap and self.heap[0][0] <= now_s and len(taken) < most:
            due_s, index = heapq.heappop(self.heap)
            if self.due.get(index) == due_s:
                del self.due[index]
                taken.append(index)
        return taken


class Controller:
    """One replica.  `reconcile` is one round: it is quick, and it never raises for an unreachable server."""

    def __init__(
        self,
        plan: Plan,
        allocator: Allocator,
        cluster: Cluster,
        *,
        replica: str,
        share: int,
        shares: int,
        clock: Callable[[], float],
    ) -> None:
        """Prepare a replica.

        Args:
            plan: The labs and their outcomes.
            allocator: The client with the pool; calls are made with the owner `replica`.
            cluster: The labs' statuses.
            replica: Its name.
            share: The part of the labs that it requests first, from 0.
            shares: The number of parts.
            clock: Monotonic seconds.
        """
        self.counters = Counters()
        self._plan = plan
        self._allocator = allocator
        self._cluster = cluster
        self._replica = replica
        self._clock = clock
        self._random = random.Random(f"{plan.seed}/{replica}")
        self._begun_s = clock()
        self._in_hand: dict[int, _Lab] = {}
        self._view: dict[int, Change] = {}
        self._attempts: dict[int, int] = {}
        self._waiting = _Waiting()
        self._orphans: set[int] = set()
        self._renew_s = 0.0
        self._resync_s = plan.ttl_s
        self._stop = False
        for index, lab in enumerate(plan.labs):
            own = index % shares == share
            self._waiting.put(index, lab.arrives / plan.speed + (0.0 if own else OTHERS_SHARE_DELAY_S))

    def reconcile(self) -> bool:
        """Do one round; False when the run is over."""
        now_s = self._now_s()
        try:
            self._renew(now_s)
            ended = self._write(self._moves(now_s))
            self._release(ended)
            if now_s >= self._resync_s:
                self._resync_s = now_s + self._plan.ttl_s / RESYNCS_PER_TTL
                self._adopt_orphans()
            self._admit()
        except BackendError:
            self.counters.errors += 1  # unavailable or ambiguous: the next round retries, and leases lapse if it lasts
            self._write([])  # or a replica whose renewals fail would not see that the run, or its parent, has ended
        return not self._stop

    def give_up(self) -> None:
        """Release all labs in hand, as a controller should on a request to end."""
        self._allocator.release_many([lab.allocation for lab in self._in_hand.values()])
        self._in_hand.clear()

    def _now_s(self) -> float:
        """Seconds since the start of the run, which the parent sends with every sync."""
        return self._clock() - self._begun_s

    # -- labs in hand --------------------------------------------------------------------------------------------------
    def _moves(self, now_s: float) -> list[Transition]:
        """The transitions of the labs in hand that are due."""
        moves: list[Transition] = []
        for lab in self._in_hand.values():
            if now_s < lab.next_s:
                continue
            request = self._plan.labs[lab.index]
            if lab.phase is Phase.RUNNING:
                lab.phase, reason = Phase.COMPLETED, ""
            elif self._plan.fails(request):
                lab.phase, reason = Phase.FAILED, "provisioning failed"
            else:
                lab.phase, reason = Phase.RUNNING, ""
                lab.next_s = now_s + request.seconds / self._plan.speed * (1 - PROVISIONING_SHARE)
            moves.append(Transition(lab.index, lab.phase, lab.allocation.fence, reason))
        return moves

    def _renew(self, now_s: float) -> None:
        """Renew all leases in one call; a lost lab is written as Pending, so that any replica may request it."""
        if now_s < self._renew_s or not self._in_hand:
            return
        labs = list(self._in_hand.values())
        renewals = self._allocator.renew_many([lab.allocation for lab in labs])
        self._renew_s = now_s + self._plan.ttl_s / RENEWALS_PER_TTL
        lost: list[Transition] = []
        for lab, renewal in zip(labs, renewals, strict=True):
            if renewal:
                self.counters.renewed += 1
            else:
                self.counters.lost += 1
                del self._in_hand[lab.index]
                lost.append(Transition(lab.index, Phase.PENDING, lab.allocation.fence, "its lease lapsed"))
        if lost:
            self._write(lost)

    def _write(self, transitions: Sequence[Transition]) -> list[_Lab]:
        """Write statuses, read changes, and return the labs in hand to release: ended, or held by another replica."""
        news = self._cluster.sync(transitions, self.counters)
        self._begun_s = self._clock() - news.elapsed_s
        self._stop = news.stop
        for change in news.changes:
            self._view[change.index] = change
            self._orphans.discard(change.index)
            if change.phase is Phase.PENDING and change.index not in self._waiting.due:
                self._waiting.put(change.index, news.elapsed_s)
        ended: list[_Lab] = []
        for transition, accepted in zip(transitions, news.accepted, strict=True):
            self.counters.stale += not accepted
            if (transition.phase.final or not accepted) and (lab := self._in_hand.pop(transition.index, None)):
                ended.append(lab)
        return ended

    def _release(self, labs: Sequence[_Lab]) -> None:
        """Release the labs' allocations.  The fence ensures that only grants of this replica are released."""
        if labs:
            self._allocator.release_many([lab.allocation for lab in labs])

    # -- labs that wait ------------------------------------------------------------------------------------------------
    def _adopt_orphans(self) -> None:
        """Request the labs whose status is in hand, but which have no live allocation."""
        believed = [change for change in self._view.values() if change.phase.held and change.index not in self._in_hand]
        if not believed:
            return
        live = {allocation.id: allocation for allocation in self._allocator.list()}
        now_ms = self._allocator.pools.usage().read_ms
        for change in believed:
            allocation = live.get(self._id(change.index))
            lapsed = allocation is None or (allocation.deadline_ms is not None and allocation.deadline_ms <= now_ms)
            if lapsed:
                self._orphans.add(change.index)
                self._waiting.put(change.index, self._now_s())

    def _admit(self) -> None:
        """Request the due labs in one call, and record the grants."""
        now_s = self._now_s()
        asked = [index for index in self._waiting.take(now_s, BATCH) if self._is_open(index)]
        if not asked:
            return
        try:
            outcomes = self._allocator.allocate_many([self._request(index) for index in asked])
        except BackendError:
            for index in asked:
                self._again(index, RETRY_MAX_S)
            raise
        moves = [move for pair in zip(asked, outcomes, strict=True) for move in self._decide(*pair)]
        if moves:
            self._release(self._write(moves))

    def _is_open(self, index: int) -> bool:
        """Whether a lab must be requested: it waits, or its replica has died."""
        if index in self._in_hand:
            return False
        change = self._view.get(index)
        return change is None or change.phase is Phase.PENDING or index in self._orphans

    def _decide(self, index: int, outcome: Outcome) -> list[Transition]:
        """The transitions for one outcome."""
        match outcome:
            case Allocation():
                self.counters.granted += outcome.created
                self._orphans.discard(index)
                self._attempts.pop(index, None)
                lasts_s = self._plan.labs[index].seconds / self._plan.speed * PROVISIONING_SHARE
                self._in_hand[index] = _Lab(index, outcome, Phase.PROVISIONING, self._now_s() + lasts_s)
                return [Transition(index, Phase.PROVISIONING, outcome.fence)]
            case Denial() if outcome.never:
                return [Transition(index, Phase.FAILED, 0, str(outcome))]
            case Denial():
                self.counters.refused += 1
                self._attempts[index] = attempt = self._attempts.get(index, 0) + (index not in self._orphans)
                self._again(index, min(RETRY_MAX_S, RETRY_MIN_S * 2.0 ** min(attempt, 8)))
            case AllocationConflict():  # another replica was first: try again, as it may die before its first status
                self.counters.conflicts += 1
                self._orphans.discard(index)
                self._again(index, self._plan.ttl_s)
            case _:  # lost: a late copy of an older call; the lab is free again
                self._again(index, RETRY_MIN_S)
        return []

    def _again(self, index: int, after_s: float) -> None:
        self._waiting.put(index, self._now_s() + after_s * self._random.uniform(0.5, 1.0))

    def _request(self, index: int) -> Request:
        return Request(self._plan.labs[index].resources, ttl=self._plan.ttl_s, id=self._id(index), owner=self._replica)

    def _id(self, index: int) -> str:
        return f"lab/{self._plan.labs[index].name}"
