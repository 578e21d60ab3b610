"""Stages that are tests already: run them in a process, and read what came of them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.soak.report import StageReport
from tests.support.running_once import PASSED

__all__ = ["run_tests"]

ROOT = Path(__file__).parents[2]


def run_tests(report: StageReport, words: Sequence[str]) -> str:
    """Run pytest with these words; count what passed, and make a problem of what failed.  Returns what it printed.

    What `make test` leaves to us is run as well, unless the words say otherwise.
    """
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "--tb=short", "-m", "", *words]
    environment = {**os.environ, PASSED: ""}
    ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    passed = re.search(r"(\d+) passed", ran.stdout)
    report.counts["tests"] += int(passed[1]) if passed else 0
    if ran.returncode != 0 or not passed:
        report.problems.append((ran.stdout[-3000:] + ran.stderr[-500:]).strip())
    return ran.stdout
