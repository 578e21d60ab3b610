"""doctor, by both clients on every kind of store: what it finds, and what it leaves behind."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final

import pytest
import redis

from allocator import AsyncAllocator, BackendUnavailable, DoctorReport
from allocator._engine.operations.maintenance import doctor
from allocator._engine.protocol import scripts
from allocator.access import ROLES, user
from tests.clients.conftest import Connect
from tests.clients.stores import EVERY
from tests.support import clients
from tests.support.sentinel import Sentinels
from tests.support.servers import Engine, Server

STORES: Final = EVERY

PASSWORD: Final = "canary"

RULES: Final = {Engine.REDIS7: (7, 0), Engine.VALKEY8: (7, 2), Engine.VALKEY9: (7, 2)}


def verdicts(found: DoctorReport) -> dict[str, str]:
    """By check; of several the last."""
    return {one.name: one.verdict for one in found.checks}


@pytest.fixture
async def examine(kind: str) -> Any:
    """The diagnosis of the server at a URL, by either client."""

    async def examine(url: str, **options: Any) -> DoctorReport:
        client = clients.connect(kind, url, allow_eviction=True, **options)
        try:
            return await client.maintenance.doctor()
        finally:
            await client.close()

    return examine


Examine = Callable[..., Awaitable[DoctorReport]]


async def test_every_script_works_and_nothing_stays(connect: Connect, client: AsyncAllocator) -> None:
    """The pool of the scratch is gone, and the client's own pool is as it was."""
    before = await client.pools.usage()
    found = await client.maintenance.doctor()
    assert found
    assert verdicts(found)["scripts"] == "ok"
    assert f"all {len(scripts.names())} " in next(one.detail for one in found.checks if one.name == "scripts")
    assert await client.pools.list() == ["lab"]
    assert (await client.pools.usage()).pool == before.pool


async def test_each_store_tells_what_it_can(connect: Connect, store: str) -> None:
    """The store in this process has no memory policy; a cluster has a state.  No pool need exist."""
    found = await connect().maintenance.doctor()
    told = verdicts(found)
    assert found
    assert ("server" in told) == (store == "memory")
    assert ("version" in told) == (store != "memory")
    assert ("cluster" in told) == (store == "cluster")
    assert told["clock"] == "ok"
    assert "pool lab" not in told


def test_every_script_is_tried() -> None:
    """One that is added later must not be forgotten."""
    assert {name for name, _ in doctor._TRIES} == set(scripts.names())


