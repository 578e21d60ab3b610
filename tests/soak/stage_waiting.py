"""Processes whose tasks wait in line, hold and give back, give up, or are killed: judged by what they were told.

The pool is far too small for them, so nearly all that is granted is granted from the line.  The scripts take a clock
for now that runs `SPEED` times as fast as the machine's, which all processes share: the places of the dead go soon.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Final, TextIO
from unittest import mock

from allocator import Allocator, AsyncAllocator, WaitTimeout, settings
from allocator._engine.operations.defaults import Defaults
from allocator._engine.transport.target import Target
from allocator._engine.transport.urls import resolve_target
from tests.failures.crew import crew
from tests.soak import words as words_module
from tests.soak.report import Coverage, StageReport
from tests.soak.toiler import REFUSALS
from tests.soak.words import Judgement, Teller, judge, read
from tests.support.servers import Engine, Server, engines
from tests.support.waiting import wait_until

POOL: Final = "lab"

CAPACITY: Final = {"cpu": 6}

SPEED: Final = 10

TTL_S: Final = 10.0
"""By the fast clock; nothing is held for so long but by the dead."""

HEARTBEAT_S: Final = 0.3
"""By the machine's clock."""

WORKERS: Final = 3

TASKS: Final = 12

GRANTS: Final = 6_000

KILLS: Final = 40

CONTROL_GRANTS: Final = 60

PATIENCE_S: Final = 300.0
"""Seconds in which the tasks must be granted what they are to be granted before the next kill: the whole takes less."""

GONE_S: Final = 60.0
"""Seconds by which what was granted to the dead, and their places, have come back."""

MET: Final = ("waited", "timed_out", "given_up", "released")
"""What the tasks note; each must have been met."""


class Task:
    """One that waits, holds for a moment, gives back, and begins again."""

    def __init__(self, client: AsyncAllocator, seed: int, words: TextIO, met: TextIO) -> None:
        self._client = client
        self._chance = random.Random(seed)
        self._teller = Teller(words)
        self._met = met

    async def work(self) -> None:
        """For ever."""
        while True:
            self._teller.asks()
            try:
                what = await self._act()
            except tuple(REFUSALS) as refused:
                what = "timed_out" if isinstance(refused, WaitTimeout) else "refused"
            self._met.write(f"{what}\n")

    async def _act(self) -> str:
        chance = self._chance
        asked = self._client.allocate(
            {"cpu": chance.randint(1, 3)},
            ttl=TTL_S,
            wait=chance.choice((0.02, 0.3, 5.0)),
            priority=chance.choice((0, 0, 0, 5)),
        )
        patience = chance.choice((0.01, 0.1, None, None))
        try:
            async with asyncio.timeout(patience):
                held = await asked
        except TimeoutError as error:
            if isinstance(error, WaitTimeout):
                raise
            return "given_up"
        self._teller.told(object(), held)
        self._met.write("waited\n")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.03 * chance.random()):
                await asyncio.Event().wait()
        self._teller.asks()
        self._teller.over(held.fence)
        outcome = (await self._client.release(held)).outcome
        self._teller.heard(outcome, held.fence)
        return outcome


def fast_ms() -> int:
    """The clock of the scripts."""
    return SPEED * time.time_ns() // 1_000_000


def _clocked(url: str, pool: str) -> tuple[Target, Defaults, Callable[[], int]]:
    return resolve_target(url, attempt_timeout_s=1.0), Defaults(pool, "allocator", None, 10.0), fast_ms


async def _work(url: str, pool: str, seed: int, words: TextIO, met: TextIO) -> None:
    async with (
        AsyncAllocator._on(*_clocked(url, pool)) as client,
        asyncio.TaskGroup() as group,
    ):
        for number in range(TASKS):
            group.create_task(Task(client, seed * 1000 + number, words, met).work())


def wait_and_hold(url: str, pool: str, path: str, seed: int) -> None:
    """Work until killed; what ends it otherwise is written down."""
    try:
        with (
            mock.patch.object(settings, "HEARTBEAT_S", HEARTBEAT_S),
            mock.patch.object(words_module, "now_ms", fast_ms),
            Path(f"{path}.words.{seed}").open("a", encoding="utf-8", buffering=1) as words,
            Path(f"{path}.met.{seed}").open("a", encoding="utf-8", buffering=1) as met,
        ):
            asyncio.run(_work(url, pool, seed, words, met))
    except BaseException:
        Path(f"{path}.error").write_text(traceback.format_exc(), encoding="utf-8")
        raise


