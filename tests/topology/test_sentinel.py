"""redis+sentinel://: the primary is found, and found again when it is another one."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from allocator import AsyncAllocator, BackendError, InvalidRequest, Recovering, redact_url
from tests.support import clients
from tests.support.sentinel import Sentinels
from tests.support.waiting import wait_until_async

pytestmark = pytest.mark.slow


async def within(seconds: float, act: Callable[[], Any]) -> Any:
    """Repeat a call until it is answered; only errors that say *down* or *recovering* may come before."""
    ends = time.monotonic() + seconds
    while True:
        try:
            return await act()
        except (BackendError, Recovering):
            if time.monotonic() > ends:
                raise


async def work(client: AsyncAllocator, pool: str) -> None:
    """The life of an allocation."""
    held = await within(10, lambda: client.allocate({"cpu": 1}, ttl=4, pool=pool))
    assert await within(10, lambda: client.renew(held))
    await within(10, lambda: client.release(held))


@pytest.mark.parametrize("how", ["kill", "operator"])
async def test_a_pool_keeps_working_through_a_failover(kind: str, sentinels: Sentinels, how: str) -> None:
    """A lease is held all the while: with a recovery grace it is not lost whatever the replicas lacked."""
    pool = f"lab-{kind}-{how}"
    client = clients.connect(kind, sentinels.url, pool=pool, attempt_timeout=0.5, deadline=5.0)
    await client.create_pool(pool, {"cpu": 4}, recovery_grace=4)
    await work(client, pool)
    before = sentinels.primary
    async with client.hold({"cpu": 2}, ttl=4) as hold:
        if how == "kill":
            sentinels.kill_primary()
            sentinels.wait_for_another(before)
        else:
            assert sentinels.fail_over() is not before
        await work(client, pool)
        assert not hold.lost
    await wait_until_async(
        lambda: sentinels.primary.ask("HGET", f"allocator:{{{pool}}}:pool", "cpu.allocated") == "0",
        message="what was held is given back",
    )
    assert await within(10, lambda: client.audit(pool=pool))
    await client.close()


async def test_a_demoted_primary_is_left_within_seconds(kind: str, sentinels: Sentinels) -> None:
    """It would take writes that are lost, until the Sentinels make a replica of it."""
    pool = f"lab-{kind}-demoted"
    client = clients.connect(kind, sentinels.url, pool=pool, attempt_timeout=0.5, deadline=5.0)
    await client.create_pool(pool, {"cpu": 4})
    new = sentinels.fail_over()
    granted = time.monotonic()
    while time.monotonic() < granted + 5:
        one = await within(5, lambda: client.allocate({"cpu": "1m"}, ttl=30))
        if new.ask("EXISTS", f"allocator:{{{pool}}}:allocation:{one.id}") == "1":
            break
    assert time.monotonic() - granted < 5, "it stays on the demoted one"
    await client.close()


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
