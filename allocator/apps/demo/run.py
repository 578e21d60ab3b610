"""One run, from the empty pool to the result; all that it started has ended when it returns or raises.

The parent serves the replicas, watches, and kills one of them.
"""

from __future__ import annotations

import bisect
import contextlib
import itertools
import secrets
import time
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from allocator import Allocator, Resources, redact_url
from allocator.apps.demo.cluster import Cluster, Phase, Status
from allocator.apps.demo.controller import Plan
from allocator.apps.demo.fleet import Fleet, Replica
from allocator.apps.demo.lab_requests import LabRequest
from allocator.apps.demo.report import Summary
from allocator.apps.demo.screen import View
from allocator.apps.demo.watch import Seen, Watcher
from allocator.testing import PrivateServer

__all__ = ["SILENT_S", "STALL_S", "STEP_S", "Frame", "Settings", "leaks", "own_pool", "run"]

STEP_S: Final = 0.1
"""Seconds between two steps of the parent, and two updates of the view."""

CALL_S: Final = 2.0
"""Seconds that one of the parent's calls may take, so that an unreachable server is reported soon."""

KILL_AFTER: Final = 1 / 3
"""The share of the labs that has ended when a replica is killed: the pool is full then, and many labs remain."""

KILL_AT_LEAST: Final = 2
"""The least number of labs in hand of the replica that is killed, while many labs remain."""

STALL_S: Final = 30.0
"""Seconds without change, beyond the longest lab and the longest gap between arrivals, before a run is aborted."""

SILENT_S: Final = 15.0
"""Seconds for which the server may be unreachable before the run is aborted."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of a run."""

    labs: Sequence[LabRequest]
    capacity: Resources
    speed: float
    url: str | None = None
    replicas: int = 4
    ttl_s: float = 1.5
    seed: int = 1
    failing: float = 0.03
    kill: bool = True


@dataclass(frozen=True, slots=True)
class Frame:
    """The state of a run at one instant."""

    elapsed_s: float
    cluster: Cluster
    replicas: Sequence[Replica]
    seen: Seen
    to_come: int
    """Labs that are not requested yet."""

    def phases(self) -> Counter[Phase]:
        """The number of labs in each phase, without those that are still to come."""
        phases = self.cluster.phases()
        phases[Phase.PENDING] = max(0, phases[Phase.PENDING] - self.to_come)
        return phases


@dataclass(slots=True)
class _Kill:
    """The replica that was killed, and the labs that it had in hand."""

    name: str
    at_s: float
    fences: dict[int, int]
    reclaimed_s: float | None = None
    taken_over: int = 0
    taken_over_s: float | None = None

    def follow(self, cluster: Cluster, seen: Seen, elapsed_s: float) -> Iterator[str]:
        """Update which labs were reclaimed and begun again since the last call; yields messages to show."""
        count = len(self.fences)
        if self.reclaimed_s is None and seen.reclaimed_of[self.name] >= count:
            self.reclaimed_s = elapsed_s - self.at_s
            yield f"what the {count} labs of {self.name} held was taken back"
        if self.taken_over_s is None:
            statuses = cluster.snapshot()
            self.taken_over = sum(statuses[index].fence > fence for index, fence in self.fences.items())
            if self.taken_over == count:
                self.taken_over_s = elapsed_s - self.at_s
                yield f"all {count} labs of {self.name} were taken over"


