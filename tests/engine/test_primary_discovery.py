"""Whom the Sentinels' answers lead to, and when they are asked again: whatever they do, within a second."""

from __future__ import annotations

import math

import pytest

from allocator import settings
from allocator._engine.transport.failures import AttemptFailure
from allocator._engine.transport.primary_discovery import PrimaryDiscovery

ONE, TWO, THREE = SENTINELS = [("one", 26379), ("two", 26379), ("three", 26379)]
OLD, NEW = ("10.0.0.1", 6379), ("10.0.0.2", 6379)
NOW = 1_000.0


def says(named: tuple[str, int]) -> list[str]:
    """A Sentinel's reply."""
    return [named[0], str(named[1])]


@pytest.fixture
def tower() -> PrimaryDiscovery:
    """Knows its primary since this instant, by one Sentinel."""
    tower = PrimaryDiscovery(SENTINELS, "ledger")
    assert tower.is_due(NOW)
    assert tower.confirmed == -math.inf
    assert tower.read_reply(ONE, NOW, says(OLD)) == OLD
    assert not tower.is_due(NOW)
    return tower


# -- when to ask -------------------------------------------------------------------------------------------------------


def test_silent_sentinels_put_the_next_look_off_by_no_more_than_an_answer_does(tower: PrimaryDiscovery) -> None:
    """A longer wait would outlast a recovery grace, and what a demoted primary grants be given out twice."""
    tower.defer(NOW)
    assert tower.is_due(NOW + settings.SENTINEL_REFRESH_S)


def test_a_look_again_keeps_a_call_for_a_moment_and_a_doubt_for_as_long_as_it_has(tower: PrimaryDiscovery) -> None:
    """Calls that work without them must not wait for silent Sentinels; calls without a primary have to."""
    until = NOW + 60
    assert PrimaryDiscovery(SENTINELS, "ledger").ends(NOW, until) == until
    assert tower.ends(NOW, until) == NOW + settings.SENTINEL_TIMEOUT_S
    assert tower.ends(NOW, NOW + 0.1) == NOW + 0.1
    tower.invalidate(NOW)
    assert tower.ends(NOW, until) == until


def test_a_doubt_ends_with_an_answer_to_what_was_asked_since(tower: PrimaryDiscovery) -> None:
    """A late one that names the same primary does not end it; one that names another does."""
    tower.invalidate(NOW + 1)
    tower.read_reply(TWO, NOW + 0.5, says(OLD))
    assert tower.is_due(NOW + 1)
    tower.read_reply(TWO, NOW + 1.5, says(OLD))
    assert not tower.is_due(NOW + 1.6)
    tower.invalidate(NOW + 2)
    assert tower.read_reply(THREE, NOW + 1.9, says(NEW)) == NEW
    assert not tower.is_invalid


def test_a_sentinel_that_knows_no_such_service_is_passed_by(tower: PrimaryDiscovery) -> None:
    """It may have been started a moment ago; the others are asked."""
    with pytest.raises(AttemptFailure) as told:
        tower.read_reply(TWO, NOW, None)
    assert told.value.transient
    assert tower.primary == OLD


# -- whom to go to -----------------------------------------------------------------------------------------------------


def test_whoever_changes_its_answer_has_news(tower: PrimaryDiscovery) -> None:
    """The others have not heard of the failover yet, or are cut off: they lead nobody back."""
    tower.read_reply(TWO, NOW, says(OLD))
    tower.read_reply(THREE, NOW, says(OLD))
    assert tower.read_reply(TWO, NOW + 1, says(NEW)) == NEW
    for second in range(2, 10):
        for late in (ONE, THREE):
            assert tower.read_reply(late, NOW + second, says(OLD)) == NEW
        assert tower.read_reply(TWO, NOW + second, says(NEW)) == NEW


def test_who_has_always_named_the_old_one_is_outvoted(tower: PrimaryDiscovery) -> None:
    """A client that starts after the failover, and hears the one that is behind first."""
    assert tower.read_reply(TWO, NOW, says(NEW)) == OLD
    assert tower.read_reply(THREE, NOW, says(NEW)) == NEW
    assert tower.read_reply(ONE, NOW + 1, says(OLD)) == NEW


def test_votes_grow_old(tower: PrimaryDiscovery) -> None:
    """Two that named the old primary and have died with it do not outvote the one that lives."""
    tower.read_reply(TWO, NOW, says(OLD))
    assert tower.read_reply(THREE, NOW + settings.SENTINEL_BELIEF_S, says(NEW)) == OLD
    assert tower.read_reply(THREE, NOW + settings.SENTINEL_BELIEF_S + 0.1, says(NEW)) == NEW


def test_after_a_doubt_only_what_is_said_since_then_counts_for_the_primary(tower: PrimaryDiscovery) -> None:
    """A Sentinel that took a step back, and named a replica, loses its head start."""
    tower.read_reply(TWO, NOW, says(OLD))
    tower.read_reply(THREE, NOW, says(NEW))
    assert tower.primary == OLD
    tower.invalidate(NOW + 0.1)
    assert tower.read_reply(THREE, NOW + 0.2, says(NEW)) == NEW


# -- for how long it is confirmed --------------------------------------------------------------------------------------


def test_a_primary_is_confirmed_from_when_a_sentinel_was_asked(tower: PrimaryDiscovery) -> None:
    """Not from when the answer came, and not by who names another."""
    assert tower.confirmed == NOW
    tower.read_reply(TWO, NOW + 1, says(OLD))
    assert tower.confirmed == NOW + 1
    tower.read_reply(THREE, NOW + 0.5, says(OLD))
    assert tower.confirmed == NOW + 1, "a late answer takes nothing back"
    tower.read_reply(THREE, NOW + 1.2, says(NEW))
    assert tower.primary == NEW
    assert tower.confirmed == NOW + 1.2
    tower.read_reply(TWO, NOW + 1.5, says(OLD))
    assert tower.primary == NEW
    assert tower.confirmed == NOW + 1.2
