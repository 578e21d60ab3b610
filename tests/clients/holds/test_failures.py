"""Holders in trouble: a server that stops, connections that break, lost replies, forks, turned clocks."""

from __future__ import annotations

import os
import threading
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from allocator import AllocationLost, Allocator, AsyncAllocator, settings
from allocator._engine.leases.registry import RENEWERS
from allocator._engine.leases.renewer import local_now
from allocator._engine.protocol import scripts
from allocator.testing import Clock, memory_allocator
from tests.clients.holds.conftest import charged, in_care
from tests.support.proxy import Fault, FaultProxy
from tests.support.servers import Server
from tests.support.waiting import wait_until, wait_until_async


@pytest.fixture(autouse=True)
def _loaded(one_server: Server) -> None:
    """The scripts are in the server's cache, so that a call is one request, known by its digest."""
    import redis

    with redis.Redis.from_url(one_server.url) as client:
        for name in scripts.names():
            client.script_load(scripts.load(name).texts.text)


def calls_of(name: str) -> bytes:
    """What a request of that script contains."""
    return scripts.load(name).sha.encode()


def kinds_of(onlooker: Allocator, id: str) -> list[str]:
    """What happened to an allocation, oldest first."""
    return [event.kind for event in reversed(onlooker.events.list()) if event.fields.get("id") == id]


# -- a store that does not answer --------------------------------------------------------------------------------------


async def test_a_holder_of_a_stopped_server_is_told_before_the_ledger_would_take_it_back(
    holder: AsyncAllocator, onlooker: Allocator, one_server: Server
) -> None:
    """What the server thinks does not matter.  When it goes on, what it has of the holder's renewals is released."""
    told: list[float] = []
    try:
        with pytest.raises(AllocationLost) as lost:
            async with holder.hold({"cpu": 1}, ttl=2, on_lost=lambda _: told.append(local_now())) as hold:
                one_server.stop_process()
                await wait_until_async(lambda: told)
                sent = hold._held.confirmed_at
                assert hold.lost
        assert sent + 1.6 <= told[0] < sent + 2
        assert lost.value.code == "lapsed"
    finally:
        one_server.cont()
    wait_until(lambda: charged(onlooker) == "0")
    assert kinds_of(onlooker, hold.id) == ["granted", "released"], "it did not have to be reclaimed"
    wait_until(lambda: not in_care())


async def test_a_lease_survives_an_outage_that_is_shorter_than_itself(
    disturbed: AsyncAllocator, proxy: FaultProxy, onlooker: Allocator
) -> None:
    """Errors are repeated until the local deadline, and the first success is enough."""
    async with disturbed.hold({"cpu": 1}, ttl=3) as hold:
        proxy.down()
        wait_until(lambda: hold.remaining < 1.2)
        proxy.up()
        wait_until(lambda: hold.remaining > 1.5)
        hold.check()


async def test_what_nobody_can_renew_is_lost_before_somebody_else_has_it(
    disturbed: AsyncAllocator, proxy: FaultProxy, onlooker: Allocator
) -> None:
    """The ledger gives it away at its deadline, not earlier; the holder has stopped by then."""
    with pytest.raises(AllocationLost):
        async with disturbed.hold({"cpu": 4}, ttl=1) as hold:
            proxy.down()
            other = wait_until(lambda: onlooker.try_allocate({"cpu": 4}, ttl=60))
            assert hold.lost
            assert hold.loss is not None
            assert hold.loss.code == "lapsed"
    proxy.up()
    wait_until(lambda: not in_care())
    kept = onlooker.get(other.id)  # type: ignore[union-attr]
    assert kept is not None, "and what the other has stays the other's"


async def test_a_renewal_whose_reply_is_lost_is_repeated(
    disturbed: AsyncAllocator, proxy: FaultProxy, onlooker: Allocator
) -> None:
    """A renewal is never ambiguous: it may be executed any number of times."""
    for fault in (Fault.RESET_BEFORE, Fault.RESET_AFTER, Fault.SWALLOW):
        proxy.arm(fault, match=calls_of("renew"))
    async with disturbed.hold({"cpu": 1}, ttl=2) as hold:
        proxy.wait_fired()
        first = hold._held.confirmed_at
        wait_until(lambda: hold._held.confirmed_at > first)
        hold.check()
    assert not onlooker.pools.usage().resources["cpu"].allocated


