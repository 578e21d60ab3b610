"""Small worlds, evenly drawn over all of them, on the newest engine; `tests.soak --only worlds` plays many more."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import pytest

from tests.properties.worlds.enumeration import Worlds
from tests.properties.worlds.run import Runner, Wire, reproduction
from tests.support.servers import SessionServers, engines

PLAYED: Final = 10_000

SEED: Final = 20_261_126

SHOWN: Final = 5
"""Of the worlds that went wrong, those that are told in full."""


@pytest.fixture
def wire(servers: SessionServers) -> Iterator[Wire]:
    """A connection to an empty server."""
    wire = Wire(servers.get(engines()[0]).socket)
    yield wire
    wire.close()


@pytest.mark.slow
def test_small_worlds_are_as_the_specification_says(wire: Wire) -> None:
    """Replies, records, indexes, counters, ended calls, and what everybody who was told of something may believe."""
    worlds = Worlds()
    runner = Runner(wire)
    wrong = [case for case, _ in runner.run(worlds[number] for number in worlds.drawn(PLAYED, SEED))]
    assert runner.played == PLAYED
    assert not wrong, "\n\n".join([f"{len(wrong)} of {PLAYED}", *(reproduction(wire, case) for case in wrong[:SHOWN])])


def test_every_world_has_a_number_and_every_family_its_share() -> None:
    """What is drawn stands for all of them: each family is met."""
    worlds = Worlds()
    assert len(worlds) > 1_000_000
    assert sum(worlds.counts().values()) == len(worlds)
    drawn = worlds.drawn(PLAYED, SEED)
    assert len(set(drawn)) == PLAYED
    shapes = {len(worlds[number].steps) + len(worlds[number].steps[0].items) for number in drawn[:: PLAYED // 200]}
    assert shapes >= {2, 3, 4}
