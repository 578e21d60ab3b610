"""What `make test` leaves out: the rest of each product of engine, client and case, and what takes long."""

from __future__ import annotations

from tests.soak.pytests import run_tests
from tests.soak.report import Coverage, StageReport
from tests.soak.stage_replies import MATRIX

OF_OTHER_STAGES = (*MATRIX, "tests/clients/holds/test_many.py", "tests/soak")


def run(*, seed: int, scale: float, coverage: Coverage) -> StageReport:
    """All that is marked so, but for what another stage runs."""
    report = StageReport("long", [seed])
    if scale < 0.1:
        report.skipped = "make test has some of each"
        return report
    run_tests(report, ["tests", "-m", "long", "-n", "2", *(f"--ignore={path}" for path in OF_OTHER_STAGES)])
    return report