async def test_a_hold_ends_without_error_when_it_cannot_be_released(
    disturbed: AsyncAllocator, proxy: FaultProxy, onlooker: Allocator, caplog: pytest.LogCaptureFixture
) -> None:
    """The work was done under the lease.  The release is repeated until the store is there again."""
    async with disturbed.hold({"cpu": 1}, ttl=3600):
        proxy.down()
    assert "released in the background" in caplog.text
    assert charged(onlooker) == "1"
    proxy.up()
    wait_until(lambda: charged(onlooker) == "0")
    wait_until(lambda: not in_care())


async def test_what_is_granted_too_late_is_not_held(
    kind: str, connect: Callable[..., AsyncAllocator], onlooker: Allocator, proxy: FaultProxy, monkeypatch: Any
) -> None:
    """The reply took longer than the lease is good for: it is given back at once."""
    client = connect(proxy.url, attempt_timeout=5.0)
    monkeypatch.setattr("allocator._engine.leases.hold_base.HoldSpec.allocate_s", 5.0)
    await client.try_allocate({"cpu": 99}, ttl=1)  # looks at the connection, once, and makes the script known
    proxy.delay(match=calls_of("allocate"))

    def resume() -> None:
        wait_until(lambda: onlooker.pools.usage().due)
        proxy.resume()

    with ThreadPoolExecutor(1) as pool:
        resumed = pool.submit(resume)
        with pytest.raises(AllocationLost) as late:
            async with client.hold({"cpu": 1}, ttl=1):
                pytest.fail("it was entered")
        resumed.result()
    assert late.value.code == "lapsed"
    wait_until(lambda: charged(onlooker) == "0")
    wait_until(lambda: not in_care())


# -- release and renewal -----------------------------------------------------------------------------------------------


async def test_a_release_waits_for_the_renewal_under_way(
    disturbed: AsyncAllocator, proxy: FaultProxy, onlooker: Allocator
) -> None:
    """Executed, and its reply still to come: the release follows it, and the reply changes nothing."""
    hold = disturbed.hold({"cpu": 1}, ttl=60)
    inner: Any = await hold.__aenter__()
    delayed = proxy.delay(match=calls_of("renew"))
    _renew_now(inner)
    wait_until(lambda: delayed.taken)
    with ThreadPoolExecutor(1) as pool:
        resumed = pool.submit(_resume_when_left, proxy, inner)
        await hold.__aexit__(None, None, None)
        resumed.result()
    assert kinds_of(onlooker, inner.id) == ["granted", "released"]
    assert not inner.lost


async def test_a_renewal_that_arrives_after_the_release_revives_nothing(
    disturbed: AsyncAllocator, proxy: FaultProxy, onlooker: Allocator
) -> None:
    """It was kept in the network meanwhile; the release did not wait for it for ever."""
    kept = proxy.hold(match=calls_of("renew"), times=1)
    async with disturbed.hold({"cpu": 1}, ttl=60) as hold:
        _renew_now(hold)
        wait_until(lambda: kept.taken)
    assert charged(onlooker) == "0"
    assert b"unknown" in proxy.release()[0]
    assert onlooker.get(hold.id) is None
    assert charged(onlooker) == "0"
    wait_until(lambda: not in_care())


async def test_a_renewal_that_arrives_in_the_next_grants_time_is_fenced(
    disturbed: AsyncAllocator, proxy: FaultProxy, onlooker: Allocator
) -> None:
    """The same id, granted again in between."""
    kept = proxy.hold(match=calls_of("renew"), times=1)
    async with disturbed.hold({"cpu": 1}, ttl=60, id="labs/os-101") as hold:
        _renew_now(hold)
        wait_until(lambda: kept.taken)
    again = onlooker.allocate({"cpu": 1}, ttl=60, id="labs/os-101")
    assert b"fenced" in proxy.release()[0]
    kept_record = onlooker.get("labs/os-101")
    assert kept_record is not None
    assert kept_record.deadline_ms == again.deadline_ms


def _renew_now(hold: Any) -> None:
    """Let the lease be due."""
    renewer = hold._renewer
    with renewer.lock:
        renewer._schedule._calls.put(hold._lease, renewer.now())
        renewer._set_wakeups()


def _resume_when_left(proxy: FaultProxy, hold: Any) -> None:
    wait_until(lambda: hold._lease.on_settled is not None, message="the release waits")
    proxy.resume()


