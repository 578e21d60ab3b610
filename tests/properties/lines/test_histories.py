"""All short histories of a tiny pool with two scopes, four requests, a line and preemption, on the newest engine."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import pytest

from tests.properties.lines.acts import perform
from tests.properties.lines.histories import ACTS, POOLS, History, histories
from tests.properties.lines.run import Runner, model_of, reproduction
from tests.properties.lines.states import PoolKind
from tests.properties.worlds.run import Wire
from tests.support.servers import SessionServers, engines

DEPTH: Final = 2

DEPTH_BEHIND: Final = 3
"""After there is somebody who waits."""

DEPTH_LONG: Final = 5

CONTENDED: Final = ("x waits", "y waits")
"""The first is granted."""

SHOWN: Final = 3


@pytest.fixture
def wire(servers: SessionServers) -> Iterator[Wire]:
    """A connection to an empty server."""
    wire = Wire(servers.get(engines()[0]).socket)
    yield wire
    wire.close()


def play(wire: Wire, *some: Iterator[History]) -> int:
    """Play them all; how many."""
    runner = Runner(wire)
    wrong = [case for each in some for case, _ in runner.run(each)]
    assert not wrong, "\n\n".join([f"{len(wrong)} wrong", *(reproduction(wire, case) for case in wrong[:SHOWN])])
    return runner.played


@pytest.mark.parametrize("pool", POOLS, ids=str)
def test_all_short_histories_are_as_the_documents_say(wire: Wire, pool: PoolKind) -> None:
    """From an empty pool, and from one where somebody waits: replies, numbers, and all that is stored."""
    played = play(wire, histories(pool, DEPTH), histories(pool, DEPTH_BEHIND, CONTENDED))
    assert played > 400


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("pool", POOLS, ids=str)
def test_all_longer_histories_are_as_the_documents_say(wire: Wire, pool: PoolKind) -> None:
    """The same, of five moves."""
    assert play(wire, histories(pool, DEPTH_LONG)) > 7000


def test_histories_lead_to_all_that_is_to_be_seen() -> None:
    """Each act comes first; all that can end does; somebody is granted from the line."""
    found = list(histories(POOLS[0], DEPTH_BEHIND, CONTENDED))
    assert {history.moves[2].name for history in found} == {act.name for act in ACTS}
    assert len({str(history) for history in found}) == len(found)
    events: set[tuple[str, str]] = set()
    for history in found:
        model = model_of(history.pool)
        for act in history.acts:
            perform(model, act)
        events |= set(model.events)
    kinds = {kind for kind, _ in events}
    assert kinds >= {"granted", "waiting", "withdrawn", "preempted", "reclaimed", "undone", "released"}
    assert {("waiting", "y"), ("granted", "y")} <= events
