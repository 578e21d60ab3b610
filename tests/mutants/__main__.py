"""`python -m tests.mutants [--keep] [--new] [NAME...]`: plant each bug in a copy and see the tests fail.

Exit status 0 where every bug is caught, and each test that caught one passes on an unchanged copy.
"""

from __future__ import annotations

import argparse
import compileall
import multiprocessing
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from typing import Final

from tests.mutants.caught import keep, known
from tests.mutants.mutant import Mutant
from tests.mutants.running import PRELOADED, ROOT, Verdict, run
from tests.mutants.table import MUTANTS

AT_ONCE: Final = 2
"""Runs side by side; each has a server of its own."""


def workers() -> ProcessPoolExecutor:
    """Processes for one run each."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOADED))
    return ProcessPoolExecutor(AT_ONCE, mp_context=context, max_tasks_per_child=1)


def plant_all(
    chosen: Sequence[Mutant], tests: Mapping[str, str], pool: ProcessPoolExecutor
) -> Iterator[tuple[str, str]]:
    """Print the table; the name of each bug that was caught, and the test that caught it."""
    runs: dict[str, Future[Verdict]] = {}
    for mutant in chosen:
        runs[mutant.name] = pool.submit(run, mutant, mutant.tests, [tests[mutant.name]] if mutant.name in tests else [])
    for mutant in chosen:
        verdict = runs[mutant.name].result()
        note = ""
        if not verdict.caught and mutant.name in tests:
            note = f" (not by {tests[mutant.name]})"
            verdict = pool.submit(run, mutant, mutant.tests).result()
        said = verdict.failed + note if verdict.caught else f"{mutant.why}\n{verdict.output}"
        word = "caught" if verdict.caught else "SURVIVED"
        sys.stdout.write(f"{word:9} {mutant.name:33} {verdict.seconds:5.1f} s  {said}\n")
        sys.stdout.flush()
        if verdict.caught:
            yield mutant.name, verdict.failed


def failing_unchanged(chosen: Sequence[Mutant], found: Mapping[str, str], pool: ProcessPoolExecutor) -> list[str]:
    """What a test says that has caught a bug and fails without one."""
    by_module = defaultdict[str, set[str]](set)
    for mutant in chosen:
        if mutant.name in found:
            by_module[mutant.tests].add(found[mutant.name])
    runs = [pool.submit(run, None, module, sorted(tests)) for module, tests in by_module.items()]
    return [verdict.output for verdict in (future.result() for future in runs) if not verdict.passed]


def main(names: Sequence[str], *, new: bool = False, keeps: bool = False) -> int:
    """Print the table; 1 where a bug survives, or a test fails without one."""
    tests, found = known(), dict[str, str]()
    chosen = [one for one in MUTANTS if one.name in names or (not names and not (new and one.name in tests))]
    for mutant in chosen:
        mutant.changed(ROOT)
    for name in ("allocator", "tests"):
        compileall.compile_dir(ROOT / name, quiet=2)  # once, not in each of the processes
    began = time.monotonic()
    with workers() as pool:
        for name, test in plant_all(chosen, tests, pool):
            found[name] = test
            if keeps:
                keep({name: test}, [mutant.name for mutant in MUTANTS])
        broken = failing_unchanged(chosen, found, pool)
    sys.stdout.write("".join(f"{output}\nthe unchanged scripts do not pass\n" for output in broken))
    seconds = time.monotonic() - began
    sys.stdout.write(f"{len(found)} of {len(chosen)} planted bugs caught, in {seconds:.0f} s\n")
    return 1 if broken or len(found) < len(chosen) else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--keep", action="store_true", help="write which test caught each, to be tried first next time")
    parser.add_argument(
        "--new", action="store_true", help="only those of which it is not known which test catches them"
    )
    given = parser.parse_args()
    if strange := set(given.names) - {mutant.name for mutant in MUTANTS}:
        parser.error(f"no such bugs: {', '.join(sorted(strange))}")
    sys.exit(main(given.names, new=given.new, keeps=given.keep))