def run(settings: Settings, view: View[Frame]) -> Summary:
    """Run the labs and return the result.

    Raises:
        AllocatorError: The server could not be reached at the start, or at the end.
    """
    with contextlib.ExitStack() as stack:
        url = settings.url or stack.enter_context(PrivateServer()).url
        name = f"demo-{secrets.token_hex(4)}"
        allocator = stack.enter_context(own_pool(url, name, settings.capacity))
        cluster = Cluster(len(settings.labs))
        plan = Plan(settings.labs, settings.ttl_s, settings.speed, settings.seed, settings.failing)
        watcher = Watcher(allocator)
        stack.callback(watcher.stop)
        fleet = stack.enter_context(Fleet(cluster, plan, url=url, pool=name, replicas=settings.replicas))
        watcher.start()
        game = _Game(settings, cluster, fleet, view, watcher.seen, sorted(lab.arrives for lab in settings.labs))
        where = redact_url(url) if settings.url else f"a server of its own, {url}"
        view.note(0.0, f"pool {name} on {where}")
        view.note(0.0, f"{settings.replicas} replicas, processes {', '.join(str(r.pid) for r in fleet.replicas)}")
        problems = game.play()
        seconds = fleet.elapsed_s
        fleet.cut() if problems else fleet.join()
        left = leaks(allocator, settings.ttl_s)
        watcher.stop()
        audit = allocator.maintenance.audit()
    summary = Summary(labs=len(settings.labs), server=where, pool=name, seconds=round(seconds, 2), leaks=left)
    summary.audit = audit.status
    game.fill(summary)
    summary.judge(problems + [f"{r.name} ended by itself: {r.complaint}" for r in fleet.replicas if r.failed])
    return summary


@contextlib.contextmanager
def own_pool(url: str, pool: str, capacity: Resources) -> Generator[Allocator]:
    """A client and a new pool, which is deleted at the end in any case."""
    with Allocator.from_url(url, pool=pool, owner="demo", timeout=CALL_S) as allocator:
        allocator.pools.create(pool, capacity)
        try:
            yield allocator
        finally:
            allocator.pools.delete(pool, force=True)


@dataclass(slots=True)
class _Game:
    """The parent's part while the replicas work."""

    settings: Settings
    cluster: Cluster
    fleet: Fleet
    view: View[Frame]
    seen: Seen
    arrivals: Sequence[float]
    kill: _Kill | None = None

    def play(self) -> list[str]:
        """Show the run until every lab has ended, and kill one replica meanwhile.

        Returns:
            Why it was aborted; empty if it was not.
        """
        version, moved_s = 0, 0.0
        patience_s = STALL_S + _longest_wait_s(self.settings, self.arrivals)
        while not self.fleet.over:
            time.sleep(STEP_S)
            elapsed_s = self.fleet.elapsed_s
            self._show(elapsed_s)
            self._kill_one(elapsed_s)
            if (now := self.cluster.version) != version:
                version, moved_s = now, elapsed_s
            if not self.fleet.alive and not self.fleet.over:  # in this order, as replicas end when the run is over
                return ["no replica is left"]
            if time.monotonic() - self.seen.answered_s > SILENT_S:
                return [f"the server has not answered for {SILENT_S:.0f} s: {self.seen.last_error}"]
            if elapsed_s - moved_s > patience_s:
                return [f"nothing has moved for {patience_s:.0f} s"]
        self._kill_one(self.fleet.elapsed_s)
        return []

    def _show(self, elapsed_s: float) -> None:
        asked = bisect.bisect_right(self.arrivals, elapsed_s * self.settings.speed)
        to_come = len(self.arrivals) - asked
        self.view.show(Frame(elapsed_s, self.cluster, self.fleet.replicas, self.seen, to_come))

    def _kill_one(self, elapsed_s: float) -> None:
        """Kill a replica at the right time, and follow its labs."""
        if self.kill is None:
            if self.settings.kill and (kill := _kill(self.cluster, self.fleet)):
                self.kill = kill
                self.view.note(elapsed_s, f"{kill.name} was killed (SIGKILL) with {len(kill.fences)} labs in hand")
            return
        for text in self.kill.follow(self.cluster, self.seen, elapsed_s):
            self.view.note(elapsed_s, text)

    def fill(self, summary: Summary) -> None:
        """Set the numbers from the labs' statuses, the replicas' counters and the watcher."""
        summary.replicas, summary.speed = self.settings.replicas, round(self.settings.speed, 2)
        summary.seed, summary.capacity = self.settings.seed, self.settings.capacity.text()
        if self.kill:
            summary.killed, summary.killed_labs = self.kill.name, len(self.kill.fences)
            summary.killed_labs_taken_over = self.kill.taken_over
            summary.reclaimed_after_s = self.kill.reclaimed_s and round(self.kill.reclaimed_s, 2)
            summary.taken_over_after_s = self.kill.taken_over_s and round(self.kill.taken_over_s, 2)
        _fill_labs(summary, self.cluster.snapshot())
        counters = [replica.counters for replica in self.fleet.replicas]
        summary.refusals = sum(counter.refused for counter in counters)
        summary.conflicts = sum(counter.conflicts for counter in counters)
        summary.given_back = sum(counter.stale for counter in counters)
        summary.leases_lost = sum(counter.lost for counter in counters)
        summary.backend_errors = sum(counter.errors for counter in counters)
        _fill_seen(summary, self.seen)


