"""Redis Cluster, three masters with a replica each: failovers on demand, crashes, and slots that move under load.

Three pools, each on another shard, each with processes that hold near saturation.  Wanted: nothing lost, nothing above
the capacity, and every audit clean; MOVED and ASK were met.
"""

from __future__ import annotations

import contextlib
import functools
import random
import tempfile
from collections.abc import Iterator, Sequence
from typing import Final

from allocator import Allocator
from tests.soak import reality
from tests.soak.holders import UNIT, Crew, Plan
from tests.soak.reality import History, Outage, Reality
from tests.soak.report import Coverage, StageReport
from tests.soak.watching import Watch
from tests.support.cluster import Cluster, Node
from tests.support.servers import Engine, engines
from tests.support.waiting import wait_until

CAPACITY: Final = 16
"""Of each pool: eight holders that want up to four each keep it full."""

TTL_S: Final = 5.0
GRACE_S: Final = 6.0
NODE_TIMEOUT_MS: Final = 1000

CYCLES: Final = ("failover", "crash", "move", "failover", "crash", "move")

DEADLINE_S: Final = 20.0
"""Seconds for the cluster to do what a cycle waits for."""

SLACK_S: Final = 1.5
"""After calls get through again, until all clients have found the way and the leases have been renewed."""


class Shards:
    """The cluster, and which node is what at present."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.pools = tuple(self._pool_on(number) for number in range(3))

    def _pool_on(self, number: int) -> str:
        """A pool's name whose slot the master of that number has had from the start."""
        wanted = self.cluster.masters[number]
        names = (f"lab-{at}" for at in range(1000))
        return next(name for name in names if self.cluster.owner_of(self.slot(name)) is wanted)

    @staticmethod
    def slot(pool: str) -> int:
        """Where the pool lies."""
        return Cluster.slot_of(f"allocator:{{{pool}}}:pool")

    @property
    def url(self) -> str:
        """The URL of the cluster; any of its nodes may be down."""
        return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.cluster.nodes)

    def up(self) -> Iterator[Node]:
        """The nodes that run."""
        return (node for node in self.cluster.nodes if node.server.running)

    def masters(self) -> list[Node]:
        """The nodes that are masters by their own account."""
        return [node for node in self.up() if node.call("ROLE")[0] == "master"]

    def owner(self, pool: str, *, but: Node | None = None) -> Node | None:
        """The master that serves the pool by its own account and another node's."""
        for node in self.masters():
            if node is not but and self._serves(node, self.slot(pool)):
                return node
        return None

    def _serves(self, node: Node, slot: int) -> bool:
        for first, last, (_, port, *_), *_ in node.call("CLUSTER", "SLOTS"):
            if first <= slot <= last:
                return bool(port == node.port)
        return False

    def replica_of(self, node: Node) -> Node | None:
        """A replica that has the node's data."""
        for other in self.up():
            role = other.call("ROLE")
            if role[0] == "slave" and role[2] == node.port and role[3] == "connected":
                return other
        return None

    def wait_until_whole(self) -> None:
        """Every node runs and is a master with a replica, or a replica that follows."""
        wait_until(self._is_whole, timeout_s=DEADLINE_S, message="every master has its replica")

    def _is_whole(self) -> bool:
        masters = self.masters()
        return (
            len(masters) == 3
            and all(self.replica_of(node) for node in masters)
            and all(node.cluster_info["cluster_state"] == "ok" for node in self.up())
        )


# -- cycles ------------------------------------------------------------------------------------------------------------


def fail_over(shards: Shards, pool: str, crew: Crew) -> None:
    """An operator asks the pool's replica to take over: it catches up first, so nothing is lost."""
    before = wait_until(functools.partial(shards.owner, pool), message="the pool has an owner")
    replica = wait_until(functools.partial(shards.replica_of, before), message="it has a replica")
    replica.call("CLUSTER", "FAILOVER")
    wait_until(lambda: shards.owner(pool, but=before), timeout_s=DEADLINE_S, message="the replica has taken over")


def crash(shards: Shards, pool: str, crew: Crew) -> None:
    """The pool's master is killed; its replica is elected.  The dead one comes back as a replica, empty."""
    before = wait_until(functools.partial(shards.owner, pool), message="the pool has an owner")
    before.server.kill()
    wait_until(lambda: shards.owner(pool, but=before), timeout_s=DEADLINE_S, message="the replica was elected")
    before.client.connection_pool.disconnect()
    before.server.start()


