"""The students: 60 tasks of one event loop in a thread, each with a scope of its own in one pool.

A student asks for a lab with `allocate(wait=)`, works, and releases it: there is no loop that asks again.  `Told` adds
up what the students were told, and compares it with the limits.  A lab counts from the reply until its release is sent,
so the sum is never more than what the ledger has.  If it is above a limit, the ledger gave too much; unless a lease was
reclaimed, as the machine stood still, and its student does not know it yet.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Self

from allocator import AllocatorError, AsyncAllocator, Denial, Limit, Quantity, Resources, WaitTimeout
from allocator.apps.demo.students_plan import INSTRUCTOR, PRIORITY_AT, STAFF, Lab, Plan, Student, Team

__all__ = ["Classroom", "Told"]

LEASE_SLACK_S: Final = 4.0
"""Seconds that a lab's lease is longer than its work, so that a lab whose student died does not stay."""

RELEASED_S: Final = 20.0
"""Seconds within which the tasks of an aborted run have ended, releases and undos included."""

PATIENCE_SLACK_S: Final = 5.0
"""Seconds beyond its own `wait` within which each student has its answer."""


@dataclass(slots=True)
class Told:
    """What the students were told.  One thread writes it, others read."""

    maxima: Mapping[tuple[str, str], int]
    """(scope, resource) -> the most that may be allocated there; "" is the pool."""
    asked: int = 0
    granted: int = 0
    gave_up: int = 0
    refused: int = 0
    """Guaranteed first labs that were not granted."""
    sums: int = 0
    over: list[str] = field(default_factory=list[str])
    late: list[str] = field(default_factory=list[str])
    errors: list[str] = field(default_factory=list[str])
    waits_s: dict[str, float] = field(default_factory=dict[str, float])
    """Allocation id -> seconds from the request to the reply, of what was granted."""
    at_once: dict[str, bool] = field(default_factory=dict[str, bool])
    """Team that arrived later -> whether its guaranteed first lab was granted without waiting."""
    priority_wait_s: float | None = None
    lapsed: int = 0
    """Labs whose lease was over before their release: the machine stood still."""
    sum: Counter[tuple[str, str]] = field(default_factory=Counter[tuple[str, str]])
    running: int = 0

    def begin(self, scope: str, resources: Resources) -> None:
        """A lab was granted: compare the sums at all of its levels."""
        self.granted += 1
        self.running += 1
        self.sums += 1
        for key, amount in _charges(scope, resources):
            self.sum[key] += amount
            if self.sum[key] > self.maxima.get(key, self.sum[key]):
                self.over.append(f"students of {key[0] or 'the pool'} had {self.sum[key]} of {key[1]}")

    def end(self, scope: str, resources: Resources) -> None:
        """Its release is sent next."""
        self.running -= 1
        for key, amount in _charges(scope, resources):
            self.sum[key] -= amount


def _charges(scope: str, resources: Resources) -> Iterator[tuple[tuple[str, str], int]]:
    """Where a lab counts, and how much: at its scope, at each scope above it, and at the pool."""
    while True:
        yield (scope, "allocations"), 1
        for name, amount in resources.items():
            yield (scope, name), amount
        if not scope:
            return
        scope = scope.rpartition("/")[0]


def maxima_of(plan: Plan) -> dict[tuple[str, str], int]:
    """The most that each scope and the pool may have of each resource, in exact amounts."""
    maxima = {("", name): amount for name, amount in plan.capacity.items()}
    for scope, limits in plan.limits().items():
        for name, limit in limits.items():
            parts = (limit.nominal, limit.borrowing_limit) if isinstance(limit, Limit) else (limit,)
            maxima[scope, name] = sum(_amount(name, part) for part in parts if part is not None)
    return maxima


def _lease_s(lab: Lab) -> float:
    return lab.work_s + LEASE_SLACK_S


def _amount(name: str, quantity: Quantity) -> int:
    if name == "allocations":
        assert isinstance(quantity, int)
        return quantity
    return Resources.capacity({name: quantity})[name]


