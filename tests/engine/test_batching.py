"""How the asyncio driver gathers the calls of one turn of the loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from allocator import settings
from allocator._engine.execution.driver_async import AsyncDriver
from allocator._engine.protocol.flows import Call, Item, Operation
from allocator._engine.transport.urls import resolve_target
from allocator.errors import BackendUnavailable, ContractError, InvariantError, OutcomeUnknown
from tests.support.drivers import (
    COUNTS,
    POOL,
    all_of,
    busy,
    count,
    count_all,
    executed,
    is_undone,
    new_item,
    read,
    requests_of,
    script,
)
from tests.support.proxy import Fault, FaultProxy
from tests.support.servers import Server
from tests.support.waiting import wait_until_async


async def test_calls_of_one_turn_share_a_script_call(driver: AsyncDriver, proxy: FaultProxy) -> None:
    """A few tasks cost one round trip, and each gets its own item's reply."""
    before = requests_of(proxy)
    items = [new_item() for _ in range(settings.BATCH_SPLIT_FROM - 1)]
    replies = await all_of(*(driver.run(count(item)) for item in items))
    assert [reply[:3] for reply in replies] == [[item.call, 0, 1] for item in items]
    assert requests_of(proxy) - before == 1


async def test_many_calls_of_one_turn_share_two_script_calls(driver: AsyncDriver, proxy: FaultProxy) -> None:
    """Fifty tasks cost two round trips: the server works on the one while the loop works on the other."""
    before = requests_of(proxy)
    items = [new_item() for _ in range(50)]
    replies = await all_of(*(driver.run(count(item)) for item in items))
    assert [reply[:3] for reply in replies] == [[item.call, 0, 1] for item in items]
    assert requests_of(proxy) - before == settings.BATCH_IN_FLIGHT


async def test_no_more_script_calls_are_under_way_than_may_be(driver: AsyncDriver, proxy: FaultProxy) -> None:
    """What arrives meanwhile goes together in the next ones, however much it is: at most a hundred at a time."""
    before = requests_of(proxy)
    first = await busy(driver, proxy)
    others = [asyncio.create_task(driver.run(count())) for _ in range(130)]
    await asyncio.wait(others, timeout=0.02)
    assert requests_of(proxy) - before == len(first)
    proxy.resume()
    await all_of(*first, *others)
    assert len(first) + 2 <= requests_of(proxy) - before <= len(first) + 3


async def test_the_items_of_one_caller_are_decided_in_order(driver: AsyncDriver, proxy: FaultProxy) -> None:
    """Three script calls of one caller, and single calls around them: one at a time while the caller is served."""
    proxy.delay(match=b"held")
    held = [new_item("held"), *[new_item() for _ in range(249)]]
    before = requests_of(proxy)
    many = asyncio.create_task(driver.run(count_all(*held)))
    await wait_until_async(lambda: requests_of(proxy) - before == 1)
    single = asyncio.create_task(driver.run(count()))
    await asyncio.wait((many, single), timeout=0.02)
    assert requests_of(proxy) - before == 1
    proxy.resume()
    entries = await many
    assert [entry[0] for entry in entries] == [item.call for item in held]
    await single


async def test_calls_that_differ_in_their_arguments_do_not_share(driver: AsyncDriver, proxy: FaultProxy) -> None:
    """Another pool, or another script, is another queue; readings go out at once."""
    before = requests_of(proxy)
    await all_of(driver.run(count()), driver.run(read()), driver.run(read()), driver.run(count()))
    assert requests_of(proxy) - before >= 3


async def test_large_items_are_sent_in_several_calls(driver: AsyncDriver, proxy: FaultProxy) -> None:
    """A hundred items of 4 KiB each are not one call."""
    before = requests_of(proxy)
    items = [new_item("x" * 4000) for _ in range(100)]
    replies = await all_of(*(driver.run(count(item)) for item in items))
    assert [reply[:3] for reply in replies] == [[item.call, 0, 1] for item in items]
    assert 6 <= requests_of(proxy) - before <= 16


