"""Both drivers on a real cluster: redirections, a slot on its way to another node, a primary that dies."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import redis
import redis.asyncio

from allocator._engine.operations import undo
from allocator._engine.protocol.flows import Call, Flow, Item, Operation, Scan
from allocator._engine.protocol.keys import PoolKeys
from allocator._engine.transport.slot_map import SlotMap, slot_of
from allocator.errors import BackendUnavailable, InvalidRequest
from tests.support.cluster import Cluster
from tests.support.drivers import COUNT, SAY, Open, Side, count, count_all, error_of, keys_of, new_item
from tests.support.servers import Server

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def running() -> Iterator[Cluster]:
    """A cluster of three primaries."""
    with Cluster() as cluster:
        yield cluster


@pytest.fixture
def cluster(running: Cluster) -> Cluster:
    """The cluster, empty, with every slot at home."""
    running.flush()
    return running


@pytest.fixture
def url(cluster: Cluster) -> str:
    """The cluster's URL: two of its nodes, of which the first is not there."""
    return f"redis+cluster://127.0.0.1:1,127.0.0.1:{cluster.nodes[0].port}"


def count_in(pool: str, key: str = "counts") -> Operation[Any]:
    """Count one item on a pool's node."""
    keys = keys_of(pool)
    call = Call(COUNT, keys, (f"{keys.base}{key}",), (), (new_item(),), batch=True)
    return Operation(call, lambda reply: reply[0])


def key_of(pool: str) -> str:
    """The key that `count_in` counts in."""
    return f"{keys_of(pool).base}counts"


def test_each_pool_is_served_by_its_node(drive: Open, cluster: Cluster, url: str) -> None:
    """One client object, pools on every node."""
    side = drive(url)
    pools = [f"pool{number}" for number in range(12)]
    for pool in pools:
        assert side.run(count_in(pool))[1:3] == [0, 1]
    assert len({cluster.node_of(key_of(pool)).port for pool in pools}) == 3


def test_a_slot_that_has_moved_is_followed_at_once(drive: Open, cluster: Cluster, url: str) -> None:
    """MOVED is answered by going there, without a pause, and remembered."""
    side = drive(url)
    side.run(count_in("moving"))
    slot = cluster.slot_of(key_of("moving"))
    home = cluster.owner_of(slot)
    cluster.migrate(slot, cluster.other_than(home))
    try:
        for _ in range(2):
            assert side.run(count_in("moving"), deadline_s=0.5)[1:3] == [0, 1]
        assert cluster.other_than(home).call("HLEN", key_of("moving")) == 3
    finally:
        cluster.migrate(slot, home)


@pytest.mark.parametrize("gather", [True, False])
def test_a_key_that_is_already_there_is_asked_for_there(drive: Open, cluster: Cluster, url: str, gather: bool) -> None:
    """ASK is for one command only: the slot is still the old node's."""
    side = drive(url)
    side.run(count_in("asking"))
    slot = cluster.slot_of(key_of("asking"))
    source, _ = cluster.begin_migration(slot)
    cluster.move_keys(slot)
    keys = keys_of("asking")
    item = new_item()
    call = Call(COUNT, keys, (key_of("asking"),), (), (item,), gather)
    assert side.run(Operation(call, lambda reply: reply[0]), deadline_s=0.5)[:3] == [item.call, 0, 1]
    cluster.cancel_migration(slot)
    assert source.call("HLEN", key_of("asking")) == 2


def test_keys_on_both_sides_are_waited_for(drive: Open, cluster: Cluster, url: str) -> None:
    """TRYAGAIN: nothing is executed until they are together; beyond the deadline that is what is told."""
    side = drive(url)
    keys = keys_of("split")
    side.run(count_in("split"))
    side.run(count_in("split", "other"))
    slot = cluster.slot_of(key_of("split"))
    cluster.begin_migration(slot)
    cluster.move_keys(slot, [f"{keys.base}other"])
    both = Call(COUNT, keys, (key_of("split"), f"{keys.base}other"), (), (new_item(),))
    error = error_of(lambda: side.run(Operation(both, list), deadline_s=0.2))
    assert type(error) is BackendUnavailable
    assert error.code == "try_again"
    cluster.cancel_migration(slot)
    assert side.run(Operation(both, lambda reply: reply[0]))[1] == 0


