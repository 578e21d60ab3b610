"""Small worlds: two mechanisms that meet in one call, against an independent model; see tests/properties/worlds.

`python -m tests.properties.worlds --all` plays every one of them.
"""

from __future__ import annotations

from typing import Final

from tests.properties.worlds.enumeration import Worlds
from tests.properties.worlds.many import play
from tests.soak.report import Coverage, StageReport

PLAYED: Final = 300_000
"""At scale 1, evenly drawn over all."""


def run(*, seed: int, scale: float, coverage: Coverage) -> StageReport:
    """So many of all."""
    report = StageReport("worlds", [seed])
    counts, report.problems = play(round(PLAYED * scale), seed)
    report.counts.update({"worlds": counts["worlds"], "of": len(Worlds()), "set-ups": counts["set-ups"]})
    report.counts["wrong"] = counts["wrong"]
    return report
