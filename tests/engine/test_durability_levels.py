"""How safe a change is when it is answered: what is asked for, what is reached, and what becomes of what was not."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import redis

from allocator import AsyncAllocator, NotDurable, Request
from tests.support import clients
from tests.support.proxy import Fault, FaultProxy
from tests.support.servers import Engine, Server
from tests.support.tools import with_engine
from tests.support.waiting import wait_until, wait_until_async

Connect = Callable[..., AsyncAllocator]

POOL = {"cpu": 4}

HASTY = {"attempt_timeout": 1.0, "timeout": 4.0}
"""Of a client that waits for a replica in vain.  The others are patient: a busy machine lets a replica wait, too."""


@pytest.fixture(params=clients.KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """The blocking client and the awaited one."""
    kind: str = request.param
    return kind


def confirms(primary: Server) -> bool:
    """Whether its replica confirms a write: its link may be up a second before it does."""
    with redis.Redis.from_url(primary.url) as client:
        client.set("something", "")
        client.delete("something")
        return client.wait(1, 500) == 1


@pytest.fixture
def pair(engine: Engine, audit_all: Callable[[str], None]) -> Iterator[tuple[Server, Server]]:
    """A primary, and a replica that follows it; what is left is audited."""
    with contextlib.ExitStack() as stack:
        primary = stack.enter_context(Server(engine, tcp=True, options={"repl-diskless-sync-delay": "0"}))
        replica = stack.enter_context(Server(engine, options={"replicaof": f"127.0.0.1 {primary.port}"}))
        wait_until(lambda: confirms(primary), message="the replica confirms what is written")
        yield primary, replica
        replica.cont()
        audit_all(primary.url)


@pytest.fixture
async def connect(kind: str) -> AsyncIterator[Connect]:
    """Makes clients of the kind; they are closed after the test."""
    made: list[AsyncAllocator] = []

    def make(url: str, **options: Any) -> AsyncAllocator:
        made.append(clients.connect(kind, url, **{"attempt_timeout": 5.0, "timeout": 15.0, **options}))
        return made[-1]

    yield make
    for client in made:
        await client.close()


async def test_a_grant_says_how_many_replicas_have_it(connect: Connect, pair: tuple[Server, Server]) -> None:
    """Each of a batch, and a renewal as well."""
    client = connect(pair[0].url)
    await client.pools.create("lab", POOL)
    held = await client.options(durability="replicated:1").allocate({"cpu": 1}, ttl=60)
    assert held.durability == "replicated:1"
    assert pair[1].ask("EXISTS", f"allocator:{{lab}}:allocation:{held.id}") == "1"
    many = await client.options(durability="replicated:1").allocate_many([Request({"cpu": 1}, 60)] * 2)
    assert [getattr(one, "durability", None) for one in many] == ["replicated:1"] * 2
    assert (await client.options(durability="replicated:1").renew(held)).durability == "replicated:1"
    assert (await client.options(durability="replicated:1").resize(held, {"cpu": "500m"})).durability == "replicated:1"
    assert (await client.allocate({"cpu": "100m"}, ttl=60)).durability == "memory"


async def test_a_grant_in_a_scope_says_both(connect: Connect, pair: tuple[Server, Server]) -> None:
    """The scope that the pool has chosen, and how many replicas have it; a move waits, too."""
    client = connect(pair[0].url)
    await client.pools.create("lab", POOL, default_scope="rest")
    await client.quotas.set("rest", {"cpu": 2})
    assert (await client.allocate({"cpu": 1}, ttl=60)).scope == "rest"
    held = await client.options(durability="replicated:1").allocate({"cpu": 1}, ttl=60)
    assert (held.scope, held.durability) == ("rest", "replicated:1")
    moved = await client.options(durability="replicated:1").move(held, None)
    assert (moved.scope, moved.durability) == (None, "replicated:1")
    await client.pools.update(durability="replicated:1")
    held = await client.allocate({"cpu": 1}, ttl=60)
    assert (held.scope, held.durability) == ("rest", "replicated:1")


async def test_a_denial_waits_for_nobody(connect: Connect, pair: tuple[Server, Server]) -> None:
    """It changed nothing."""
    client = connect(pair[0].url)
    await client.pools.create("lab", POOL)
    pair[1].stop_process()
    assert not await client.options(durability="replicated:1").try_allocate({"cpu": 5}, ttl=60)


async def test_what_no_replica_confirms_is_undone(connect: Connect, pair: tuple[Server, Server]) -> None:
    """The caller is told that it was executed and is not as safe; its room comes back."""
    client = connect(pair[0].url, **HASTY)
    await client.pools.create("lab", POOL)
    pair[1].stop_process()
    with pytest.raises(NotDurable) as told:
        await client.options(durability="replicated:1").allocate({"cpu": 4}, ttl=60)
    assert (told.value.code, told.value.reached) == ("not_durable", "memory")
    await wait_until_async(lambda: pair[0].ask("HGET", "allocator:{lab}:pool", "cpu.allocated") == "0")


async def test_a_renewal_that_no_replica_confirms_stays_and_says_so(
    connect: Connect, pair: tuple[Server, Server]
) -> None:
    """Taking it back would end what is live."""
    client = connect(pair[0].url, **HASTY)
    await client.pools.create("lab", POOL)
    held = await client.allocate({"cpu": 4}, ttl=60)
    pair[1].stop_process()
    with pytest.raises(NotDurable):
        await client.options(durability="replicated:1").renew(held)
    assert await client.get(held.id) is not None


async def test_a_resize_that_no_replica_confirms_stays_and_says_so(
    connect: Connect, pair: tuple[Server, Server]
) -> None:
    """Nothing pretends that it was undone: neither the error's text nor an undo that would end nothing."""
    client = connect(pair[0].url)
    await client.pools.create("lab", POOL)
    held = await client.allocate({"cpu": 4}, ttl=60)
    ended = pair[0].ask("ZCARD", "allocator:{lab}:ended")
    pair[1].stop_process()
    with pytest.raises(NotDurable) as told:
        await client.options(durability="replicated:1").resize(held, {"cpu": 1})
    assert str(told.value).endswith("; it stays")
    assert "undone" not in str(told.value)
    await client.close()  # which sends what is queued
    assert pair[0].ask("HGET", "allocator:{lab}:pool", "cpu.allocated") == "1000"
    assert int(pair[0].ask("ZCARD", "allocator:{lab}:ended")) == int(ended) + 1, "the resize's own mark, and no other"


