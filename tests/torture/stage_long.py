"""What `make test` leaves out: the other half of each product of engine and client, and what takes long."""

from __future__ import annotations

from tests.torture.pytests import run_tests
from tests.torture.report import Coverage, StageReport

OF_OTHER_STAGES = ("tests/faults", "tests/hold/test_many.py", "tests/torture")


def run(*, seed: int, scale: float, coverage: Coverage) -> StageReport:
    """All that is marked so, but for what another stage runs."""
    report = StageReport("long", [seed])
    if scale < 0.1:
        report.skipped = "make test has the other half"
        return report
    run_tests(report, ["tests", "-m", "long", "-n", "2", *(f"--ignore={path}" for path in OF_OTHER_STAGES)])
    return report
