"""`reserve_on_check`: what a check found stays for the task that asked, and for nobody longer than it is of use."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from datetime import timedelta
from typing import Any

import pytest

from allocator import (
    AllocationConflict,
    Allocator,
    BackendError,
    Insufficient,
    InvalidRequest,
    ResourceAllocator,
)
from allocator.compat import limits
from allocator.testing import Clock
from tests.programs.compat.conftest import POOL, Make, warnings_of
from tests.programs.compat.labs import pass_time
from tests.support.waiting import wait_until, wait_until_async

ALL = {"cpu": "8", "memory": "16Gi"}
HALF = {"cpu": "4"}


def in_a_task(work: Coroutine[Any, Any, object]) -> asyncio.Task[object]:
    return asyncio.create_task(work)


async def until_free(allocator: ResourceAllocator, cpu: float = 8.0) -> None:
    async def is_free() -> bool:
        return (await allocator.usage())["available_cpu"] == cpu

    await wait_until_async(is_free)


async def test_what_a_check_found_is_granted_to_the_task_that_asked_and_to_no_other(make: Make, store: str) -> None:
    """Under the caller's id, owner and time to live; other replicas and tasks meet a full pool meanwhile."""
    asked, other = make(reserve_on_check=30), make()
    assert await asked.check_availability(ALL)
    assert not await other.check_availability(HALF)
    with pytest.raises(Insufficient):
        await in_a_task(other.allocate_resources(HALF))
    held = await asked.allocate_resources(ALL, allocation_id="labs/a/1", owner="lab", ttl=60)
    assert held["allocation_id"] == "labs/a/1"
    with Allocator.from_url(store) as client:
        found = client.get("labs/a/1")
        assert found is not None
        assert (found.owner, found.ttl_ms) == ("lab", 60_000)
        assert client.pools.usage().allocations == 1
    await asked.release_resources(held)
    assert (await asked.usage())["active_allocations"] == 0


async def test_without_an_id_it_is_taken_over_too(make: Make) -> None:
    """The original's caller gives none."""
    allocator = make(reserve_on_check=timedelta(seconds=30))
    assert await allocator.check_availability(ALL)
    held = await allocator.allocate_resources(ALL)
    assert await allocator.active_allocations() == {held["allocation_id"]: held}
    assert held["original_limits"] == str(ALL)


async def test_another_task_of_the_same_object_does_not_get_it(make: Make) -> None:
    """Two labs that one process reconciles side by side: the second has to wait, and does not fail."""
    allocator = make(reserve_on_check=30)
    asked = asyncio.Event()

    async def other() -> bool:
        await asked.wait()
        with pytest.raises(Insufficient):
            await allocator.allocate_resources(ALL)
        return await allocator.check_availability(ALL)

    task = in_a_task(other())
    await pass_time(0)
    assert await allocator.check_availability(ALL)
    asked.set()
    assert await task is False
    assert (await allocator.allocate_resources(ALL))["cpu"] == "8"


async def test_who_only_asked_gives_it_back_when_the_task_ends(make: Make) -> None:
    """By its return, an error, or a cancellation between the check and the allocate."""
    allocator = make(reserve_on_check=3600)
    reached = asyncio.Event()

    async def ask(ending: str) -> None:
        assert await allocator.check_availability(ALL)
        if ending == "error":
            raise RuntimeError(ending)
        if ending == "cancelled":
            reached.set()
            await asyncio.Event().wait()

    for ending in ("return", "error", "cancelled"):
        task = in_a_task(ask(ending))
        if ending == "cancelled":
            await reached.wait()
            assert not await make().check_availability(HALF)
            task.cancel()
        await asyncio.wait([task])
        await until_free(allocator)


async def test_a_loop_that_ends_with_its_task_gives_it_back(store: str) -> None:
    """`asyncio.run` of a program that only asks: the release needs no event loop."""
    allocator = ResourceAllocator(8.0, 16, url=store, reserve_on_check=3600)

    async def ask() -> None:
        assert await allocator.check_availability(ALL)

    await asyncio.to_thread(lambda: asyncio.run(ask()))
    await until_free(allocator)
    await allocator.aclose()


async def test_a_lease_that_lapses_is_anybodys_and_the_one_who_asked_is_decided_afresh(make: Make) -> None:
    """It is short because the process may have died."""
    clock = Clock()
    asked, other = make(reserve_on_check=30, _clock=clock), make(_clock=clock)
    assert await asked.check_availability(ALL)
    clock.advance(31)
    assert await other.check_availability(ALL)
    taken = await other.allocate_resources(ALL)
    with pytest.raises(Insufficient):
        await asked.allocate_resources(ALL)
    await other.release_resources(taken)
    assert await asked.check_availability(ALL)
    clock.advance(31)
    assert (await asked.allocate_resources(ALL))["cpu"] == "8", "past its deadline, and nobody has taken it"


