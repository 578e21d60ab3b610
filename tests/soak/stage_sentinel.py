"""Failovers behind Sentinel, of five kinds, under holders near saturation; judged by what holders believed.

`kill` and `stop` the primary, an operator's failover, the same while the Sentinel that is asked first is slow (not
dead: it stands still for a while, again and again), and a primary that comes back empty before anybody has noticed,
whose replicas then copy its emptiness.  With a recovery grace: nothing beyond the capacity was held at any instant, no
lease was lost whose holder lived and could be heard, and in the end nothing is charged to anybody.  The control has no
grace, and must show that the capacity was exceeded, or that leases were lost.
"""

from __future__ import annotations

import contextlib
import random
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from typing import Final

from allocator import Allocator
from tests.soak import reality
from tests.soak.holders import UNIT, Crew, Plan
from tests.soak.reality import Outage, Reality
from tests.soak.report import Coverage, StageReport
from tests.soak.watching import Watch
from tests.support.sentinel import Sentinels
from tests.support.servers import Engine, engines

FAILOVERS: Final = 12
CAPACITY: Final = 60
CREWS: Final = 2
THREADS: Final = 14
"""Of each process: more is wanted than there is."""

POOL: Final = "lab"
TTL_S: Final = 3.0
GRACE_S: Final = 4.0
SLOW_GRACE_S: Final = TTL_S + 5.0
"""Where an old primary may be believed in for as long as docs/reliability.md says."""

SLOW_S: Final = (1.5, 0.3)
"""Seconds for which the slow Sentinel stands still, and goes on.  At two it would no longer trust its own clock."""

DEADLINE_S: Final = 40.0
SLACK_S: Final = 1.5
"""After calls get through again, until all clients have found the way and the leases have been renewed."""


class Site:
    """The servers, and a client that looks at them."""

    def __init__(self, engine: Engine) -> None:
        self.sentinels = Sentinels(engine, replicas=2, down_after_ms=500)
        self._client: Allocator | None = None

    @property
    def url(self) -> str:
        """The Sentinels, and first of them the one that may be slow: the last, for the others say who is who."""
        places = [f"{host}:{port}" for host, port in self.sentinels.places]
        return self.sentinels.url.replace(",".join(places), ",".join(reversed(places)))

    @contextlib.contextmanager
    def one_is_slow(self) -> Iterator[None]:
        """For the length of a block."""
        over, slow = threading.Event(), self.sentinels._sentinels[-1][1]

        def stands_still() -> None:
            while not over.is_set():
                slow.signal(signal.SIGSTOP)
                over.wait(SLOW_S[0])
                slow.signal(signal.SIGCONT)
                over.wait(SLOW_S[1])

        thread = threading.Thread(target=stands_still, name="slow-sentinel")
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def client(self) -> Allocator:
        """Of whoever is the primary."""
        if self._client is None:
            self._client = Allocator.from_url(self.url, pool=POOL, attempt_timeout=0.5, timeout=3.0)
        return self._client

    def __enter__(self) -> Site:
        self.sentinels.__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        if self._client is not None:
            self._client.close()
        self.sentinels.__exit__(*exc)


def kill(site: Site) -> None:
    """SIGKILL."""
    old = site.sentinels.kill_primary()
    site.sentinels.wait_for_another(old)


def stop(site: Site) -> None:
    """SIGSTOP: it keeps its connections and answers nobody; it goes on once another is the primary."""
    old = site.sentinels.primary
    old.stop_process()
    site.sentinels.wait_for_another(old)
    old.cont()


def operator(site: Site) -> None:
    """SENTINEL FAILOVER."""
    site.sentinels.fail_over()


def empty(site: Site) -> None:
    """The primary comes back with nothing before the Sentinels have called it down; the replicas copy that."""
    site.sentinels.primary.restart()


ACTS: Final[dict[str, Callable[[Site], None]]] = {
    "kill": kill, "stop": stop, "operator": operator, "empty": empty, "slow": operator,
}  # fmt: skip


