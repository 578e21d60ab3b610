"""What a run writes into a document is what was run, and how."""

from __future__ import annotations

import re
from collections import Counter
from datetime import date
from pathlib import Path

from tests.soak.figures import BEGIN, END, Conditions, versions, write
from tests.soak.report import Coverage, StageReport
from tests.support.servers import engines

DAY = date(2026, 11, 26)


def _written(folder: Path, missing: tuple[str, ...], reports: list[StageReport], unseen: list[str]) -> str:
    document = folder / "page.md"
    document.write_text(f"before\n{BEGIN}\nwhat was\n{END}\nafter\n", encoding="utf-8")
    run = Conditions(
        7, 1.0, missing, commit="abc1234", day=DAY, cores=2, load=0.25, engines=("Valkey 9.1.0", "Redis 7.0.15")
    )
    write(document, run, reports, Coverage(fenced=4), unseen)
    return document.read_text(encoding="utf-8")


def test_the_engines_of_this_machine_have_versions() -> None:
    """Each with the word that it has for itself."""
    assert all(re.fullmatch(r"(Valkey|Redis) \d+\.\d+\.\d+", one) for one in versions())
    assert len(versions()) == len(engines())


def test_a_whole_run_says_so_and_leaves_the_rest_of_the_page_alone(tmp_path: Path) -> None:
    """With its time, commit, day and machine."""
    text = _written(tmp_path, (), [StageReport("env", [7], Counter(acts=1081), seconds=90.0)], [])
    assert text.startswith(f"before\n{BEGIN}\n")
    assert text.endswith(f"{END}\nafter\n")
    assert "what was" not in text
    assert (
        "Seed 7, whole figures, commit abc1234, 26 November 2026, 2 cores, load average 0.2 at the beginning. "
        "Valkey 9.1.0, Redis 7.0.15.\n" in text
    )
    assert "All stages were run, one after the other, in one run. They took 2 minutes." in text
    assert "| env | 1,081 acts | 0 | 90 s |" in text
    assert "fenced 4," in text
    assert "failed" not in text


def test_what_was_left_out_failed_or_was_not_met_is_said(tmp_path: Path) -> None:
    """A page never shows a part of a run, or one that failed, as a whole one that passed."""
    reports = [StageReport("env", [7], problems=["no"]), StageReport("clock", [7], skipped="no faketime")]
    text = _written(tmp_path, ("long", "crash"), reports, ["ask: seen 2 times"])
    assert "These stages were not run: `long`, `crash`, `clock`. The others were, in one run." in text
    assert "| clock | no faketime | 0 | 0 s |" in text
    assert "These stages failed: `env`." in text
    assert "Rare outcomes were missed: ask: seen 2 times." in text
    assert "All stages" not in text
