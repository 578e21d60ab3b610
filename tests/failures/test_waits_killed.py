"""SIGKILL of a process at each step of its wait: its place, or its grant, goes to the next within fifteen seconds."""

from __future__ import annotations

import multiprocessing

import pytest

from allocator import Allocator, settings
from allocator.testing import Clock
from tests.failures.crew import _FORKS, end
from tests.failures.operations import Scene
from tests.failures.queueing import asks, in_line, settled
from tests.failures.waiter import STEPS, TTL_S, wait_until_killed
from tests.support import clients
from tests.support.servers import Server
from tests.support.waiting import TIMEOUT_S, wait_until_async
from tests.support.wakes import channels

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that live ask often, as time is turned forward."""
    monkeypatch.setattr(settings, "HEARTBEAT_S", 0.05)


@pytest.mark.parametrize("kind", clients.KINDS)
@pytest.mark.parametrize("step", STEPS)
async def test_the_place_or_the_grant_of_a_killed_process_goes_to_the_next(
    kind: str, step: str, one_server: Server
) -> None:
    """Not before its time is over, and not later than that."""
    clock = Clock()
    other = clients.connect("sync", one_server.url, clock=clock)
    direct: Allocator = other.surface  # type: ignore[attr-defined]
    direct.pools.create("lab", {"cpu": 1})
    direct.allocate({"cpu": 1}, ttl=None, id="full")
    lab = Scene("lab", direct, clock)
    hears, told = multiprocessing.Pipe(duplex=False)
    process = _FORKS.Process(target=wait_until_killed, args=(one_server.url, clock(), kind, step, told), daemon=True)
    process.start()
    await wait_until_async(lambda: in_line(lab) == ["dead"], message="it is in line")
    if step != "entered":
        await wait_until_async(lambda: len(channels(one_server)) == 1, message="it listens")
    if step in ("granted", "claimed"):
        direct.release("full")
    if step != "listening":
        assert hears.poll(TIMEOUT_S)
        assert hears.recv() == step
    end(process)
    client = clients.connect(kind, one_server.url, clock=clock)
    next_one = asks(client, "next")
    await wait_until_async(lambda: "next" in in_line(lab), message="the next one is in line")
    if step in ("entered", "listening"):
        assert in_line(lab) == ["dead", "next"]
        clock.advance(settings.WAITER_TTL_MS / 1000)
        await wait_until_async(lambda: in_line(lab) == ["next"], message="the dead has left")
        direct.release("full")
    else:
        held = direct.get("dead")
        assert held is not None
        lasts = settings.GRANT_CLAIM_MS if step == "granted" else int(TTL_S * 1000)
        assert held.deadline_ms is not None
        assert held.deadline_ms <= clock() + lasts
        assert not next_one.ended
        clock.advance(lasts / 1000)
    assert (await next_one.answer()).id == "next"
    assert direct.get("dead") is None
    direct.release("next")
    await client.close()
    await settled(lab, one_server)
    direct.close()


@pytest.mark.parametrize("kind", clients.KINDS)
async def test_the_next_one_is_granted_even_while_the_dead_is_granted_first(kind: str, one_server: Server) -> None:
    """A place that is not over yet gets the room; its grant lapses, and the room goes on by the deadlines."""
    clock = Clock()
    other = clients.connect("sync", one_server.url, clock=clock)
    direct: Allocator = other.surface  # type: ignore[attr-defined]
    direct.pools.create("lab", {"cpu": 1})
    direct.allocate({"cpu": 1}, ttl=None, id="full")
    lab = Scene("lab", direct, clock)
    hears, told = multiprocessing.Pipe(duplex=False)
    process = _FORKS.Process(
        target=wait_until_killed, args=(one_server.url, clock(), kind, "listening", told), daemon=True
    )
    process.start()
    await wait_until_async(lambda: in_line(lab) == ["dead"], message="it is in line")
    end(process)
    hears.close()
    client = clients.connect(kind, one_server.url, clock=clock)
    asked = [asks(client, name) for name in ("next", "last")]
    await wait_until_async(lambda: len(in_line(lab)) == 3, message="all are in line")
    direct.release("full")
    assert in_line(lab)[0] != "dead"
    assert direct.get("dead") is not None
    clock.advance(settings.GRANT_CLAIM_MS / 1000)
    for _ in range(2):
        await wait_until_async(lambda: any(one.ended for one in asked), message="one of the living has it")
        done = next(one for one in asked if one.ended)
        asked.remove(done)
        assert direct.release((await done.answer()).id)
    await client.close()
    await settled(lab, one_server)
    direct.close()
