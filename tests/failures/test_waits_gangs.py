"""A batch that waits as one: steps that are lost or arrive late, and callers that give up; all of it or nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from allocator import AsyncAllocator, Request, settings
from tests.failures.conftest import Disturbed
from tests.failures.operations import Scene, picture
from tests.failures.queueing import LONG_S, Asked, fill, in_line, settled
from tests.failures.test_waits_given_up import cancel, is_awaited, turn
from tests.failures.test_waits_replies import STEPS, Nth, deliver, grants, until_it_listens
from tests.support.proxy import Fault, FaultProxy
from tests.support.servers import Server
from tests.support.waiting import wait_until_async
from tests.support.wakes import LONG_S as HEARTBEAT_S

pytestmark = pytest.mark.usefixtures("abandoned_sockets")

Stage = Callable[[str], Scene]

PAIR = (Request({"cpu": 2}, 60, id="a"), Request({"cpu": 2}, 60, id="b"))

TURNS = (0, 1, 2, 3, 5, 7, 9, 12, 16, 22, 30, 45, 70, 120, 200)
"""Of the event loop, until a wait is cancelled: on its way, in line, listening, granted, told."""


@pytest.fixture(autouse=True)
def _rarely(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody asks again unasked."""
    monkeypatch.setattr(settings, "HEARTBEAT_S", HEARTBEAT_S)


def asks_all(client: AsyncAllocator) -> Asked:
    """Somebody waits for all of the pool, in two parts."""
    return Asked(client, client.allocate_many(PAIR, atomic=True, wait=LONG_S))


def has(scene: Scene, answer: Any) -> None:
    """Its caller has both, and nobody has anything else."""
    assert {one.id: one.fence for one in answer} == {one.id: one.fence for one in scene.direct.list()}
    assert {one.id for one in answer} == {"a", "b"}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("fault", [Fault.RESET_BEFORE, Fault.RESET_AFTER, Fault.HOLD_RESET, Fault.DUPLICATE], ids=str)
async def test_a_batch_whose_step_is_lost_or_repeated_is_granted_once(
    step: str, fault: Fault, scene: Stage, disturbed: Disturbed, proxy: FaultProxy, one_server: Server
) -> None:
    """Late copies arrive while it has the grant, and again once that is over and another batch of its ids waits."""
    lab = scene("lab")
    fill(lab)
    counter = Nth()
    proxy.duplicate(match=counter)
    proxy.arm(fault, match=Nth(STEPS[step]))
    client = disturbed("lab", lab.clock)
    asked = asks_all(client)
    await until_it_listens(lab, one_server, "a")
    await wait_until_async(lambda: counter.seen >= 2, message="it has asked again")
    lab.direct.release("full")
    answer = await asked.answer()
    assert [one.created for one in answer] == [True, True]
    assert (grants(lab, "a"), grants(lab, "b")) == (1, 1)
    has(lab, answer)
    before, kept = picture(lab), list(proxy._kept)
    proxy.release()
    assert picture(lab) == before
    assert all(lab.direct.release_many([one.id for one in answer]))
    assert lab.direct.allocate({"cpu": 4}, ttl=None, id="full")
    before = picture(lab)
    await deliver(proxy, kept)
    assert picture(lab) == before
    other = asks_all(client)
    await until_it_listens(lab, one_server, "a")
    await deliver(proxy, kept)
    assert in_line(lab) == ["a"]
    lab.direct.release("full")
    has(lab, await other.answer())
    assert all(lab.direct.release_many(["a", "b"]))
    await client.close()
    await settled(lab, one_server)


@pytest.mark.parametrize("kind", ["async"])
@pytest.mark.parametrize("room", [False, True], ids=["in line", "granted"])
async def test_a_batch_that_is_cancelled_anywhere_is_had_whole_or_leaves_nothing(
    kind: str, scene: Stage, disturbed: Disturbed, one_server: Server, *, room: bool
) -> None:
    """On its way into the line, or to its grant; whoever was told has all of it."""
    assert kind == "async"
    told = 0
    for turns in TURNS:
        lab = scene(f"lab-{turns}")
        fill(lab)
        client = disturbed(lab.pool, lab.clock, attempt_timeout=5.0)
        task = asyncio.ensure_future(client.allocate_many(PAIR, atomic=True, wait=LONG_S))
        if room:
            await wait_until_async(lambda lab=lab: in_line(lab) == ["a"] and is_awaited(one_server, lab))
            lab.direct.release("full")
        await turn(turns)
        if room and turns == TURNS[-1]:
            await wait_until_async(task.done)
        answer: Any = await cancel(task)
        await client.close()
        if answer is not None:
            told += 1
            has(lab, answer)
            assert all(lab.direct.release_many(["a", "b"]))
        await settled(lab, one_server)
    assert (told > 0) == room
