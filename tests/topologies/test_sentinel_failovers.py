"""redis+sentinel://: the primary is found, and found again when it is another one."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from typing import Any

import pytest
import redis
import redis.asyncio
import redis.asyncio.sentinel
import redis.sentinel

from allocator import AsyncAllocator, BackendError, BackendUnavailable, InvalidRequest, Recovering, UnknownPool
from allocator._engine.transport.urls import redact_url
from tests.support import clients
from tests.support.sentinel import SERVICE, Sentinels
from tests.support.servers import Server
from tests.support.waiting import wait_until
from tests.topologies.crowd import CAPACITY, GRACE_S, TTL_S, Crowd, connect

pytestmark = pytest.mark.slow

SENTINELS_RIGHTS = ("+sentinel|get-master-addr-by-name", "+hello", "+client|setname")
"""What docs/topologies.md says that a user of the Sentinels needs."""


async def within(seconds: float, act: Callable[[], Any]) -> Any:
    """Repeat a call until it is answered; only errors that say *down* or *not now* may come before."""
    ends = time.monotonic() + seconds
    while True:
        try:
            return await act()
        except (BackendError, Recovering):
            if time.monotonic() > ends:
                raise


async def leave(client: AsyncAllocator) -> None:
    """What every test ends with: the ledger agrees with itself."""
    assert await within(10, client.maintenance.audit)
    await client.close()


# -- another primary ---------------------------------------------------------------------------------------------------


async def test_a_pool_keeps_working_through_a_crash_of_its_primary(kind: str, sentinels: Sentinels) -> None:
    """Whatever the new primary lacks, no two holders have the same unit, and work goes on within seconds."""
    client = connect(kind, sentinels.url, "lab")
    await client.options(timeout=60.0).pools.create(
        "lab", {"cpu": CAPACITY}, recovery_grace=GRACE_S, max_ttl=TTL_S, new=True
    )
    before = sentinels.primary
    with Crowd(kind, sentinels.url, "lab") as crowd:
        sentinels.kill_primary()
        sentinels.wait_for_another(before)
        crowd.wait_for_recovery()
    await leave(client)


async def test_a_pool_keeps_working_through_a_failover_that_an_operator_wants(kind: str, watched: Sentinels) -> None:
    """The old primary takes writes for some time yet; what it grants in that time is not given out twice."""
    client = connect(kind, watched.url, "lab")
    await client.options(timeout=60.0).pools.create(
        "lab", {"cpu": CAPACITY}, recovery_grace=GRACE_S, max_ttl=TTL_S, new=True
    )
    with Crowd(kind, watched.url, "lab") as crowd:
        watched.fail_over()
        crowd.wait_for_recovery()
    await leave(client)


async def test_a_pool_keeps_working_while_its_primary_is_silent_and_when_it_is_back(
    kind: str, watched: Sentinels
) -> None:
    """It wakes up as a primary, and answers whoever had asked it: nobody goes back to it."""
    client = connect(kind, watched.url, "lab")
    await client.options(timeout=60.0).pools.create(
        "lab", {"cpu": CAPACITY}, recovery_grace=GRACE_S, max_ttl=TTL_S, new=True
    )
    with Crowd(kind, watched.url, "lab") as crowd:
        old = watched.stop_primary()
        watched.wait_for_another(old)
        crowd.wait_for_recovery()
        old.cont()
        crowd.wait_for_more()
    await leave(client)


def has(server: Server, identity: str) -> bool:
    """Whether the record is there; a Sentinel disconnects the clients of a server that it has just promoted."""
    try:
        return server.ask("EXISTS", f"allocator:{{lab}}:allocation:{identity}") == "1"
    except ConnectionResetError:
        return False


@pytest.mark.parametrize("how", ["kill", "operator"])
async def test_a_hold_is_not_lost_by_a_failover(kind: str, watched: Sentinels, how: str) -> None:
    """Its lease is longer than the failover; what the new primary does not know of it, it is told."""
    client = connect(kind, watched.url, "lab")
    await client.options(timeout=60.0).pools.create("lab", {"cpu": 3}, recovery_grace=12, max_ttl=12, new=True)
    patient = client.options(timeout=60.0)
    await patient.release(await patient.allocate({"cpu": 1}, ttl=12))  # the server knows the scripts now
    before = watched.primary
    async with client.hold({"cpu": 2}, ttl=12) as hold:
        if how == "kill":
            watched.kill_primary()
            new = watched.wait_for_another(before)
        else:
            new = watched.fail_over()
        renewed = hold.allocation.deadline_ms
        wait_until(lambda: has(new, hold.id) and hold.allocation.deadline_ms != renewed)
        assert not hold.lost
        assert await within(4, lambda: client.renew(hold.allocation))
    await leave(client)


async def test_a_demoted_primary_is_left_within_seconds(kind: str, watched: Sentinels) -> None:
    """It would take writes that are lost, until the Sentinels make a replica of it."""
    client = connect(kind, watched.url, "lab")
    await client.options(timeout=60.0).pools.create("lab", {"cpu": 3})
    new = watched.fail_over()
    over = time.monotonic()
    while True:
        one = await within(5, lambda: client.allocate({"cpu": "1m"}, ttl=30))
        if has(new, one.id):
            break
        assert time.monotonic() - over < 5, "it stays on the demoted one"
    await client.close()


async def test_a_primary_that_comes_back_empty_is_noticed(kind: str, watched: Sentinels) -> None:
    """Faster than the Sentinels look, so that nobody fails over, and the replicas lose all, too."""
    client = connect(kind, watched.url, "lab")
    pool = await client.options(timeout=60.0).pools.create("lab", {"cpu": 3}, recovery_grace=60, max_ttl=60, new=True)
    held = await client.allocate({"cpu": 1}, ttl=60)
    watched.empty_primary()
    with pytest.raises(UnknownPool) as emptied:
        await within(5, lambda: client.renew(held))
    assert emptied.value.code == "pool_lost"
    await within(5, lambda: client.pools.recover(pool))
    assert (await within(5, lambda: client.renew(held))).outcome == "adopted"
    await within(5, client.pools.end_recovery)
    assert await within(5, lambda: client.allocate({"cpu": 2}, ttl=TTL_S))
    await leave(client)


# -- the Sentinels themselves ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "count"), [(signal.SIGSTOP, 1), (signal.SIGSTOP, 3), (signal.SIGKILL, 3)])
async def test_sentinels_that_are_away_do_not_stop_the_work(
    kind: str, watched: Sentinels, number: signal.Signals, count: int
) -> None:
    """The primary that was known goes on being used; a look at silent ones ends long before the call's time does."""
    client = clients.connect(kind, watched.url, timeout=60.0, attempt_timeout=20.0)
    await client.pools.create("lab", {"cpu": 3})
    watched.signal_sentinels(number, count)
    began, slowest = time.monotonic(), 0.0
    while time.monotonic() < began + 2.5:
        asked = time.monotonic()
        held = await client.allocate({"cpu": 1}, ttl=TTL_S)
        await client.release(held)
        slowest = max(slowest, time.monotonic() - asked)
    assert slowest < 20.0
    await leave(client)