async def test_a_pool_may_ask_for_it_whatever_the_call_says(connect: Connect, pair: tuple[Server, Server]) -> None:
    """Grants, renewals and holds of a pool that wants a replica."""
    client = connect(pair[0].url)
    await client.pools.create("lab", POOL, durability="replicated:1")
    assert (await client.pools.get()).durability == "replicated:1"
    held = await client.allocate({"cpu": 1}, ttl=60)
    assert (held.durability, (await client.renew(held)).durability) == ("replicated:1", "replicated:1")
    async with client.hold({"cpu": 1}, ttl=60) as hold:
        assert hold.allocation.durability == "replicated:1"
    pair[1].stop_process()
    with pytest.raises(NotDurable):
        await connect(pair[0].url, **HASTY).allocate({"cpu": 1}, ttl=60)


async def test_a_repeat_is_confirmed_by_its_own_connection(connect: Connect, pair: tuple[Server, Server]) -> None:
    """WAIT speaks of what its connection wrote: the repeat of a call that was executed writes again, or it would be
    told of replicas that have nothing of it.
    """
    assert pair[0].port is not None
    with FaultProxy(("127.0.0.1", pair[0].port)) as proxy:
        client_url = f"redis://127.0.0.1:{proxy.port}"
        client = connect(client_url)
        await client.pools.create("lab", POOL)
        await client.allocate({"cpu": "100m"}, ttl=60)
        pair[1].stop_process()
        proxy.arm(Fault.RESET_AFTER, match=b"EVALSHA")
        with pytest.raises(NotDurable):
            await connect(client_url, **HASTY).options(durability="replicated:1").allocate({"cpu": 1}, ttl=60)
        pair[1].cont()
        proxy.arm(Fault.RESET_AFTER, match=b"EVALSHA")
        assert (
            await client.options(durability="replicated:1").allocate({"cpu": 1}, ttl=60)
        ).durability == "replicated:1"


@pytest.mark.parametrize(
    ("engine", "options", "reached"),
    [
        (Engine.VALKEY9, {"appendonly": "yes", "appendfsync": "everysec"}, "fsynced"),
        (Engine.VALKEY9, {"appendonly": "no"}, ""),
        with_engine(Engine.REDIS7, Engine.REDIS7, {"appendonly": "yes", "appendfsync": "always"}, "fsynced"),
        with_engine(Engine.REDIS7, Engine.REDIS7, {"appendonly": "yes", "appendfsync": "everysec"}, ""),
    ],
)
async def test_on_disk_means_on_disk(connect: Connect, engine: Engine, options: dict[str, str], reached: str) -> None:
    """By WAITAOF; before Redis 7.2 by the setting that writes each change before it is answered."""
    with Server(engine, options=options) as server:
        client = connect(server.url, attempt_timeout=2.0)
        await client.pools.create("lab", POOL)
        if reached:
            assert (await client.options(durability="fsynced").allocate({"cpu": 1}, ttl=60)).durability == reached
        else:
            with pytest.raises(NotDurable):
                await client.options(durability="fsynced").allocate({"cpu": 1}, ttl=60)
            await wait_until_async(lambda: server.ask("HGET", "allocator:{lab}:pool", "cpu.allocated") == "0")
        assert await client.maintenance.audit()
