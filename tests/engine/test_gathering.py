"""How the asyncio driver gathers the calls of one turn of the loop."""

from __future__ import annotations

import asyncio

from allocator import settings
from allocator._engine.async_drive import AsyncDriver
from allocator.errors import ContractError, InvariantError, OutcomeUnknown
from tests.engine.support import (
    all_of,
    busy,
    count,
    count_all,
    executed,
    new_item,
    read,
    requests_of,
    withdrawn,
)
from tests.support.proxy import FaultProxy
from tests.support.servers import Server
from tests.support.waiting import wait_until_async


async def test_calls_of_one_turn_share_a_script_call(driver: AsyncDriver, proxy: FaultProxy) -> None:
    """A few tasks cost one round trip, and each gets its own item's reply."""
    before = requests_of(proxy)
    items = [new_item() for _ in range(settings.GATHER_SPLIT_FROM - 1)]
    replies = await all_of(*(driver.run(count(item)) for item in items))
    assert [reply[:3] for reply in replies] == [[item.call, 0, 1] for item in items]
    assert requests_of(proxy) - before == 1


async def test_many_calls_of_one_turn_share_two_script_calls(driver: AsyncDriver, proxy: FaultProxy) -> None:
    """Fifty tasks cost two round trips: the server works on the one while the loop works on the other."""
    before = requests_of(proxy)
    items = [new_item() for _ in range(50)]
    replies = await all_of(*(driver.run(count(item)) for item in items))
    assert [reply[:3] for reply in replies] == [[item.call, 0, 1] for item in items]
    assert requests_of(proxy) - before == settings.GATHER_IN_FLIGHT


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
    """Each item keeps its doubt; one that arrives meanwhile has none."""
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
    await wait_until_async(lambda: withdrawn(one_server, hasty))
    assert not withdrawn(one_server, patient)


async def test_a_call_of_many_items_may_fail_in_some(driver: AsyncDriver) -> None:
    """An error takes its item's place in the reply."""
    entries = await driver.run(count_all(new_item(), new_item("contract"), new_item()))
    assert [type(entry) for entry in entries] == [list, ContractError, list]