def test_a_scan_walks_every_node(drive: Open, cluster: Cluster, url: str) -> None:
    """Pools are wherever their slots are."""
    side = drive(url)
    pools = [f"pool{number}" for number in range(9)]
    for pool in pools:
        side.run(count_in(pool))

    def scan() -> Flow[list[str]]:
        keys: list[str] = yield Scan("allocator:{*}:counts", 100)
        return keys

    assert sorted(side.run(scan())) == sorted(key_of(pool) for pool in pools)


@pytest.mark.parametrize("kind", ["sync"])
def test_a_ready_cluster_client_is_taken_over(drive: Open, cluster: Cluster) -> None:
    """Its nodes and settings; it is not used."""
    client = redis.RedisCluster(host="127.0.0.1", port=cluster.nodes[0].port, client_name="theirs")
    side = drive(client)
    for number in range(6):
        assert side.run(count_in(f"ready{number}"))[1:3] == [0, 1]
    client.close()


@pytest.mark.parametrize("started", [True, False])
def test_a_ready_asyncio_cluster_client_is_taken_over(cluster: Cluster, started: bool) -> None:
    """Also one that has not connected yet."""

    async def story() -> None:
        client = redis.asyncio.RedisCluster(host="127.0.0.1", port=cluster.nodes[0].port)
        if started:
            await client.initialize()
        side = Side("async", client)
        driver: Any = side.driver
        for number in range(6):
            assert (await driver.run(count_in(f"ready{number}")))[1:3] == [0, 1]
        await driver.close()
        await client.aclose()

    asyncio.run(story())


def test_a_plain_url_of_a_cluster_says_what_to_write(drive: Open, cluster: Cluster) -> None:
    """MOVED to another node is no state that passes by waiting here."""
    side = drive(cluster.url, deadline_s=1.0)
    elsewhere = (f"plain{number}" for number in range(100) if cluster.node_of(f"{{plain{number}}}") != cluster.nodes[0])
    with pytest.raises(BackendUnavailable) as refused:
        side.run(count_in(next(elsewhere)))
    assert refused.value.code == "moved"


def test_a_server_that_is_no_cluster_is_told_at_once(drive: Open, servers: Any) -> None:
    """With the server's words."""
    with Server(tcp=True) as server:
        error = error_of(lambda: drive(f"redis+cluster://127.0.0.1:{server.port}").run(count()))
    assert type(error) is BackendUnavailable
    assert "cluster support disabled" in str(error)


def test_a_cluster_that_is_not_there_is_unavailable(drive: Open) -> None:
    """All its nodes are tried, within the deadline."""
    error = error_of(lambda: drive("redis+cluster://127.0.0.1:1,127.0.0.1:2", deadline_s=1.0).run(count()))
    assert type(error) is BackendUnavailable


def test_a_primary_that_dies_is_replaced(kind: str) -> None:
    """The call waits for its replica to be promoted, and finds it by asking the others."""
    with Cluster(masters=3, replicas=1) as cluster:
        side = Side(kind, f"redis+cluster://127.0.0.1:{cluster.nodes[0].port}", deadline_s=20.0)
        try:
            pool = next(f"p{n}" for n in range(100) if cluster.node_of(key_of(f"p{n}")) is cluster.nodes[1])
            side.run(count_in(pool))
            cluster.nodes[1].server.kill()
            assert side.run(count_in(pool))[2] == 1
        finally:
            side.close()


# -- the map, without a server -----------------------------------------------------------------------------------------


def test_the_map_is_learnt_from_any_node() -> None:
    """An empty or unknown host is the node's own; slots that nobody serves have no owner."""
    topology = SlotMap([("seed", 1)])
    assert topology.outdated
    assert topology.owner(5) is None
    topology.update([[0, 99, ["", 7000, "id"], ["replica", 1]], [200, 16383, ["b", 7001, "id"]]], ("a", 7000))
    assert not topology.outdated
    assert (topology.owner(0), topology.owner(99)) == (("a", 7000), ("a", 7000))
    assert (topology.owner(100), topology.owner(16383)) == (None, ("b", 7001))
    assert topology.primaries() == [("a", 7000), ("b", 7001)]
    topology.set_owner(100, ("c", 7002))
    assert topology.owner(100) == ("c", 7002)


