"""The result of a run: numbers that must add up, and the problems if they do not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["Summary"]


@dataclass(slots=True)
class Summary:
    """The result of a run.  `problems` is empty if and only if every promise was kept."""

    labs: int
    completed: int = 0
    failed: int = 0
    never_fit: int = 0
    lost: int = 0
    begun: int = 0
    begun_again: int = 0

    replicas: int = 0
    killed: str = ""
    killed_labs: int = 0
    killed_labs_taken_over: int = 0
    reclaimed_after_s: float | None = None
    taken_over_after_s: float | None = None

    refusals: int = 0
    conflicts: int = 0
    given_back: int = 0
    leases_lost: int = 0
    backend_errors: int = 0

    granted: int = 0
    released: int = 0
    reclaimed: int = 0
    undone: int = 0
    events_complete: bool = True

    capacity: dict[str, str] = field(default_factory=dict[str, str])
    peak_utilization: dict[str, float] = field(default_factory=dict[str, float])
    mean_utilization: dict[str, float] = field(default_factory=dict[str, float])

    readings: int = 0
    over_allocations: int = 0
    audits: int = 0
    audit: str = ""
    leaks: int = 0

    seconds: float = 0.0
    speed: float = 1.0
    seed: int = 0
    server: str = ""
    pool: str = ""
    problems: list[str] = field(default_factory=list[str])

    @property
    def ok(self) -> bool:
        """Whether every promise was kept and every lab reached its end."""
        return not self.problems

    def judge(self, others: Sequence[str] = ()) -> None:
        """Set `problems` from the numbers; `others` are problems that no number shows."""
        found = list(others)
        if self.lost:
            found.append(f"{self.lost} labs never reached their end")
        if self.completed + self.failed + self.never_fit + self.lost != self.labs:
            found.append("the labs do not add up: completed + failed + never fit + lost is not all of them")
        if self.over_allocations:
            found.append(f"{self.over_allocations} readings show more allocated than there is")
        if self.leaks:
            found.append(f"{self.leaks} allocations or charges are left at the end")
        if self.audit != "clean":
            found.append(f"the audit is not clean: {self.audit}")
        if self.events_complete and self.granted != self.released + self.reclaimed + self.undone:
            found.append("the events do not add up: granted is not released + reclaimed + undone")
        self.problems = found

    def to_json(self) -> dict[str, Any]:
        """The result, for programs."""
        return {"apiVersion": "allocator/v1", "kind": "DemoSummary", "ok": self.ok, **asdict(self)}

    def lines(self) -> list[str]:
        """The result, for people."""
        rows = [
            ("labs", self._labs()),
            ("replicas", self._replicas()),
            ("asked", self._asked()),
            ("ledger", self._ledger()),
            ("capacity", ", ".join(f"{name} {quantity}" for name, quantity in self.capacity.items())),
            ("utilisation", self._utilization()),
            ("over-allocations", f"{self.over_allocations} in {self.readings} atomic readings"),
            ("leaks", f"{self.leaks}"),
            ("audit", f"{self.audit} ({self.audits} while it ran)"),
            ("took", f"{self.seconds:.1f} s, {self.speed:.0f} times as fast as the requests say, seed {self.seed}"),
        ]
        lines = [f"{label:<17} {text}" for label, text in rows]
        verdict = "every promise kept" if self.ok else "BROKEN: " + "; ".join(self.problems)
        return [*lines, f"{'verdict':<17} {verdict}"]

    def _labs(self) -> str:
        again = f", {self.begun_again} begun a second time" if self.begun_again else ""
        return (
            f"{self.labs}: {self.completed} completed, {self.failed} failed while provisioning, "
            f"{self.never_fit} can never fit, {self.lost} lost{again}"
        )

    def _replicas(self) -> str:
        if not self.killed:
            return f"{self.replicas}, none killed"
        text = f"{self.replicas}; {self.killed} was killed with {self.killed_labs} labs in hand"
        if self.reclaimed_after_s is not None:
            text += f"; what they held was back after {self.reclaimed_after_s:.1f} s"
        if self.taken_over_after_s is not None:
            text += f", all had begun again on other replicas after {self.taken_over_after_s:.1f} s"
        return text

    def _asked(self) -> str:
        text = f"{self.refusals} refusals, {self.conflicts} times another replica was first"
        return text + (f", {self.given_back} grants given back (the lab was over)" if self.given_back else "")

    def _ledger(self) -> str:
        undone = f" + {self.undone} undone" if self.undone else ""
        text = f"{self.granted} granted = {self.released} released + {self.reclaimed} reclaimed{undone}"
        return text if self.events_complete else text + " (some events were trimmed before they were read)"

    def _utilization(self) -> str:
        return ", ".join(
            f"{name} peak {peak:.1f} %, mean {self.mean_utilization.get(name, 0.0):.1f} %"
            for name, peak in self.peak_utilization.items()
        )
