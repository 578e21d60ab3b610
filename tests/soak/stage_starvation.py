"""100,000 random steps of full pools, under each policy: nobody waits longer than the bound that follows from it.

See tests/properties/starving_rules.py.
"""

from __future__ import annotations

from typing import Final

from tests.properties.starving import KINDS, tell
from tests.properties.worlds.run import Wire
from tests.soak.report import Coverage, StageReport
from tests.support.servers import Server

STEPS: Final = 100_000
"""At scale 1, of all policies together."""

LONGEST: Final = ("longest_ms", "first_longest_ms", "most_passes")
"""What does not add up."""


def run(*, seed: int, scale: float, coverage: Coverage) -> StageReport:
    """A story of each kind."""
    report = StageReport("starvation", [seed])
    steps = max(200, round(STEPS * scale / len(KINDS)))
    with Server() as server:
        wire = Wire(server.socket)
        for number, terms in enumerate(KINDS):
            try:
                met = tell(wire, terms, seed + number, steps)
            except AssertionError as error:
                report.problems.append(str(error)[:4000])
                continue
            report.counts["steps"] += steps
            longest = {name: max(report.counts[name], met.pop(name, 0)) for name in LONGEST}
            report.counts.update(met)
            report.counts |= longest
        wire.close()
    return report
