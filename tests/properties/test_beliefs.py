"""The judge of what holders believe: what it must let pass, and what it must find."""

from __future__ import annotations

import dataclasses

import pytest

from allocator import Allocation, Resources
from tests.support.beliefs import EVER, Beliefs

NOW = 1_000


class Told:
    """A clock, a capacity, and answers to be made up."""

    def __init__(self) -> None:
        self.now = NOW
        self.capacity = {"cpu": 4}
        self.beliefs = Beliefs(lambda: self.capacity, lambda: self.now)

    def grant(self, name: str, cpu: int, fence: int, until: int | None = 2_000, *, created: bool = True) -> Allocation:
        ttl = until and until - self.now
        return Allocation(name, "lab", "me", Resources.of({"cpu": cpu}), fence, self.now, ttl, until, created=created)


@pytest.fixture
def told() -> Told:
    return Told()


def test_more_than_there_is_may_not_be_believed(told: Told) -> None:
    """Until somebody gives back, or its time is over."""
    told.beliefs.told("x", told.grant("a", 3, 1))
    with pytest.raises(AssertionError, match="5 of 4 cpu are believed in"):
        told.beliefs.told("y", told.grant("b", 2, 2))


@pytest.mark.parametrize("end", ["time", "release", "lost"])
def test_what_is_over_is_not_believed(told: Told, end: str) -> None:
    """By its own clock, or by what its holder was told."""
    told.beliefs.told("x", told.grant("a", 3, 1))
    if end == "time":
        told.now = 2_000
    elif end == "release":
        told.beliefs.released("a")
    else:
        told.beliefs.over(1)
    told.beliefs.told("y", told.grant("b", 4, 2, until=3_000))
    assert told.beliefs.believed() == {"cpu": 4}


def test_callers_of_one_id_share_its_grant(told: Told) -> None:
    """It is counted once, for as long as one of them may believe in it."""
    told.beliefs.told("x", told.grant("a", 3, 1))
    told.beliefs.told("y", told.grant("a", 3, 1, until=None, created=False))
    assert told.beliefs.alive() == {"a": (1, EVER)}
    told.now = 5_000
    assert told.beliefs.believed() == {"cpu": 3}


def test_two_grants_of_one_id_are_two(told: Told) -> None:
    """Somebody was told of one that should have ended before the other was made."""
    told.beliefs.told("x", told.grant("a", 3, 1))
    with pytest.raises(AssertionError, match="6 of 4"):
        told.beliefs.told("y", told.grant("a", 3, 2))


def test_a_renewal_is_believed_and_a_shortened_lease_no_longer(told: Told) -> None:
    """Whoever of its callers it was."""
    told.beliefs.told("x", told.grant("a", 3, 1))
    told.beliefs.renewed(1, 4_000)
    assert told.beliefs.alive() == {"a": (1, 4_000)}
    told.beliefs.renewed(1, 1_500, shortened=True)
    assert told.beliefs.alive() == {"a": (1, 1_500)}


def test_capacity_that_is_lowered_evicts_nobody(told: Told) -> None:
    """What is held stays, and shrinks; nothing grows."""
    told.beliefs.told("x", told.grant("a", 4, 1))
    told.capacity["cpu"] = 2
    less = dataclasses.replace(told.grant("a", 3, 1), created=False)
    told.beliefs.resized(less)
    assert told.beliefs.believed() == {"cpu": 3}
    with pytest.raises(AssertionError, match="4 of 2"):
        told.beliefs.resized(told.grant("a", 4, 1))
