"""Random stories against an independent model, on each engine and in process; the machine is tests/properties."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import uuid
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any, ClassVar, Final
from unittest import mock

import fakeredis
import hypothesis
import redis
from hypothesis.internal.conjecture import engine
from hypothesis.stateful import run_state_machine_as_test

from allocator._engine.execution.driver_async import AsyncDriver
from allocator._engine.transport.in_process import InProcessServer
from allocator._engine.transport.urls import resolve_target
from allocator.testing import Clock
from tests.properties.test_ledger import Ledger
from tests.soak.report import Coverage, StageReport
from tests.support.servers import Engine, Server, engines

STEPS: Final = 120_000
"""Of all stores together: what two cores do in about six minutes, so that a whole run keeps to its time."""

IN_PROCESS: Final = 0.1
"""The share of the store in this process, which is slower."""

AT_ONCE: Final = 2
"""Processes side by side, each with a store of its own."""

SHRINKING_S: Final = 30
"""Seconds for making a story shorter that shows a difference: it is the same difference."""

STEPS_A_STORY: Final = 50

STEPS_A_STORY_MEAN: Final = 45
"""Some end earlier."""


class Awaited:
    """An awaited driver in the clothes of a blocking one, so that it reads for the machine."""

    def __init__(self, url: str, clock: Clock) -> None:
        self._loop = asyncio.new_event_loop()
        self._driver = AsyncDriver(resolve_target(url), clock=clock)

    def run(self, work: Any) -> Any:
        """Perform an operation or a flow."""
        return self._loop.run_until_complete(self._driver.run(work))

    def close(self) -> None:
        """The driver, and its loop."""
        self._loop.run_until_complete(self._driver.close())
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()


class Counted(Ledger):
    """The machine, and how many steps it has made."""

    steps: ClassVar[int] = 0
    kind: ClassVar[str] = "sync"

    def open_driver(self, url: str) -> Any:
        """Of the machine's kind."""
        return Awaited(url, self.clock) if self.kind == "async" else super().open_driver(url)

    def check_invariants(self, *arguments: Any, **options: Any) -> None:
        """Called after each step."""
        type(self).steps += 1
        super().check_invariants(*arguments, **options)


@contextlib.contextmanager
def machine(store: str, protocol: str, kind: str) -> Iterator[Any]:
    """The machine of a store of its own."""
    if store == "memory":
        url = f"memory://stateful-{uuid.uuid4().hex}"
        in_process = InProcessServer.named(url.partition("://")[2])._options["server"]
        with fakeredis.FakeRedis(server=in_process, decode_responses=True) as client:
            yield type("LedgerInProcess", (Counted,), {"store": (url, client)})
        return
    with Server(Engine(store)) as server:
        url = f"{server.url}?protocol={protocol}"
        with redis.Redis.from_url(url, decode_responses=True) as client:
            yield type("LedgerOfThisStore", (Counted,), {"store": (url, client), "kind": kind})


def play(store: str, protocol: str, kind: str, seed: int, wanted: float) -> tuple[int, list[str]]:
    """Stories of so many steps in all; how many there were, and the differences."""
    report = StageReport("stateful")
    with machine(store, protocol, kind) as made:
        turn = 0
        while made.steps < wanted and not report.problems:
            stories = max(1, round((wanted - made.steps) / STEPS_A_STORY_MEAN))
            _tell(made, seed + turn, stories, report)
            turn += 1
        return made.steps, report.problems


def run(*, seed: int, scale: float, coverage: Coverage) -> StageReport:
    """Each engine with either protocol and either driver, and the store in process: so many steps, each its share."""
    report = StageReport("stateful", [seed])
    ways = [(one.value, *way) for one in engines() for way in (("2", "sync"), ("3", "async"))]
    ways.append(("memory", "-", "sync"))
    with ProcessPoolExecutor(AT_ONCE, mp_context=multiprocessing.get_context("spawn")) as pool:
        played = []
        for number, way in enumerate(ways):
            share = IN_PROCESS if way[0] == "memory" else (1 - IN_PROCESS) / (len(ways) - 1)
            played.append(pool.submit(play, *way, seed + 1000 * number, scale * STEPS * share))
        for (store, protocol, kind), future in zip(ways, played, strict=True):
            steps, problems = future.result()
            report.counts.update({"steps": steps, f"on {store}": steps})
            report.problems += [f"{store} resp{protocol} {kind}: {problem}" for problem in problems]
    report.counts["differences"] = len(report.problems)
    return report


def _tell(machine: Any, seed: int, stories: int, report: StageReport) -> None:
    """Some stories; a difference is a problem, with the shortest story that shows it."""
    settings = hypothesis.settings(
        database=None,
        deadline=None,
        max_examples=stories,
        stateful_step_count=STEPS_A_STORY,
        phases=(hypothesis.Phase.generate, hypothesis.Phase.shrink),
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    try:
        with mock.patch.object(engine, "MAX_SHRINKING_SECONDS", SHRINKING_S):
            run_state_machine_as_test(hypothesis.seed(seed)(machine), settings=settings)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is a difference
        report.problems.append(f"seed {seed}: {type(error).__name__}: {error}"[:3000])
