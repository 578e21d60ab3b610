"""Each operation, each way of losing an attempt or its reply: exactly one effect and the right answer.

What happens undisturbed in a pool called `control` is what must be seen in a pool called `lab`.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.failures.believing import believe
from tests.failures.conftest import Disturbed, attempt_at, patience
from tests.failures.operations import OPERATIONS, Operation, Scene, afterwards, picture, told
from tests.support.proxy import Fault, FaultProxy

Stage = Callable[[str], Scene]


async def perform(operation: Operation, scene: Scene, disturbed: Disturbed) -> tuple[object, object]:
    """Prepare, act, and return what the caller was told and what the pool looks like."""
    if not scene.held:
        operation.prepare(scene)
    answer = await operation.act(disturbed(scene.pool, scene.clock), scene)
    believe(operation, scene, answer)
    return told(answer), picture(scene)


@pytest.mark.parametrize(
    ("fault", "times"),
    [
        (Fault.RESET_BEFORE, 1),
        (Fault.RESET_AFTER, 1),
        (Fault.RESET_AFTER, 2),
        (Fault.SWALLOW, 1),
    ],
    ids=["lost before", "reset after", "reset after, twice", "time-out"],
)
async def test_a_lost_attempt_or_reply_is_never_noticed(
    operation: Operation, fault: Fault, times: int, proxy: FaultProxy, scene: Stage, disturbed: Disturbed
) -> None:
    """The driver repeats the attempt with the same ids; the story is told once in the pool's events."""
    expected, control = await perform(operation, scene("control"), disturbed)
    lab = scene("lab")
    operation.prepare(lab)
    proxy.arm(fault, match=attempt_at(operation), times=times)
    answer = await operation.act(disturbed("lab", lab.clock, **patience(fault)), lab)
    proxy.wait_fired()
    assert picture(lab) == control
    believe(operation, lab, answer)
    if operation.remembered or fault is Fault.RESET_BEFORE:
        assert told(answer) == expected


@pytest.mark.parametrize(
    ("fault", "executed_before"),
    [(Fault.HOLD_RESET, False), (Fault.HOLD, False), (Fault.HOLD_RESET, True)],
    ids=["first, reset", "first, time-out", "second, reset"],
)
async def test_an_attempt_that_arrives_late_changes_nothing(
    operation: Operation,
    fault: Fault,
    executed_before: bool,
    proxy: FaultProxy,
    scene: Stage,
    disturbed: Disturbed,
) -> None:
    """Its caller was answered by another attempt long ago, and the world has gone on since.

    The one under way is the first attempt, or the second after the first one's reply was lost.
    """
    _, control = await perform(operation, control_scene := scene("control"), disturbed)
    lab = scene("lab")
    operation.prepare(lab)
    if executed_before:
        proxy.reset_after(match=attempt_at(operation))
    proxy.arm(fault, match=attempt_at(operation))
    answer = await operation.act(disturbed("lab", lab.clock, **patience(fault)), lab)
    proxy.wait_fired()
    assert picture(lab) == control
    believe(operation, lab, answer)
    for each in (control_scene, lab):
        afterwards(each)
    assert len(proxy.release()) == 1
    assert picture(lab) == picture(control_scene)


async def test_a_copy_that_arrives_when_all_is_over_changes_nothing(
    operation: Operation, proxy: FaultProxy, scene: Stage, disturbed: Disturbed
) -> None:
    """Nothing has happened in between: the pool looks as the caller left it."""
    lab = scene("lab")
    operation.prepare(lab)
    proxy.hold(match=attempt_at(operation), reset=True)
    answer = await operation.act(disturbed("lab", lab.clock), lab)
    before = picture(lab)
    assert len(proxy.release()) == 1
    assert picture(lab) == before
    believe(operation, lab, answer)


@pytest.mark.parametrize(
    ("operation", "gone_on"),
    [*((one, "at once") for one in OPERATIONS), *((one, "later") for one in OPERATIONS if one.noted)],
    ids=str,
)
async def test_an_attempt_that_the_network_delivers_twice_has_one_effect(
    operation: Operation, gone_on: str, proxy: FaultProxy, scene: Stage, disturbed: Disturbed
) -> None:
    """Its caller was answered by the first copy; the second is no repeat of the driver's, and looks like the first."""
    _, control = await perform(operation, control_scene := scene("control"), disturbed)
    lab = scene("lab")
    operation.prepare(lab)
    proxy.duplicate(match=attempt_at(operation))
    answer = await operation.act(disturbed("lab", lab.clock), lab)
    proxy.wait_fired()
    assert picture(lab) == control
    believe(operation, lab, answer)
    if gone_on == "later":
        for each in (control_scene, lab):
            afterwards(each)
    assert len(proxy.release()) == 1
    assert picture(lab) == picture(control_scene)
