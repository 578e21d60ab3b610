"""The class of `demo --students`: its pool, its teams and their limits, and what each student will ask for.

All of it follows from the number of students, the length of the run and the seed.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from allocator import Limit, Quantity, Resources

__all__ = ["CLASS", "GPU", "INSTRUCTOR", "STAFF", "Lab", "Plan", "Student", "Team", "Visit"]

CLASS: Final = "class"
STAFF: Final = f"{CLASS}/staff"
INSTRUCTOR: Final = "instructor"
GPU: Final = "nvidia.com/gpu"

TEAMS: Final = 6
LABS_PER_STUDENT: Final = 2

GIB_PER_CPU: Final = 4
STUDENTS_PER_GPU: Final = 10
CPUS_PER_STUDENT: Final = 0.8
"""A team's share: less than its students want at their busiest."""

PRESENT: Final = ((0.0, 0.85), (0.0, 0.85), (0.0, 0.85), (0.3, 0.85), (0.3, 0.85), (0.3, 0.6))
"""For each team, between which shares of the run its students ask for labs.  Others borrow what it leaves."""

PRIORITY: Final = 100
PRIORITY_AT: Final = 0.5
"""The priority of the instructor's lab, and the share of the run at which it is asked for: the line is long then."""

_KINDS: Final = (
    (4, {"cpu": "1", "memory": "2Gi"}),
    (3, {"cpu": "1", "memory": "6Gi"}),
    (2, {"cpu": "2", "memory": "6Gi"}),
    (2, {"cpu": "2", "memory": "8Gi", GPU: "1"}),
)
"""Labs, and how often each kind is asked for."""

_WORK: Final = (0.03, 0.08)
_PAUSE: Final = (0.002, 0.02)
_PATIENCE: Final = 0.5
_IMPATIENCE: Final = (0.01, 0.04)
"""How long a student works, pauses between two labs, and waits in line: shares of the run."""

_IMPATIENT: Final = 0.12
"""The share of the requests that wait for a short time only."""

_PRIORITY_WORK: Final = 0.1
"""How long the instructor's lab runs: a share of the run."""

_AT_ONCE: Final = ((17, 1), (2, 2), (1, LABS_PER_STUDENT + 1))
"""How many labs a student asks for at once, and how often.  The last is one more than a student may have."""


@dataclass(frozen=True, slots=True)
class Lab:
    """One lab: what it needs, for how long, and how long its student waits in line for it, in seconds."""

    resources: Resources
    work_s: float
    wait_s: float
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Visit:
    """Labs that a student asks for at once, after a pause."""

    pause_s: float
    labs: Sequence[Lab]


@dataclass(frozen=True, slots=True)
class Team:
    """A team: its scope, and when it is there, in seconds since the beginning."""

    name: str
    arrives_s: float
    leaves_s: float

    @property
    def scope(self) -> str:
        """Its scope."""
        return f"{CLASS}/{self.name}"


@dataclass(frozen=True, slots=True)
class Student:
    """A student of a team."""

    name: str
    team: Team

    @property
    def scope(self) -> str:
        """The scope that its labs are charged to."""
        return f"{self.team.scope}/{self.name}"


class Plan:
    """A class and its run."""

    def __init__(self, size: int, seconds: float, seed: int, *, has_priority: bool = True) -> None:
        self.size = size
        self.has_priority = has_priority
        """Whether the instructor asks for a lab."""
        self.seconds = seconds
        self.seed = seed
        self.teams = tuple(
            Team(f"team-{number}", seconds * arrives, seconds * leaves)
            for number, (arrives, leaves) in enumerate(PRESENT, 1)
        )
        digits = len(str(size))
        self.students = tuple(
            Student(f"student-{number:0{digits}}", self.teams[(number - 1) * TEAMS // size])
            for number in range(1, size + 1)
        )
        self._team_size = -(-size // TEAMS)
        self._share = max(2, round(CPUS_PER_STUDENT * self._team_size))
        self._gpus = max(1, self._team_size // STUDENTS_PER_GPU)
        self._guaranteed = max(1, self._share // 4)

    @property
    def capacity(self) -> Resources:
        """The pool: the sum of the teams' shares."""
        return Resources.capacity({**_cpus(TEAMS * self._share), GPU: TEAMS * self._gpus})

    def limits(self) -> Mapping[str, Mapping[str, Limit | Quantity]]:
        """The limits of each scope, those above first."""
        share, borrowing, lending = self._share, max(1, self._share // 2), self._share - self._guaranteed
        parts = (_cpus(share), _cpus(borrowing), _cpus(lending))
        team: dict[str, Limit | Quantity] = {name: Limit(*(part[name] for part in parts)) for name in parts[0]}
        labs = self._team_size + LABS_PER_STUDENT
        team |= {GPU: Limit(self._gpus, 1), "allocations": Limit(labs, 0, labs - self._guaranteed)}
        whole = {**_cpus(TEAMS * share), GPU: TEAMS * self._gpus, "allocations": TEAMS * labs}
        limits: dict[str, Mapping[str, Limit | Quantity]] = {CLASS: whole}
        limits |= {one.scope: team for one in self.teams}
        limits[STAFF] = {"allocations": 1}
        return limits | {one.scope: {"allocations": LABS_PER_STUDENT} for one in self.students}

    @property
    def longest_work_s(self) -> float:
        """Seconds for which the longest lab runs."""
        return self.seconds * _WORK[1]

    def first_lab(self) -> Lab:
        """The lab that a team which arrives later asks for first: its guarantee covers it."""
        return Lab(Resources.request(_cpus(1)), self.longest_work_s, 0.0)

    def priority_lab(self) -> Lab:
        """The instructor's lab: half of the cores, with a high priority.  So much is never guaranteed to others."""
        resources = {**_cpus(TEAMS * self._share // 2), GPU: 2}
        return Lab(Resources.request(resources), _PRIORITY_WORK * self.seconds, self.seconds, PRIORITY)

    def visits(self, student: Student) -> Iterator[Visit]:
        """What a student asks for, visit by visit, without an end."""
        draw = random.Random(f"{self.seed}/{student.name}")
        while True:
            count = draw.choices([count for _, count in _AT_ONCE], [weight for weight, _ in _AT_ONCE])[0]
            yield Visit(draw.uniform(*_PAUSE) * self.seconds, [self._lab(draw) for _ in range(count)])

    def _lab(self, draw: random.Random) -> Lab:
        kind = draw.choices([kind for _, kind in _KINDS], [weight for weight, _ in _KINDS])[0]
        work = draw.uniform(*_WORK)
        wait = draw.uniform(*_IMPATIENCE) if draw.random() < _IMPATIENT else _PATIENCE
        return Lab(Resources.request(kind), work * self.seconds, wait * self.seconds)


def _cpus(count: int) -> dict[str, Quantity]:
    """So many cores, and the memory that goes with them."""
    return {"cpu": count, "memory": f"{GIB_PER_CPU * count}Gi"}
