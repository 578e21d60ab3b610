"""Clients and servers that are killed under load, and append-only files that lose their end.

Each kill comes after so many operations, not after so much time; which it is, and whom it meets, is drawn from the
seed.  After each one the pool is audited: what is charged is what the records say, whatever was lost.

What a server that died may have lost is the end of its story, and nothing else.  With `appendfsync always` the end is
empty.  With `everysec` it is what was answered while the last fsync was still under way: the write is put off for up to
two seconds then, while the server goes on answering.  One whose file was cut has lost what was cut off.

What the workers may believe is judged by what they were told, and until when: they write it down.  With `always`, and
with a recovery grace whatever was cut off, the sum is never more than there is, and nobody is told before a deadline
that a lease is gone; but for what a holder grew by, which a file that was cut has forgotten.  With `everysec` and no
grace that is so but for words that no later one proves to be kept.  The control has its file cut and no grace, and must
show that more was believed in than there is.
"""

from __future__ import annotations

import contextlib
import functools
import math
import random
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from allocator import Allocator, BackendError, Recovering
from allocator.quantity import Quantity
from tests.failures.crew import Crew, crew
from tests.soak.report import Coverage, StageReport
from tests.soak.toiler import TTL_S, Counts, toil, words_of
from tests.soak.words import Doubt, Judgement, judge, now_ms, read
from tests.support.servers import Engine, Server, engines
from tests.support.waiting import wait_until

POOL: Final = "lab"
KEPT: Final = "kept"
CAPACITY: Final[dict[str, Quantity]] = {"cpu": 120, "memory": "240Gi"}
WORKERS: Final = 2

OPERATIONS: Final = 400_000
CLIENT_KILLS: Final = 200
SERVER_KILLS: Final = 100

CONTROL_OPERATIONS: Final = 6_000
CONTROL_KILLS: Final = 3

GRACE_S: Final = TTL_S
"""Of the pool whose server's file is cut."""

CUT_MAX: Final = 32_768
"""Bytes that a file loses at most: some hundred changes."""

CUT_WHOLLY: Final = 0.25
"""How many of the cuts take the whole file instead, all since the server's start; those of the control all do."""

PUT_OFF_S: Final = 3.0
"""Seconds before a kill in which `everysec` may have lost what it confirmed: two, and one for a busy machine."""

PATIENCE_S: Final = 60.0
"""Seconds in which the workers must get from one kill to the next: it takes less than one."""


@dataclass(frozen=True)
class Plan:
    """A server, and whether its file is cut whenever it is killed."""

    engine: Engine
    fsync: str
    torn: bool = False
    guarded: bool = True
    """By a recovery grace, where the file is cut; the control is not."""

    @property
    def forgets_s(self) -> float:
        """How many seconds before a kill something may have been confirmed, and yet be lost."""
        if self.torn:
            return math.inf
        return 0.0 if self.fsync == "always" else PUT_OFF_S

    def __str__(self) -> str:
        return f"{self.engine} {self.fsync}{' torn' if self.torn else ''}{'' if self.guarded else ' unguarded'}"


def plans() -> list[Plan]:
    """All that this machine has: the newest and the oldest engine either way, and torn files on each."""
    there = engines()
    whole = [Plan(engine, fsync) for engine in {there[0], there[-1]} for fsync in ("always", "everysec")]
    return sorted(whole, key=str) + [Plan(engine, "everysec", torn=True) for engine in there]


class ConfirmedGrants:
    """Takes pinned allocations and remembers which ones it was told of, and when it had asked and was told."""

    def __init__(self, client: Allocator) -> None:
        self._client = client
        self._told: dict[str, float] = {}
        self._asked: dict[str, float] = {}
        self._given_back: set[str] = set()
        self.kept_ms = now_ms()
        """The last instant of which it is known that the server has lost nothing that was told before it."""

    def take(self) -> None:
        """One more."""
        asked = now_ms()
        name = self._client.options(pool=KEPT).allocate({"cpu": "1m"}, ttl=None).id
        self._told[name], self._asked[name] = now_ms() / 1000, asked

    def compare(self, plan: Plan, killed_at: float) -> tuple[int, int]:
        """How many it was told of and how many of them were lost; then give all back.

        Raises:
            AssertionError: More was lost than the plan allows, or there is what should not be.
        """
        kept = {one.id for one in self._client.options(pool=KEPT).list()}
        lost = judged(plan, self._told, kept, self._given_back, killed_at)
        told = len(self._told)
        self.kept_ms = max([self.kept_ms, *(asked for name, asked in self._asked.items() if name in kept)])
        self._told, self._asked = {}, {}
        self._given_back |= kept
        released = self._client.options(pool=KEPT).release_many(kept)
        assert all(released), "what was there could not be released"
        return told, lost


