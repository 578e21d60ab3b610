"""`python -m tests.mutants [NAME...]`: plant each bug in a copy of the scripts and see the tests fail.

Exit status 0 where every bug is caught and the unchanged copy passes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from allocator._engine import scripts
from tests.mutants.table import MUTANTS, Mutant

ROOT: Final = Path(__file__).parents[2]

AT_ONCE: Final = 2
"""Runs side by side; each has a server of its own."""

RUN_S: Final = 120.0
"""Seconds that one run may take; the unchanged copy takes about ten."""

FAILED: Final = 1
"""pytest's exit status where tests failed; others mean that it did not get so far."""


@dataclass(frozen=True)
class Verdict:
    """What became of one run."""

    status: int
    seconds: float
    first_failure: str
    output: str


def plant(mutant: Mutant, folder: Path) -> None:
    """Change the copy.  The text must stand there exactly once: a table that has grown old must not pass unnoticed."""
    path = folder / mutant.file
    text = path.read_text(encoding="utf-8")
    if text.count(mutant.old) != 1:
        raise LookupError(f"{mutant.name}: {mutant.file} has the text {text.count(mutant.old)} times:\n{mutant.old}")
    path.write_text(text.replace(mutant.old, mutant.new), encoding="utf-8")


def run(mutant: Mutant | None) -> Verdict:
    """The tests of the scripts against a copy with this bug, or with none; up to the first failure."""
    with tempfile.TemporaryDirectory(prefix="allocator-mutant-") as parent:
        folder = Path(parent) / "lua"
        shutil.copytree(scripts.folder(), folder)
        if mutant:
            plant(mutant, folder)
        environment = {**os.environ, "MUTANT_LUA": str(folder), "MUTANT_HINT": mutant.hint if mutant else ""}
        command = [sys.executable, "-m", "pytest", "-x", "-q", "--tb=no", "-p", "tests.mutants.plugin", "tests/lua"]
        began = time.monotonic()
        try:
            ran = subprocess.run(
                command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=RUN_S, check=False
            )
        except subprocess.TimeoutExpired:
            return Verdict(-1, RUN_S, "", "timed out")
    failures = [line for line in ran.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    first = failures[0].partition("::")[2].partition(" - ")[0] if failures else ""
    return Verdict(ran.returncode, time.monotonic() - began, first, ran.stdout + ran.stderr)


def main(names: Sequence[str]) -> int:
    """Print the table; 1 where a bug survives, or the unchanged copy fails."""
    chosen = [mutant for mutant in MUTANTS if not names or mutant.name in names]
    began = time.monotonic()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        unchanged = pool.submit(run, None)
        runs = [(mutant, pool.submit(run, mutant)) for mutant in chosen]
        whole = unchanged.result()
        if whole.status != 0:
            pool.shutdown(cancel_futures=True)
            sys.stdout.write(f"{whole.output}\nthe unchanged scripts do not pass\n")
            return 1
        survivors = 0
        for mutant, future in runs:
            verdict = future.result()
            caught = verdict.status == FAILED
            survivors += not caught
            said = verdict.first_failure if caught else f"{mutant.why}\n{verdict.output}"
            sys.stdout.write(
                f"{'caught' if caught else 'SURVIVED':9} {mutant.name:27} {verdict.seconds:5.1f} s  {said}\n"
            )
            sys.stdout.flush()
    seconds = time.monotonic() - began
    sys.stdout.write(f"{len(chosen) - survivors} of {len(chosen)} planted bugs caught, in {seconds:.0f} s\n")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