def test_the_node_that_failed_is_asked_last() -> None:
    """Its own view of the cluster is of no use, and waiting for it costs a time-out."""
    topology = SlotMap([("seed", 1)])
    topology.update([[0, 8000, ["a", 1]], [8001, 16383, ["b", 2]]], ("a", 1))
    assert topology.candidates(last=("a", 1))[-1] == ("a", 1)
    assert set(topology.candidates()) == {("a", 1), ("b", 2), ("seed", 1)}


def test_addresses_are_turned_into_ones_that_can_be_reached() -> None:
    """As a cluster client's `address_remap` says, for clusters behind a gateway."""
    remap: Callable[[tuple[str, int]], tuple[str, int]] = lambda address: ("gateway", address[1] + 1)  # noqa: E731
    topology = SlotMap([("seed", 1)], remap)
    topology.update([[0, 16383, ["10.0.0.1", 7000]]], ("seed", 1))
    assert topology.owner(0) == ("gateway", 7001)


def test_all_keys_of_a_pool_are_in_its_names_slot() -> None:
    """As the servers compute it."""
    assert slot_of(keys_of("123456789")) == 12739


def test_a_cluster_has_one_database(drive: Open) -> None:
    """A URL that names another is a mistake."""
    with pytest.raises(InvalidRequest, match="the database is not 0"):
        drive("redis+cluster://127.0.0.1:1/2")


def test_a_batch_follows_its_slot(drive: Open, cluster: Cluster, url: str) -> None:
    """Several items are redirected together."""
    side = drive(url)
    items = [new_item() for _ in range(5)]
    work = count_all(*items)
    side.run(work)
    slot = slot_of(keys_of("lab"))
    home = cluster.owner_of(slot)
    cluster.migrate(slot, cluster.other_than(home))
    try:
        assert [entry[:3] for entry in side.run(work, deadline_s=0.5)] == [[item.call, 0, 2] for item in items]
    finally:
        cluster.migrate(slot, home)


def granted_then_failing(pool: str, item: Item, meanwhile: Callable[[], object]) -> Flow[None]:
    """A flow whose grant is undone, after something has happened of which its driver has not heard."""
    keys = keys_of(pool)
    yield Call(SAY, keys, (key_of(pool),), (), (item,), batch=True, undo=True)
    meanwhile()
    raise InvalidRequest("after the grant", field="none")


def test_an_undo_follows_its_slot(drive: Open, cluster: Cluster, url: str) -> None:
    """No other call is made that would learn of the move."""
    side = drive(url)
    item, slot = new_item("granted"), cluster.slot_of(key_of("leaving"))
    home = cluster.owner_of(slot)
    target = cluster.other_than(home)
    error_of(lambda: side.run(granted_then_failing("leaving", item, lambda: cluster.migrate(slot, target))))
    try:
        side.wait_until(lambda: target.call("ZSCORE", keys_of("leaving")["ended"], item.call))
    finally:
        cluster.migrate(slot, home)


def test_an_undo_is_asked_for_where_its_keys_are_already(
    drive: Open, cluster: Cluster, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the slot is on its way; with one key, as the servers take no more there."""

    def counted(pool: PoolKeys, calls: Sequence[tuple[str, str]]) -> Operation[Any]:
        items = tuple(Item(call, ("undone",), id=identity) for call, identity in calls)
        return Operation(Call(COUNT, pool, (key_of("arriving"),), (), items), list)

    monkeypatch.setattr(undo, "undo", counted)
    side = drive(url)
    side.run(count_in("arriving"))
    item, slot = new_item("granted"), cluster.slot_of(key_of("arriving"))
    source = cluster.owner_of(slot)

    def move() -> None:
        cluster.begin_migration(slot)
        cluster.move_keys(slot)

    error_of(lambda: side.run(granted_then_failing("arriving", item, move)))
    side.close_driver()
    cluster.cancel_migration(slot)
    assert source.call("HGET", key_of("arriving"), item.call) == "1"