async def test_sentinels_that_are_all_away_are_an_error_that_says_so(kind: str, watched: Sentinels) -> None:
    """Within the deadline."""
    watched.signal_sentinels(signal.SIGSTOP)
    client = clients.connect(kind, watched.url, timeout=1.0, attempt_timeout=0.5)
    began = time.monotonic()
    with pytest.raises(BackendUnavailable, match="Sentinel"):
        await client.pools.usage()
    assert time.monotonic() - began < 3.0
    await client.close()


async def test_a_service_that_the_sentinels_do_not_know_is_an_error_that_says_so(kind: str, watched: Sentinels) -> None:
    """A misspelt name must not look as if the servers were down."""
    client = clients.connect(kind, watched.url + "s", timeout=0.5)
    with pytest.raises(BackendUnavailable, match=rf"knows no '{SERVICE}s'") as unknown:
        await client.pools.usage()
    assert unknown.value.code == "no_primary"
    with pytest.raises(BackendUnavailable, match=rf"knows no '{SERVICE}s'"):  # also where there is no time to ask again
        await client.options(timeout=1e-6).pools.usage()
    await client.close()


async def test_servers_and_sentinels_have_credentials_of_their_own(kind: str, watched: Sentinels) -> None:
    """Those before the hosts are the servers'; each must be right."""
    for server in watched.servers:
        server.ask("ACL", "SETUSER", "app", "on", ">s3rver", "~*", "+@all")
    watched.tell_sentinels("ACL", "SETUSER", "watch", "on", ">s3nt/nel", *SENTINELS_RIGHTS)
    place = watched.url.removeprefix("redis+sentinel://")
    right = f"redis+sentinel://app:s3rver@{place}?sentinel_username=watch&sentinel_password=s3nt%2Fnel"
    client = connect(kind, right, "lab")
    await client.options(timeout=60.0).pools.create("lab", {"cpu": 3})
    assert "user=app" in watched.primary.ask("CLIENT", "LIST")
    await client.close()
    for wrong in (right.replace("s3rver", "canary"), right.replace("s3nt%2Fnel", "canary")):
        client = connect(kind, wrong, "lab")
        with pytest.raises(BackendUnavailable) as refused:
            await client.pools.usage()
        assert refused.value.code == "auth"
        assert "canary" not in f"{refused.value!r} {client!r} {redact_url(wrong)}"
        await client.close()


