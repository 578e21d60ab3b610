"""`python -m tests.mutants [NAME...]`: plant each bug in a copy and see the tests fail.

Exit status 0 where every bug is caught and the unchanged copy passes.
"""

from __future__ import annotations

import multiprocessing
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Final

from tests.mutants.running import PRELOADED, ROOT, run
from tests.mutants.table import MUTANTS

AT_ONCE: Final = 2
"""Runs side by side; each has a server of its own."""


def main(names: Sequence[str]) -> int:
    """Print the table; 1 where a bug survives, or the unchanged copy fails."""
    chosen = [mutant for mutant in MUTANTS if not names or mutant.name in names]
    modules = list(dict.fromkeys(mutant.tests for mutant in chosen))
    for mutant in chosen:
        mutant.changed(ROOT)
    began = time.monotonic()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOADED))
    with ProcessPoolExecutor(AT_ONCE, mp_context=context, max_tasks_per_child=1) as pool:
        unchanged = pool.submit(run, None, modules)
        runs = [(mutant, pool.submit(run, mutant, [mutant.tests])) for mutant in chosen]
        survivors = 0
        for mutant, future in runs:
            verdict = future.result()
            survivors += not verdict.caught
            said = verdict.failed if verdict.caught else f"{mutant.why}\n{verdict.output}"
            word = "caught" if verdict.caught else "SURVIVED"
            sys.stdout.write(f"{word:9} {mutant.name:33} {verdict.seconds:5.1f} s  {said}\n")
            sys.stdout.flush()
        whole = unchanged.result()
    if not whole.passed:
        sys.stdout.write(f"{whole.output}\nthe unchanged scripts do not pass\n")
        return 1
    seconds = time.monotonic() - began
    sys.stdout.write(f"{len(chosen) - survivors} of {len(chosen)} planted bugs caught, in {seconds:.0f} s\n")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
