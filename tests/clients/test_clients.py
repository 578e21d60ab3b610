"""The client objects: where they connect, what they leave alone, how they end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis
import redis.asyncio
import redis.asyncio.cluster
import redis.cluster

from allocator import Allocation, Allocator, AsyncAllocator, BackendUnavailable, InvalidRequest, Request, redact_url
from tests.clients.conftest import Connect
from tests.support import clients
from tests.support.cluster import Cluster
from tests.support.servers import Server

CORES = {"cpu": 4}


async def everything(client: AsyncAllocator) -> None:
    """A life of an allocation, so that connections were made and used."""
    await client.pools.create("lab", CORES)
    held = await client.allocate({"cpu": 1}, ttl=60)
    await client.renew(held)
    await client.release(held)
    assert await client.pools.list() == ["lab"]


# -- ready clients -----------------------------------------------------------------------------------------------------


async def test_a_ready_client_is_neither_used_nor_changed_nor_closed(kind: str, one_server: Server) -> None:
    """Its settings make connections of our own, and only those are closed."""
    cls: Any = redis.Redis if kind == "sync" else redis.asyncio.Redis
    ready = cls.from_url(one_server.tcp_url, socket_timeout=7, retry_on_timeout=True, decode_responses=False)
    pool = ready.connection_pool
    before = dict(pool.connection_kwargs)
    client = clients.connect(kind, ready)
    await everything(client)
    await client.close()
    assert ready.connection_pool is pool
    assert pool.connection_kwargs == before
    assert not pool._available_connections, "no connection of the ready client was made"
    pong = ready.ping()
    assert (await pong if kind == "async" else pong) is True
    end = ready.close() if kind == "sync" else ready.aclose()
    if end is not None:
        await end


async def test_a_connection_that_the_ready_client_has_open_stays_open(kind: str, one_server: Server) -> None:
    """Also when ours are closed."""
    cls: Any = redis.Redis if kind == "sync" else redis.asyncio.Redis
    async with Ready(cls.from_url(one_server.tcp_url)) as ready:
        first = await ready("CLIENT", "ID")
        client = clients.connect(kind, ready.client)
        await everything(client)
        await client.close()
        assert await ready("CLIENT", "ID") == first


async def test_a_ready_cluster_client_is_left_alone_as_well(kind: str, cluster: Cluster) -> None:
    """Its topology is not ours to refresh."""
    cluster.flush()
    node = cluster.nodes[0]
    cls: Any = redis.cluster.RedisCluster if kind == "sync" else redis.asyncio.cluster.RedisCluster
    async with Ready(cls(host="127.0.0.1", port=node.port)) as ready:
        await ready("SET", "theirs", "1")
        client = clients.connect(kind, ready.client)
        await everything(client)
        await client.close()
        assert await ready("GET", "theirs") == b"1"


async def test_the_other_sides_ready_client_is_refused(kind: str, one_server: Server) -> None:
    """A blocking client cannot serve the awaited allocator, nor the reverse; nor can anything else."""
    other: Any = redis.asyncio.Redis if kind == "sync" else redis.Redis
    async with Ready(other.from_url(one_server.tcp_url)) as ready:
        for target in (ready.client, object(), 7):
            with pytest.raises(InvalidRequest) as refused:
                clients.connect(kind, target)
            assert refused.value.field == "client"


class Ready:
    """A redis-py client of either side, spoken to and closed in the same way."""

    def __init__(self, client: Any) -> None:
        self.client = client

    async def __call__(self, *words: str) -> Any:
        reply = self.client.execute_command(*words)
        return await reply if asyncio.iscoroutine(reply) else reply

    async def __aenter__(self) -> Ready:
        return self

    async def __aexit__(self, *exc: object) -> None:
        if hasattr(self.client, "aclose"):
            await self.client.aclose()
        else:
            self.client.close()


# -- closing -----------------------------------------------------------------------------------------------------------


async def test_closing_may_be_repeated_and_ends_the_client(client: AsyncAllocator) -> None:
    """Afterwards every call says so; what is stored stays."""
    await client.allocate({"cpu": 1}, ttl=60)
    await client.close()
    await client.close()
    for call in (client.allocate({"cpu": 1}, ttl=60), client.pools.usage(), client.pools.list(), client.release("a")):
        with pytest.raises(BackendUnavailable) as closed:
            await call
        assert closed.value.code == "closed"


async def test_a_client_that_was_never_used_can_be_closed(connect: Connect) -> None:
    """Nothing was connected."""
    await connect().close()


def test_a_blocking_client_is_a_context_manager() -> None:
    """Closed at the end of the block."""
    with Allocator.from_url("memory://") as client:
        assert client.pools.list() == []
    with pytest.raises(BackendUnavailable):
        client.pools.list()


async def test_an_awaited_client_is_a_context_manager() -> None:
    """Closed at the end of the block."""
    async with AsyncAllocator.from_url("memory://") as client:
        assert await client.pools.list() == []
    with pytest.raises(BackendUnavailable):
        await client.pools.list()


# -- which store -------------------------------------------------------------------------------------------------------


async def test_a_private_memory_store_is_seen_by_its_client_only(kind: str) -> None:
    """A named one is shared by all clients of the process, of both kinds."""
    private, also_private = clients.connect(kind, "memory://"), clients.connect(kind, "memory://")
    await everything(private)
    assert await also_private.pools.list() == []
    name = f"memory://shared-{kind}"
    shared = [clients.connect(each, name) for each in ("sync", "async", kind)]
    await shared[0].pools.create("lab", CORES)
    held = await shared[1].allocate({"cpu": 1}, ttl=60)
    assert await shared[2].get(held.id)
    await shared[0].close()
    assert await shared[1].release(held)
    for client in (private, also_private, *shared):
        await client.close()


async def test_both_kinds_of_client_share_a_ledger(url: str, kind: str) -> None:
    """What one grants the other sees, renews and releases."""
    blocking, awaited = clients.connect("sync", url), clients.connect("async", url)
    one, other = (blocking, awaited) if kind == "sync" else (awaited, blocking)
    await one.pools.create("lab", CORES)
    held = await one.allocate({"cpu": 4}, ttl=60)
    assert not await other.check({"cpu": 1})
    assert await other.renew(held)
    assert await other.release(held)
    assert await one.get(held.id) is None
    await one.close()
    await other.close()


@pytest.mark.parametrize("cls", [Allocator, AsyncAllocator])
def test_without_a_url_the_environment_names_the_store(
    cls: type[Allocator | AsyncAllocator], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`ALLOCATOR_REDIS_URL` before `REDIS_URL`, and the embedded server where neither is set."""
    monkeypatch.delenv("ALLOCATOR_REDIS_URL", raising=False)
    monkeypatch.delenv("REDIS_URL", raising=False)
    assert "embedded://" in repr(cls.from_url())
    monkeypatch.setenv("REDIS_URL", "memory://second")
    assert "memory://second" in repr(cls.from_url())
    monkeypatch.setenv("ALLOCATOR_REDIS_URL", "memory://first")
    assert "memory://first" in repr(cls.from_url())
    assert "memory://given" in repr(cls.from_url("memory://given"))


