"""Processes of the stage `eyes`: clients that change a pool, and watches that write down each event that they see.

Run as a program: `load`, or `sync` and `async` for the watches of a client of that kind.  Each line of a journal is an
event: its id, its kind, the id of its allocation.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import sys
import threading
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from allocator import Allocation, Allocator, AsyncAllocator, Event, Recovering
from tests.soak.toiler import REFUSALS

__all__ = ["POOL", "TTL_S", "complaints", "entry", "line_of", "program"]

ROOT: Final = Path(__file__).parents[2]

POOL: Final = "lab"
TTL_S: Final = 3.0
TASKS: Final = 4
"""Of each process that changes the pool."""

WAITS_S: Final = (None, None, 0.2, 2.0)

WATCHES: Final = 5
"""Of each process that watches."""

WATCH_TIMEOUT_S: Final = 60.0
"""Seconds in which a watch must reach the store once: after that it goes on by itself."""

Entry = tuple[int, int]


def program(*words: str) -> list[str]:
    """The command line of such a process."""
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from tests.soak.eyes_work import main; main()"
    return [sys.executable, "-c", code, *words]


# -- journals ----------------------------------------------------------------------------------------------------------


def entry(text: str) -> Entry:
    """An event's id, in the order of the stream."""
    ms, _, number = text.partition("-")
    return int(ms), int(number or 0)


def line_of(event: str, kind: str, name: str) -> str:
    """A line of a journal."""
    return f"{event} {kind} {name}\n"


def complaints(lines: Iterable[str], stored: Iterable[Entry]) -> list[str]:
    """What is wrong with a journal: events that are stored and were passed over in silence, or that came twice.

    Events that a failover has lost may have been seen or not.  `missed` covers all from the event before it to the one
    after it.
    """
    seen: set[Entry] = set()
    gaps: list[tuple[Entry, Entry]] = []
    last, opened, twice = (0, 0), False, 0
    for line in lines:
        told, kind, *_ = line.split(" ")
        if kind == "missed":
            opened = True
            continue
        at = entry(told)
        if opened:
            gaps.append((last, at))
        elif at <= last:
            twice += 1
        opened, last = False, at
        seen.add(at)
    if not seen:
        return ["nothing was seen"]
    first = min(seen)
    lacking = [
        one
        for one in stored
        if first <= one <= last and one not in seen and not any(after < one < before for after, before in gaps)
    ]
    found = [f"{len(lacking)} events were passed over in silence, the first is {lacking[0]}"] if lacking else []
    return found + ([f"{twice} events came out of order, or twice"] if twice else [])


# -- watches -----------------------------------------------------------------------------------------------------------


def _write(event: Event, path: str) -> None:
    with Path(path).open("a", encoding="utf-8") as journal:
        journal.write(line_of(event.id, event.kind, event.fields.get("id", "")))


def _watch_sync(url: str, path: str) -> None:
    def watch(number: int) -> None:
        try:
            for event in client.events.watch():
                _write(event, f"{path}.{number}")
        except BaseException:  # noqa: BLE001 - whatever it was ends the process, and the stage with it
            traceback.print_exc()
            os._exit(1)

    with Allocator.from_url(url, pool=POOL, timeout=WATCH_TIMEOUT_S, attempt_timeout=2.0) as client:
        threads = [threading.Thread(target=watch, args=(number,)) for number in range(WATCHES)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


async def _watch_async(url: str, path: str) -> None:
    async def watch(number: int) -> None:
        async for event in client.events.watch():
            _write(event, f"{path}.{number}")

    async with (
        AsyncAllocator.from_url(url, pool=POOL, timeout=WATCH_TIMEOUT_S, attempt_timeout=2.0) as client,
        asyncio.TaskGroup() as group,
    ):
        for number in range(WATCHES):
            group.create_task(watch(number))


# -- load --------------------------------------------------------------------------------------------------------------


async def _pause(seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await asyncio.Event().wait()


async def _step(client: AsyncAllocator, chance: random.Random) -> None:
    """Take, perhaps from the line; renew, resize, and give back, or leave it to its deadline."""
    held: Allocation = await client.allocate(
        {"cpu": chance.randint(1, 4)}, ttl=TTL_S, owner=f"team-{chance.randint(1, 5)}", wait=chance.choice(WAITS_S)
    )
    for _ in range(chance.randint(0, 2)):
        await _pause(chance.uniform(0.1, 0.8))
        await client.renew(held)
    if chance.random() < 0.3:
        held = await client.resize(held, {"cpu": chance.randint(1, 4)})
    await _pause(chance.uniform(0.1, 0.5))
    if chance.random() < 0.8:
        await client.release(held)


async def _task(client: AsyncAllocator, chance: random.Random) -> None:
    while True:
        try:
            await _step(client, chance)
        except (Recovering, *REFUSALS):
            await _pause(chance.uniform(0.1, 0.5))


async def _load(url: str, seed: int) -> None:
    async with (
        AsyncAllocator.from_url(url, pool=POOL, timeout=2.0, attempt_timeout=0.5) as client,
        asyncio.TaskGroup() as group,
    ):
        for number in range(TASKS):
            group.create_task(_task(client, random.Random(seed * 100 + number)))


def main() -> None:
    """What it is, the URL, and the journal or the seed."""
    what, url, more = sys.argv[-3:]
    if what == "load":
        asyncio.run(_load(url, int(more)))
    elif what == "sync":
        _watch_sync(url, more)
    else:
        asyncio.run(_watch_async(url, more))