class Classroom:
    """All students of a run, and their clock.  A context manager: at its exit no task is left."""

    def __init__(self, plan: Plan, *, url: str, pool: str) -> None:
        """Prepare the students.

        Args:
            plan: The class.
            url: The server.
            pool: The pool to allocate from; its scopes exist.
        """
        self.told = Told(maxima_of(plan))
        self._plan = plan
        self._url = url
        self._pool = pool
        self.notes: deque[tuple[float, str]] = deque()
        """Times and texts of what happened, for the view, which takes them out."""
        self._back = {team.name: asyncio.Event() for team in plan.teams}
        self._left: set[str] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._main: asyncio.Task[None] | None = None
        self._thread = threading.Thread(target=self._serve, name="students", daemon=True)
        self._begun_s = time.monotonic()

    def __enter__(self) -> Self:
        self._begun_s = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.cut()

    @property
    def elapsed_s(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._begun_s

    @property
    def over(self) -> bool:
        """Whether all students have ended."""
        return not self._thread.is_alive()

    def cut(self) -> None:
        """End all students now: requests leave the line, and the connections are closed.  It may be called again."""
        if self._loop is not None and self._main is not None and not self.over:
            with contextlib.suppress(RuntimeError):  # the loop has just ended
                self._loop.call_soon_threadsafe(self._main.cancel)
        self._thread.join(RELEASED_S)

    def _serve(self) -> None:
        try:
            asyncio.run(self._run())
        except asyncio.CancelledError:
            return
        except Exception as error:  # noqa: BLE001 - it is a problem of the run, which the report names
            self.told.errors.append(f"{type(error).__name__}: {error}")

    async def _run(self) -> None:
        self._loop, self._main = asyncio.get_running_loop(), asyncio.current_task()
        async with AsyncAllocator.from_url(self._url, pool=self._pool) as allocator, asyncio.TaskGroup() as group:
            for team in self._plan.teams:
                group.create_task(self._arrive(allocator, team))
            for student in self._plan.students:
                group.create_task(self._study(allocator, student))
            if self._plan.has_priority:
                group.create_task(self._teach(allocator))

    def _note(self, text: str) -> None:
        self.notes.append((self.elapsed_s, text))

    async def _sleep_until(self, at_s: float) -> None:
        await asyncio.sleep(max(0.0, at_s - self.elapsed_s))

    async def _arrive(self, allocator: AsyncAllocator, team: Team) -> None:
        """Open a team.  One that comes later to a full pool asks for its guarantee first, and does not wait for it."""
        await self._sleep_until(team.arrives_s)
        if team.arrives_s == 0:
            self._back[team.name].set()
            return
        first = next(student for student in self._plan.students if student.team is team)
        lab = self._plan.first_lab()

        async def ask(id: str) -> bool:
            try:
                found = await allocator.try_allocate(
                    lab.resources, ttl=_lease_s(lab), id=id, owner=first.name, scope=first.scope
                )
            finally:
                self._back[team.name].set()
            self.told.at_once[team.name] = not isinstance(found, Denial)
            if isinstance(found, Denial):
                self.told.refused += 1
                self._note(f"{team.name} did not get what it is guaranteed: {found}")
            else:
                self._note(f"{team.name} arrives, gets its guaranteed lab at once")
            return not isinstance(found, Denial)

        await self._lab(allocator, f"{first.name}/first", first.scope, lab, ask)

    def _leave(self, team: Team) -> None:
        """Say once that a team leaves before the end, as others borrow its share from then on."""
        if team.name not in self._left and team.leaves_s < max(one.leaves_s for one in self._plan.teams):
            self._left.add(team.name)
            self._note(f"{team.name} leaves; others may borrow its share")

    async def _study(self, allocator: AsyncAllocator, student: Student) -> None:
        """Ask for labs, work, release, until the team leaves."""
        await self._back[student.team.name].wait()
        number = 0
        for visit in self._plan.visits(student):
            await asyncio.sleep(visit.pause_s)
            if self.elapsed_s >= student.team.leaves_s:
                self._leave(student.team)
                return
            async with asyncio.TaskGroup() as group:
                for lab in visit.labs:
                    number += 1
                    group.create_task(
                        self._wait_for(allocator, f"{student.name}/lab-{number}", student.name, student.scope, lab)
                    )

    async def _teach(self, allocator: AsyncAllocator) -> None:
        """Ask for the instructor's lab, which jumps the line."""
        await self._sleep_until(self._plan.seconds * PRIORITY_AT)
        lab = self._plan.priority_lab()
        self._note(f"instructor: half of the pool, please; priority {lab.priority}")
        await self._wait_for(allocator, f"{INSTRUCTOR}/lab", INSTRUCTOR, STAFF, lab)

    async def _wait_for(self, allocator: AsyncAllocator, id: str, owner: str, scope: str, lab: Lab) -> None:
        async def ask(id: str) -> bool:
            begun_s = time.monotonic()
            try:
                await allocator.allocate(
                    lab.resources,
                    ttl=_lease_s(lab),
                    id=id,
                    owner=owner,
                    scope=scope,
                    wait=lab.wait_s,
                    priority=lab.priority,
                )
            except WaitTimeout:
                self.told.gave_up += 1
                return False
            finally:
                waited_s = time.monotonic() - begun_s
                if waited_s > lab.wait_s + PATIENCE_SLACK_S:
                    self.told.late.append(f"{id} waited {waited_s:.1f} s instead of {lab.wait_s:.1f} s")
            self.told.waits_s[id] = waited_s
            if lab.priority:
                self.told.priority_wait_s = waited_s
                self._note(f"instructor: the lab begins after {waited_s:.1f} s in line")
            return True

        await self._lab(allocator, id, scope, lab, ask)

    async def _lab(
        self, allocator: AsyncAllocator, id: str, scope: str, lab: Lab, ask: Callable[[str], Awaitable[bool]]
    ) -> None:
        """One lab, from the request to the release."""
        self.told.asked += 1
        try:
            if not await ask(id):
                return
            begun_s = time.monotonic()
            self.told.begin(scope, lab.resources)
            try:
                await asyncio.sleep(lab.work_s)
            finally:
                self.told.end(scope, lab.resources)
                is_late = time.monotonic() - begun_s > lab.work_s + LEASE_SLACK_S / 2
                released = await allocator.release(id)
            if not released and is_late:
                self.told.lapsed += 1
            elif not released:
                self.told.errors.append(f"{id} was {released.outcome} when it was released")
        except AllocatorError as error:
            self.told.errors.append(f"{id}: {type(error).__name__}: {error}")
