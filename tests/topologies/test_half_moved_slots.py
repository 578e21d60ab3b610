"""Every script in a slot that is being moved: it does all of its work, or fails before its first write.

Redis does not undo what a script wrote before it failed; and in a half-moved slot it fails when it looks at a key that
has gone, or is not there yet.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.cluster import Cluster
from tests.topologies.half_moved import Halves

IMPOSSIBLE = {"allocate", "repair"}
"""A key that is nowhere yet cannot be made in a slot on its way; and here there is nothing to repair."""


@pytest.fixture
def halves(cluster: Cluster) -> Iterator[Halves]:
    halves = Halves(cluster)
    yield halves
    halves.close()


def test_no_script_is_half_applied_wherever_the_keys_lie(halves: Halves) -> None:
    """All keys on both nodes are the same to the byte after an error; after success the pool is what it would be."""
    calls = halves.calls()
    whole = {name: expected(halves, name) for name in calls}
    failed, done = set[str](), set[str]()
    for moved in halves.splits():
        halves.begin(moved)
        before = halves.both()
        for name, call in calls.items():
            for node in (halves.source, halves.target):
                reply = halves.send(call, node)
                if isinstance(reply, Exception):
                    assert halves.both() == before, f"{name} failed half-way with {moved} moved: {reply}"
                    failed.add(name)
                elif (after := halves.both()) != before:
                    halves.end()
                    assert halves.state() == whole[name], f"{name} did something else with {moved} moved"
                    assert call.script.writes, after
                    done.add(name)
                    halves.restore()
                    halves.begin(moved)
                    before = halves.both()
        halves.end()
    assert failed == set(calls), "each has met a split that it could not bridge"
    assert done == {name for name, call in calls.items() if call.script.writes} - IMPOSSIBLE


def expected(halves: Halves, name: str) -> object:
    """What the pool becomes when all of its keys are in one place."""
    reply = halves.send(halves.calls()[name], halves.source)
    assert not isinstance(reply, Exception), reply
    state = halves.state()
    halves.restore()
    return state
