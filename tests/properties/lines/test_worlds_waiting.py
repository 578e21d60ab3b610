"""Small worlds with scopes, priorities and those who wait, evenly drawn, on the newest engine.

`tests.soak --only worlds` plays many more.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import pytest

from tests.properties.lines.run import Runner, Worlds, reproduction
from tests.properties.lines.states import CORE, POOLS, ROOMS, STATES
from tests.properties.worlds.run import Wire
from tests.support.servers import SessionServers, engines

PLAYED: Final = 500

PLAYED_LONG: Final = 12_000

SEED: Final = 20_261_127

SHOWN: Final = 5
"""Of the worlds that went wrong, those that are told in full."""


@pytest.fixture(scope="module")
def worlds() -> Worlds:
    """All of them."""
    return Worlds()


@pytest.fixture
def wire(servers: SessionServers) -> Iterator[Wire]:
    """A connection to an empty server."""
    wire = Wire(servers.get(engines()[0]).socket)
    yield wire
    wire.close()


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("played", "seed"), [(PLAYED, SEED), pytest.param(PLAYED_LONG, SEED + 1, marks=pytest.mark.long)]
)
def test_small_worlds_of_who_waits_are_as_the_documents_say(wire: Wire, worlds: Worlds, played: int, seed: int) -> None:
    """Replies and their numbers, records, entries, the order of the line, victims, counters of every level, events."""
    runner = Runner(wire)
    wrong = [case for case, _ in runner.run(worlds[number] for number in worlds.drawn(played, seed))]
    assert runner.played == played
    assert not wrong, "\n\n".join([f"{len(wrong)} of {played}", *(reproduction(wire, case) for case in wrong[:SHOWN])])


def test_the_worlds_that_are_drawn_stand_for_all_of_them(worlds: Worlds) -> None:
    """Each state, pool, room and family is met."""
    drawn = [worlds[number] for number in worlds.drawn(6 * PLAYED, SEED)]
    assert {case.x for case in drawn} == {case.y for case in drawn} == STATES.keys()
    assert set(CORE) <= STATES.keys()
    assert {case.room for case in drawn} == ROOMS.keys()
    assert {str(case.pool) for case in drawn} == {str(pool) for pool in POOLS}
    assert len(worlds.counts()) == 4
    assert min(worlds.counts().values()) > 1_000_000