async def test_no_password_is_shown_in_a_repr_or_an_error(kind: str) -> None:
    """Whatever the URL looks like."""
    url = "redis://someone:s3cr3t@127.0.0.1:1/0"
    client = clients.connect(kind, url, timeout=0.05)
    with pytest.raises(BackendUnavailable) as down:
        await client.pools.usage()
    await client.close()
    for text in (repr(client), str(down.value), redact_url(url)):
        assert "s3cr3t" not in text
        assert "127.0.0.1" in text


# -- what a server may be ----------------------------------------------------------------------------------------------


@pytest.fixture
def policy(one_server: Server) -> Iterator[Callable[[str], None]]:
    """Sets the server's memory policy; it is put back afterwards."""

    def set_policy(name: str) -> None:
        one_server.ask("CONFIG", "SET", "maxmemory-policy", name)

    yield set_policy
    set_policy("noeviction")


async def test_a_server_that_may_evict_any_key_is_refused_unless_allowed_by_name(
    kind: str, one_server: Server, policy: Callable[[str], None]
) -> None:
    """Counters would stay while records go."""
    policy("allkeys-lru")
    refused = clients.connect(kind, one_server.url)
    for call in (refused.pools.create("lab", CORES), refused.pools.list()):
        with pytest.raises(BackendUnavailable, match="allkeys-lru") as error:
            await call
        assert error.value.code == "eviction"
    allowed = clients.connect(kind, one_server.url, allow_eviction=True)
    await everything(allowed)
    policy("volatile-lru")
    harmless = clients.connect(kind, one_server.url)
    await everything(harmless)
    for client in (refused, allowed, harmless):
        await client.close()


# -- many at once ------------------------------------------------------------------------------------------------------


async def test_many_callers_of_one_client_are_granted_exactly_what_there_is(connect: Connect, kind: str) -> None:
    """Threads of the blocking client, tasks of the awaited one: 60 ask for one of 40 CPUs each."""
    client = connect()
    await client.pools.create("lab", {"cpu": 40})
    outcomes: list[object]
    if kind == "sync":
        blocking: Allocator = client.surface  # type: ignore[attr-defined]
        with ThreadPoolExecutor(8) as threads:
            outcomes = list(threads.map(lambda _: blocking.try_allocate({"cpu": 1}, ttl=60), range(60)))
    else:
        outcomes = list(await asyncio.gather(*(client.try_allocate({"cpu": 1}, ttl=60) for _ in range(60))))
    granted = [one for one in outcomes if isinstance(one, Allocation)]
    assert len(granted) == 40
    assert len({one.fence for one in granted}) == 40
    assert (await client.pools.usage()).resources["cpu"].available == 0


async def test_an_awaited_client_serves_several_loops(url: str) -> None:
    """In threads at the same time, and one after another."""
    client = AsyncAllocator.from_url(url, pool="lab")
    await client.pools.create("lab", {"cpu": 100})

    def in_a_loop_of_its_own() -> int:
        async def work() -> int:
            outcomes = await asyncio.gather(*(client.try_allocate({"cpu": 1}, ttl=60) for _ in range(5)))
            return sum(isinstance(one, Allocation) for one in outcomes)

        return asyncio.run(work())

    with ThreadPoolExecutor(3) as threads:
        counts = [thread.result() for thread in [threads.submit(in_a_loop_of_its_own) for _ in range(6)]]
    assert counts == [5] * 6
    assert (await client.pools.usage()).allocations == 30
    await client.close()


async def test_what_is_wrong_with_one_of_many_gathered_calls_reaches_only_its_caller(client: AsyncAllocator) -> None:
    """Concurrent calls share a round trip, not their fate."""
    held = [one for one in await client.allocate_many([Request({"cpu": "1m"}, 60)] * 3) if isinstance(one, Allocation)]
    outcomes = await asyncio.gather(
        client.allocate({"cpu": "1m"}, ttl=60),
        client.allocate({"cpu": 100}, ttl=60),
        client.renew(held[0]),
        client.renew("nothing"),
        client.release(held[1]),
        client.release("nothing"),
        return_exceptions=True,
    )
    assert [type(one).__name__ for one in outcomes] == [
        "Allocation", "Insufficient", "Renewal", "UnknownAllocation", "Release", "Release",
    ]  # fmt: skip
