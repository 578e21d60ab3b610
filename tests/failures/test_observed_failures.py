"""What a client reports of lost replies: retries with their cause, unknown outcomes, undos."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from allocator import OutcomeUnknown
from allocator._engine.protocol import scripts
from allocator.metrics import ClientCollector
from tests.clients.test_observers import plain
from tests.failures.conftest import Disturbed
from tests.failures.operations import Scene
from tests.programs.metrics.scraping import Scrape
from tests.support.proxy import Fault, FaultProxy
from tests.support.waiting import wait_until_async

ALLOCATE = scripts.load("allocate").sha.encode()


def scrape(collector: ClientCollector) -> Scrape:
    registry = CollectorRegistry()
    registry.register(collector)
    return Scrape(generate_latest(registry).decode())


async def test_a_lost_reply_is_counted_as_a_retry_with_its_cause(
    proxy: FaultProxy, scene: Callable[[str], Scene], disturbed: Disturbed
) -> None:
    """Its call is granted, once."""
    lab = scene("lab")
    lab.direct.pools.create("lab", {"cpu": 4})
    client = disturbed("lab", lab.clock)
    collector = ClientCollector(plain(client))
    proxy.arm(Fault.RESET_AFTER, match=ALLOCATE, times=2)
    await client.allocate({"cpu": 1}, ttl=60)
    proxy.wait_fired()
    seen = scrape(collector)
    assert seen.get("client_retries_total", verb="allocate", cause="unavailable") == 2
    assert seen.get("client_call_duration_seconds_count", verb="allocate", outcome="granted") == 1
    assert seen.get("client_undos_total", change="queued") is None


async def test_an_unknown_outcome_is_counted_and_its_undo_is_queued_and_done(
    proxy: FaultProxy, scene: Callable[[str], Scene], disturbed: Disturbed
) -> None:
    """What is pending is seen meanwhile."""
    lab = scene("lab")
    lab.direct.pools.create("lab", {"cpu": 4})
    client = disturbed("lab", lab.clock, timeout=0.3)
    collector = ClientCollector(plain(client))
    await client.pools.get()
    proxy.arm(Fault.RESET_AFTER, match=ALLOCATE, times=100)
    undo = scripts.load("undo").sha.encode()
    proxy.arm(Fault.RESET_BEFORE, match=undo, times=1)
    with pytest.raises(OutcomeUnknown):
        await client.allocate({"cpu": 1}, ttl=60)
    seen = scrape(collector)
    assert seen.get("client_call_duration_seconds_count", verb="allocate", outcome="unknown") == 1
    assert seen.get("client_undos_total", change="queued") == 1
    assert seen.get("client_errors_total", verb="allocate", code="outcome_unknown") == 1

    async def is_done() -> bool:
        return scrape(collector).get("client_undos_total", change="done") == 1

    await wait_until_async(is_done, message="the undo")
    assert scrape(collector).get("client_undos_pending") == 0
    proxy.clear()
    assert lab.direct.pools.usage().allocations == 0


async def test_what_cannot_be_undone_is_counted_as_failed(
    proxy: FaultProxy, scene: Callable[[str], Scene], disturbed: Disturbed
) -> None:
    """The client was closed before the server came back."""
    lab = scene("lab")
    lab.direct.pools.create("lab", {"cpu": 4})
    client = disturbed("lab", lab.clock, timeout=0.3)
    collector = ClientCollector(plain(client))
    await client.pools.get()
    proxy.arm(Fault.RESET_AFTER, match=ALLOCATE, times=100)
    proxy.arm(Fault.RESET_BEFORE, match=scripts.load("undo").sha.encode(), times=1000)
    with pytest.raises(OutcomeUnknown):
        await client.allocate({"cpu": 1}, ttl=None, id="a")
    assert scrape(collector).get("client_undos_pending") == 1
    await client.close()
    assert scrape(collector).get("client_undos_total", change="failed") == 1
    assert scrape(collector).get("client_undos_pending") == 0
    lab.direct.release("a")
