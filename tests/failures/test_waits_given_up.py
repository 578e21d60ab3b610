"""Callers that stop waiting, at any instant: nothing of their wait is left, in the store or in the process."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
import signal
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest
import redis.connection

from allocator import Allocation, AsyncAllocator, BackendUnavailable, settings
from tests.failures.believing import believe
from tests.failures.conftest import Disturbed
from tests.failures.operations import OPERATIONS, Operation, Scene
from tests.failures.queueing import FULL, LONG_S, ONE, asks, fill, in_line, settled, undone, waits_for
from tests.support.servers import Server
from tests.support.waiting import wait_until_async
from tests.support.wakes import LONG_S as HEARTBEAT_S
from tests.support.wakes import channels

pytestmark = pytest.mark.usefixtures("abandoned_sockets")

Stage = Callable[[str], Scene]

CANCELLED = 1_000
"""Waits that are given up."""

ROUND = 50
"""So many at once."""

TURNS = (*range(24), *range(24, 80, 3), *range(80, 200, 10))
"""Of the event loop, until a wait is cancelled: on its way, in line, listening, granted, told."""

ALLOCATE: Operation = next(one for one in OPERATIONS if one.name == "allocate")


@pytest.fixture(autouse=True)
def _rarely(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody asks again unasked."""
    monkeypatch.setattr(settings, "HEARTBEAT_S", HEARTBEAT_S)


async def turn(times: int) -> None:
    """Let the event loop turn."""
    for _ in range(times):
        turned: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(turned.set_result, None)
        await turned


async def cancel(task: asyncio.Task[Allocation]) -> Allocation | None:
    """Cancel it; what it was told, if it was."""
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        return await task
    return None


def waits(client: AsyncAllocator, name: str) -> asyncio.Task[Allocation]:
    """A task that waits for one unit."""
    return asyncio.ensure_future(client.allocate(ONE, ttl=60, id=name, wait=LONG_S))


