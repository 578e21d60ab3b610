"""When the Sentinels are asked again: whatever they did, within a second, or a client stays on a demoted primary."""

from __future__ import annotations

import pytest

from allocator import settings
from allocator._engine.faults import Fault
from allocator._engine.watchtower import Watchtower

ADDRESSES = [("one", 26379), ("two", 26379), ("three", 26379)]
NOW = 1_000.0


@pytest.fixture
def tower() -> Watchtower:
    """Knows its primary since this instant."""
    tower = Watchtower(ADDRESSES, "ledger")
    assert tower.is_due(NOW)
    assert tower.learn(ADDRESSES[0], ["127.0.0.1", "6379"]) == ("127.0.0.1", 6379)
    tower.looked(NOW)
    assert not tower.is_due(NOW)
    return tower


@pytest.mark.parametrize("silent", [1, 2, 3])
def test_silent_sentinels_put_the_next_look_off_by_no_more_than_an_answer_does(tower: Watchtower, silent: int) -> None:
    """A longer wait would outlast a recovery grace, and what a demoted primary grants be given out twice."""
    for address in tower.order()[:silent]:
        tower.missed(address)
    tower.put_off(NOW)
    assert tower.is_due(NOW + settings.SENTINEL_LOOK_S)


def test_the_next_look_begins_with_another_sentinel(tower: Watchtower) -> None:
    """Who was silent comes last; whoever named a primary that fails may be behind."""
    tower.missed(ADDRESSES[0])
    assert tower.order() == [ADDRESSES[1], ADDRESSES[2], ADDRESSES[0]]
    tower.doubt()
    assert tower.is_due(NOW)
    assert tower.order()[0] == ADDRESSES[2]


def test_a_look_again_gives_up_soon_and_a_doubt_only_when_the_call_does(tower: Watchtower) -> None:
    """Calls that work without them must not wait for silent Sentinels; calls without a primary have to."""
    until = NOW + 60
    assert tower.gives_up(NOW + settings.SENTINEL_TIMEOUT_S, until, NOW)
    tower.doubt()
    assert not tower.gives_up(NOW + settings.SENTINEL_TIMEOUT_S, until, NOW)
    assert tower.gives_up(until, until, NOW)


def test_a_sentinel_that_knows_no_such_service_is_passed_by(tower: Watchtower) -> None:
    """It may have been started a moment ago; the others are asked."""
    with pytest.raises(Fault) as told:
        tower.learn(ADDRESSES[1], None)
    assert told.value.passes
    assert tower.order()[0] == ADDRESSES[0]
