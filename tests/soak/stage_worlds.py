"""Small worlds: two mechanisms that meet in one call, against an independent model.

See tests/properties/worlds, and of pools with scopes and a line tests/properties/lines.

`python -m tests.properties.worlds --all` plays every one of the first.
"""

from __future__ import annotations

from typing import Final

from tests.properties.lines.enumeration import Worlds as WorldsInLine
from tests.properties.worlds.enumeration import Worlds
from tests.properties.worlds.many import play
from tests.soak.report import Coverage, StageReport

PLAYED: Final = 300_000
"""At scale 1, evenly drawn over all."""

IN_LINE: Final = 40_000
"""The same, of pools with scopes and a line."""


def run(*, seed: int, scale: float, coverage: Coverage) -> StageReport:
    """So many of all."""
    report = StageReport("worlds", [seed])
    counts, report.problems = play(round(PLAYED * scale), seed)
    report.counts.update({"worlds": counts["worlds"], "of": len(Worlds()), "set-ups": counts["set-ups"]})
    in_line, problems = play(round(IN_LINE * scale), seed, "tests.properties.lines")
    report.problems += problems
    report.counts.update({"in_line": in_line["worlds"], "of_those_in_line": len(WorldsInLine())})
    report.counts["wrong"] = counts["wrong"] + in_line["wrong"]
    return report