async def test_the_database_of_the_url_is_used(kind: str, watched: Sentinels) -> None:
    """As in a URL of one server."""
    client = connect(kind, f"{watched.url}/3?client_name=mine", "lab")
    await client.options(timeout=60.0).pools.create("lab", {"cpu": 3})
    told = watched.primary.ask("CLIENT", "LIST")
    assert any("name=mine " in line and " db=3 " in line for line in told.splitlines())
    await client.close()


async def test_a_client_that_redis_py_made_leaves_a_demoted_primary_too(kind: str, watched: Sentinels) -> None:
    """`master_for` gives a client that would stay; ours is the same as of a URL, and leaves theirs alone."""
    if kind == "sync":
        theirs: Any = redis.sentinel.Sentinel(watched.places).master_for(SERVICE)
    else:
        theirs = redis.asyncio.sentinel.Sentinel(watched.places).master_for(SERVICE)
    client = clients.connect(kind, theirs, attempt_timeout=0.5)
    await client.options(timeout=60.0).pools.create("lab", {"cpu": 3})
    new = watched.fail_over()
    over = time.monotonic()
    while True:
        one = await within(5, lambda: client.allocate({"cpu": "1m"}, ttl=30))
        if has(new, one.id):
            break
        assert time.monotonic() - over < 5, "it stays on the demoted one"
    await client.close()


# -- URLs --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "redis+sentinel://",
        "redis+sentinel://host",
        "redis+sentinel://host:x/ledger",
        "redis+sentinel://host/led ger",
        "redis+sentinel://host/ledger/one",
        "redis+sentinel://host/ledger?sentinel_port=1",
        "redis+sentinel://host/ledger?no_such_option=1",
    ],
)
def test_a_url_that_names_no_service_is_refused(kind: str, url: str) -> None:
    """Before anything is connected."""
    with pytest.raises(InvalidRequest) as wrong:
        clients.connect(kind, url)
    assert wrong.value.field == "url"


def test_no_credentials_of_a_sentinel_url_are_shown() -> None:
    """Neither the servers' nor the Sentinels'."""
    url = "redis+sentinel://me:canary@a:1,b:2/ledger?sentinel_username=us&sentinel_password=canary"
    assert "canary" not in redact_url(url)
    assert "canary" not in repr(clients.connect("sync", url))
