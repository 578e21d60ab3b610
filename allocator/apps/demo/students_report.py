"""The result of a class: numbers, promises, and the problems if a promise was not kept."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from allocator.apps.demo.students_class import Told
from allocator.apps.demo.students_plan import Plan
from allocator.apps.demo.students_sight import COULD_GO_MAX_S, Sight
from allocator.apps.demo.watch import Seen

__all__ = ["Promise", "Report", "percentile"]

PRIORITY_SLACK_S = 6.0
"""Seconds beyond the longest lab within which the priority lab begins: a lost message delays its reply by 5."""


@dataclass(frozen=True, slots=True)
class Promise:
    """A promise, and what was found; `problem` is empty if it was kept."""

    name: str
    found: str
    problem: str = ""


@dataclass(slots=True)
class Report:
    """The result of a run.  `problems` is empty if and only if every promise was kept."""

    students: int
    teams: int
    asked: int
    granted: int
    gave_up: int
    lapsed: int
    from_line: int
    """Grants to requests that had waited in line; the others were granted at once."""
    wait_p50_s: float
    wait_p95_s: float
    wait_longest_s: float
    longest_line: int
    priority_wait_s: float | None
    late_teams: int
    late_teams_at_once: int
    borrowed_peak_cpus: float

    events_granted: int
    events_released: int
    events_other_ends: int
    events_complete: bool

    readings: int
    pool_readings: int
    told_sums: int
    audits: int
    audit: str
    longest_idle_s: float
    leaks: int
    waiting: int

    capacity: dict[str, str]
    peak_utilization: dict[str, float]
    mean_utilization: dict[str, float]
    seconds: float
    seed: int
    server: str
    pool: str
    promises: list[Promise] = field(default_factory=list[Promise])
    problems: list[str] = field(default_factory=list[str])

    @classmethod
    def of(
        cls,
        plan: Plan,
        told: Told,
        sight: Sight,
        seen: Seen,
        *,
        server: str,
        pool: str,
        seconds: float,
        leaks: int,
        waiting: int,
        audit: str,
        problems: Sequence[str],
    ) -> Self:
        """Make the report of what was seen."""
        waits = sorted(wait for one, wait in told.waits_s.items() if one in seen.from_line)
        report = cls(
            students=plan.size,
            teams=len(plan.teams),
            asked=told.asked,
            granted=told.granted,
            gave_up=told.gave_up,
            lapsed=told.lapsed,
            from_line=len(waits),
            wait_p50_s=round(percentile(waits, 50), 3),
            wait_p95_s=round(percentile(waits, 95), 3),
            wait_longest_s=round(percentile(waits, 100), 3),
            longest_line=sight.longest_line,
            priority_wait_s=None if told.priority_wait_s is None else round(told.priority_wait_s, 3),
            late_teams=sum(team.arrives_s > 0 for team in plan.teams),
            late_teams_at_once=sum(told.at_once.values()),
            borrowed_peak_cpus=max(sight.borrowed_peak.values(), default=0) / 1000,
            events_granted=seen.events["granted"],
            events_released=seen.events["released"],
            events_other_ends=seen.events["reclaimed"] + seen.events["undone"],
            events_complete=not seen.events_missed,
            readings=sight.readings,
            pool_readings=seen.readings,
            told_sums=told.sums,
            audits=seen.audits,
            audit=f"drift while it ran: {seen.drift[0]}" if seen.drift and audit == "clean" else audit,
            longest_idle_s=round(sight.longest_idle_s, 3),
            leaks=leaks,
            waiting=waiting,
            capacity=plan.capacity.text(),
            peak_utilization={name: round(peak, 1) for name, peak in sorted(seen.peak.items())},
            mean_utilization={name: round(mean, 1) for name, mean in sorted(seen.mean().items())},
            seconds=round(seconds, 2),
            seed=plan.seed,
            server=server,
            pool=pool,
        )
        report.judge(plan, told, sight, seen, problems)
        return report

    @property
    def ok(self) -> bool:
        """Whether every promise was kept."""
        return not self.problems

    def judge(self, plan: Plan, told: Told, sight: Sight, seen: Seen, others: Sequence[str] = ()) -> None:
        """Set `promises` and `problems`; `others` are problems that belong to no promise."""
        bound_s = plan.longest_work_s + PRIORITY_SLACK_S
        self.promises = [
            Promise(
                "never more than there is, at any level",
                f"0 in {self.readings} readings of all scopes, {self.pool_readings} of the pool, and {self.told_sums} "
                "sums of what the students were told",
                _first(sight.wrong, seen.over_allocations, () if seen.events["reclaimed"] else told.over),
            ),
            Promise(
                "counters and records agree",
                f"{self.audits} audits while it ran, and one at the end",
                "" if self.audit == "clean" else f"the audit is not clean: {self.audit}",
            ),
            Promise(
                "nobody waits who could go",
                f"0 of {len(told.waits_s) + self.gave_up} requests were in line {COULD_GO_MAX_S:g} s after they could "
                f"go, in {self.readings} readings of the line",
                _first([f"{one} could have gone, and was left in line" for one in sight.idle]),
            ),
            Promise(
                "nobody waits longer than it wants",
                f"{self.gave_up} gave up when their time was over",
                _first(told.late),
            ),
            Promise(
                "a guarantee is there when its team comes",
                f"{self.late_teams_at_once} teams came while others borrowed, and had their first lab at once",
                "" if self.late_teams_at_once == self.late_teams else "a team did not get what it was guaranteed",
            ),
            Promise("nothing is left", "no lab, no charge, nobody in line", self._left()),
        ]
        if plan.has_priority:
            found = f"the instructor's lab was first in line, and waited {self.priority_wait_s or 0.0:.1f} s"
            problem = self._priority_problem(bound_s, sight)
            self.promises.insert(-1, Promise("priority goes first", f"{found} (at most {bound_s:.1f} s)", problem))
        problems = [*others, *(promise.problem for promise in self.promises if promise.problem)]
        if told.errors:
            problems.append(f"{len(told.errors)} calls failed; the first: {told.errors[0]}")
        if self.asked != self.granted + self.gave_up + told.refused and not others:
            problems.append("the labs do not add up: granted + gave up is not all that were asked for")
        self.problems = problems

    def _priority_problem(self, bound_s: float, sight: Sight) -> str:
        if self.priority_wait_s is None:
            return "the priority lab was never granted"
        if self.priority_wait_s > bound_s:
            return f"the priority lab waited {self.priority_wait_s:.1f} s"
        return _first(sight.passed)

    def _left(self) -> str:
        if self.leaks:
            return f"{self.leaks} allocations or charges are left at the end"
        if self.waiting:
            return f"{self.waiting} requests are in line at the end"
        if self.events_complete and self.events_granted != self.events_released + self.events_other_ends:
            return "the events do not add up: granted is not released + reclaimed + undone"
        return ""

    def to_json(self) -> dict[str, Any]:
        """The result, for programs."""
        return {"apiVersion": "allocator/v1", "kind": "ClassDemoSummary", "ok": self.ok, **asdict(self)}

    def lines(self, width: int = 80) -> list[str]:
        """The result, for people, in lines of at most `width` columns."""
        rows = [
            ("class", f"{self.students} students in {self.teams} teams, {self.seconds:.1f} s, seed {self.seed}"),
            ("pool", ", ".join(f"{name} {quantity}" for name, quantity in self.capacity.items())),
            ("labs", f"{self.asked} asked for: {self.granted} granted, {self.gave_up} given up"),
            ("line", self._line()),
            (
                "in use",
                ", ".join(f"{name} {mean:.0f} %" for name, mean in self.mean_utilization.items()) + " on average",
            ),
            ("borrowed", f"up to {self.borrowed_peak_cpus:g} cpus by one team"),
        ]
        lines = [line for label, text in rows for line in _wrapped(f"{label:<9} ", text, width)]
        lines.append("")
        for promise in self.promises:
            text = promise.problem or promise.found
            lines += _wrapped("BROKEN  " if promise.problem else "kept    ", f"{promise.name}: {text}", width)
        verdict = "every promise kept" if self.ok else "BROKEN: " + "; ".join(self.problems)
        return [*lines, "", *_wrapped(f"{'verdict':<9} ", verdict, width)]

    def _line(self) -> str:
        if not self.from_line:
            return "nobody had to wait"
        return (
            f"{self.from_line} waited, up to {self.longest_line} at a time: p50 {self.wait_p50_s:.2f} s, "
            f"p95 {self.wait_p95_s:.2f} s, longest {self.wait_longest_s:.2f} s"
        )


def percentile(ordered: Sequence[float], share: int) -> float:
    """The least value that at least `share` per cent of the values do not exceed; 0 for none."""
    return ordered[max(0, -(-len(ordered) * share // 100) - 1)] if ordered else 0.0


def _first(*lists: Sequence[str]) -> str:
    """The first problem, and how many there are; "" if there is none."""
    found = [problem for problems in lists for problem in problems]
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return found[0] + more if found else ""


def _wrapped(label: str, text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, initial_indent=label, subsequent_indent=" " * len(label))