@pytest.mark.parametrize("kind", ["async"])
async def test_a_thousand_cancelled_tasks_leave_nothing(
    kind: str, scene: Stage, disturbed: Disturbed, one_server: Server
) -> None:
    """Each at a seeded instant, while room comes and goes; whoever was told has it, and nobody else has anything."""
    assert kind == "async"
    chance = random.Random(20_261_127)
    lab = scene("lab")
    fill(lab)
    before = asyncio.all_tasks()
    client = disturbed("lab", lab.clock)
    cancelled = 0
    for number in range(CANCELLED // ROUND):
        tasks = [waits(client, f"w{number}-{at}") for at in range(ROUND)]
        lab.direct.release("full")
        # On a slow machine a call that was sent again may come behind the others, and they end only below.
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        first = next(task for task in tasks if task.done())
        others = [task for task in tasks if task is not first]
        assert lab.direct.release(await first), "whoever is not cancelled is told, and has it"
        chance.shuffle(others)
        for task in others:
            await turn(chance.randrange(12))
            answer = await cancel(task)
            cancelled += answer is None
            if answer is not None:
                assert lab.direct.release(answer), "whoever was told has it"
        await undone(client)
        assert lab.direct.allocate({"cpu": FULL}, ttl=None, id="full")
    assert cancelled >= CANCELLED // 2
    await client.close()
    assert asyncio.all_tasks() <= before
    await settled(lab, one_server)


@contextlib.contextmanager
def interrupted(seconds: float) -> Iterator[None]:
    """Ctrl-C comes after so long; and again where a finalizer has swallowed it, as Python does."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    handler = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds, 0.5)
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)


def give_texts_to_hiredis(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also redis-py, as it connects: a signal that arrives as hiredis makes a text of a number ends the process."""
    serializer: Any = getattr(redis.connection, "HiredisRespSerializer", None)
    if serializer is not None:
        pack = serializer.pack
        monkeypatch.setattr(
            serializer, "pack", lambda self, *words: pack(self, *[str(w) if isinstance(w, int) else w for w in words])
        )


@pytest.mark.slow
# A socket that is interrupted while it connects is closed by its finalizer.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("kind", ["sync"])
async def test_a_thousand_interrupted_threads_leave_nothing(
    kind: str, scene: Stage, disturbed: Disturbed, one_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The blocking client, interrupted on its way into the line, while it listens, or in between."""
    assert kind == "sync"
    # An import that Ctrl-C interrupts leaves this process without the codec for ever.
    "localhost".encode("idna")
    give_texts_to_hiredis(monkeypatch)
    chance = random.Random(20_261_128)
    lab = scene("lab")
    fill(lab)
    client = disturbed("lab", lab.clock)
    for number in range(CANCELLED):
        with pytest.raises(KeyboardInterrupt), interrupted(0.0002 + 0.004 * chance.random() ** 2):
            await client.allocate(ONE, ttl=60, id=f"w{number}", wait=LONG_S)
    await undone(client)
    await wait_until_async(lambda: not in_line(lab), message="all have left")
    await client.close()
    await settled(lab, one_server)
    # Sockets that were interrupted while they connected: here, and not in the midst of another test.
    gc.collect()


@pytest.mark.parametrize("kind", ["async"])
async def test_a_wait_that_is_cancelled_anywhere_on_its_way_into_the_line_leaves_nothing(
    kind: str, scene: Stage, disturbed: Disturbed, one_server: Server
) -> None:
    """From before its first byte to the second attempt, which it makes once it listens, and beyond."""
    assert kind == "async"
    for turns in TURNS:
        lab = scene(f"lab-{turns}")
        fill(lab)
        client = disturbed(lab.pool, lab.clock)
        assert await cancel_after(turns, waits(client, "a")) is None
        await client.close()
        await settled(lab, one_server)


async def cancel_after(turns: int, task: asyncio.Task[Allocation]) -> Allocation | None:
    """Cancel it after so many turns."""
    await turn(turns)
    return await cancel(task)


@pytest.mark.parametrize("kind", ["async"])
async def test_a_claim_that_is_cancelled_anywhere_is_had_or_leaves_nothing(
    kind: str, scene: Stage, disturbed: Disturbed, one_server: Server
) -> None:
    """The room is granted to a waiter; its task is cancelled before it hears of that, while it asks, and after."""
    assert kind == "async"
    told = 0
    for turns in TURNS:
        lab = scene(f"lab-{turns}")
        fill(lab)
        client = disturbed(lab.pool, lab.clock)
        task = waits(client, "a")
        await wait_until_async(lambda lab=lab: in_line(lab) == ["a"] and is_awaited(one_server, lab))
        lab.direct.release("full")
        answer = await cancel_after(turns, task)
        await client.close()
        if answer is not None:
            told += 1
            believe(ALLOCATE, lab, answer)
            assert lab.direct.release(answer)
        await settled(lab, one_server)
    assert 0 < told < len(TURNS)


def is_awaited(server: Server, scene: Scene) -> bool:
    """Whether somebody listens for a call of this pool."""
    return any(channel.startswith(f"allocator:{{{scene.pool}}}:wake:") for channel in channels(server))


async def test_a_client_that_is_closed_meanwhile_leaves_the_line(
    scene: Stage, disturbed: Disturbed, one_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each waiter is told that the client is closed."""
    monkeypatch.setattr(settings, "WAKE_POLL_S", 0.05)
    lab = scene("lab")
    fill(lab)
    client = disturbed("lab", lab.clock)
    asked = [asks(client, name) for name in ("a", "b", "c")]
    await waits_for(lab, "a", "b", "c")
    await client.close()
    for one in asked:
        with pytest.raises(BackendUnavailable) as closed:
            await one.answer()
        assert closed.value.code == "closed"
    await settled(lab, one_server)
