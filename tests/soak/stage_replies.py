"""Every operation that changes something x every way of losing an attempt, its reply or its caller x both clients.

The matrix is tests/failures; each case has one effect and the right answer, or is undone, and what its holders were
told is within what there is and kept.  Here its cases are counted by cell, so that none is missing unnoticed.
"""

from __future__ import annotations

import random
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET

from tests.failures.operations import OPERATIONS
from tests.soak.pytests import run_tests
from tests.soak.report import Coverage, StageReport

MATRIX: Final = tuple(f"tests/failures/test_{name}.py" for name in ("lost_replies", "given_up", "cancelled_anywhere"))

ENOUGH: Final = 12
"""Operations in each cell, at the least, in a whole run."""

LOST: Final = "a_lost_attempt_or_reply_is_never_noticed"
LATE: Final = "an_attempt_that_arrives_late_changes_nothing"
TWICE: Final = "an_attempt_that_the_network_delivers_twice_has_one_effect"
CANCELLED: Final = "a_cancelled_call_leaves_nothing_charged"
INTERRUPTED: Final = "an_interrupted_call_leaves_nothing_charged"

ANYWHERE: Final = "a_call_that_is_cancelled_anywhere_has_its_effect_or_none"

CELLS: Final = {
    (LOST, "lost before"): "reset before",
    (LOST, "reset after"): "reset after",
    (LOST, "time-out"): "timeout after",
    (LATE, "first, time-out"): "timeout before",
    (LATE, "first, reset"): "duplicate before",
    (LATE, "second, reset"): "duplicate after",
    (TWICE, ""): "duplicate after",
    (CANCELLED, "held up"): "cancel before",
    (CANCELLED, "executed"): "cancel after",
    (ANYWHERE, ""): "cancel at any turn of the loop",
    (INTERRUPTED, "held up"): "cancel before",
    (INTERRUPTED, "executed"): "cancel after",
}
"""By test and part of its parameters: what happens to the call, and whether before or after it was executed."""

REPLAYED: Final = ("reset after", "timeout after", "duplicate before", "duplicate after")
"""Where an attempt arrives when another was executed before."""


def cases(told: Path) -> Iterator[tuple[str, bool]]:
    """The cell of each case, with the client's kind, and whether it passed."""
    for case in ET.parse(told).iter("testcase"):
        test, _, parameters = case.attrib["name"].removeprefix("test_").partition("[")
        passed = case.find("failure") is None and case.find("error") is None
        kind = "async" if "async" in parameters else "sync"
        for (name, part), cell in CELLS.items():
            if name == test and part in parameters:
                yield f"{cell}, {kind}", passed
                break


def run(*, seed: int, scale: float, coverage: Coverage) -> StageReport:
    """All operations; at a small scale some of them."""
    report = StageReport("replies", [seed])
    names = [operation.name for operation in OPERATIONS]
    with tempfile.TemporaryDirectory() as folder:
        told = Path(folder) / "told.xml"
        words = [*MATRIX, "-n", "2", f"--junitxml={told}"]
        if scale < 0.1:
            names = random.Random(seed).sample(names, 2)
            words += ["-k", " or ".join(f"{name}-" for name in names)]
        run_tests(report, words)
        found = list(cases(told)) if told.exists() else []
    cells = Counter(cell for cell, _ in found)
    failed = [cell for cell, passed in found if not passed]
    report.counts.update(
        {
            "operations": len(names),
            "cells": len(cells),
            "cases": len(found),
            "double_effects": sum(not cell.startswith("cancel") for cell in failed),
            "leaks": sum(cell.startswith("cancel") for cell in failed),
        }
    )
    wanted = {f"{cell}, {kind}" for cell in CELLS.values() for kind in ("sync", "async")}
    wanted.remove(f"{CELLS[ANYWHERE, '']}, sync")
    least = ENOUGH if scale >= 0.1 else 1
    report.problems += [f"{cell}: {cells[cell]} cases, wanted {least}" for cell in wanted if cells[cell] < least]
    coverage.saw("replayed", sum(cell.partition(",")[0] in REPLAYED and passed for cell, passed in found))
    return report