def test_a_thread_that_runs_a_loop_for_each_call_keeps_it_too(store: str) -> None:
    """Each `asyncio.run` is another task: it is the thread that asks.  Another thread gets nothing of it."""
    with ResourceAllocator(8.0, 16, url=store, reserve_on_check=30) as allocator:
        assert asyncio.run(allocator.check_availability(ALL)) is True
        answers: list[bool] = []
        thread = threading.Thread(target=lambda: answers.append(asyncio.run(allocator.check_availability(HALF))))
        thread.start()
        thread.join()
        assert answers == [False]
        held = asyncio.run(allocator.allocate_resources(ALL))
        assert allocator.get_active_allocations() == {held["allocation_id"]: held}


def test_what_a_thread_kept_is_given_back_by_the_next_check_after_its_end(store: str) -> None:
    """A thread has no end that could be told; its lease lapses in any case."""
    with ResourceAllocator(8.0, 16, url=store, reserve_on_check=3600) as allocator:
        thread = threading.Thread(target=lambda: asyncio.run(allocator.check_availability(HALF)))
        thread.start()
        thread.join()
        assert allocator.get_resource_usage()["allocated_cpu"] == 4.0
        assert asyncio.run(allocator.check_availability({"cpu": "1"})) is True
        wait_until(lambda: allocator.get_resource_usage()["allocated_cpu"] == 1.0)


async def test_a_task_that_was_started_after_the_check_takes_it_over(make: Make) -> None:
    """`asyncio.wait_for` runs what it waits for in such a task, and so does a supervisor of labs."""
    allocator = make(reserve_on_check=30)
    assert await allocator.check_availability(ALL)
    assert await in_a_task(allocator.allocate_resources(ALL))
    assert (await allocator.usage())["active_allocations"] == 1


async def test_two_checks_of_the_same_limits_keep_one_lease(make: Make) -> None:
    """The loop of a controller asks again and again."""
    clock = Clock()
    allocator = make(reserve_on_check=30, _clock=clock)
    for _ in range(5):
        clock.advance(20)
        assert await allocator.check_availability(ALL)
    assert (await allocator.usage())["active_allocations"] == 1


async def test_what_a_task_keeps_is_not_in_its_own_way(make: Make) -> None:
    """In memory a check keeps nothing, so any later check and allocate fits."""
    allocator = make(reserve_on_check=30)
    assert await allocator.check_availability(ALL)
    assert await allocator.check_availability({"cpu": "7"})
    assert (await allocator.usage())["allocated_cpu"] == 7.0
    held = await allocator.allocate_resources({"cpu": "8"})
    assert await allocator.active_allocations() == {held["allocation_id"]: held}
    assert (await allocator.usage())["active_allocations"] == 1


async def test_a_task_keeps_a_bounded_number_and_the_oldest_is_given_back(make: Make) -> None:
    """A loop that asks for every lab in turn must not fill the pool."""
    allocator = make(total_cpu=1000.0, reserve_on_check=3600)
    for millicores in range(1, limits.CHECK_LEASES_OF_ONE_MAX + 4):
        assert await allocator.check_availability({"cpu": f"{millicores}m"})
    kept = sum(range(4, limits.CHECK_LEASES_OF_ONE_MAX + 4))
    await until_free(allocator, 1000 - kept / 1000)


