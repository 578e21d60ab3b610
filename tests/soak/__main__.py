"""Run the stages: `python -m tests.soak` once with fixed seeds, `--hours N` again and again with random ones.

Each stage is a process of its own, so that none inherits what another left behind; it prints its report as one line of
JSON.  The exit code is 1 where a stage has a problem, or a rare outcome was not seen as often as it must be.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.soak.figures import Conditions, commit, write
from tests.soak.report import RARE, Coverage, StageReport

ROOT: Final = Path(__file__).parents[2]

LIMITS_S: Final = {
    "mutants": 900, "worlds": 900, "starvation": 360, "stateful": 1080, "replies": 480, "long": 1080, "linear": 660,
    "env": 180, "clock": 360, "crash": 660, "waiting": 600, "steady": 360, "sentinel": 420, "cluster": 180,
    "partition": 240, "eyes": 480, "leases": 180,
}  # fmt: skip
"""The stages in the order of their running: what is quick to fail comes first.

Each has the seconds after which it is ended, as a failure: about three times what it takes on two idle cores, at least
three minutes.  What is slower than that hangs.  A larger scale has so much more.
"""

SEED: Final = 20_261_125
"""Of every run that is not told another."""

NOT_SOAKED: Final = ("mutants", "long", "leases")
"""What another seed does not make another."""

LEAST: Final = 3
"""How often each rare outcome must have been seen in a whole run."""

WHOLE: Final = 0.2
"""At this scale and above each stage does all of its acts, if fewer times."""

RSS_GROWTH_MAX: Final = 1.5
"""How much more memory the same stage may need in a later round of a soak."""


def run_stage(name: str, seed: int, scale: float) -> tuple[StageReport, Coverage, int]:
    """Run one stage in a process; its report, what it saw, and the kilobytes that it needed."""
    limit_s = LIMITS_S[name] * max(1.0, scale)
    words = [sys.executable, "-m", "tests.soak", "--stage", name, "--seed", str(seed), "--scale", str(scale)]
    began = time.monotonic()
    with subprocess.Popen(
        words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as stage:
        try:
            out, errors = stage.communicate(timeout=limit_s)
            told = json.loads(out.splitlines()[-1])
        except subprocess.TimeoutExpired:
            problem = f"not done after {limit_s:g} s"
        except (IndexError, ValueError):
            problem = (out + errors)[-4000:]
        else:
            return StageReport.from_json(told["report"]), Coverage(told["coverage"]), told["rss_kb"]
        finally:
            # With what it has started: processes that do not end by themselves would be in the way of the next stage.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(stage.pid, signal.SIGKILL)
    return StageReport(name, [seed], problems=[problem], seconds=time.monotonic() - began), Coverage(), 0


def perform(name: str, seed: int, scale: float) -> int:
    """Be the process of one stage."""
    stage = importlib.import_module(f"tests.soak.stage_{name}")
    coverage = Coverage()
    began = time.monotonic()
    try:
        report: StageReport = stage.run(seed=seed, scale=scale, coverage=coverage)
    except AssertionError as error:
        report = StageReport(name, [seed], problems=[f"{type(error).__name__}: {error}"[:4000]])
    report.seconds = time.monotonic() - began
    rss_kb = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    sys.stdout.write("\n" + json.dumps({"report": report.as_json(), "coverage": dict(coverage), "rss_kb": rss_kb}))
    sys.stdout.write("\n")
    return 1 if report.problems else 0


def shown(report: StageReport) -> str:
    """A report in a line, and a line for each problem."""
    counts = ", ".join(f"{value:,} {name.replace('_', ' ')}" for name, value in report.counts.items())
    verdict = "FAILED" if report.problems else "skipped" if report.skipped else "ok"
    head = f"{verdict:8}{report.name:10} {report.seconds:6.1f} s  seed {report.seeds[0] if report.seeds else '-'}  "
    return "\n    ".join([head + (report.skipped or counts), *report.problems])


def again(report: StageReport, scale: float) -> str:
    """How to have the same once more."""
    seed = report.seeds[0] if report.seeds else SEED
    return f"  again: COMMIT={commit()} python -m tests.soak --only {report.name} --seed {seed} --scale {scale}"


def seen(coverage: Coverage) -> str:
    """The rare outcomes, how often each was seen, and how often it must be in a whole run."""
    head = f"{'seen':14}{'times':>10}{'at least':>10}\n"
    return head + "".join(f"{name:14}{coverage[name]:>10,}{LEAST:>10}\n" for name in RARE)


def torture(names: Sequence[str], seed: int, scale: float, document: Path | None) -> int:
    """All stages once."""
    coverage, reports, failed, began = Coverage(), [], False, time.monotonic()
    run = Conditions(seed, scale, tuple(name for name in stages_there() if name not in names))
    sys.stdout.write(f"commit {run.commit}, seed {seed}, scale {scale}: {', '.join(names)}\n")
    for name in names:
        report, saw, _ = run_stage(name, seed, scale)
        coverage.update(saw)
        reports.append(report)
        failed |= bool(report.problems)
        sys.stdout.write(shown(report) + "\n")
        if report.problems:
            sys.stdout.write(again(report, scale) + "\n")
        sys.stdout.flush()
    sys.stdout.write(seen(coverage))
    missing = coverage.missing(dict.fromkeys(RARE, LEAST))
    unseen = missing if not run.missing and scale >= WHOLE else []
    failed |= bool(unseen)
    sys.stdout.write("".join(f"FAILED  {line}\n" for line in unseen))
    seconds = time.monotonic() - began
    sys.stdout.write(f"{'FAILED' if failed else 'passed'} in {seconds / 60:.1f} min\n")
    if document is not None:
        write(document, run, reports, coverage, unseen)
    return 1 if failed else 0


def soak(names: Sequence[str], hours: float, scale: float) -> int:
    """Again and again with random seeds, until the time is over; memory and results stay as they were."""
    ends = time.monotonic() + hours * 3600
    coverage, total, first_kb, failed = Coverage(), StageReport("soak"), dict[str, int](), False
    rounds = 0
    while time.monotonic() < ends:
        rounds += 1
        for name in names:
            if time.monotonic() >= ends:
                break
            report, saw, rss_kb = run_stage(name, random.SystemRandom().randrange(2**31), scale)
            coverage.update(saw)
            total.counts.update(report.counts)
            total.seconds += report.seconds
            if rss_kb > RSS_GROWTH_MAX * first_kb.setdefault(name, rss_kb):
                report.problems.append(f"needs {rss_kb} kB, and needed {first_kb[name]} kB in its first round")
            failed |= bool(report.problems)
            total.counts["problems"] += len(report.problems)
            sys.stdout.write(f"round {rounds}  {shown(report)}\n")
            if report.problems:
                sys.stdout.write(again(report, scale) + "\n")
            sys.stdout.flush()
        operations, problems = total.counts["operations"] + total.counts["steps"], total.counts["problems"]
        sys.stdout.write(f"round {rounds} is over: {operations:,} operations and steps so far, {problems} problems\n")
    sys.stdout.write(seen(coverage))
    sys.stdout.write(f"{rounds} rounds; {shown(total)}\n{'FAILED' if failed else 'passed'}\n")
    return 1 if failed else 0


def main() -> int:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--only", help="these stages, separated by commas")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--scale", type=float, help="of the whole figures [1; 0.2 in a soak]")
    parser.add_argument("--hours", type=float, help="soak for so long, with random seeds")
    parser.add_argument("--write", type=Path, help="put the figures into this document")
    parser.add_argument("--stage", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.stage:
        return perform(given.stage, given.seed, given.scale)
    there = stages_there()
    names = given.only.split(",") if given.only else there
    for name in sorted(set(LIMITS_S if not given.only else names) - set(there)):
        sys.stdout.write(f"{'skipped':8}{name:10} there is no such stage yet\n")
    names = [name for name in names if name in there]
    if given.hours:
        return soak([name for name in names if name not in NOT_SOAKED], given.hours, given.scale or 0.2)
    return torture(names, given.seed, given.scale or 1.0, given.write)


def stages_there() -> list[str]:
    """Those of the list that can be run, in its order."""
    paths = {name: Path(__file__).parent / f"stage_{name}.py" for name in LIMITS_S}
    return [name for name, path in paths.items() if path.exists() and "\ndef run(" in path.read_text(encoding="utf-8")]


if __name__ == "__main__":
    os.environ.setdefault("PYTHONWARNINGS", "error::ResourceWarning")
    sys.exit(main())