# -- forks -------------------------------------------------------------------------------------------------------------


def _in_child(work: Callable[[], int]) -> int:
    """What the work returns in a forked child, which ends without cleaning up."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 warns of threads
        child = os.fork()
    if child == 0:
        try:
            os._exit(work())
        finally:
            os._exit(99)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_after_a_fork_the_hold_is_not_the_childs(one_server: Server, onlooker: Allocator) -> None:
    """It is lost there, at once and without a call; leaving the block there releases nothing."""
    with Allocator.from_url(one_server.url, pool="lab") as client:
        hold = client.hold({"cpu": 1}, ttl=60)
        with hold:

            def in_child() -> int:
                one_server_calls = client._driver.run
                client._driver.run = lambda *_, **__: os._exit(3)  # type: ignore[method-assign]
                if not (hold.lost and hold.loss and hold.loss.code == "forked" and RENEWERS._renewers == {}):
                    return 1
                try:
                    hold.__exit__(None, None, None)
                except AllocationLost as lost:
                    if lost.code != "forked":
                        return 2
                client._driver.run = one_server_calls  # type: ignore[method-assign]
                with client.hold({"cpu": 1}, ttl=60) as own:  # with threads and connections of its own
                    return 0 if not own.lost and len(RENEWERS._renewers) == 1 else 4

            assert _in_child(in_child) == 0
            assert not hold.lost
            assert onlooker.get(hold.id) is not None, "the child has not released it"
            first = hold._held.confirmed_at
            _renew_now(hold)
            wait_until(lambda: hold._held.confirmed_at > first, message="a renewal of the parent's")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_fork_at_any_moment_leaves_the_child_able_to_hold(one_server: Server, onlooker: Allocator) -> None:
    """Also while a thread of the parent has the renewers' locks."""
    with Allocator.from_url(one_server.url, pool="lab") as client, client.hold({"cpu": 1}, ttl=60) as hold:

        def in_child() -> int:
            with client.hold({"cpu": 1}, ttl=60) as own:
                return int(own.lost)

        assert hold._renewer is not None
        with hold._renewer.lock, RENEWERS._lock:
            assert _in_child(in_child) == 0


# -- clocks ------------------------------------------------------------------------------------------------------------


def test_a_holder_goes_by_the_clock_that_a_test_turns() -> None:
    """So that users can test what their controllers do when a lease is lost."""
    clock = Clock()
    told = threading.Event()
    with memory_allocator({"cpu": 4}, clock=clock) as client:
        with client.hold({"cpu": 1}, ttl=30) as hold:
            for _ in range(4):
                before = hold.allocation.deadline_ms
                clock.advance(10)
                wait_until(lambda before=before: hold.allocation.deadline_ms != before, message="a renewal")
            hold.check()
        with pytest.raises(AllocationLost), client.hold({"cpu": 1}, ttl=30, on_lost=lambda _: told.set()) as hold:
            clock.advance(31)
            assert hold.lost
            assert told.wait(60)
        wait_until(lambda: not in_care())


def test_a_hold_after_a_pause_goes_by_the_clock_that_a_test_turns() -> None:
    """The renewer had nothing to do, and its clock stands still: it must not wait for the end of its pause."""
    clock = Clock()
    with memory_allocator({"cpu": 4}, clock=clock) as client:
        with client.hold({"cpu": 1}, ttl=300) as hold:
            renewer = hold._renewer
        assert renewer is not None
        wait_until(lambda: renewer._calls._wakes > renewer.now() + 1, message="the pause")
        renewer._schedule._chance = lambda: 1.0
        with pytest.raises(AllocationLost), client.hold({"cpu": 1}, ttl=300):
            clock.advance(301)
        wait_until(lambda: not in_care(), timeout_s=settings.HOLD_IDLE_S / 2)


@pytest.mark.skipif(not hasattr(time, "CLOCK_BOOTTIME"), reason="this system has no such clock")
def test_holders_judge_by_a_clock_that_runs_while_the_machine_sleeps() -> None:
    """After a resume the lease has lapsed, however little the process has noticed of it."""
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    assert before <= local_now() <= time.clock_gettime(time.CLOCK_BOOTTIME)


def test_a_hold_looks_at_the_clock_every_second() -> None:
    """A wait of a thread stands still while the machine sleeps, so none may be long."""
    assert settings.HOLD_POLL_S <= settings.TTL_MIN_S
