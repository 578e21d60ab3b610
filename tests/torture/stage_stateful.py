"""Random stories against an independent model, on each engine and in process; the machine is that of tests/stateful."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import Iterator
from typing import Any, ClassVar, Final

import fakeredis
import hypothesis
import redis
from hypothesis.stateful import run_state_machine_as_test

from allocator._engine.async_drive import AsyncDriver
from allocator._engine.connect import open_store
from allocator._engine.memory import InProcess
from allocator.testing import Clock
from tests.stateful.test_ledger import Ledger
from tests.support.servers import Server, engines
from tests.torture.report import Coverage, StageReport

STEPS: Final = 200_000
"""Of all stores together; the one in process is slower, and has a tenth of them."""

STEPS_A_STORY: Final = 50

STEPS_A_STORY_MEAN: Final = 45
"""Some end earlier."""


class Awaited:
    """An awaited driver in the clothes of a blocking one, so that it reads for the machine."""

    def __init__(self, url: str, clock: Clock) -> None:
        self._loop = asyncio.new_event_loop()
        self._driver = AsyncDriver(open_store(url), clock=clock)

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
def machines() -> Iterator[dict[str, Any]]:
    """By name: each engine with either protocol and either driver, and the store in process."""
    with contextlib.ExitStack() as stack:
        found: dict[str, Any] = {}
        for engine in engines():
            server = stack.enter_context(Server(engine))
            for protocol, kind in (("2", "sync"), ("3", "async")):
                url = f"{server.url}?protocol={protocol}"
                client: Any = stack.enter_context(redis.Redis.from_url(url, decode_responses=True))
                name = f"{engine.value} resp{protocol} {kind}"
                found[name] = type("LedgerOfThisStore", (Counted,), {"store": (url, client), "kind": kind})
        url = f"memory://stateful-{uuid.uuid4().hex}"
        in_process = InProcess.named(url.partition("://")[2])._options["server"]
        client = stack.enter_context(fakeredis.FakeRedis(server=in_process, decode_responses=True))
        found["memory"] = type("LedgerOfThisStore", (Counted,), {"store": (url, client)})
        yield found


def run(*, seed: int, scale: float, coverage: Coverage) -> StageReport:
    """So many steps, on each store its share."""
    report = StageReport("stateful", [seed])
    with machines() as found:
        shares = {name: 0.1 if name == "memory" else 0.9 / (len(found) - 1) for name in found}
        for number, (name, machine) in enumerate(found.items()):
            wanted = scale * STEPS * shares[name]
            turn = 0
            while machine.steps < wanted and not report.problems:
                stories = max(1, round((wanted - machine.steps) / STEPS_A_STORY_MEAN))
                _tell(machine, seed + 1000 * number + turn, stories, report)
                turn += 1
            report.counts.update({"steps": machine.steps, f"on {name.partition(' ')[0]}": machine.steps})
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
        run_state_machine_as_test(hypothesis.seed(seed)(machine), settings=settings)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is a difference
        report.problems.append(f"seed {seed}: {type(error).__name__}: {error}"[:3000])