async def test_an_object_keeps_a_bounded_number_and_says_so(
    make: Make, log: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond it a check is what it is without the option."""
    monkeypatch.setattr(limits, "CHECK_LEASES_MAX", 1)
    allocator = make(reserve_on_check=3600)
    assert await allocator.check_availability(HALF)
    assert await allocator.check_availability({"cpu": "3"})
    assert (await allocator.usage())["allocated_cpu"] == 4.0
    assert any("1 leases are kept" in line for line in warnings_of(log))


async def test_a_conflict_leaves_it_to_the_next_call(make: Make) -> None:
    """What was not granted has not been used."""
    allocator = make(reserve_on_check=3600)
    await allocator.allocate_resources({"cpu": "1"}, allocation_id="labs/a/1", owner="another")
    assert await allocator.check_availability({"cpu": "7"})
    with pytest.raises(AllocationConflict):
        await allocator.allocate_resources({"cpu": "7"}, allocation_id="labs/a/1", owner="lab")
    assert await allocator.allocate_resources({"cpu": "7"}, allocation_id="labs/a/2", owner="lab")
    assert (await allocator.usage())["active_allocations"] == 2


async def test_a_repeated_reconcile_that_asks_again_keeps_no_room_twice(make: Make) -> None:
    """The lab holds its allocation already; what its check kept ends with the answer."""
    allocator = make(reserve_on_check=3600)
    for _ in range(2):
        assert await allocator.check_availability(HALF)
        await allocator.allocate_resources(HALF, allocation_id="labs/a/1")
        assert (await allocator.usage())["active_allocations"] == 1


@pytest.mark.parametrize("turns", range(6))
async def test_a_call_that_is_cancelled_anywhere_leaves_nothing(make: Make, turns: int) -> None:
    """In the check, between the two, in the allocate: after so many turns of the loop."""
    allocator = make(reserve_on_check=3600)
    await allocator.usage()

    async def reconcile() -> None:
        await allocator.check_availability(ALL)
        await pass_time(0)
        held = await allocator.allocate_resources(ALL)
        await allocator.release_resources(held)

    task = in_a_task(reconcile())
    for _ in range(turns * 3):
        await pass_time(0)
    task.cancel()
    await asyncio.wait([task])
    await until_free(allocator)


async def test_closing_gives_back_what_is_kept(make: Make) -> None:
    """The task goes on, and the object is closed: nobody will take it over."""
    allocator, other = make(reserve_on_check=3600), make()
    assert await allocator.check_availability(ALL)
    await allocator.aclose()
    assert (await other.usage())["active_allocations"] == 0


async def test_what_is_kept_counts_as_allocated_and_is_no_allocation(make: Make) -> None:
    """A caller that releases what no status names must not release what a check keeps."""
    allocator = make(reserve_on_check=30)
    assert await allocator.check_availability(HALF)
    assert (await allocator.usage())["allocated_cpu"] == 4.0
    assert allocator.get_active_allocations() == await allocator.active_allocations() == {}


async def test_a_pool_of_shorter_leases_keeps_it_for_as_long_as_it_grants(make: Make, store: str) -> None:
    """The time of the check is not the caller's."""
    with Allocator.from_url(store) as client:
        client.pools.create(POOL, {"cpu": 8, "memory": "16Gi"}, max_ttl=20)
        allocator = make(reserve_on_check=3600, ttl=10)
        assert await allocator.check_availability(ALL)
        (kept,) = client.list()
        assert kept.ttl_ms == 20_000


@pytest.mark.parametrize("keeps", [None, 30])
async def test_a_time_to_live_that_the_pool_refuses_is_not_available(
    make: Make, store: str, keeps: float | None, log: pytest.LogCaptureFixture
) -> None:
    """Or the check says yes and the allocate never does."""
    with Allocator.from_url(store) as client:
        client.pools.create(POOL, {"cpu": 8, "memory": "16Gi"}, max_ttl=20)
    assert not await make(reserve_on_check=keeps).check_availability(HALF)
    assert not await make(reserve_on_check=keeps, ttl=21).check_availability(HALF)
    assert await make(reserve_on_check=keeps, ttl=20).check_availability(HALF)
    assert all("20s at the longest" in line for line in warnings_of(log)[-2:])


@pytest.mark.parametrize("value", [0, -1, 0.5, 3601, "30", True, float("nan")])
def test_seconds_that_are_none_are_refused_by_their_name(value: Any) -> None:
    """At construction."""
    with pytest.raises(InvalidRequest, match="reserve_on_check") as caught:
        ResourceAllocator(url="memory://", reserve_on_check=value)
    assert caught.value.field == "reserve_on_check"


async def test_a_server_that_is_down_is_not_full() -> None:
    """Neither for who keeps nothing yet nor for who does."""
    async with ResourceAllocator(url="redis://127.0.0.1:1", timeout=0.1, reserve_on_check=30) as allocator:
        with pytest.raises(BackendError):
            await allocator.check_availability(HALF)


def test_threads_with_loops_of_their_own_never_meet_a_full_pool_after_a_yes(store: str) -> None:
    """Six threads, four CPUs, one object."""
    failed: list[BaseException] = []
    with ResourceAllocator(4.0, 16, url=store, reserve_on_check=30, timeout=30) as allocator:

        async def rounds() -> None:
            granted = 0
            while granted < 8:
                if await allocator.check_availability({"cpu": "1"}):
                    await pass_time(0.001)
                    held = await allocator.allocate_resources({"cpu": "1"})
                    granted += 1
                    await allocator.release_resources(held)
                else:
                    await pass_time(0.002)

        def work() -> None:
            try:
                asyncio.run(rounds())
            except BaseException as error:  # noqa: BLE001 - asserted below
                failed.append(error)

        threads = [threading.Thread(target=work) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert failed == []
        assert allocator.get_resource_usage()["active_allocations"] == 0


def test_what_an_ended_thread_kept_is_not_in_the_way_of_the_next_check(store: str) -> None:
    """It is given back before that check is told no."""
    with ResourceAllocator(8.0, 16, url=store, reserve_on_check=3600) as allocator:
        thread = threading.Thread(target=lambda: asyncio.run(allocator.check_availability(ALL)))
        thread.start()
        thread.join()
        assert asyncio.run(allocator.check_availability(ALL)) is True


async def test_a_check_that_is_told_no_leaves_what_another_of_its_thread_keeps(make: Make) -> None:
    """Tasks that are a check alone ask for their thread.  A lease that one keeps is never forgotten by another."""
    allocator = make(reserve_on_check=600)
    answers = await asyncio.gather(allocator.check_availability(ALL), allocator.check_availability(ALL))
    assert any(answers)
    assert len(allocator._grants.leases) == 1
    assert await allocator.allocate_resources(ALL)


async def test_tasks_of_one_thread_do_not_take_each_others_leases(make: Make) -> None:
    """A yes stays good, whatever the next task asks for."""
    allocator = make(reserve_on_check=600)
    assert await asyncio.gather(allocator.check_availability(HALF)) == [True]
    assert await asyncio.gather(allocator.check_availability(ALL)) == [False]
    assert await allocator.allocate_resources(HALF)
