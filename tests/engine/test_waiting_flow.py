"""The steps of a request that waits, taken by hand: what is sent, and when."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

from allocator._engine.operations import waiting
from allocator._engine.operations.defaults import Defaults
from allocator._engine.protocol.flows import Call, Now, Wake
from allocator.denials import Denial
from allocator.errors import AllocationConflict, BackendUnavailable, OutcomeUnknown, UnknownScope, WaitTimeout
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


# -- a batch ---------------------------------------------------------------------------------------------------------

GRANTED = ["granted", 7, 1_000, 61_000, "epoch", ""]
ALSO_WAITING = [*WAITING, 2]


def _batch() -> Generator[Any, Any, Any]:
    wanted = [Request({"cpu": 1}, 60), Request({"cpu": 1}, 60, id="b")]
    return waiting.allocate_many(Defaults("lab", "allocator", None), wanted, 5, atomic=True)


def test_a_batch_of_which_something_has_ended_is_undone_and_asked_for_anew() -> None:
    """With new calls, and new ids where these were drawn; what others call by name keeps its name."""
    flow = _batch()
    asked = _to_call(flow, next(flow), 0.0)
    assert all("wait" in item.args for item in asked.items)
    again = _to_call(flow, flow.send([ALSO_WAITING] * 2), 1.0)
    assert [item.call for item in again.items] == [item.call for item in asked.items]
    undone = flow.send([["aborted", 2], ["ended", 1_000]])
    assert undone.script.name == "undo"
    assert [item.call for item in undone.items] == [item.call for item in asked.items]
    new = _to_call(flow, flow.send([["undone"], ["absent"]]), 1.0)
    assert not {item.call for item in new.items} & {item.call for item in asked.items}
    assert (new.items[0].id != asked.items[0].id, new.items[1].id) == (True, "b")
    with pytest.raises(StopIteration) as done:
        flow.send([GRANTED] * 2)
    assert [one.id for one in done.value.value] == [item.id for item in new.items]


def test_a_new_call_of_a_batch_waits_while_the_undo_of_the_last_is_under_way() -> None:
    """Its own ids are a conflict until then; any other conflict is the answer."""
    flow = _batch()
    _to_call(flow, next(flow), 0.0)
    _to_call(flow, flow.throw(OutcomeUnknown("nobody knows", id="b")), 1.0)
    again = _to_call(flow, flow.send([["aborted", 2], ["conflict_waiting", "me"]]), 2.0)
    assert "wait" in again.items[0].args
    last = _to_call(flow, flow.send([["aborted", 2], ["conflict_waiting", "me"]]), 6.0)
    assert "wait" not in last.items[0].args
    with pytest.raises(AllocationConflict):
        flow.send([["aborted", 2], ["conflict_waiting", "me"]])


def test_an_error_that_ends_the_wait_of_a_batch_leaves_nothing_of_it() -> None:
    """Perhaps some of it was granted, and not claimed."""
    flow = _batch()
    asked = _to_call(flow, next(flow), 0.0)
    _to_call(flow, flow.send([ALSO_WAITING] * 2), 1.0)
    undone = flow.send([["unknown_scope", "team"], ["aborted", 1]])
    assert (undone.script.name, len(undone.items)) == ("undo", len(asked.items))
    with pytest.raises(UnknownScope):
        flow.send([["absent"], ["absent"]])


def test_the_last_denial_of_a_batch_names_its_request() -> None:
    """Also where the last try finds that its place was given up already."""
    flow = _batch()
    _to_call(flow, next(flow), 0.0)
    _to_call(flow, flow.send([ALSO_WAITING] * 2), 6.0)
    with pytest.raises(WaitTimeout) as over:
        flow.send([["withdrawn"], ["aborted", 1]])
    assert over.value.denial.item == 1
