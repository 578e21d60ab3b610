"""The table of figures in a document, between two marks; everything else there stays."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.soak.report import RARE, Coverage, StageReport

__all__ = ["commit", "write"]

BEGIN: Final = "<!-- torture: begin -->"
END: Final = "<!-- torture: end -->"


def commit() -> str:
    """What is being tried."""
    words = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip()


def write(document: Path, reports: Sequence[StageReport], coverage: Coverage) -> None:
    """Put the figures of a run between the marks."""
    rows = [f"| {one.name} | {_counts(one)} | {len(one.problems)} | {one.seconds:.0f} s |" for one in reports]
    seed = next((str(one.seeds[0]) for one in reports if one.seeds), "-")
    minutes = sum(one.seconds for one in reports) / 60
    lines = [
        BEGIN,
        f"`make torture`, seed {seed}, commit {commit()}, {minutes:.1f} minutes:",
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