def _kill(cluster: Cluster, fleet: Fleet) -> _Kill | None:
    """Kill the replica with the most labs in hand, once a third of the labs has ended.  None: not yet, or too late."""
    phases = cluster.phases()
    total = phases.total()
    ended = phases[Phase.COMPLETED] + phases[Phase.FAILED]
    alive = fleet.alive
    if ended < total * KILL_AFTER or len(alive) < 2:
        return None
    victim = max(alive, key=lambda replica: len(cluster.in_hand(replica.name)))
    in_hand = len(cluster.in_hand(victim.name))
    if in_hand < (KILL_AT_LEAST if ended < total / 2 else 1):
        return None
    victim.kill()
    statuses = cluster.snapshot()  # the killed replica writes nothing any more
    fences = {index: statuses[index].fence for index in cluster.in_hand(victim.name)}
    return _Kill(victim.name, fleet.elapsed_s, fences)


def _longest_wait_s(settings: Settings, arrivals: Sequence[float]) -> float:
    """Seconds for which a healthy run may be without change: the longest lab, after the longest gap of arrivals."""
    gap = max(later - sooner for sooner, later in itertools.pairwise([0.0, *arrivals]))
    return (max(lab.seconds for lab in settings.labs) + gap) / settings.speed


def leaks(allocator: Allocator, ttl_s: float) -> int:
    """The number of allocations and charges after the run, once every lease has had the time to lapse."""
    ends = time.monotonic() + ttl_s + 1.0
    while True:
        allocator.maintenance.reclaim()
        usage = allocator.pools.usage()
        left = usage.allocations + sum(resource.allocated > 0 for resource in usage.resources.values())
        if not left or time.monotonic() >= ends:
            return left
        time.sleep(STEP_S)


def _fill_labs(summary: Summary, statuses: Sequence[Status]) -> None:
    failed = [status for status in statuses if status.phase is Phase.FAILED]
    summary.completed = sum(status.phase is Phase.COMPLETED for status in statuses)
    summary.never_fit = sum(status.fence == 0 for status in failed)
    summary.failed = len(failed) - summary.never_fit
    summary.lost = sum(not status.phase.final for status in statuses)
    summary.begun = sum(status.runs for status in statuses)
    summary.begun_again = sum(max(0, status.runs - 1) for status in statuses)


def _fill_seen(summary: Summary, seen: Seen) -> None:
    summary.granted, summary.released = seen.events["granted"], seen.events["released"]
    summary.reclaimed, summary.undone = seen.events["reclaimed"], seen.events["undone"]
    summary.events_complete = not seen.events_missed
    summary.peak_utilization = {name: round(peak, 1) for name, peak in sorted(seen.peak.items())}
    summary.mean_utilization = {name: round(mean, 1) for name, mean in sorted(seen.mean().items())}
    summary.readings, summary.over_allocations = seen.readings, len(seen.over_allocations)
    summary.audits = seen.audits
    if seen.drift and summary.audit == "clean":
        summary.audit = f"drift while it ran: {seen.drift[0]}"
