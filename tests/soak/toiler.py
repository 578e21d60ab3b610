"""A process with many tasks on one awaited client, which work until they are killed and count what they do.

The client gathers the calls of its tasks into script calls of many items, so that one process does thousands of
operations a second.  The counts stand in a file that is mapped into memory: what a killed process had counted stays.
What the tasks are told is written down at once, each word a line: what they may have believed is judged by that.
"""

from __future__ import annotations

import asyncio
import contextlib
import mmap
import random
import struct
import traceback
from pathlib import Path
from typing import Final, TextIO

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
from tests.soak.words import Teller
from tests.support.beliefs import Beliefs

__all__ = ["COUNTED", "TTL_S", "Counts", "Task", "toil", "words_of"]

TTL_S: Final = 1.0
"""The shortest there is: what a killed process had comes back while the stage still runs."""

TASKS: Final = 24

FAITHFUL: Final = 8
"""Tasks of each process that keep what they have: through a recovery the others give back nearly all of theirs."""

PAUSE_S: Final = 0.03
"""Between two things that such a task does."""

HABITS: Final = ("renew",) * 20 + ("grow",) * 4 + ("release",)
"""What it does with what it has, each as often as it stands here."""

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


async def _pause(seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await asyncio.Event().wait()


class Task:
    """Takes, keeps, changes and gives back; what was lost meanwhile, or refused, is nothing to worry about."""

    def __init__(self, client: AsyncAllocator, seed: int, beliefs: Beliefs) -> None:
        self._client = client
        self._beliefs = beliefs
        self._chance = random.Random(seed)
        self._held: list[Allocation] = []
        self._met = 0
        """The fence of what the last thing was done with, 0 where that was something new."""

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
            await _pause(min(recovering.retry_after or 0.1, 0.2))
            return "recovering"
        except tuple(REFUSALS) as refused:
            return next(word for kind, word in REFUSALS.items() if isinstance(refused, kind))

    async def _step(self) -> str:
        if not self._held or (len(self._held) < 3 and self._chance.random() < 0.5):
            return await self._take()
        one = self._pick(self._chance.randrange(len(self._held)))
        match self._chance.randint(0, 3):
            case 0:
                return await self._renew(one)
            case 1:
                return await self._resize(one, self._chance.randint(1, 4))
            case _:
                return await self._release(one)

    async def _take(self) -> str:
        """One more."""
        self._met = 0
        chance = self._chance
        request: dict[str, Quantity] = {"cpu": chance.randint(1, 3), "memory": f"{chance.randint(1, 4)}Gi"}
        name = f"shared-{chance.randint(0, 9)}" if chance.random() < 0.2 else None
        grant = await self._client.allocate(request, ttl=TTL_S, id=name)
        self._held.append(grant)
        self._beliefs.told(object(), grant)
        return "granted" if grant.created else "existing"

    def _pick(self, at: int) -> Allocation:
        """Take one of those that it has in hand."""
        one = self._held.pop(at)
        self._met = one.fence
        return one

    async def _renew(self, one: Allocation) -> str:
        renewal = await self._client.renew(one)
        self._held.append(one)
        if renewal:
            self._beliefs.renewed(one.fence, renewal.deadline_ms)
        return renewal.outcome

    async def _resize(self, one: Allocation, cpus: int) -> str:
        self._held.append(one)  # a refused growth takes nothing away
        wanted = Resources.of({"cpu": 1000 * cpus})
        self._beliefs.shrinks(one.fence, wanted)
        self._held[-1] = await self._client.resize(one, wanted)
        self._beliefs.resized(self._held[-1])
        return "resized"

    async def _release(self, one: Allocation) -> str:
        self._beliefs.over(one.fence)
        return (await self._client.release(one)).outcome


class Telling(Task):
    """Has each thing that it is told written down, with the instants at which it asked and heard."""

    def __init__(self, client: AsyncAllocator, seed: int, teller: Teller) -> None:
        super().__init__(client, seed, teller)
        self._teller = teller

    async def act(self) -> str:
        """Do one thing."""
        self._teller.asks()
        word = await super().act()
        self._teller.heard(word, self._met)
        return word


class Faithful(Telling):
    """Keeps what it has for long, and asks for more of it now and then."""

    async def act(self) -> str:
        """Do one thing, after a while."""
        await _pause(PAUSE_S)
        return await super().act()

    async def _step(self) -> str:
        if len(self._held) < 2:
            return await self._take()
        one = self._pick(0)
        match self._chance.choice(HABITS):
            case "renew":
                return await self._renew(one)
            case "grow":
                return await self._resize(one, one.resources["cpu"] // 1000 + self._chance.randint(1, 3))
            case _:
                return await self._release(one)


async def _toil(url: str, pool: str, counts: Counts, words: TextIO, seed: int) -> None:
    async with (
        AsyncAllocator.from_url(url, pool=pool, timeout=5.0, attempt_timeout=1.0) as client,
        asyncio.TaskGroup() as group,
    ):
        for number in range(TASKS):
            kind = Faithful if number < FAITHFUL else Telling
            group.create_task(kind(client, seed * 1000 + number, Teller(words)).work(counts, seed))


def toil(url: str, pool: str, path: str, seed: int) -> None:
    """Work until killed; `seed` is the row of the counts, too.  What ends it otherwise is written beside them."""
    try:
        with (
            contextlib.closing(Counts(Path(path))) as counts,
            Path(f"{path}.words.{seed}").open("a", encoding="utf-8", buffering=1) as words,
        ):
            asyncio.run(_toil(url, pool, counts, words, seed))
    except BaseException:
        Path(f"{path}.error").write_text(traceback.format_exc(), encoding="utf-8")
        raise


def words_of(path: Path) -> list[Path]:
    """What the processes that counted there have written down."""
    return sorted(path.parent.glob(f"{path.name}.words.*"))
