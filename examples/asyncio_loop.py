"""A plain asyncio reconcile loop: `python -m examples.asyncio_loop`.

One call does three things, because the id follows from the lab's name: `try_allocate` grants, renews what this or
another replica was granted, and finds what a dead one had not written down.  So each pass may follow any other.  The
calls of a pass share script calls.

The program plays this: a replica dies between a grant and its status; another takes over; the store is away for a pass.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Final

from allocator import AsyncAllocator, BackendError, Denial
from allocator.testing import Clock, MemoryStore, faults, memory_async_allocator
from examples.support import check_books

TTL_S: Final = 60.0
PASS_S: Final = 20.0
"""Seconds between two passes; three of them fit into a time to live."""

ENDED: Final = {"Completed", "Failed"}


@dataclass
class Lab:
    """A lab as its status has it."""

    name: str
    limits: dict[str, str] = field(default_factory=lambda: {"cpu": "2", "memory": "4Gi"})
    passes: int = 3
    """How many passes it is to run for."""
    phase: str = "Pending"
    fence: int = 0
    reason: str = ""


class Statuses:
    """Stands for the API server: what was written survives a replica."""

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}
        self.dies_before: str = ""

    def write(self, lab: Lab) -> None:
        """Store a status; before that of the lab `dies_before`, the replica dies."""
        if lab.name == self.dies_before:
            self.dies_before = ""
            raise KilledError
        self._texts[lab.name] = json.dumps(asdict(lab))

    def read(self) -> list[Lab]:
        """All labs that have not ended."""
        labs = [Lab(**json.loads(text)) for text in self._texts.values()]
        return [lab for lab in labs if lab.phase not in ENDED]


class KilledError(BaseException):
    """A replica ends here, as under SIGKILL: none of its code handles this."""


async def reconcile(allocator: AsyncAllocator, lab: Lab) -> None:
    """One pass for one lab.  Where the store does not reply, the next pass makes the same call."""
    key = f"labs/{lab.name}"
    try:
        if lab.passes == 0:
            await allocator.release(key)
            lab.phase = "Completed"
            return
        outcome = await allocator.try_allocate(lab.limits, ttl=TTL_S, id=key)
    except BackendError as error:
        lab.reason = str(error)
        return
    if isinstance(outcome, Denial):
        lab.phase, lab.reason = "Failed" if outcome.never else "Pending", str(outcome)
        return
    if lab.fence != outcome.fence:  # granted; or lost meanwhile and granted anew: what ran under the old one must stop
        lab.phase, lab.fence = "Running", outcome.fence
    lab.passes, lab.reason = lab.passes - 1, ""


async def run(allocator: AsyncAllocator, statuses: Statuses, tick: Callable[[], None]) -> None:
    """Reconcile the labs until all have ended.  A real loop waits where this one advances the clock."""
    while labs := statuses.read():
        await asyncio.gather(*(reconcile(allocator, lab) for lab in labs))
        for lab in labs:
            statuses.write(lab)
        tick()


async def main() -> None:
    """Play a death, a take-over and an outage, and check the books."""
    clock = Clock()
    store, statuses = MemoryStore(clock=clock), Statuses()
    for number in range(12):
        statuses.write(Lab(f"lab-{number}"))
    statuses.write(Lab("whole-cluster", {"cpu": "64"}))
    passes = 0

    def tick() -> None:
        nonlocal passes
        passes += 1
        clock.advance(PASS_S)

    async with memory_async_allocator({"cpu": 8, "memory": "16Gi"}, store=store, owner="labs") as first:
        statuses.dies_before = "lab-2"
        try:
            await run(first, statuses, tick)
        except KilledError:
            print("a replica died between a grant and its status")
    async with memory_async_allocator({"cpu": 8, "memory": "16Gi"}, store=store, owner="labs") as second:
        labs = statuses.read()
        with faults(second).down():
            await asyncio.gather(*(reconcile(second, lab) for lab in labs))
        assert all("cannot connect" in lab.reason for lab in labs)
        await run(second, statuses, tick)
    with store.client() as inspector:
        books = check_books(inspector.options(pool="test"))
    assert books == {f"labs/lab-{number}": 1 for number in range(12)}, books
    print(f"all labs ran, in {passes} passes; each was granted once; nothing is left")


if __name__ == "__main__":
    asyncio.run(main())
