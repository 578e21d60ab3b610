"""SIGKILLs of clients and of servers under load; torn append-only files, which are stores that were rolled back.

Whatever dies when: no reading shows more than there is, every audit is clean, and once all deadlines are past nothing
is charged to anybody.  A server that comes back with less than it had (the end of its file is torn off) has a pool with
a recovery grace, so that what its holders still have is not given to others.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from allocator import Allocator, BackendError
from tests.crash.crew import Crew, crew
from tests.crash.watching import Watcher, assert_nothing_leaked
from tests.support.servers import Engine, Server, engines
from tests.torture.report import Coverage, StageReport

KILLS: Final = 300
OPERATIONS: Final = 400_000
SERVER_KILLS: Final = 0.2
"""Of all kills: the rest are of clients."""

POOL: Final = "lab"
WORKERS: Final = 4
TTL_S: Final = 1.0
TORN_BYTES: Final = (1, 200)
PATIENCE_S: Final = 60.0

AFTER: Final = {"always": {"appendfsync": "always"}, "everysec": {"appendfsync": "everysec"}}


class Scene:
    """A server under load, looked at all the while."""

    def __init__(self, server: Server, client: Allocator, workers: Crew, report: StageReport) -> None:
        self.server = server
        self.client = client
        self.workers = workers
        self.report = report
        self.watcher = Watcher(client)
        self._counted = 0

    def count(self) -> None:
        """Add the script calls since the last time to the operations."""
        calls = int(self.server.info("commandstats").get("cmdstat_evalsha", "calls=0,").split(",")[0].split("=")[1])
        self.report.counts["operations"] += calls - self._counted
        self._counted = calls

    def work(self, operations: int) -> None:
        """Watch until so many more operations were done."""
        ends = time.monotonic() + PATIENCE_S
        wanted = self.report.counts["operations"] + operations
        while self.report.counts["operations"] < wanted:
            assert time.monotonic() < ends, "the workers do not work"
            self.workers.check()
            self.watcher.look()
            self.count()

    def kill_server(self, torn: int) -> None:
        """SIGKILL; perhaps the end of its file never reached the disk."""
        self.count()
        self.server.kill()
        if torn:
            path = max((self.server.folder / "appendonlydir").glob("*.incr.aof"), key=lambda path: path.name)
            _tear(path, torn)
            self.report.counts["torn_files"] += 1
        self.server.start()
        self._counted = 0

    def audit(self) -> None:
        """Every invariant, while they go on."""
        verdict = self.client.audit(pool=POOL)
        assert verdict.status in ("clean", "inconclusive"), verdict
        self.report.counts["audits"] += 1


def _tear(path: Path, count: int) -> None:
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.truncate(max(0, size - count))


@contextmanager
def scene(
    engine: Engine, options: dict[str, str], grace: float | None, chance: random.Random, report: StageReport
) -> Iterator[Scene]:
    """Workers at work; at the end nothing was overdrawn and nothing leaks."""
    with Server(engine, options=options) as server:
        with Allocator.from_url(server.url, pool=POOL, deadline=20.0, attempt_timeout=1.0) as client:
            client.create_pool(POOL, {"cpu": 12, "memory": "24Gi"}, recovery_grace=grace)
            with crew(server.url, POOL, WORKERS, chance) as workers:
                made = Scene(server, client, workers, report)
                yield made
            report.counts["kills"] += workers.killed
            report.counts["readings"] += made.watcher.readings
            over = len(made.watcher.over_allocations) if grace is None else 0  # adoptions may exceed the capacity
            report.counts["over_allocations"] += over
            if over:
                report.problems.append(f"{engine}: over-allocated: {made.watcher.over_allocations[0]}")
            if made.watcher.fullest < 90.0:
                report.problems.append(f"{engine}: the pool was never full: {made.watcher.fullest:.0f} %")
            try:
                assert_nothing_leaked(server.url, POOL)
            except AssertionError as error:
                report.counts["leaks"] += 1
                report.problems.append(f"{engine}: leak: {error}")


def clients_die(engine: Engine, chance: random.Random, kills: int, operations: int, report: StageReport) -> None:
    """One after another, each after a share of the operations."""
    with scene(engine, {}, None, chance, report) as at:
        for _ in range(kills):
            at.work(operations // kills)
            at.workers.kill_one()
            at.audit()


def servers_die(
    engine: Engine, fsync: str, chance: random.Random, kills: int, operations: int, report: StageReport
) -> None:
    """The server itself; every other time it comes back with less than it had."""
    options = {"appendonly": "yes", **AFTER[fsync]}
    with scene(engine, options, TTL_S, chance, report) as at:
        for number in range(kills):
            at.work(operations // kills)
            torn = chance.randint(*TORN_BYTES) if number % 2 else 0
            at.kill_server(torn)
            report.counts["kills"] += 1
            report.counts["server_kills"] += 1
            try:
                at.audit()
            except BackendError as error:
                report.problems.append(f"{engine}: {error}")


def run(*, seed: int, scale: float, coverage: Coverage) -> StageReport:
    """Clients on each engine, then the server with either way to write its file."""
    chance = random.Random(seed)
    report = StageReport("crash", [seed])
    report.counts.update({"operations": 0, "kills": 0, "over_allocations": 0, "leaks": 0})
    kills, operations = max(4, round(scale * KILLS)), max(4000, round(scale * OPERATIONS))
    of_servers = max(2, round(SERVER_KILLS * kills))
    chosen = engines() if scale >= 0.1 else engines()[:1]
    share = max(1, (kills - of_servers) // len(chosen))
    for engine in chosen:
        clients_die(engine, chance, share, round(0.9 * operations) // len(chosen), report)
    for fsync in AFTER:
        engine = chosen[0] if fsync == "always" else chosen[-1]
        servers_die(engine, fsync, chance, max(1, of_servers // 2), round(0.06 * operations), report)
    coverage.saw("recovering", report.counts["torn_files"])
    return report
