"""Planted bugs: each must be caught by the tests of what it is planted in."""

from __future__ import annotations

import random
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

from tests.mutants.table import MUTANTS
from tests.soak.report import Coverage, StageReport

ROOT = Path(__file__).parents[2]


def run(*, seed: int, scale: float, coverage: Coverage) -> StageReport:
    """All of them, or at a small scale some."""
    names = [mutant.name for mutant in MUTANTS]
    if scale < 1:
        names = random.Random(seed).sample(names, max(3, round(scale * len(names))))
    ran = subprocess.run(
        [sys.executable, "-m", "tests.mutants", *names], cwd=ROOT, capture_output=True, text=True, check=False
    )
    found = re.search(r"(\d+) of (\d+) planted bugs caught", ran.stdout)
    caught, planted = (int(found[1]), int(found[2])) if found else (0, len(names))
    is_well = caught == planted and ran.returncode == 0
    lines = [line for line in ran.stdout.splitlines() if not line.startswith("caught ")]
    problems = [] if is_well else ["\n".join(lines)[-4000:] + ran.stderr[-1000:]]
    return StageReport("mutants", [seed], Counter(planted=planted, caught=caught), problems)
