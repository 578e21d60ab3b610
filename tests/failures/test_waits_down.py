"""Waiting while nothing can be granted, or nobody is reached: it goes on at leisure, and *down* is not *full*."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from allocator import BackendUnavailable, Recovering, WaitTimeout, settings
from allocator.errors import RequestWithdrawn
from tests.failures.conftest import Disturbed
from tests.failures.operations import Scene
from tests.failures.queueing import ONE, asks, fill, in_line, raw, settled, undone, waits_for
from tests.support.drivers import requests_of
from tests.support.proxy import FaultProxy
from tests.support.servers import Server
from tests.support.waiting import wait_until_async

Stage = Callable[[str], Scene]

SHORT = {"timeout": 0.2}
"""Less than the waits of this module last."""


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test does not wait for the seconds that a program waits."""
    monkeypatch.setattr(settings, "WAKE_POLL_S", 0.05)
    monkeypatch.setattr(settings, "HEARTBEAT_S", 0.05)


def recovers(scene: Scene) -> None:
    """Its counters were lost: holders have a minute to come back."""
    pool = scene.direct.pools.create(scene.pool, ONE, recovery_grace=60, max_ttl=60, new=True)
    raw(scene, "FLUSHALL")
    scene.direct.pools.recover(pool)


async def test_a_recovery_that_outlasts_the_time_of_a_call_is_waited_for_at_leisure(
    scene: Stage, disturbed: Disturbed, proxy: FaultProxy, one_server: Server
) -> None:
    """Each attempt has its own time, and none follows at once: the call's time is not that of the wait."""
    lab = scene("lab")
    recovers(lab)
    client = disturbed("lab", lab.clock, **SHORT)
    asked = asks(client, "a")
    await waits_for(lab, "a")
    began, before = time.monotonic(), requests_of(proxy)
    await wait_until_async(lambda: time.monotonic() - began > 3 * SHORT["timeout"])
    sent = requests_of(proxy) - before
    assert 2 <= sent <= 40, f"{sent} requests"
    lab.direct.pools.end_recovery()
    assert (await asked.answer()).created
    lab.direct.release("a")
    await client.close()
    await settled(lab, one_server)


async def test_a_wait_that_ends_in_a_recovery_says_so(scene: Stage, disturbed: Disturbed, one_server: Server) -> None:
    """It is not told that the pool is full."""
    lab = scene("lab")
    recovers(lab)
    client = disturbed("lab", lab.clock)
    with pytest.raises(Recovering):
        await client.allocate(ONE, ttl=60, wait=0.2)
    lab.direct.pools.end_recovery()
    await client.close()
    await settled(lab, one_server)


@pytest.mark.parametrize("first", ["full", "recovering"])
async def test_a_last_try_whose_reply_is_lost_in_a_recovery_is_not_told_as_full_nor_as_withdrawn(
    first: str, scene: Stage, disturbed: Disturbed, proxy: FaultProxy, one_server: Server
) -> None:
    """Its repeat hears that it has left the line; the caller is told why it was not granted."""
    lab = scene("lab")
    if first == "recovering":
        recovers(lab)
    else:
        pool = lab.direct.pools.create("lab", ONE, recovery_grace=60, max_ttl=60, new=True)
        lab.direct.allocate(ONE, ttl=60, id="full")
    client = disturbed("lab", lab.clock)
    asked = asks(client, "a", wait=1.0)
    await waits_for(lab, "a")
    if first == "full":
        proxy.down()
        raw(lab, "FLUSHALL")
        lab.direct.pools.recover(pool)
        proxy.up()
        await waits_for(lab, "a")
    proxy.reset_after(match=lambda request: b"EVALSHA" in request and b"wait" not in request.split(b"\r\n"))
    with pytest.raises(Recovering):
        await asked.answer()
    proxy.wait_fired()
    assert in_line(lab) == []
    lab.direct.pools.end_recovery()
    await client.close()
    await settled(lab, one_server)


async def test_a_server_that_is_away_from_the_start_is_waited_for_at_leisure(
    scene: Stage, disturbed: Disturbed, proxy: FaultProxy, one_server: Server
) -> None:
    """Much longer than the time of a call; the attempts after its return have all of theirs."""
    lab = scene("lab")
    fill(lab)
    proxy.down()
    client = disturbed("lab", lab.clock, **SHORT)
    began, spent = time.monotonic(), time.process_time()
    asked = asks(client, "a")
    await wait_until_async(lambda: time.monotonic() - began > 4 * SHORT["timeout"])
    assert not asked.ended
    assert time.process_time() - spent < 3 * SHORT["timeout"], "it spins"
    proxy.up()
    await waits_for(lab, "a")
    lab.direct.release("full")
    assert (await asked.answer()).created
    lab.direct.release("a")
    await client.close()
    await settled(lab, one_server)


async def test_a_server_that_is_gone_when_the_wait_ends_is_not_full(
    scene: Stage, disturbed: Disturbed, proxy: FaultProxy, one_server: Server
) -> None:
    """The caller was told before that it is full, and is told now that nobody answers; its place goes once it can."""
    lab = scene("lab")
    fill(lab)
    client = disturbed("lab", lab.clock, **SHORT)
    asked = asks(client, "a", wait=0.5)
    await waits_for(lab, "a")
    proxy.down()
    with pytest.raises(BackendUnavailable):
        await asked.answer()
    assert in_line(lab) == ["a"]
    proxy.up()
    await undone(client)
    await client.close()
    await settled(lab, one_server)


async def test_a_wait_in_vain_says_full_only_where_it_was(
    scene: Stage, disturbed: Disturbed, one_server: Server
) -> None:
    """And an operator's withdrawal is that."""
    lab = scene("lab")
    fill(lab)
    client = disturbed("lab", lab.clock)
    with pytest.raises(WaitTimeout):
        await client.allocate(ONE, ttl=60, wait=0.1)
    asked = asks(client, "b")
    await waits_for(lab, "b")
    assert lab.direct.queue.withdraw("b")
    with pytest.raises(RequestWithdrawn):
        await asked.answer()
    await client.close()
    await settled(lab, one_server)


@pytest.mark.parametrize("back", ["in time", "too late"])
async def test_a_grant_to_a_caller_that_is_cut_off_is_its_own_for_the_time_of_a_claim(
    back: str, scene: Stage, disturbed: Disturbed, proxy: FaultProxy, one_server: Server
) -> None:
    """Neither direction passes while the room comes; who is late finds it taken, and stands in line again."""
    lab = scene("lab")
    fill(lab)
    client = disturbed("lab", lab.clock, **SHORT)
    asked = asks(client, "a")
    await waits_for(lab, "a")
    proxy.down()
    lab.direct.release("full")
    assert in_line(lab) == []
    assert lab.direct.get("a") is not None
    if back == "too late":
        lab.clock.advance(settings.GRANT_CLAIM_MS / 1000)
        assert lab.direct.allocate({"cpu": 4}, ttl=60, id="next").created
        assert lab.direct.get("a") is None
    assert not asked.ended
    proxy.up()
    if back == "too late":
        await waits_for(lab, "a")
        assert lab.direct.get("a") is None, "nobody both waits and holds"
        lab.direct.release("next")
    answer = await asked.answer()
    assert in_line(lab) == []
    assert [one.id for one in lab.direct.list()] == ["a"]
    assert lab.direct.release(answer)
    await client.close()
    await settled(lab, one_server)
