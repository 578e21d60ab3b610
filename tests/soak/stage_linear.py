"""Concurrent callers over a bad network: whatever each of them was told, one order explains all of it.

Each seed has a server of its own and plays in rounds.  After a round the network is healed and what was ambiguous is
undone, so the next begins with what a listing shows; the late copies that the network has kept are delivered, and
must change nothing; the pools are audited.  At the end all is released, and nothing may be left.

That it finds anything is shown by three controls, which must fail: a bug planted in a script, clients that do not keep
their call ids when they repeat, and repeats that do not say that they are some.

`SEED=7 python -m tests.soak.stage_linear --seed 7` repeats one seed.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final
from unittest import mock

import redis

from allocator import Allocator
from allocator._engine.operations import allocate
from tests.properties.clocked_model import ONCE, OTHERS, Model, State
from tests.properties.history import Op, Recorder, amounts_of
from tests.properties.linear import TooLong, check, explain
from tests.properties.scenario import CAPACITY, POOLS, TASKS, THREADS, Board, Luck, Replica, play, texts
from tests.soak.counting import sends
from tests.soak.report import Coverage, StageReport
from tests.support.proxy import FaultProxy
from tests.support.servers import Engine, Server, engines

__all__ = ["run", "run_seed"]

SEEDS: Final = 30
OPERATIONS: Final = 3_600
"""Of one seed."""

ROUND: Final = 600
"""Operations between two looks at everything."""

CONTROLS: Final = {"capacity": 3_600, "ids": 3_600, "retries": 21_600}
"""What must fail, and within how many operations: it ends with the first round in which something was found."""

CONTROL_S: Final = 240.0
"""Seconds in which a control must end: one that hangs is told by its name, and not as a stage that is late."""

SHOWN: Final = 30
"""Operations that are shown about what a late copy has changed."""

ROOT: Final = Path(__file__).parents[2]


class _Seed:
    """One seed's server and pools."""

    def __init__(self, seed: int, proxy: FaultProxy, admin: Allocator, raw: Any, report: StageReport) -> None:
        self.seed = seed
        self.proxy = proxy
        self.raw = raw
        self.admin = admin
        self.report = report
        self.model = Model(CAPACITY)
        self.states: dict[str, State] = {pool: self.model.empty() for pool in POOLS}

    def problem(self, text: str) -> None:
        self.report.problems.append(f"seed {self.seed}: {text}\n  again: {again(self.seed)}")

    def round(self, number: int, operations: int) -> None:
        """Play, heal, look."""
        recorder, board = Recorder(), Board()
        for pool, state in self.states.items():
            for name, record in state.records:
                board.add(pool, name, record.fence)
        luck = Luck(f"{self.seed}/{number}/network")
        self.proxy.clear()
        luck.arm(self.proxy)
        callers = THREADS + TASKS
        replicas = [Replica(at, f"{self.seed}/{number}", recorder, board) for at in range(callers)]
        problems = play(self.proxy, luck, replicas, max(1, operations // callers))
        for text in problems:
            self.problem(text)
        for replica in replicas:
            self.report.counts.update(replica.counts)
        self._look(recorder)

    def _look(self, recorder: Recorder) -> None:
        """Search each pool's history, which ends with a listing; then let the late copies come."""
        listings = {pool: self.listing(pool) for pool in POOLS}
        for pool in POOLS:
            recorder.end(recorder.begin(-1, pool, "listing"), "records", listings[pool])
            self.overcommitted(pool)
        self.report.counts["late_copies"] += len(self.proxy.release())
        for pool, ops in recorder.by_pool().items():
            if self.listing(pool) != listings[pool]:
                self.report.counts["violations"] += 1
                self.problem(f"{pool}: a late copy changed what is live\n{self._changed(pool, listings[pool], ops)}")
            self._judge(pool, ops)
            revision = self.admin.pools.usage(pool).pool.revision
            listing = self.listing(pool)
            self.states[pool] = self.model.of(listing, revision, {one[0]: self.calls(pool, one[0]) for one in listing})
            if not (report := self.admin.options(pool=pool).maintenance.audit()):
                self.problem(f"{pool}: {report}")

    def _changed(self, pool: str, before: Any, ops: list[Op]) -> str:
        """What was live, and is; and what was done about it at last."""
        after = self.listing(pool)
        names = {one[0] for one in set(before) ^ set(after)}
        lines = [f"  before: {sorted(set(before) - set(after))}", f"  after: {sorted(set(after) - set(before))}"]
        about = [op for op in ops if op.args and op.args[0] in names]
        return "\n".join([*lines, *(f"  {op}" for op in about[-SHOWN:])])

    def _judge(self, pool: str, ops: list[Op]) -> None:
        began = time.monotonic()
        self.report.counts["histories"] += 1
        try:
            verdict = check(ops, self.model, self.states[pool])
            self.report.counts["states"] += verdict.steps
            if not verdict:
                self.report.counts["violations"] += 1
                self.problem(f"{pool}: {explain(ops, self.model, self.states[pool])}")
        except TooLong as error:
            self.problem(f"{pool}: {error}")
        self.report.counts["search_ms"] += round((time.monotonic() - began) * 1000)

    def listing(self, pool: str) -> tuple[tuple[str, str, Any, int], ...]:
        """All that is live."""
        found = self.admin.options(pool=pool).list()
        return tuple(sorted((one.id, one.owner, amounts_of(one.resources.items()), one.fence) for one in found))

    def calls(self, pool: str, name: str) -> tuple[int, ...]:
        """The calls that were told of a record: how many there are, for nothing more of them will arrive."""
        words = self.raw.hget(f"allocator:{{{pool}}}:allocation:{name}", "call").split()
        return tuple(OTHERS if word == "*" else ONCE for word in words)

    def overcommitted(self, pool: str) -> None:
        """There is never more allocated than there is."""
        for name, one in self.admin.pools.usage(pool).resources.items():
            if one.overcommitted:
                self.report.counts["over_allocations"] += 1
                self.problem(f"{pool}: {one.allocated} of {one.capacity} {name} are allocated")

    def finish(self) -> None:
        """Release what is live; nothing stays charged."""
        for pool in POOLS:
            self.admin.options(pool=pool).release_many(list(self.admin.options(pool=pool).list()))
            usage = self.admin.pools.usage(pool)
            left = usage.allocations + sum(one.allocated > 0 for one in usage.resources.values())
            self.report.counts["leaks"] += left
            if left:
                self.problem(f"{pool}: {usage} is left")


def again(seed: int) -> str:
    """How to have the same once more."""
    return f"SEED={seed} python -m tests.soak.stage_linear --seed {seed}"


def run_seed(seed: int, operations: int, engine: Engine, report: StageReport, *, first: bool = False) -> None:
    """Play one seed; with `first`, only until something is found."""
    with (
        Server(engine, tcp=True) as server,
        FaultProxy(server.socket) as proxy,
        Allocator.from_url(server.url) as admin,
        redis.Redis.from_url(server.url, decode_responses=True) as raw,
    ):
        for pool in POOLS:
            admin.pools.create(pool, texts(amounts_of(CAPACITY.items())))
        played = _Seed(seed, proxy, admin, raw, report)
        rounds = max(1, round(operations / ROUND))
        for number in range(rounds):
            played.round(number, operations // rounds)
            if first and report.counts["violations"]:
                return
        played.finish()


def run(*, seed: int, scale: float, coverage: Coverage) -> StageReport:
    """So many seeds, on each engine in turn; then the controls, which must fail."""
    report = StageReport("linear")
    began = time.monotonic()
    report.counts.update({"operations": 0, "violations": 0, "over_allocations": 0, "leaks": 0, "unknowns": 0})
    total = SEEDS * OPERATIONS * scale
    count = max(1, math.ceil(total / OPERATIONS))
    with sends(), _seeing(coverage):
        for at in range(count):
            report.seeds.append(seed + at)
            run_seed(seed + at, round(total / count), engines()[at % len(engines())], report)
    coverage.saw("fenced", report.counts["told_fenced"])
    for control, operations in CONTROLS.items():
        found = _control(control, seed, operations)
        report.counts[f"control_{control}"] = found["violations"]
        if not found["violations"]:
            report.problems.append(f"control {control}: nothing was found: {found}")
    report.seconds = time.monotonic() - began
    return report


def _seeing(coverage: Coverage) -> Any:
    """Count the repeats that were answered with what their first attempt was granted."""
    answers: Any = allocate._OTHER_ANSWERS
    plain = answers["replayed"]

    def replayed(*args: Any) -> Any:
        coverage.saw("replayed")
        return plain(*args)

    return mock.patch.dict(answers, {"replayed": replayed})


def _control(name: str, seed: int, operations: int) -> dict[str, int]:
    """What is found where something is wrong on purpose; in a process of its own, whose scripts or clients are bad."""
    words = [sys.executable, "-m", "tests.soak.stage_linear_control", name, "--seed", str(seed)]
    words += ["--ops", str(operations)]
    ran = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False, timeout=CONTROL_S)
    if not ran.stdout.strip():
        raise AssertionError(f"control {name}: {ran.stderr[-2000:]}")
    counts: dict[str, int] = json.loads(ran.stdout.splitlines()[-1])
    return counts


def main() -> int:
    """One seed, with all that is known of it."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak.stage_linear", description=__doc__)
    parser.add_argument("--seed", type=int, default=int(os.environ.get("SEED", "1")))
    parser.add_argument("--ops", type=int, default=OPERATIONS)
    parser.add_argument("--engine", choices=list(engines()), default=engines()[0])
    given = parser.parse_args()
    report, coverage = StageReport("linear", [given.seed]), Coverage()
    began = time.monotonic()
    with sends(), _seeing(coverage):
        run_seed(given.seed, given.ops, Engine(given.engine), report)
    counts: Counter[str] = report.counts
    for problem in report.problems:
        sys.stdout.write(f"{problem}\n\n")
    sys.stdout.write(f"{dict(counts)} {dict(coverage)} in {time.monotonic() - began:.1f} s\n")
    return 1 if report.problems else 0


if __name__ == "__main__":
    sys.exit(main())
