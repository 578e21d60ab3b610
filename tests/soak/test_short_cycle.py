"""Each stage once, small: what `make torture` runs at length still works, and finds nothing.

How much is tried here says little; that the stages themselves do not rot is what this is for.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.soak.__main__ import LIMITS_S, run_stage, stages_there
from tests.soak.report import RARE, Coverage
from tests.support.tools import needs

SCALE = 0.02
SEED = 7

WHOLE_ONLY = ("eyes", "leases", "long")
"""The stages of which nothing smaller means anything: tests that `make test` leaves out, and minutes of failovers."""

LONG = ("mutants", "stateful", "cluster", "partition")
"""Those that take ten seconds and more: `make test` has tests of the same kinds, and CI runs these."""

TOOLS = {"clock": ("faketime",), "partition": ("ip", "iptables")}
"""What a stage cannot do without."""

pytestmark = pytest.mark.slow


def stages() -> list[Any]:
    """Each stage, with what it needs."""
    return [pytest.param(name, marks=marks(name)) for name in stages_there() if name not in WHOLE_ONLY]


def marks(name: str) -> list[pytest.MarkDecorator]:
    """What the tests know of a stage."""
    long = [pytest.mark.long] if name in LONG else []
    return [*long, needs(*TOOLS[name])] if name in TOOLS else long


# A search for an order takes ten seconds or fifty, as the threads happen to meet.
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", stages())
def test_a_short_cycle_of_a_stage_finds_nothing(name: str) -> None:
    """It runs as `make torture` runs it, in a process of its own; a problem is shown with all that it said."""
    report, _, _ = run_stage(name, SEED, SCALE)
    assert not report.problems, "\n".join(report.problems)
    if report.skipped:
        pytest.skip(report.skipped)
    assert report.counts, "it has counted nothing, so it has done nothing"


def test_a_stage_that_hangs_is_ended_as_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """After its own limit; what was not done has not passed."""
    monkeypatch.setitem(LIMITS_S, "env", 0.01)
    report, _, _ = run_stage("env", SEED, SCALE)
    assert report.problems == ["not done after 0.01 s"]


def test_a_rare_outcome_that_was_not_seen_is_missed() -> None:
    """A run that never met a fault has proved little about it."""
    coverage = Coverage()
    for name in RARE:
        coverage.saw(name, 3)
    assert coverage.missing(dict.fromkeys(RARE, 3)) == []
    coverage.subtract({"ask": 1})
    assert coverage.missing(dict.fromkeys(RARE, 3)) == ["ask: seen 2 times, at least 3 are wanted"]