def move(shards: Shards, pool: str, crew: Crew) -> None:
    """The pool's slot goes to another master while holders use it; first some keys, then all, then its name."""
    source = wait_until(functools.partial(shards.owner, pool), message="the pool has an owner")
    target = next(node for node in shards.masters() if node is not source)
    slot = shards.slot(pool)
    shards.cluster.begin_migration(slot, source, target)
    shards.cluster.move_keys(slot)
    asked = crew.history().seen["ask"]
    wait_until(lambda: crew.history().seen["ask"] > asked, timeout_s=DEADLINE_S, message="somebody was told ASK")
    shards.cluster.move_keys(slot)
    del shards.cluster._migrations[slot]
    for node in (target, source, *(node for node in shards.masters() if node not in (source, target))):
        node.call("CLUSTER", "SETSLOT", slot, "NODE", target.id)
    wait_until(lambda: shards.owner(pool) is target, timeout_s=DEADLINE_S, message="the slot has moved")


ACTS: Final = {"failover": fail_over, "crash": crash, "move": move}


# -- a run -------------------------------------------------------------------------------------------------------------


def try_cluster(engine: Engine, acts: Sequence[str], seed: int, report: StageReport, coverage: Coverage) -> None:
    """So many cycles on one cluster, under load all the while."""
    chance = random.Random(seed)
    with contextlib.ExitStack() as stack:
        cluster = stack.enter_context(
            Cluster(engine, replicas=1, options={"cluster-node-timeout": str(NODE_TIMEOUT_MS)})
        )
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        shards = Shards(cluster)
        client = stack.enter_context(Allocator.from_url(shards.url, attempt_timeout=0.5, timeout=5.0))
        for pool in shards.pools:
            client.pools.create(pool, {UNIT: CAPACITY}, recovery_grace=GRACE_S, max_ttl=TTL_S, new=True)
        watch = Watch(lambda: client, shards.pools)
        plans = [
            Plan(shards.url, f"{folder}/{pool}", seed + number, pool, ttl=TTL_S)
            for number, pool in enumerate(shards.pools)
        ]
        crew = stack.enter_context(Crew(plans))
        watch.wait_until_busy(crew, DEADLINE_S)
        for act in acts:
            begun = watch.recoveries
            pool = chance.choice(shards.pools)
            watch.through(functools.partial(ACTS[act], shards, pool, crew), DEADLINE_S)
            watch.wait_until_busy(crew, DEADLINE_S + GRACE_S, recoveries=begun + 1)
            shards.wait_until_whole()
            report.counts.update({"cycles": 1, f"by_{act}": 1})
        history = crew.finish()
        for journal in crew.journals:
            _judge(reality.read([journal]), watch.outages, journal.name, report)
        complaints = watch.what_is_left(DEADLINE_S)
    report.counts["leaks"] += len(complaints)
    report.problems += complaints
    report.counts["adopted"] += watch.seen["adopted"]
    for seen in (watch.seen, history.seen):
        for word in ("adopted", "recovering", "overcommitted", "moved", "ask", "noscript", "readonly"):
            coverage.saw(word, seen[word])


def _judge(history: History, outages: Sequence[Outage], name: str, report: StageReport) -> None:
    """By what the holders of one pool believed."""
    found = Reality.of(history, CAPACITY, outages, slack_s=SLACK_S)
    report.counts.update(
        {"beliefs": found.beliefs, "over_allocations": int(found.excess > 0), "live_leases_lost": found.lost}
    )
    if found.excess:
        report.problems.append(f"{name}: {found.excess} units of {CAPACITY} too many were held")
    if found.lost:
        report.problems.append(f"{name}: {found.lost} live leases were lost: {history.losses[:3]}")


def run(*, seed: int, scale: float, coverage: Coverage) -> StageReport:
    """Six cycles; at a small scale one."""
    report = StageReport("cluster", [seed])
    report.counts.update({"cycles": 0, "over_allocations": 0, "live_leases_lost": 0, "leaks": 0})
    count = max(1, round(scale * len(CYCLES)))
    first = seed % len(CYCLES)
    acts = [CYCLES[(first + number) % len(CYCLES)] for number in range(count)]
    try_cluster(engines()[0], acts, seed, report, coverage)
    return report
