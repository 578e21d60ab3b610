"""The table of figures in a document, between two marks; everything else there stays."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Final

from tests.soak.report import RARE, Coverage, StageReport
from tests.support.servers import binary, engines

__all__ = ["Conditions", "commit", "write"]

BEGIN: Final = "<!-- torture: begin -->"
END: Final = "<!-- torture: end -->"


def commit() -> str:
    """What is being tried."""
    words = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip()


def versions() -> tuple[str, ...]:
    """The servers that it is tried on: the word that each has for itself, and its version."""
    programs = [str(binary(engine)) for engine in engines()]
    told = [subprocess.run([one, "--version"], capture_output=True, text=True, check=False).stdout for one in programs]
    return tuple(" ".join(re.sub("(?i)server|v=", "", line).split()[:2]) for line in told)


@dataclass(frozen=True)
class Conditions:
    """How a run was made; taken at its beginning."""

    seed: int
    scale: float
    missing: tuple[str, ...] = ()
    """The stages that are not part of it."""
    commit: str = field(default_factory=commit)
    day: date = field(default_factory=lambda: datetime.now(UTC).date())
    cores: int = field(default_factory=lambda: len(os.sched_getaffinity(0)))
    load: float = field(default_factory=lambda: os.getloadavg()[0])
    engines: tuple[str, ...] = field(default_factory=versions)

    def __str__(self) -> str:
        """How it was run, as a sentence."""
        scale = "whole figures" if self.scale == 1 else f"{self.scale:g} of the whole figures"
        machine = f"{self.cores} cores, load average {self.load:.1f} at the beginning"
        day = f"{self.day.day} {self.day:%B %Y}"
        return f"Seed {self.seed}, {scale}, commit {self.commit}, {day}, {machine}. {', '.join(self.engines)}."

    def stages(self, reports: Sequence[StageReport]) -> str:
        """Which stages were run, as a sentence."""
        took = f"They took {sum(one.seconds for one in reports) / 60:.0f} minutes."
        missing = [*self.missing, *(one.name for one in reports if one.skipped)]
        if not missing:
            return f"All stages were run, one after the other, in one run. {took}"
        names = ", ".join(f"`{name}`" for name in missing)
        return f"These stages were not run: {names}. The others were, in one run. {took}"


def write(
    document: Path, run: Conditions, reports: Sequence[StageReport], coverage: Coverage, unseen: Sequence[str] = ()
) -> None:
    """Put the figures of a run between the marks; `unseen` are the rare outcomes that a whole run should have met."""
    rows = [f"| {one.name} | {_counts(one)} | {len(one.problems)} | {one.seconds:.0f} s |" for one in reports]
    failed = [f"`{one.name}`" for one in reports if one.problems]
    verdict = [f"These stages failed: {', '.join(failed)}."] if failed else []
    verdict += [f"Rare outcomes were missed: {'; '.join(unseen)}."] if unseen else []
    lines = [
        BEGIN,
        str(run),
        run.stages(reports),
        *verdict,
        "",
        "| stage | figures | problems | took |",
        "|---|---|---|---|",
        *rows,
        "",
        "Seen: " + ", ".join(f"{name} {coverage[name]:,}" for name in RARE) + ".",
        END,
    ]
    text = document.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    document.write_text(before + "\n".join(lines) + after, encoding="utf-8")


def _counts(report: StageReport) -> str:
    if report.skipped:
        return report.skipped
    return ", ".join(f"{value:,} {name.replace('_', ' ')}" for name, value in report.counts.items())
