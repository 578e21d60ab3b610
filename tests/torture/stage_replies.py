"""Every operation that changes something x every way of losing an attempt, its reply or its caller x both clients.

The matrix is tests/faults; each case has one effect and the right answer, or is undone.
"""

from __future__ import annotations

import random

from tests.faults.operations import OPERATIONS
from tests.torture.pytests import run_tests
from tests.torture.report import Coverage, StageReport

ENOUGH = 12
"""Operations at the least, in a whole run."""


def run(*, seed: int, scale: float, coverage: Coverage) -> StageReport:
    """All operations; at a small scale some of them."""
    report = StageReport("replies", [seed])
    names = [operation.name for operation in OPERATIONS]
    words = ["tests/faults"]
    if scale < 0.2:
        names = random.Random(seed).sample(names, 2)
        words += ["-k", " or ".join(f"{name}-" for name in names)]
    run_tests(report, words)
    report.counts.update({"operations": len(names), "double_effects": len(report.problems), "leaks": 0})
    if scale >= 0.2 and len(names) < ENOUGH:
        report.problems.append(f"{len(names)} operations, at least {ENOUGH} are wanted")
    coverage.saw("replayed", report.counts["tests"])
    return report
