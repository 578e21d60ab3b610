"""Each stage once, small: what `make torture` runs at length still works, and finds nothing.

How much is tried here says little; that the stages themselves do not rot is what this is for.
"""

from __future__ import annotations

import pytest

from tests.torture.__main__ import run_stage, stages_there
from tests.torture.report import RARE, Coverage

SCALE = 0.02
SEED = 7

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", stages_there())
def test_a_short_cycle_of_a_stage_finds_nothing(name: str) -> None:
    """It runs as `make torture` runs it, in a process of its own; a problem is shown with all that it said."""
    report, _, _ = run_stage(name, SEED, SCALE)
    assert not report.problems, "\n".join(report.problems)
    assert report.skipped or report.counts, "it has counted nothing, so it has done nothing"


def test_a_rare_outcome_that_was_not_seen_is_missed() -> None:
    """A run that never met a fault has proved little about it."""
    coverage = Coverage()
    for name in RARE:
        coverage.saw(name, 3)
    assert coverage.missing(dict.fromkeys(RARE, 3)) == []
    coverage.subtract({"ask": 1})
    assert coverage.missing(dict.fromkeys(RARE, 3)) == ["ask: seen 2 times, at least 3 are wanted"]
