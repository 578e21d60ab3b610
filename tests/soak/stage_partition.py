"""A partition each way: a primary and its clients cut off from the majority, which goes on without them; and healed.

Three hosts of a network of their own, each with a server, a Sentinel and processes that hold near saturation.  Wanted:
nothing above the capacity by what holders on *all* sides believed.  The control, without a grace and without
`min-replicas-to-write`, must show that the partition gives the same units out twice.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from typing import Final

from allocator import Allocator
from tests.soak import reality
from tests.soak.holders import UNIT, Crew, Plan
from tests.soak.reality import History, Outage, Reality
from tests.soak.report import Coverage, StageReport
from tests.soak.watching import Watch
from tests.support import netns
from tests.support.netns import SENTINEL_PORT, HostedSentinel, HostedServer, Network
from tests.support.servers import Engine, engines
from tests.support.waiting import wait_until

POOL: Final = "lab"
CAPACITY: Final = 60
THREADS: Final = 14
"""Of each host: two hosts want 70 of the 60 units, so the majority alone fills the pool."""

TTL_S: Final = 3.0
LAG_S: Final = 1
GRACE_S: Final = TTL_S + LAG_S + 1.5

SERVICE: Final = "ledger"
SENTINEL: Final = ("down-after-milliseconds {name} 500", "failover-timeout {name} 3000", "parallel-syncs {name} 2")
GUARDED: Final = {"min-replicas-to-write": "1", "min-replicas-max-lag": str(LAG_S)}

DEADLINE_S: Final = 30.0

SLACK_S: Final = 1.5
"""After somebody can be heard again, until its clients have found the way and its leases have been renewed."""


class Site:
    """Three hosts; the primary begins on the first one."""

    def __init__(self, engine: Engine, stack: ExitStack, options: dict[str, str]) -> None:
        self.network = stack.enter_context(Network(3))
        settings = {"repl-diskless-sync-delay": "0", "repl-timeout": "5", **options}
        first, *others = self.network.hosts
        primary = HostedServer(first, engine, options=settings)
        self.servers = [primary]
        following = {**settings, "replicaof": f"{first.address} {primary.port}"}
        self.servers += [HostedServer(host, engine, options=following) for host in others]
        self.sentinels = [
            HostedSentinel(host, engine, primary, name=SERVICE, settings=SENTINEL) for host in self.network.hosts
        ]
        for one in (*self.servers, *self.sentinels):
            stack.enter_context(one)
        wait_until(self.is_formed, timeout_s=DEADLINE_S, message="replicas and Sentinels know each other")
        self._clients: dict[str, Allocator] = {}
        stack.callback(lambda: [client.close() for client in self._clients.values()])

    @property
    def url(self) -> str:
        places = ",".join(f"{host.address}:{SENTINEL_PORT}" for host in self.network.hosts)
        return f"redis+sentinel://{places}/{SERVICE}"

    def is_formed(self) -> bool:
        fields = [one.info("sentinel").get("master0", "") for one in self.sentinels]
        return all("slaves=2" in text and "sentinels=3" in text and "status=ok" in text for text in fields)

    def primary(self) -> HostedServer | None:
        """The server that the second host's Sentinel, which is never cut off, names; by its own account, too."""
        text = self.sentinels[1].info("sentinel").get("master0", "")
        for server in self.servers:
            if f"address={server.host.address}:" in text and server.info("replication")["role"] == "master":
                return server
        return None

    def client(self) -> Allocator:
        """A client of the primary, which passes by the network."""
        server = wait_until(self.primary, timeout_s=DEADLINE_S, message="there is a primary")
        if server.url not in self._clients:
            self._clients[server.url] = Allocator.from_url(server.url, pool=POOL, attempt_timeout=0.5, timeout=5.0)
        return self._clients[server.url]

    def has_followers(self, count: int) -> bool:
        """Whether all others follow the primary."""
        server = self.primary()
        return server is not None and server.info("replication")["connected_slaves"] == str(count)