def judged(plan: Plan, told: Mapping[str, float], kept: Set[str], given_back: Set[str], killed_at: float) -> int:
    """How many grants were lost, of those that were confirmed at these instants before the server was killed.

    Raises:
        AssertionError: One was lost that was confirmed longer ago than the plan allows, or before one that was not
            lost; or there is one that nobody was told of, or that was given back to a server that loses nothing.
    """
    lost = [name for name in told if name not in kept]
    for name in lost[:1]:
        ago_s = killed_at - told[name]
        problem = f"{len(lost)} of {len(told)} confirmed grants were lost, the first of them {ago_s:.2f} s old"
        assert ago_s < plan.forgets_s, problem
    assert lost == list(told)[len(told) - len(lost) :], "an earlier grant was lost, and a later one was not"
    # The end of the story that was lost may hold a release.
    known = set(told) | given_back if plan.forgets_s else set(told)
    assert kept <= known, "there is a grant that nobody was told of"
    return len(lost)


class Round:
    """One server, its workers, and what is done to them."""

    def __init__(self, plan: Plan, server: Server, client: Allocator, counts: Counts, chance: random.Random) -> None:
        self.plan = plan
        self.server = server
        self.client = client
        self.counts = counts
        self.chance = chance
        self.confirmed = ConfirmedGrants(client)
        self.doubts: list[Doubt] = []
        self.fullest = 0.0
        self.recoveries: set[int | None] = set()
        self.seen: Counter[str] = Counter()
        self.found: Judgement | None = None

    def operations(self) -> int:
        """Answered so far."""
        total = self.counts.total()
        return sum(total.values()) - total["backend"] - total["recovering"]

    def work_until(self, operations: int, workers: Crew) -> None:
        """Look on until so many operations were answered."""
        ends = time.monotonic() + PATIENCE_S
        while self.operations() < operations:
            workers.check()
            assert time.monotonic() < ends, f"the workers do not work: {self.counts.total()}"
            self.look()
            wait_until(functools.partial(self._moves_on, time.monotonic() + 0.01))

    @staticmethod
    def _moves_on(at: float) -> bool:
        return time.monotonic() >= at

    def look(self) -> None:
        """A reading is one instant of the pool."""
        usage = self.client.pools.usage(POOL)
        self.seen["readings"] += 1
        if usage.pool.state == "recovering":
            self.recoveries.add(usage.pool.recovering_until_ms)
        self.fullest = max(self.fullest, usage.resources["cpu"].utilization)
        if any(one.overcommitted for one in usage.resources.values()):
            # A cut file has forgotten releases, too: with what is adopted more may be charged than there is.
            assert self.recoveries, f"over-allocated: {usage}"
            self.seen["overcommitted"] += 1
        with contextlib.suppress(Recovering):
            self.confirmed.take()

    def kill_server(self) -> None:
        """And start it again, perhaps without the end of its file."""
        killed_at = now_ms() / 1000
        self.server.kill()
        dead_ms = now_ms()
        if self.plan.torn:
            all_of_it = not self.plan.guarded or self.chance.random() < CUT_WHOLLY
            self.seen["bytes_cut"] += cut(self.server.folder, None if all_of_it else self.chance.randint(1, CUT_MAX))
        self.server.start()
        if self.plan.torn:
            mend(self.server)
        told, lost = self.confirmed.compare(self.plan, killed_at)
        if self.plan.forgets_s and not self.plan.torn:
            self.doubts.append(Doubt(max(self.confirmed.kept_ms, dead_ms - 1000 * self.plan.forgets_s), dead_ms))
        self.confirmed.kept_ms = dead_ms  # what is in the file now is kept
        how = "cut_off" if self.plan.torn else f"lost_by_{self.plan.fsync}"
        self.seen.update({"server_kills": 1, "confirmed_grants": told, f"of_them_{how}": lost})

    def audit(self) -> None:
        """What is charged is what the records say."""
        for pool in (POOL, KEPT):
            report = self.client.options(pool=pool).maintenance.audit()
            assert report, str(report)
            self.seen["audits"] += 1

    def run(self, path: Path, operations: int, kills: list[str]) -> None:
        """Kill after equal numbers of operations; in the end everything comes back."""
        with crew(self.server.url, POOL, WORKERS, self.chance, toil, str(path)) as workers:
            for number, victim in enumerate(kills, 1):
                self.work_until(round(operations * number / (len(kills) + 1)), workers)
                if victim == "client":
                    workers.kill_one()
                    self.seen["client_kills"] += 1
                else:
                    self.kill_server()
                self.audit()
            self.work_until(operations, workers)
        self.judge(path)
        assert self.fullest > 90.0, "the pool was too large for the stage to mean anything"
        wait_until(self.is_empty, timeout_s=15.0, message="what the dead had taken has come back")
        self.audit()
        self.seen.update(operations=self.operations(), recoveries=len(self.recoveries))

    def judge(self, path: Path) -> None:
        """What the workers may have believed, by their words alone."""
        capacity = self.client.pools.get(POOL).capacity
        found = judge(read(words_of(path)), capacity, self.doubts, keeps_growth=not self.plan.torn)
        self.found = found
        self.seen.update(
            {
                "beliefs": found.beliefs, "over_allocations": len(found.excess), "live_leases_lost": len(found.losses),
                "doubtful_words": found.doubtful_words,
                "over_allocations_in_doubt": len(found.doubtful.keys() - found.excess.keys()),
                "stopped_by_a_resize_or_in_doubt": found.stopped,
            }
        )  # fmt: skip
        assert not self.plan.guarded or not found.problems, "; ".join(found.problems)

    def is_empty(self) -> bool:
        """Whether all that was taken has come back."""
        try:
            self.client.options(pool=POOL).maintenance.reclaim()
            usage = self.client.pools.usage(POOL)
        except BackendError:
            return False
        return usage.allocations == 0 and not any(usage.pool.allocated.values())