async def test_an_error_reaches_only_its_caller(driver: AsyncDriver, one_server: Server) -> None:
    """The batch is refused as a whole, so its items go one by one."""
    items = [new_item(), new_item("contract"), new_item(), new_item("invariant")]
    replies = await all_of(*(driver.run(count(item)) for item in items))
    assert [type(reply) for reply in replies] == [list, ContractError, list, InvariantError]
    assert [executed(one_server, item) for item in items] == [1, 0, 1, 0]


async def test_a_lost_batch_is_sent_again_item_by_item_with_its_own_ids(
    driver: AsyncDriver, proxy: FaultProxy, one_server: Server
) -> None:
    """Each item stays ambiguous; one that arrives meanwhile is not."""
    proxy.reset_after(match=b"adrift")
    lost = [new_item("adrift") for _ in range(3)]
    waiting = [asyncio.create_task(driver.run(count(item))) for item in lost]
    await asyncio.to_thread(proxy.wait_fired)
    fresh = await driver.run(count())
    replies = await all_of(*waiting)
    assert [reply[:3] for reply in replies] == [[item.call, 1, 2] for item in lost]
    assert fresh[1:3] == [0, 1]
    assert [executed(one_server, item) for item in lost] == [2, 2, 2]


async def test_each_item_has_its_own_time(driver: AsyncDriver, proxy: FaultProxy, one_server: Server) -> None:
    """Of one lost batch the impatient caller is told, and the patient one is served."""
    proxy.swallow(match=b"adrift")
    hasty, patient = new_item("adrift"), new_item("lost")
    replies = await all_of(driver.run(count(hasty), deadline_s=0.1), driver.run(count(patient), deadline_s=5.0))
    assert isinstance(replies[0], OutcomeUnknown)
    assert replies[0].id == hasty.id
    assert replies[1][:3] == [patient.call, 1, 2]
    await wait_until_async(lambda: is_undone(one_server, hasty))
    assert not is_undone(one_server, patient)


async def test_a_call_of_many_items_may_fail_in_some(driver: AsyncDriver) -> None:
    """An error takes its item's place in the reply."""
    entries = await driver.run(count_all(new_item(), new_item("contract"), new_item()))
    assert [type(entry) for entry in entries] == [list, ContractError, list]


# -- time --------------------------------------------------------------------------------------------------------------


@pytest.fixture
async def patient_driver(proxy: FaultProxy) -> AsyncIterator[AsyncDriver]:
    """A driver whose attempts wait for longer than any caller of these tests."""
    driver = AsyncDriver(resolve_target(proxy.url, attempt_timeout_s=20.0))
    await driver.run(count())
    yield driver
    await driver.close()


async def test_who_shares_a_script_call_is_answered_by_its_own_deadline(
    patient_driver: AsyncDriver, proxy: FaultProxy, one_server: Server
) -> None:
    """The call may have been executed, so it is undone; the others of the batch go on, with the same attempt."""
    proxy.delay(match=b"held")
    hasty, patient = new_item("held"), new_item("held")
    waits = asyncio.create_task(patient_driver.run(count(patient), deadline_s=30.0))
    tells = asyncio.create_task(patient_driver.run(count(hasty), deadline_s=0.1))
    done, _ = await asyncio.wait((waits, tells), timeout=10.0, return_when=asyncio.FIRST_COMPLETED)
    assert done == {tells}
    error = tells.exception()
    assert isinstance(error, OutcomeUnknown)
    assert (error.id, error.code) == (hasty.id, "outcome_unknown")
    await wait_until_async(lambda: is_undone(one_server, hasty))
    proxy.resume()
    assert (await waits)[:3] == [patient.call, 0, 1]
    assert not is_undone(one_server, patient)


