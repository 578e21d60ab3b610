"""Callers that go away, and calls whose outcome nobody hears: nothing stays charged that nobody knows of."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from collections.abc import Callable, Iterator

import pytest
import redis

from allocator import AsyncAllocator, BackendUnavailable, OutcomeUnknown, UnknownPool
from tests.failures.conftest import ATTEMPT_S, Disturbed, attempt_at
from tests.failures.operations import OPERATIONS, Operation, Scene, live, mend, picture, state
from tests.failures.queueing import undone
from tests.support.proxy import Fault, FaultProxy
from tests.support.waiting import wait_until_async

pytestmark = pytest.mark.usefixtures("abandoned_sockets")

Stage = Callable[[str], Scene]
CHARGING = [operation for operation in OPERATIONS if operation.charges]
SHORT = {"timeout": 0.25, "attempt_timeout": ATTEMPT_S}


@pytest.mark.parametrize("operation", CHARGING, ids=str)
@pytest.mark.parametrize("fault", [Fault.SWALLOW, Fault.HOLD], ids=["executed", "held up"])
async def test_an_unknown_outcome_is_said_so_and_then_undone(
    operation: Operation, fault: Fault, proxy: FaultProxy, scene: Stage, disturbed: Disturbed
) -> None:
    """The error names the id; the undo follows as soon as the store answers again, and late copies do nothing."""
    lab = scene("lab")
    operation.prepare(lab)
    lab.direct.maintenance.reclaim()
    client = await connected(disturbed("lab", lab.clock, **SHORT))
    before, ended = state(lab), ended_calls(lab)
    armed = proxy.arm(fault, match=attempt_at(operation), times=1000)
    with pytest.raises(OutcomeUnknown) as unknown:
        await operation.act(client, lab)
    assert unknown.value.id == "a"
    armed.times = armed.taken
    await wait_until_async(lambda: len(ended_calls(lab) - ended) >= operation.charges, message="the undos have arrived")
    assert state(lab) == before
    proxy.release()
    assert state(lab) == before


async def connected(client: AsyncAllocator) -> AsyncAllocator:
    """The client, with a connection on which it has found out that it may write.

    On a busy machine that alone may take as long as the short deadline.
    """

    async def reached() -> bool:
        try:
            await client.release("nobody")
        except UnknownPool:
            return True
        except (BackendUnavailable, OutcomeUnknown):
            return False
        return True

    await wait_until_async(reached, message="the client is connected")
    return client


async def end(client: AsyncAllocator) -> None:
    """Close the client once what nobody hears of has been undone, however long a busy machine takes for it."""
    await undone(client)
    await client.close()


def ended_calls(scene: Scene) -> set[str]:
    """The calls that are over."""
    with redis.Redis.from_url(scene.direct._target.address, decode_responses=True) as client:
        return set(client.zrange(f"allocator:{{{scene.pool}}}:ended", 0, -1))


async def test_an_unknown_outcome_of_any_operation_is_never_called_unavailable(
    operation: Operation, proxy: FaultProxy, scene: Stage, disturbed: Disturbed
) -> None:
    """Whether it took effect or not: it did so at most once, and no copy of it does so later."""
    control, lab = scene("control"), scene("lab")
    for each in (control, lab):
        operation.prepare(each)
    await operation.act(disturbed("control", control.clock), control)
    before, after, alive = picture(lab), picture(control), live(lab)
    client = await connected(disturbed("lab", lab.clock, **SHORT))
    proxy.arm(Fault.SWALLOW, match=attempt_at(operation), times=1000)
    with pytest.raises(OutcomeUnknown):
        await operation.act(client, lab)
    proxy.clear()
    await end(client)
    if operation.script == "allocate":  # its undo is in the picture, too
        assert live(lab) == alive
    else:
        assert picture(lab) in (before, after)
    mend(lab, operation)


async def test_a_server_that_was_never_reached_is_unavailable_and_not_a_doubt(
    operation: Operation, proxy: FaultProxy, scene: Stage, disturbed: Disturbed
) -> None:
    """Nothing was executed, and the error says so."""
    lab = scene("lab")
    operation.prepare(lab)
    before = picture(lab)
    proxy.down()
    with pytest.raises(BackendUnavailable):
        await operation.act(disturbed("lab", lab.clock, **SHORT), lab)
    assert picture(lab) == before
    proxy.up()
    mend(lab, operation)


@pytest.mark.parametrize("kind", ["async"])
@pytest.mark.parametrize("fault", [Fault.DELAY, Fault.HOLD], ids=["executed", "held up"])
async def test_a_cancelled_call_leaves_nothing_charged(
    operation: Operation, fault: Fault, proxy: FaultProxy, scene: Stage, disturbed: Disturbed
) -> None:
    """Its task ends at once; what it may have been granted is undone behind it."""
    control, lab = scene("control"), scene("lab")
    for each in (control, lab):
        operation.prepare(each)
    await operation.act(disturbed("control", control.clock), control)
    before, after, alive = state(lab), state(control), live(lab)
    armed = proxy.arm(fault, match=attempt_at(operation))
    client = disturbed("lab", lab.clock)
    task = asyncio.ensure_future(operation.act(client, lab))
    await wait_until_async(lambda: armed.taken == 1, message="the request has arrived")
    if fault is Fault.HOLD:
        await wait_until_async(lambda: armed.done, message="the request is held up")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    proxy.resume()
    await end(client)
    proxy.release()
    if operation.charges:
        assert live(lab) == alive
    else:
        assert state(lab) in (before, after)
    mend(lab, operation)


@pytest.mark.parametrize("kind", ["sync"])
@pytest.mark.parametrize("fault", [Fault.SWALLOW, Fault.HOLD], ids=["executed", "held up"])
async def test_an_interrupted_call_leaves_nothing_charged(
    operation: Operation, fault: Fault, proxy: FaultProxy, scene: Stage, disturbed: Disturbed
) -> None:
    """Ctrl-C while the blocking client waits for the reply."""
    control, lab = scene("control"), scene("lab")
    for each in (control, lab):
        operation.prepare(each)
    await operation.act(disturbed("control", control.clock), control)
    before, after, alive = state(lab), state(control), live(lab)
    proxy.arm(fault, match=attempt_at(operation))
    client = disturbed("lab", lab.clock)
    with interrupted_once_fired(proxy), pytest.raises(KeyboardInterrupt):
        await operation.act(client, lab)
    await end(client)
    proxy.release()
    if operation.charges:
        assert live(lab) == alive
    else:
        assert state(lab) in (before, after)
    mend(lab, operation)


@contextlib.contextmanager
def interrupted_once_fired(proxy: FaultProxy) -> Iterator[None]:
    """Ctrl-C comes when the fault has happened."""
    main = threading.get_ident()

    def interrupt() -> None:
        proxy.wait_fired()
        signal.pthread_kill(main, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        thread.start()
        yield
    finally:
        thread.join()
        signal.signal(signal.SIGINT, handler)
