"""A cluster whose masters change: by an operator's wish, by a crash, by slots that move."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from allocator import AsyncAllocator
from tests.support.cluster import Cluster, Node
from tests.support.servers import Engine
from tests.support.waiting import wait_until
from tests.topologies.crowd import CAPACITY, GRACE_S, Crowd, connect

pytestmark = pytest.mark.slow

POOL_KEY = "allocator:{lab}:pool"


@pytest.fixture
def cluster(engine: Engine) -> Iterator[Cluster]:
    """Three masters with a replica each, which take over soon after a crash."""
    with Cluster(engine, replicas=1, options={"cluster-node-timeout": "1000"}) as formed:
        yield formed


def url_of(cluster: Cluster) -> str:
    """By all nodes: any of them may be the one that is killed."""
    return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in cluster.nodes)


def replica_of(cluster: Cluster, master: Node) -> Node:
    """Who follows this master."""
    return next(
        node for node in cluster.replicas if node.call("ROLE")[0] == "slave" and node.call("ROLE")[2] == master.port
    )


def wait_for_promotion(replica: Node) -> None:
    """Until it is the master by its own account."""
    wait_until(lambda: replica.call("ROLE")[0] == "master", message="the replica has taken over")


async def a_pool(kind: str, cluster: Cluster, grace: float | None) -> AsyncAllocator:
    """A client of a new pool."""
    client = connect(kind, url_of(cluster), "lab")
    await client.options(timeout=60.0).pools.create(
        "lab", {"cpu": CAPACITY}, recovery_grace=grace, max_ttl=grace, new=True
    )
    return client


async def test_a_pool_keeps_working_through_a_failover_that_an_operator_wants(kind: str, cluster: Cluster) -> None:
    """The master hands over all that it has, so that even a pool without a recovery grace loses nothing."""
    client = await a_pool(kind, cluster, None)
    replica = replica_of(cluster, cluster.node_of(POOL_KEY))
    with Crowd(kind, url_of(cluster), "lab") as crowd:
        replica.call("CLUSTER", "FAILOVER")
        wait_for_promotion(replica)
        assert crowd.wait_for_more() < 5
    assert await client.maintenance.audit()
    assert (await client.pools.usage()).allocations == 0
    await client.close()


async def test_a_pool_keeps_working_through_a_crash_of_its_master(kind: str, cluster: Cluster) -> None:
    """What the replica lacks cannot be given out twice where the pool has a recovery grace."""
    client = await a_pool(kind, cluster, GRACE_S)
    master = cluster.node_of(POOL_KEY)
    replica = replica_of(cluster, master)
    with Crowd(kind, url_of(cluster), "lab") as crowd:
        master.server.kill()
        wait_for_promotion(replica)
        crowd.wait_for_recovery()
    assert await client.maintenance.audit()
    await client.close()


async def test_a_hold_is_not_lost_by_a_failover_of_the_cluster(kind: str, cluster: Cluster) -> None:
    """Its renewals find the new master."""
    client = await a_pool(kind, cluster, GRACE_S)
    replica = replica_of(cluster, cluster.node_of(POOL_KEY))
    async with client.hold({"cpu": 2}, ttl=GRACE_S) as hold:
        replica.call("CLUSTER", "FAILOVER")
        wait_for_promotion(replica)
        before = hold.allocation.deadline_ms
        wait_until(lambda: hold.allocation.deadline_ms != before, message="the hold is renewed on the new master")
        assert not hold.lost
    assert await client.maintenance.audit()
    await client.close()


async def test_a_pool_keeps_working_while_its_slot_moves(kind: str, cluster: Cluster) -> None:
    """To each of the other masters and back; nobody is refused or misled."""
    client = await a_pool(kind, cluster, None)
    slot = cluster.slot_of(POOL_KEY)
    first = cluster.owner_of(slot)
    with Crowd(kind, url_of(cluster), "lab") as crowd:
        for master in (*(node for node in cluster.masters if node is not first), first):
            cluster.migrate(slot, master)
            crowd.wait_for_more()
        assert not crowd.told
    assert await client.maintenance.audit()
    await client.close()
