"""A process with many tasks on one awaited client, which work until they are killed and count what they do.

The client gathers the calls of its tasks into script calls of many items, so that one process does thousands of
operations a second.  The counts stand in a file that is mapped into memory: what a killed process had counted stays.
"""

from __future__ import annotations

import asyncio
import contextlib
import mmap
import random
import struct
import traceback
from pathlib import Path
from typing import Final

from allocator import (
    Allocation,
    AllocationConflict,
    AllocationLost,
    AsyncAllocator,
    BackendError,
    Insufficient,
    Recovering,
    Resources,
    UnknownAllocation,
)
from allocator.quantity import Quantity
from tests.support.beliefs import Beliefs

__all__ = ["COUNTED", "TTL_S", "Counts", "Task", "toil"]

TTL_S: Final = 1.0
"""The shortest there is: what a killed process had comes back while the stage still runs."""

TASKS: Final = 24

COUNTED: Final = (
    "granted", "existing", "denied", "renewed", "adopted", "resized", "released", "fenced", "missing",
    "conflict", "lost", "unknown", "recovering", "backend",
)  # fmt: skip
"""What is counted of each process; all but the last two are operations that were answered."""

REFUSALS: Final[dict[type[Exception], str]] = {
    Insufficient: "denied",
    AllocationConflict: "conflict",
    AllocationLost: "lost",
    UnknownAllocation: "unknown",
    BackendError: "backend",
}
"""What happens to anybody who shares a pool, and what it is counted as; everything else ends the process."""

_CELL: Final = struct.Struct("q")


class Counts:
    """A table of numbers in a file: a row for each process, written by that process alone."""

    def __init__(self, path: Path, rows: int = 0) -> None:
        """Open it; with `rows`, make it."""
        if rows:
            path.write_bytes(bytes(rows * len(COUNTED) * _CELL.size))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0)

    def add(self, row: int, what: str) -> None:
        """One more."""
        at = (row * len(COUNTED) + COUNTED.index(what)) * _CELL.size
        _CELL.pack_into(self._map, at, _CELL.unpack_from(self._map, at)[0] + 1)

    def total(self) -> dict[str, int]:
        """The sums over all rows."""
        numbers = [number for (number,) in _CELL.iter_unpack(self._map[:])]
        return {name: sum(numbers[at :: len(COUNTED)]) for at, name in enumerate(COUNTED)}

    def close(self) -> None:
        """Let go of the file."""
        self._map.close()


class Unjudged(Beliefs):
    """Of a process that is killed: what it believed is judged by others, from what it has written down."""

    def told(self, caller: object, one: Allocation) -> None:
        """Is of no interest."""

    def over(self, fence: int) -> None:
        """Neither is that."""


class Task:
    """Takes, keeps, changes and gives back; what was lost meanwhile, or refused, is nothing to worry about."""

    def __init__(self, client: AsyncAllocator, seed: int, beliefs: Beliefs | None = None) -> None:
        self._client = client
        self._beliefs = beliefs or Unjudged(dict, lambda: 0)
        self._chance = random.Random(seed)
        self._held: list[Allocation] = []

    async def work(self, counts: Counts, row: int) -> None:
        """Do one thing after another, for ever."""
        while True:
            counts.add(row, await self.act())

    async def give_back(self) -> None:
        """All that it still has."""
        held, self._held = self._held, []
        for one in held:
            self._beliefs.over(one.fence)
        await self._client.release_many(held)

    async def act(self) -> str:
        """Do one thing; returns what came of it, a word of `COUNTED`."""
        try:
            return await self._step()
        except Recovering as recovering:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(recovering.retry_after or 0.1, 0.2)):
                    await asyncio.Event().wait()
            return "recovering"
        except tuple(REFUSALS) as refused:
            return next(word for kind, word in REFUSALS.items() if isinstance(refused, kind))

    async def _step(self) -> str:
        chance, held, client = self._chance, self._held, self._client
        if not held or (len(held) < 3 and chance.random() < 0.5):
            request: dict[str, Quantity] = {"cpu": chance.randint(1, 3), "memory": f"{chance.randint(1, 4)}Gi"}
            name = f"shared-{chance.randint(0, 9)}" if chance.random() < 0.2 else None
            grant = await client.allocate(request, ttl=TTL_S, id=name)
            held.append(grant)
            self._beliefs.told(object(), grant)
            return "granted" if grant.created else "existing"
        one = held.pop(chance.randrange(len(held)))
        match chance.randint(0, 3):
            case 0:
                renewal = await client.renew(one)
                held.append(one)
                if renewal:
                    self._beliefs.renewed(one.fence, renewal.deadline_ms)
                return renewal.outcome
            case 1:
                held.append(one)  # a refused growth takes nothing away
                wanted = Resources.of({"cpu": 1000 * chance.randint(1, 4)})
                self._beliefs.shrinks(one.fence, wanted)
                held[-1] = await client.resize(one, wanted)
                self._beliefs.resized(held[-1])
                return "resized"
            case _:
                self._beliefs.over(one.fence)
                return (await client.release(one)).outcome


async def _toil(url: str, pool: str, counts: Counts, seed: int) -> None:
    async with (
        AsyncAllocator.from_url(url, pool=pool, deadline=5.0, attempt_timeout=1.0) as client,
        asyncio.TaskGroup() as group,
    ):
        for number in range(TASKS):
            group.create_task(Task(client, seed * 1000 + number).work(counts, seed))


def toil(url: str, pool: str, path: str, seed: int) -> None:
    """Work until killed; `seed` is the row of the counts, too.  What ends it otherwise is written beside them."""
    try:
        with contextlib.closing(Counts(Path(path))) as counts:
            asyncio.run(_toil(url, pool, counts, seed))
    except BaseException:
        Path(f"{path}.error").write_text(traceback.format_exc(), encoding="utf-8")
        raise
