"""What is told when the store is lost while due allocations are taken back for a call that needs the room."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from allocator._engine.operations import allocate, check, resize
from allocator._engine.operations.defaults import Defaults
from allocator._engine.protocol.flows import Call, Flow, TimeLeft
from allocator.errors import BackendUnavailable, OutcomeUnknown
from allocator.models.allocations import Request

DEFAULTS = Defaults("lab", "allocator", "me")

STORIES: list[Callable[[], Flow[Any]]] = [
    lambda: allocate.allocate(DEFAULTS, Request({"cpu": "1"}, 60, id="a")),
    lambda: allocate.allocate_many(DEFAULTS, [Request({"cpu": "1"}, 60, id="a")]),
    lambda: resize.resize(DEFAULTS, "a", {"cpu": "2"}),
    lambda: check.check(DEFAULTS, {"cpu": "1"}),
]


@pytest.mark.parametrize("story", STORIES, ids=["allocate", "allocate_many", "resize", "check"])
def test_a_lost_reclaim_makes_nothing_of_the_callers_ambiguous(story: Callable[[], Flow[Any]]) -> None:
    """The item itself was answered: more is due than this takes back; so it was not executed, and that is told."""
    flow = story()
    call = next(flow)
    assert isinstance(call, Call)
    behind = [["reclaim_first"]] if call.items else ["reclaim_first"]
    assert isinstance(flow.send(behind), TimeLeft)
    reclaim = flow.send(5.0)
    assert isinstance(reclaim, Call)
    assert reclaim.script.name == "reclaim"
    with pytest.raises(BackendUnavailable, match=r"lab.*could not be reclaimed"):
        flow.throw(OutcomeUnknown("the outcome is unknown: lost the connection"))
