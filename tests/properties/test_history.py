"""The history of a pool against a model that keeps every change in a list, and computes each point from it."""

from __future__ import annotations

import bisect
import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

import pytest

from allocator import Allocation, Allocator, UsageAmounts, UsagePoint
from allocator.models.instants import instant
from allocator.testing import Clock, memory_allocator

BEGINS: Final = datetime(2026, 11, 27, 21, 59, 30, tzinfo=UTC)
KEPT: Final = {60: 1440, 3600: 744}
STEPS: Final = (0.2, 7, 61, 400, 3700, 40_000, 400_000)
"""Seconds between two changes."""


@dataclass(frozen=True)
class State:
    """What the pool had from an instant on, and its counters."""

    allocated: int
    capacity: int
    live: int
    granted: int
    denied: int


@dataclass
class Model:
    """Every change, in their order."""

    times: list[int] = field(default_factory=list)
    states: list[State] = field(default_factory=list)

    def add(self, ms: int, state: State) -> None:
        self.times.append(ms)
        self.states.append(state)

    def before(self, ms: int) -> State:
        """What the pool had just before an instant: before the pool there was nothing."""
        at = bisect.bisect_left(self.times, ms)
        return self.states[at - 1] if at else State(0, 0, 0, 0, 0)

    def points(self, now_ms: int, begin_ms: int, seconds: int) -> list[UsagePoint]:
        """One for each interval that is kept, since the pool was created."""
        step = 1000 * seconds
        last = now_ms - now_ms % step
        first = max(begin_ms - begin_ms % step, last - (KEPT[seconds] - 1) * step, self.times[0] - self.times[0] % step)
        found = []
        for begin in range(min(first, last), last + step, step):
            old, new = self.before(begin), self.before(min(begin + step, now_ms + 1))
            found.append(
                UsagePoint(
                    instant(min(begin + step, now_ms)),
                    seconds,
                    {"cpu": UsageAmounts(new.allocated, new.capacity)},
                    new.live,
                    0,
                    new.granted - old.granted,
                    new.denied - old.denied,
                )
            )
        return found


@dataclass
class Story:
    """A pool that is changed at random, and what it should remember."""

    client: Allocator
    clock: Clock
    chance: random.Random
    model: Model = field(default_factory=Model)
    held: list[Allocation] = field(default_factory=list)
    capacity: int = 8
    granted: int = 0
    denied: int = 0

    def step(self) -> None:
        """One change; a clock that was set back goes on in the minute that is under way, so it is not turned here."""
        self.clock.advance(self.chance.choice(STEPS[: self.chance.randint(1, len(STEPS))]))
        match self.chance.choice(("grant", "grant", "release", "capacity", "look")):
            case "grant":
                outcome = self.client.try_allocate({"cpu": self.chance.randint(1, 5)}, ttl=None)
                if isinstance(outcome, Allocation):
                    self.held.append(outcome)
                    self.granted += 1
                else:
                    self.denied += 1
            case "release" if self.held:
                self.client.release(self.held.pop(self.chance.randrange(len(self.held))))
            case "capacity":
                self.capacity = self.chance.randint(4, 12)
                self.client.pools.update(capacity={"cpu": self.capacity})
            case _:
                self.client.check({"cpu": 20})
        self.note()

    def note(self) -> None:
        allocated = sum(one.resources["cpu"] for one in self.held)
        state = State(allocated, 1000 * self.capacity, len(self.held), self.granted, self.denied)
        self.model.add(self.clock(), state)

    def look(self) -> None:
        """Compare histories of all lengths."""
        for since, seconds in ((90.0, 60), (7200.0, 60), (86_400.0, 60), (86_400.0, 3600), (40 * 86_400.0, 3600)):
            found = self.client.pools.usage_history(since=since, resolution=seconds)
            expected = self.model.points(self.clock(), self.clock() - round(1000 * since), seconds)
            assert list(found.points) == expected
            assert found.since == expected[0].at.replace(microsecond=0) - timedelta(seconds=seconds) or (
                len(expected) == 1
            )


@pytest.mark.parametrize("seed", range(6))
def test_every_point_is_what_the_pool_had(seed: int) -> None:
    """Over weeks with gaps, denials and changed capacities, by minutes and by hours."""
    clock = Clock(BEGINS)
    with memory_allocator({"cpu": 8}, clock=clock) as client:
        story = Story(client, clock, random.Random(seed))
        story.note()
        for number in range(60):
            story.step()
            if number % 6 == 0:
                story.look()
        story.look()
        assert client.maintenance.audit().status == "clean"


def test_a_full_day_of_changes_is_read_whole() -> None:
    """More points than are kept, in several pages."""
    clock = Clock(BEGINS)
    with memory_allocator({"cpu": 8}, clock=clock) as client:
        story = Story(client, clock, random.Random(7))
        story.note()
        for _ in range(1500):
            clock.advance(60)
            if story.held:
                client.release(story.held.pop())
            else:
                story.held.append(client.allocate({"cpu": 1}, ttl=None))
                story.granted += 1
            story.note()
        found = client.pools.usage_history(since=86_400.0)
        expected = story.model.points(clock(), clock() - 86_400_000, 60)
        assert list(found.points) == expected
        assert len(expected) == 1440