class Story:
    """One server, and what happened on it."""

    def __init__(self, server: Server, path: Path, chance: random.Random) -> None:
        self.server = server
        self.path = path
        self.chance = chance
        self.killed = 0
        self.counted: dict[str, int] = {}

    def met(self) -> dict[str, int]:
        """How often each thing was met."""
        found = dict.fromkeys(MET, 0)
        for path in self.path.parent.glob(f"{self.path.name}.met.*"):
            for word in path.read_text(encoding="utf-8").split():
                found[word] = found.get(word, 0) + 1
        return found

    def run(self, client: Allocator, grants: int, kills: int) -> Judgement:
        """Let them work until so many were granted, and kill some; then look at what is left."""
        with crew(self.server.url, POOL, WORKERS, self.chance, wait_and_hold, str(self.path)) as workers:
            for number in range(1, kills + 1):
                self._until(client, grants * number // (kills + 1))
                workers.check()
                workers.kill_one()
            self._until(client, grants)
            workers.check()
            self.killed = workers.killed
        wait_until(lambda: _is_over(client), timeout_s=GONE_S, message="the places of the dead have gone")
        report = client.maintenance.audit()
        assert report, str(report)
        words = sorted(self.path.parent.glob(f"{self.path.name}.words.*"))
        return judge(read(words), {"cpu": 1000 * CAPACITY["cpu"]})

    def _until(self, client: Allocator, grants: int) -> None:
        def enough() -> bool:
            error = Path(f"{self.path}.error")
            assert not error.exists(), error.read_text(encoding="utf-8")
            usage = client.pools.usage().resources["cpu"]
            assert not usage.overcommitted, usage
            return self.met()["waited"] >= grants

        wait_until(enough, timeout_s=PATIENCE_S, message=f"{grants} were granted")


def _is_over(client: Allocator) -> bool:
    """Whether nobody waits, and nothing is allocated; each look serves the line."""
    client.maintenance.reclaim()
    client.try_allocate({"cpu": 1}, ttl=TTL_S, id="looks")  # it looks at the line
    client.release("looks")
    return not client.queue.list() and client.pools.usage().allocations == 0


def _tell(seed: int, grants: int, kills: int, *, engine: Engine, capacity: int) -> tuple[Judgement, Story]:
    with (
        tempfile.TemporaryDirectory() as folder,
        Server(engine) as server,
        Allocator._on(*_clocked(server.url, POOL)) as client,
    ):
        client.pools.create(POOL, {"cpu": capacity}, new=True)
        story = Story(server, Path(folder) / "story", random.Random(seed))
        found = story.run(client, grants, kills)
        story.counted = story.met()
        return found, story


def run(*, seed: int, scale: float, coverage: Coverage) -> StageReport:
    """On each engine (at a small scale one of them), and a control whose store grants twice what there is."""
    report = StageReport("waiting", [seed])
    chosen = engines() if scale >= 0.1 else engines()[:1]
    share = scale / len(chosen)
    for number, engine in enumerate(chosen):
        grants, kills = max(100, round(GRANTS * share)), max(3, round(KILLS * share))
        try:
            found, story = _tell(seed + number, grants, kills, engine=engine, capacity=CAPACITY["cpu"])
        except AssertionError as error:
            report.problems.append(f"{engine}: {error}"[:4000])
            continue
        report.problems += [f"{engine}: {problem}" for problem in found.problems]
        missing = [word for word in MET if not story.counted[word]]
        report.problems += [f"{engine}: nobody has {word}" for word in missing]
        report.counts.update({**story.counted, "kills": story.killed, "beliefs": found.beliefs})
        coverage.saw("waited", story.counted["waited"])
    _control(seed, report)
    return report


def _control(seed: int, report: StageReport) -> None:
    """The judge finds it where more is granted than it is told that there is."""
    found, _ = _tell(seed, CONTROL_GRANTS, 0, engine=engines()[0], capacity=2 * CAPACITY["cpu"])
    report.counts.update({"controls": 1, "excess_of_the_control": found.excess.get("cpu", 0)})
    if not found.excess:
        report.problems.append("the control, of a store that grants twice as much, shows nothing")