async def test_the_scratch_pool_goes_also_after_a_fault_of_ours(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A diagnosis that fails must not leave a pool behind with each attempt."""

    def broken(at: object) -> Any:
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(doctor, "_TRIES", (*doctor._TRIES[:2], ("renew", broken), *doctor._TRIES[3:]))
    client = connect()
    with pytest.raises(RuntimeError, match="a fault of ours"):
        await client.maintenance.doctor()
    assert await client.pools.list() == []


async def test_a_scratch_pool_that_may_not_be_deleted_is_named(
    login: Callable[..., str], examine: Examine, server: Server, admin: Any
) -> None:
    """With the command that does it, for somebody who may."""
    found = await examine(login("controller", "-pexpire"))
    (left,) = [one.advice for one in found.checks if one.name == "scratch pool"]
    name = left.split()[3]
    assert left == f"resource-allocator pool delete {name} --force --yes"
    assert f"allocator:{{{name}}}:pool" in admin.keys("*")
    await _delete(server.url, name)


async def test_a_server_that_cannot_be_reached_is_no_finding(kind: str) -> None:
    """There is nothing to say of it."""
    client = clients.connect(kind, "redis://user:canary@127.0.0.1:1", timeout=0.5)
    with pytest.raises(BackendUnavailable) as refused:
        await client.maintenance.doctor()
    assert PASSWORD not in str(refused.value)
    await client.close()


# -- on servers of its own ---------------------------------------------------------------------------------------------


async def test_a_server_that_evicts_is_bad(examine: Examine) -> None:
    """Our own client would not use it, but for looking at it."""
    with Server(options={"maxmemory": "100mb", "maxmemory-policy": "allkeys-lru"}) as server:
        found = await examine(server.url)
        assert not found
        assert verdicts(found)["eviction"] == "bad"
        assert verdicts(found)["scripts"] == "ok"


async def test_a_full_server_is_bad(examine: Examine) -> None:
    """Each refusal is told once, in the server's words."""
    with Server(options={"maxmemory": "1mb"}) as server:
        found = await examine(server.url)
        said = [one.detail for one in found.checks if one.verdict == "bad" and one.name == "scripts"]
        assert any("is out of memory" in one for one in said)


async def test_a_primary_behind_sentinels_is_told_what_a_failover_costs(examine: Examine, kind: str) -> None:
    """And of a replica, that it is one."""
    with Sentinels() as formed:
        found = await examine(formed.url)
        told = next(one for one in found.checks if one.name == "replication")
        assert told.verdict == "warn"
        assert "2 replicas" in told.detail
        assert "--recovery-grace" in told.advice
        found = await examine(formed.replicas[0].url, timeout=1.0)
        assert verdicts(found)["replication"] == "bad"


async def test_a_pool_whose_promise_cannot_be_kept_is_bad(examine: Examine, connect: Connect, kind: str) -> None:
    """Each of its grants would be undone, so it is better known before."""
    with Server() as server:
        client = clients.connect(kind, server.url)
        await client.pools.create("lab", {"cpu": 1}, durability="replicated:1", recovery_grace=60, new=True)
        found = await client.maintenance.doctor()
        assert not found
        bad = [one for one in found.checks if one.verdict == "bad"]
        assert ["durability replicated:1" in one.detail for one in bad] == [True]
        await client.close()


# -- with the rights of a user -----------------------------------------------------------------------------------------


@pytest.fixture
def admin(server: Server) -> Iterator[Any]:
    """Whoever may do everything."""
    with redis.Redis.from_url(server.url, decode_responses=True) as client:
        yield client
        for role in ROLES:
            client.execute_command("ACL", "DELUSER", role)


@pytest.fixture
def login(server: Server, engine: Engine, admin: Any) -> Callable[..., str]:
    """The URL of a role's user, whose rights are those that `acl` prints, and then `less`."""

    def login(role: str, *less: str, **options: Any) -> str:
        wanted = user(role, password=PASSWORD, server=RULES[engine], **options)
        admin.execute_command(*wanted.command(), *less)
        return server.url.replace("unix://", f"unix://{role}:{PASSWORD}@")

    return login


def text(found: DoctorReport) -> str:
    return "\n".join(f"{one.name} {one.detail} {one.advice}" for one in found.checks)


async def test_a_controller_of_acl_is_fit(login: Callable[..., str], examine: Examine) -> None:
    """The two commands know of each other: no warning about rights, either."""
    found = await examine(login("controller"))
    assert found
    assert {"unknown", "bad"}.isdisjoint(verdicts(found).values())
    assert "rights" not in verdicts(found)


@pytest.mark.parametrize("command", ["evalsha", "hset", "zscan", "unlink", "hgetall", "info"])
async def test_a_command_that_is_missing_is_named_and_its_line_mends_it(
    login: Callable[..., str], examine: Examine, admin: Any, command: str
) -> None:
    """Whatever it is that the server says of it; the line is pasted, and then all is well."""
    url = login("controller", f"-{command}")
    found = await examine(url)
    lines = [one.advice for one in found.checks if one.advice.startswith("ACL SETUSER")]
    assert f"ACL SETUSER controller +{command}" in lines, text(found)
    assert bool(found) == (command == "info")
    assert PASSWORD not in text(found)
    admin.execute_command(*lines[0].split())
    assert await examine(url)
    left = {key for key in admin.keys("*") if ":{doctor-" in key and not key.endswith(":ended")}
    assert not left or any("pool delete doctor-" in one.advice for one in found.checks)
    for name in {found[1] for found in (re.search(r"\{(.*)\}", key) for key in left) if found}:
        await _delete(url, name)


async def _delete(url: str, name: str) -> None:
    client = clients.connect("sync", url)
    await client.pools.delete(name, force=True)
    await client.close()


async def test_an_inspector_is_told_that_it_cannot_write(
    login: Callable[..., str], examine: Examine, admin: Any
) -> None:
    """Nothing is written, and nothing stays."""
    found = await examine(login("inspector"))
    assert not found
    assert "ACL SETUSER inspector +hdel +hset" in text(found)
    assert not admin.keys("*")


async def test_a_user_of_one_pool_is_not_called_broken(
    login: Callable[..., str], examine: Examine, server: Server
) -> None:
    """It may use no scratch pool, which is as it should be."""
    client = clients.connect("sync", server.url)
    await client.pools.create("lab", {"cpu": 1})
    await client.close()
    found = await examine(login("controller", pool="lab"))
    assert found, text(found)
    assert verdicts(found)["scripts"] == "unknown"