def fail_over_once(
    engine: Engine, how: str, seed: int, *, guarded: bool
) -> tuple[Reality, Watch, reality.History, list[str]]:
    """One story: near saturation, the failover, near saturation again, and everything given back."""
    with contextlib.ExitStack() as stack:
        site = stack.enter_context(Site(engine))
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        site.client().pools.create(
            POOL,
            {UNIT: CAPACITY},
            recovery_grace=(SLOW_GRACE_S if how == "slow" else GRACE_S) if guarded else None,
            max_ttl=TTL_S if guarded else None,
            new=True,
        )
        watch = Watch(site.client, [POOL])
        emptied = "recover" if guarded else "create"
        plans = [
            Plan(
                site.url, f"{folder}/{number}", seed + number, POOL,
                threads=THREADS, ttl=TTL_S, when_emptied=emptied,
            )
            for number in range(CREWS)
        ]  # fmt: skip
        crew = stack.enter_context(Crew(plans))
        if how == "slow":
            stack.enter_context(site.one_is_slow())
        watch.wait_until_busy(crew, DEADLINE_S)
        begun = watch.recoveries
        if not guarded:
            lag(site)
        outage = watch.through(lambda: ACTS[how](site), DEADLINE_S)
        watch.wait_until_busy(crew, DEADLINE_S, recoveries=begun + 1 if guarded else 0)
        history = crew.finish()
        # Whoever could not be heard while the store was away lapses by its own clock, as it should.
        found = Reality.of(history, CAPACITY, [Outage(outage.since, outage.until)], slack_s=SLACK_S)
        return found, watch, history, watch.what_is_left(10 * TTL_S)


def lag(site: Site) -> None:
    """For the control: the replicas stop following for a moment, so that what is granted meanwhile is lost."""
    for replica in site.sentinels.replicas:
        replica.ask("REPLICAOF", "127.0.0.1", "1")
    ends = time.monotonic() + TTL_S
    while time.monotonic() < ends:
        site.client().pools.usage()
    primary = site.sentinels.primary
    for replica in site.sentinels.replicas:
        replica.ask("REPLICAOF", "127.0.0.1", str(primary.port))


def run(*, seed: int, scale: float, coverage: Coverage) -> StageReport:
    """Each kind on both engines, in turn; then the control."""
    report = StageReport("sentinel", [seed])
    report.counts.update({"failovers": 0, "over_allocations": 0, "live_leases_lost": 0, "leaks": 0})
    chance = random.Random(seed)
    chosen = [engine for engine in (Engine.VALKEY9, Engine.REDIS7) if engine in engines()]
    for number in range(max(1, round(scale * FAILOVERS))):
        how = list(ACTS)[(number + seed) % len(ACTS)]
        engine = chosen[number // len(ACTS) % len(chosen)]
        found, watch, history, left = fail_over_once(engine, how, chance.randrange(2**31), guarded=True)
        name = f"{engine} {how}"
        report.counts.update(
            {
                "failovers": 1, f"by_{how}": 1, "beliefs": found.beliefs, "over_allocations": int(found.excess > 0),
                "live_leases_lost": found.lost, "lapsed_while_away": found.lapsed, "leaks": len(left),
                "adopted": watch.seen["adopted"], "recoveries": watch.recoveries,
            }
        )  # fmt: skip
        if found.excess:
            report.problems.append(f"{name}: {found.excess} units of {CAPACITY} too many were held")
        if found.lost:
            report.problems.append(f"{name}: {found.lost} live leases were lost: {history.losses[:3]}")
        report.problems += [f"{name}: {complaint}" for complaint in left]
        for seen in (watch.seen, history.seen):
            for word in ("adopted", "recovering", "overcommitted", "readonly", "noreplicas", "noscript"):
                coverage.saw(word, seen[word])
    if scale >= 0.2:
        found, _, _, _ = fail_over_once(chosen[0], "empty", chance.randrange(2**31), guarded=False)
        report.counts.update({"controls": 1, "excess_of_the_control": found.excess, "lost_by_the_control": found.lost})
        if not (found.excess or found.lost):
            report.problems.append("the control, without a grace, shows nothing: the failover did no harm")
    return report
