"""Releases that the server cannot take: nothing is raised, nothing stays charged, and the log says what happens."""

from __future__ import annotations

import asyncio
import logging

import pytest

from allocator import Allocator, ResourceAllocator, settings
from allocator.compat import limits
from allocator.compat.releases import Releases
from tests.programs.compat.conftest import Make, warnings_of
from tests.programs.compat.labs import pass_time
from tests.support.servers import Server
from tests.support.waiting import wait_until_async

KEPT = {"appendonly": "yes", "appendfsync": "always"}


def errors_of(log: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in log.records if record.levelno == logging.ERROR]


async def test_a_release_during_an_outage_is_sent_again_when_the_server_is_back(log: pytest.LogCaptureFixture) -> None:
    """The lab becomes terminal, and its capacity is free again; also after the object was closed."""
    with Server(tcp=True, options=KEPT) as server:
        async with ResourceAllocator(4.0, 8, url=server.tcp_url) as seen:
            held = [await seen.allocate_resources({"cpu": "1"}) for _ in range(3)]
        server.kill()
        allocator = ResourceAllocator(4.0, 8, url=server.tcp_url, timeout=0.1)
        for each in held[:2]:
            await allocator.release_resources(each)
        assert await allocator.cleanup_expired_allocations() == 0
        assert len([line for line in warnings_of(log) if "released in the background" in line]) == 2
        await allocator.aclose()
        await allocator.release_resources(held[2])
        server.start()

        async def told() -> bool:
            return sum("in the background" in one.getMessage() for one in log.records if one.levelname == "INFO") == 3

        await wait_until_async(told)
        with Allocator.from_url(server.tcp_url) as client:
            assert client.pools.usage().allocations == 0
            assert client.maintenance.audit()


async def test_a_release_that_is_cancelled_is_sent_again(make: Make) -> None:
    """The caller has given the lab up; nobody will release it once more."""
    allocator = make()
    held = await allocator.allocate_resources({"cpu": "1"})
    task = asyncio.create_task(allocator.release_resources(held))
    await pass_time(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    async def is_free() -> bool:
        return (await allocator.usage())["active_allocations"] == 0

    await wait_until_async(is_free)


async def test_one_without_a_fence_is_not_sent_again(log: pytest.LogCaptureFixture) -> None:
    """By then another grant may have the id."""
    async with ResourceAllocator(url="redis://127.0.0.1:1", timeout=0.1) as allocator:
        await allocator.release_resources({"allocation_id": "alloc-000001"})
    (said,) = errors_of(log)
    assert "alloc-000001" in said
    assert warnings_of(log) == []


async def test_one_that_is_sent_for_too_long_is_given_up_with_an_error(
    log: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a day; here at once."""
    monkeypatch.setattr(limits, "RELEASE_KEPT_S", 0.0)
    monkeypatch.setattr(settings, "UNDO_FOR_S", 0.0)
    async with ResourceAllocator(url="redis://127.0.0.1:1", timeout=0.1) as allocator:
        await allocator.release_resources({"allocation_id": "lab-0", "fence": "7"})
        await wait_until_async(lambda: errors_of(log))
        assert len(allocator._releases) == 0
    (said,) = errors_of(log)
    assert said.startswith("release_resources: lab-0 stays until its deadline or a cleanup: cannot connect")


async def test_a_bounded_number_waits(log: pytest.LogCaptureFixture) -> None:
    """An outage of a day must not fill the memory."""
    async with ResourceAllocator(url="redis://127.0.0.1:1", timeout=0.1) as allocator:
        allocator._releases._waiting = limits.RELEASES_KEPT_MAX
        await allocator.release_resources({"allocation_id": "lab-1", "fence": "7"})
        assert len(allocator._releases) == limits.RELEASES_KEPT_MAX
    (said,) = errors_of(log)
    assert said.startswith("release_resources: lab-1 stays until its deadline or a cleanup, for 10000 releases wait")


def test_a_forked_child_starts_with_nothing_that_waits() -> None:
    """What waits is sent by the parent."""
    releases = Releases()
    releases._waiting = 5
    releases.reset()
    assert len(releases) == 0
