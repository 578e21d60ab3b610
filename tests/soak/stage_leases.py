"""Ten thousand leases of one process: how much of a core they take, how they are spread, how many share a call."""

from __future__ import annotations

import re

from tests.soak.pytests import run_tests
from tests.soak.report import Coverage, StageReport


def run(*, seed: int, scale: float, coverage: Coverage) -> StageReport:
    """The test of tests/clients/holds, which prints what it measured; nothing smaller means anything."""
    report = StageReport("leases", [seed])
    if scale < 0.1:
        report.skipped = "make test has a smaller one"
        return report
    printed = run_tests(report, ["tests/clients/holds/test_many.py", "-m", "long"])
    found = re.search(
        r"(\d+) leases of .*: ([\d.]+) % of a core, (\d+) .*, (\d+) in a script call \(at most (\d+)", printed
    )
    if found:
        leases, percent, rate, mean, most = found.groups()
        report.counts.update(
            {
                "leases": int(leases),
                "hundredths_of_a_percent_of_a_core": round(100 * float(percent)),
                "renewals_a_second": int(rate),
                "items_a_call": int(mean),
                "items_a_call_at_most": int(most),
            }
        )
    return report
