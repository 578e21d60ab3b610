"""Each step of a wait, each way of losing it or its reply, and copies that arrive late: one grant, one effect."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import pytest

from allocator import WaitTimeout, settings
from allocator._engine.protocol import scripts
from allocator.errors import RequestWithdrawn
from tests.failures.believing import believe
from tests.failures.conftest import ATTEMPT_S, Disturbed, attempt_at, patience
from tests.failures.operations import OPERATIONS, Operation, Scene, picture
from tests.failures.queueing import ONE, asks, fill, in_line, settled, undone, waits_for
from tests.support.proxy import Fault, FaultProxy
from tests.support.servers import Server
from tests.support.waiting import wait_until_async
from tests.support.wakes import LONG_S as HEARTBEAT_S
from tests.support.wakes import channels

Stage = Callable[[str], Scene]

ALLOCATE: Final[Operation] = next(one for one in OPERATIONS if one.name == "allocate")

LOST: Final = (Fault.RESET_BEFORE, Fault.RESET_AFTER, Fault.SWALLOW)

LATE: Final = (Fault.HOLD_RESET, Fault.DUPLICATE)

STEPS: Final = {"enters": 1, "asks again": 2, "claims": 3}
"""Which request of the wait it is: the second follows the subscription at once, the third the message."""


@pytest.fixture(autouse=True)
def _rarely(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody asks again unasked."""
    monkeypatch.setattr(settings, "HEARTBEAT_S", HEARTBEAT_S)


class Nth:
    """Matches the allocate of that number, of those that it is asked about."""

    def __init__(self, number: int = 0) -> None:
        self._number = number
        self.seen = 0

    def __call__(self, request: bytes) -> bool:
        is_one = attempt_at(ALLOCATE) in request
        self.seen += is_one
        return is_one and self.seen == self._number


def last_try(request: bytes) -> bool:
    """Whether it is an allocate that does not wait."""
    return scripts.load("allocate").sha.encode() in request and b"wait" not in request.split(b"\r\n")


def grants(scene: Scene, name: str) -> int:
    """How often this id was granted from the line."""
    events = scene.direct.events.list(limit=500)
    return sum(one.kind == "granted" and one.fields["id"] == name for one in events)


async def until_it_listens(scene: Scene, server: Server, *names: str) -> None:
    """Wait until these are in line and their caller listens."""
    await waits_for(scene, *names)
    await wait_until_async(lambda: len(channels(server)) == len(names), message="it listens")


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("fault", [*LOST, *LATE], ids=str)
async def test_a_wait_whose_step_is_lost_or_repeated_is_granted_once(
    step: str, fault: Fault, scene: Stage, disturbed: Disturbed, proxy: FaultProxy, one_server: Server
) -> None:
    """Late copies arrive while it has the grant, and again once that is over and others wait for the same."""
    lab = scene("lab")
    fill(lab)
    counter = Nth()
    proxy.duplicate(match=counter)
    for _ in range(2 if fault in LOST else 1):
        proxy.arm(fault, match=Nth(STEPS[step]))
    client = disturbed("lab", lab.clock, **patience(fault))
    asked = asks(client, "a")
    await until_it_listens(lab, one_server, "a")
    await wait_until_async(lambda: counter.seen >= 2, message="it has asked again")
    lab.direct.release("full")
    answer = await asked.answer()
    assert answer.created
    assert grants(lab, "a") == 1
    believe(ALLOCATE, lab, answer)
    before, kept = picture(lab), list(proxy._kept)
    assert len(proxy.release()) == (fault in LATE)
    assert picture(lab) == before
    believe(ALLOCATE, lab, answer)
    assert lab.direct.release(answer)
    assert lab.direct.allocate({"cpu": 4}, ttl=None, id="full")
    before = picture(lab)
    await deliver(proxy, kept)
    assert picture(lab) == before
    assert in_line(lab) == []
    other = asks(client, "a")
    await until_it_listens(lab, one_server, "a")
    await deliver(proxy, kept)
    assert in_line(lab) == ["a"]
    lab.direct.release("full")
    assert lab.direct.release(await other.answer())
    assert grants(lab, "a") == 2
    await client.close()
    await settled(lab, one_server)


async def deliver(proxy: FaultProxy, kept: list[Any]) -> None:
    """Deliver copies once more."""
    with proxy._changed:
        proxy._kept = list(kept)
    proxy.release()