def mend(server: Server) -> None:
    """Have a server write its file anew, as an operator must after an unexpected end of it.

    Redis 7.0 and Valkey 8 cut such a file after the last whole *command*.  Within a script's MULTI that leaves the
    MULTI open; what is appended behind it seems to belong to it, so that the *next* start applies half a script.
    """
    server.ask("BGREWRITEAOF")
    wait_until(lambda: server.info("persistence")["aof_rewrite_in_progress"] == "0", message="the file was rewritten")
    assert server.info("persistence")["aof_last_bgrewrite_status"] == "ok"


def cut(folder: Path, size: int | None) -> int:
    """Take so many bytes (None: all) off the end of the newest append-only file; returns how many it had to lose."""
    files = sorted(folder.glob("appendonlydir/*.incr.aof"), key=lambda path: int(path.name.split(".")[-3]))
    length = files[-1].stat().st_size
    size = length if size is None else min(size, length)
    with files[-1].open("r+b") as file:
        file.truncate(length - size)
    return size


@contextlib.contextmanager
def prepared(plan: Plan, chance: random.Random, rows: int) -> Iterator[tuple[Round, Path]]:
    """A server with both pools, a client that outlasts its restarts, and the workers' counts."""
    options = {"appendonly": "yes", "appendfsync": plan.fsync, "auto-aof-rewrite-min-size": "8mb"}
    with (
        tempfile.TemporaryDirectory() as folder,
        Server(plan.engine, options=options) as server,
        Allocator.from_url(server.url, pool=POOL, timeout=20.0, attempt_timeout=2.0) as client,
    ):
        path = Path(folder) / "counts"
        client.pools.create(
            POOL,
            CAPACITY,
            recovery_grace=GRACE_S if plan.torn and plan.guarded else None,
            max_ttl=TTL_S if plan.torn and plan.guarded else None,
            new=True,
        )
        client.pools.create(KEPT, {"cpu": 1000})
        mend(server)  # or a kill that comes early might lose the pools
        with contextlib.closing(Counts(path, rows)) as counts:
            try:
                yield Round(plan, server, client, counts, chance), path
            except AssertionError as error:
                told = Path(f"{path}.error")
                raise AssertionError(f"{error}\n{told.read_text() if told.exists() else ''}") from error


def run(*, seed: int, scale: float, coverage: Coverage) -> StageReport:
    """The operations and kills are shared out over the plans, at a small scale over some of them; then the control."""
    report = StageReport("crash", [seed])
    chance = random.Random(seed)
    chosen = plans()
    if scale < 0.1:
        chosen = [chance.choice([plan for plan in chosen if plan.torn is torn]) for torn in (False, True)]
    share = scale / len(chosen)
    for number, plan in enumerate(chosen):
        kills = ["client"] * max(2, round(CLIENT_KILLS * share)) + ["server"] * max(1, round(SERVER_KILLS * share))
        chance.shuffle(kills)
        with prepared(plan, random.Random(seed + number), len(kills) + WORKERS + 1) as (round_, path):
            try:
                round_.run(path, round(OPERATIONS * share), kills)
            except AssertionError as error:
                report.problems.append(f"{plan}: {error}"[:4000])
            _count(round_, report, coverage)
    _control(seed, report)
    return report


def _control(seed: int, report: StageReport) -> None:
    """Without a grace, a server that has lost all since its start grants what others still believe to have."""
    plan = Plan(engines()[0], "everysec", torn=True, guarded=False)
    kills = ["server"] * CONTROL_KILLS
    with prepared(plan, random.Random(seed), len(kills) + WORKERS + 1) as (round_, path):
        try:
            round_.run(path, CONTROL_OPERATIONS, kills)
        except AssertionError as error:
            report.problems.append(f"{plan}: {error}"[:4000])
    excess = round_.found.excess.get("cpu", 0) // 1000 if round_.found else 0
    report.counts.update({"controls": 1, "excess_of_the_control": excess})
    if not excess:
        report.problems.append("the control, without a grace, shows nothing: no more was believed in than there is")


def _count(round_: Round, report: StageReport, coverage: Coverage) -> None:
    report.counts.update(round_.seen)
    total = round_.counts.total()
    report.counts.update({name: total[name] for name in ("granted", "denied", "lost")})
    coverage.saw("overcommitted", round_.seen["overcommitted"])
    for name in ("fenced", "adopted", "recovering"):
        coverage.saw(name, total[name])
