"""An awaited call that is cancelled at any turn of its loop: not sent yet, under way, answered and not yet told."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import pytest

from tests.failures.believing import believe
from tests.failures.conftest import Disturbed
from tests.failures.operations import Operation, Scene, live, mend, state
from tests.failures.queueing import undone

pytestmark = pytest.mark.usefixtures("abandoned_sockets")

Stage = Callable[[str], Scene]

TURNS = (*range(12), 14, 17, 21, 26, 32, 40, 50)
"""After how many turns; most calls are answered within so many."""


async def cancelled_after(turns: int, work: Awaitable[object]) -> object:
    """Let it go on for so many turns of the loop, and cancel it; what it was told, None where it was not."""
    task = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()
    for _ in range(turns):
        turn = loop.create_future()
        loop.call_soon(turn.set_result, None)
        await turn
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        return await task
    return None


@pytest.mark.parametrize("kind", ["async"])
async def test_a_call_that_is_cancelled_anywhere_has_its_effect_or_none(
    operation: Operation, kind: str, scene: Stage, disturbed: Disturbed
) -> None:
    """A caller that was told has what it was told; of one that was not, nothing stays charged."""
    assert kind == "async"
    control = scene("control")
    operation.prepare(control)
    await operation.act(disturbed("control", control.clock), control)
    after = state(control)
    for turns in TURNS:
        lab = scene(f"lab-{turns}")
        operation.prepare(lab)
        before, alive = state(lab), live(lab)
        client = disturbed(lab.pool, lab.clock)
        answer = await cancelled_after(turns, operation.act(client, lab))
        await undone(client)
        await client.close()
        if answer is not None:
            assert state(lab) == after, turns
            believe(operation, lab, answer)
        elif operation.charges:
            assert live(lab) == alive, turns
        else:
            assert state(lab) in (before, after), turns
        mend(lab, operation)