async def test_who_shares_a_call_that_is_sent_again_is_answered_by_its_own_deadline(
    patient_driver: AsyncDriver, proxy: FaultProxy
) -> None:
    """Its queue was empty for a while, and is not forgotten for that."""
    proxy.arm(Fault.RESET_BEFORE, match=b"held")
    proxy.delay(match=b"held")
    waits = asyncio.create_task(patient_driver.run(count(new_item("held")), deadline_s=30.0))
    tells = asyncio.create_task(patient_driver.run(count(new_item("held")), deadline_s=1.0))
    done, _ = await asyncio.wait((waits, tells), timeout=10.0, return_when=asyncio.FIRST_COMPLETED)
    assert done == {tells}
    assert isinstance(tells.exception(), BackendUnavailable | OutcomeUnknown)
    proxy.resume()
    assert (await waits)[1:3] == [1, 1]


async def test_each_item_of_a_caller_with_several_is_answered_by_the_deadline_of_the_call(
    patient_driver: AsyncDriver, proxy: FaultProxy
) -> None:
    """What was sent may have been executed, what was not was not, and the caller gets an entry for each."""
    proxy.delay(match=b"held")
    items = [new_item("held") for _ in range(settings.BATCH_ITEMS_MAX + 1)]
    waits = asyncio.create_task(patient_driver.run(count(new_item("held")), deadline_s=30.0))
    entries = await asyncio.wait_for(patient_driver.run(count_all(*items), deadline_s=0.1), 10.0)
    assert {type(entry) for entry in entries} == {OutcomeUnknown, BackendUnavailable}
    assert isinstance(entries[0], OutcomeUnknown)
    assert isinstance(entries[-1], BackendUnavailable)
    assert not waits.done()
    proxy.resume()
    await waits


async def test_who_waits_behind_other_calls_is_answered_by_its_own_deadline(
    patient_driver: AsyncDriver, proxy: FaultProxy, one_server: Server
) -> None:
    """Nothing of it was sent, and nothing is afterwards."""
    first = await busy(patient_driver, proxy)
    hasty, patient = new_item(), new_item()
    behind = asyncio.create_task(patient_driver.run(count(patient), deadline_s=30.0))
    with pytest.raises(BackendUnavailable):
        await asyncio.wait_for(patient_driver.run(count(hasty), deadline_s=0.05), 10.0)
    assert not any(task.done() for task in (*first, behind))
    proxy.resume()
    await all_of(*first)
    assert (await behind)[1:3] == [0, 1]
    assert executed(one_server, hasty) == 0


# -- order -------------------------------------------------------------------------------------------------------------

NUMBER = script(
    """
local replies = {}
for at = 4, #ARGV, 3 do
  redis.call('HINCRBY', KEYS[1], ARGV[at], 1)
  replies[#replies + 1] = {redis.call('HLEN', KEYS[1])}
end
return replies
"""
)
"""Answers each item with how many had been decided when it was."""


@pytest.mark.parametrize("lost", [Fault.RESET_BEFORE, Fault.RESET_AFTER])
@pytest.mark.parametrize("others", [0, settings.BATCH_IN_FLIGHT])
async def test_no_item_overtakes_an_earlier_one_of_its_caller_that_is_sent_again(
    driver: AsyncDriver, proxy: FaultProxy, lost: Fault, others: int
) -> None:
    """With one unit left it would go to the hundred and first; whoever else calls meanwhile changes nothing."""
    many = [new_item("many") for _ in range(3 * settings.BATCH_ITEMS_MAX)]
    proxy.arm(lost, match=b"many")
    deciding = asyncio.create_task(driver.run(number(*many)))
    await asyncio.to_thread(proxy.wait_fired)
    singles = [asyncio.create_task(driver.run(number(new_item()))) for _ in range(others)]
    places = [entry[0] for entry in await deciding]
    assert places == sorted(places)
    await all_of(*singles)


def number(*items: Item) -> Operation[list[Any]]:
    """Have items numbered in the order in which they are decided."""
    return Operation(Call(NUMBER, POOL, (COUNTS,), (), items, batch=True), lambda reply: reply)
