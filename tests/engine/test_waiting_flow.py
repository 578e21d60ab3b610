"""The steps of a request that waits, taken by hand: what is sent, and when."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

from allocator._engine.operations import waiting
from allocator._engine.operations.defaults import Defaults
from allocator._engine.protocol.flows import Call, Now, Wake
from allocator.denials import Denial
from allocator.errors import BackendUnavailable
from allocator.models.allocations import Request

DENIED = ["denied", "capacity_exceeded", "", "cpu", 1000, 1000, 1000]
WAITING = ["waiting", 1, 60_000, DENIED]


def _flow() -> Generator[Any, Any, Any]:
    return waiting.allocate(Defaults("lab", "allocator", None), Request({"cpu": 1}, ttl=60, id="a"), 5)


def _to_call(flow: Generator[Any, Any, Any], step: Any, now: float) -> Call:
    """Answer what the clock says until something is sent."""
    while isinstance(step, Now | Wake):
        step = flow.send(now if isinstance(step, Now) else False)
    assert isinstance(step, Call)
    return step


def test_the_last_try_says_that_it_does_not_wait_and_completes_its_call() -> None:
    """Also where its place was lost, so that a late copy of an earlier attempt takes none again."""
    flow = _flow()
    asked = _to_call(flow, next(flow), 0.0)
    assert "wait" in asked.items[0].args
    last = _to_call(flow, flow.send([WAITING]), 6.0)
    assert "wait" not in last.items[0].args
    assert last.items[0].call == asked.items[0].call
    undone = flow.send([DENIED])
    assert (undone.script.name, undone.items[0].call) == ("undo", asked.items[0].call)
    with pytest.raises(StopIteration) as done:
        flow.send([["absent"]])
    assert isinstance(done.value.value, Denial)


def test_a_store_that_is_away_then_does_not_change_the_answer() -> None:
    """A place that it could not give up lapses by itself."""
    flow = _flow()
    _to_call(flow, next(flow), 0.0)
    _to_call(flow, flow.send([WAITING]), 6.0)
    flow.send([DENIED])
    with pytest.raises(StopIteration) as done:
        flow.throw(BackendUnavailable("away"))
    assert isinstance(done.value.value, Denial)


def test_a_request_that_never_waited_completes_nothing() -> None:
    """Its denial is the whole answer."""
    flow = _flow()
    _to_call(flow, next(flow), 0.0)
    with pytest.raises(StopIteration) as done:
        flow.send([["denied", "never_fits", "", "cpu", 1000, 0, 500]])
    assert done.value.value.never