@pytest.mark.parametrize("fault", [*LOST, *LATE], ids=str)
async def test_a_last_try_that_is_lost_or_repeated_leaves_the_line_once(
    fault: Fault, scene: Stage, disturbed: Disturbed, proxy: FaultProxy, one_server: Server
) -> None:
    """The caller is told that it is full; neither its last try nor an earlier one is granted later."""
    lab = scene("lab")
    fill(lab)
    proxy.duplicate(match=Nth(1))
    proxy.arm(fault, match=last_try)
    client = disturbed("lab", lab.clock, **patience(fault))
    with pytest.raises(WaitTimeout) as full:
        await client.allocate(ONE, ttl=60, id="a", wait=0.6)
    assert full.value.denial.code == "capacity_exceeded"
    proxy.wait_fired()
    assert in_line(lab) == []
    lab.direct.release("full")
    await undone(client)
    before = picture(lab)
    assert len(proxy.release()) == 1 + (fault in LATE)
    assert picture(lab) == before
    assert grants(lab, "a") == 0
    await client.close()
    await settled(lab, one_server)


@pytest.mark.parametrize("fault", [*LOST, *LATE], ids=str)
async def test_a_last_try_that_is_granted_is_granted_once(
    fault: Fault, scene: Stage, disturbed: Disturbed, proxy: FaultProxy, one_server: Server
) -> None:
    """Room came, and its message was lost with the connection: the last try finds the grant."""
    lab = scene("lab")
    fill(lab)
    proxy.arm(fault, match=last_try)
    client = disturbed("lab", lab.clock, **patience(fault))
    asked = asks(client, "a", wait=0.5)
    await until_it_listens(lab, one_server, "a")
    one_server.ask("CLIENT", "KILL", "TYPE", "pubsub")
    lab.direct.release("full")
    answer = await asked.answer()
    assert answer.created
    believe(ALLOCATE, lab, answer)
    before = picture(lab)
    proxy.release()
    assert picture(lab) == before
    assert grants(lab, "a") == 1
    assert lab.direct.release(answer)
    await client.close()
    await settled(lab, one_server)


@pytest.mark.parametrize("fault", [*LOST, *LATE], ids=str)
async def test_a_withdrawal_that_is_lost_or_repeated_takes_one_request_out(
    fault: Fault, scene: Stage, disturbed: Disturbed, proxy: FaultProxy, one_server: Server
) -> None:
    """Not the next one of the same id; nor does a copy of what was withdrawn come back."""
    lab = scene("lab")
    fill(lab)
    client = disturbed("lab", lab.clock, **patience(fault))
    proxy.arm(Fault.DUPLICATE, match=Nth(1))
    asked = asks(client, "a")
    await until_it_listens(lab, one_server, "a")
    proxy.arm(fault, match=scripts.load("withdraw").sha.encode())
    assert await client.queue.withdraw("a")
    with pytest.raises(RequestWithdrawn):
        await asked.answer()
    proxy.wait_fired()
    kept = list(proxy._kept)
    assert len(proxy.release()) == 1 + (fault in LATE)
    assert in_line(lab) == []
    other = asks(client, "a")
    await until_it_listens(lab, one_server, "a")
    await deliver(proxy, kept)
    assert in_line(lab) == ["a"]
    lab.direct.release("full")
    assert lab.direct.release(await other.answer())
    assert grants(lab, "a") == 1
    await client.close()
    await settled(lab, one_server)


@pytest.mark.parametrize("exclusive", [False, True])
@pytest.mark.parametrize("room", ["none", "in between"])
async def test_an_attempt_whose_outcome_nobody_learns_begins_a_new_call(
    room: str, exclusive: bool, scene: Stage, disturbed: Disturbed, proxy: FaultProxy, one_server: Server
) -> None:
    """All replies of its first call are lost for as long as that may take: it is undone, and the wait goes on."""
    lab = scene("lab")
    fill(lab)
    client = disturbed("lab", lab.clock, timeout=0.3, attempt_timeout=ATTEMPT_S)
    counter = Nth()
    proxy.duplicate(match=counter)
    asked = asks(client, "a", exclusive=exclusive)
    await until_it_listens(lab, one_server, "a")
    proxy.reset_before(match=scripts.load("undo").sha.encode(), times=4)
    armed = proxy.arm(Fault.SWALLOW, match=scripts.load("allocate").sha.encode(), times=1000)
    if room == "in between":
        await wait_until_async(lambda: counter.seen >= 2, message="it has asked again")
        lab.direct.release("full")
    else:
        # It wakes who waits, and makes no room.
        lab.direct.pools.update(None, {"cpu": 4})
    await wait_until_async(lambda: proxy.counts.get(Fault.RESET_BEFORE, 0) > 0, message="the first call is given up")
    armed.times = armed.taken
    if room == "none":
        await waits_for(lab, "a")
        lab.direct.release("full")
    answer = await asked.answer()
    believe(ALLOCATE, lab, answer)
    await undone(client)
    believe(ALLOCATE, lab, answer)
    assert lab.direct.release(answer)
    await client.close()
    await settled(lab, one_server)