WAYS: Final = ("cut", "mute")
"""Off in both directions; or only what the first host sends is lost."""


def part(engine: Engine, way: str, seed: int, *, guarded: bool) -> tuple[Reality, Watch, History, list[str]]:
    """One story: near saturation, the network parts, the majority is near saturation, it heals, all is given back."""
    with ExitStack() as stack:
        site = Site(engine, stack, GUARDED if guarded else {})
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        site.client().pools.create(
            POOL,
            {UNIT: CAPACITY},
            recovery_grace=GRACE_S if guarded else None,
            max_ttl=TTL_S if guarded else None,
            new=True,
        )
        watch = Watch(site.client, [POOL])
        plans = [
            Plan(site.url, f"{folder}/{host.number}", seed + host.number, POOL, threads=THREADS, ttl=TTL_S)
            for host in site.network.hosts
        ]
        crew = stack.enter_context(Crew(plans, [host.command() for host in site.network.hosts]))
        watch.wait_until_busy(crew, DEADLINE_S)
        first, begun, since = site.network.hosts[0], watch.recoveries, reality.now()
        getattr(site.network, way)(first)
        wait_until(
            lambda: (server := site.primary()) is not None and server.host is not first,
            timeout_s=DEADLINE_S,
            message="the majority has elected another primary",
        )
        elected = reality.now()
        watch.wait_until_busy(crew, DEADLINE_S + GRACE_S, recoveries=begun + 1 if guarded else 0)
        site.network.heal()
        wait_until(lambda: site.has_followers(2), timeout_s=DEADLINE_S, message="the old primary follows the new one")
        history = crew.finish()
        # The cut-off side hears nobody until the network is whole: its holders lapse, as they should.  The majority's
        # have no excuse once it has a primary.
        lost = []
        for number, journal in enumerate(crew.journals):
            until = elected if number else reality.now()
            lost += reality.lost_alive(reality.read([journal]).losses, [Outage(since, until)], slack_s=SLACK_S)
        found = Reality.judged(history, CAPACITY, lost)
        return found, watch, history, watch.what_is_left(10 * TTL_S)


def run(*, seed: int, scale: float, coverage: Coverage) -> StageReport:
    """A cycle each way, then the control; at a small scale one way alone."""
    report = StageReport("partition", [seed])
    if why := netns.missing():
        report.skipped = f"no network namespaces here: {why}"
        return report
    report.counts.update({"cycles": 0, "over_allocations": 0, "live_leases_lost": 0, "leaks": 0})
    for number, way in enumerate(WAYS if scale >= 0.2 else WAYS[seed % 2 :][:1]):
        found, watch, history, left = part(engines()[0], way, seed + 100 * number, guarded=True)
        report.counts.update(
            {
                "cycles": 1, f"by_{way}": 1, "beliefs": found.beliefs, "over_allocations": int(found.excess > 0),
                "live_leases_lost": found.lost, "lapsed_while_cut_off": found.lapsed, "leaks": len(left),
                "adopted": watch.seen["adopted"],
            }
        )  # fmt: skip
        if found.excess:
            report.problems.append(f"{way}: {found.excess} units of {CAPACITY} too many were held")
        if found.lost:
            report.problems.append(f"{way}: {found.lost} live leases were lost: {history.losses[:3]}")
        report.problems += [f"{way}: {complaint}" for complaint in left]
        for seen in (watch.seen, history.seen):
            for word in ("adopted", "recovering", "overcommitted", "noreplicas", "readonly", "noscript"):
                coverage.saw(word, seen[word])
    if scale >= 0.2:
        found, _, _, _ = part(engines()[0], "cut", seed + 1000, guarded=False)
        report.counts.update({"controls": 1, "excess_of_the_control": found.excess})
        if not found.excess:
            report.problems.append("the control, without a grace and min-replicas-to-write, shows no over-allocation")
    return report
