"""Random stories against an independent model, on each engine and in process; the machine is that of tests/stateful."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator
from typing import Any, Final

import fakeredis
import hypothesis
import redis
from hypothesis.stateful import run_state_machine_as_test

from allocator._engine.memory import InProcess
from tests.stateful.test_ledger import Ledger
from tests.support.servers import Server, engines
from tests.torture.report import Coverage, StageReport

STEPS: Final = 200_000
"""Of all stores together; the one in process is slower, and has a tenth of them."""

STEPS_A_STORY: Final = 50

STEPS_A_STORY_MEAN: Final = 45
"""Some end earlier."""


class Counted(Ledger):
    """The machine, and how many steps it has made."""

    steps = 0

    def check_invariants(self, *arguments: Any, **options: Any) -> None:
        """Called after each step."""
        type(self).steps += 1
        super().check_invariants(*arguments, **options)


@contextlib.contextmanager
def stores() -> Iterator[dict[str, tuple[str, Any]]]:
    """By name: the URL, and a client that sends what the network lets through."""
    with contextlib.ExitStack() as stack:
        found: dict[str, tuple[str, Any]] = {}
        for engine in engines():
            url = stack.enter_context(Server(engine)).url
            found[engine.value] = (url, redis.Redis.from_url(url, decode_responses=True))
        url = f"memory://stateful-{uuid.uuid4().hex}"
        server = InProcess.named(url.partition("://")[2])._options["server"]
        found["memory"] = (url, fakeredis.FakeRedis(server=server, decode_responses=True))
        yield found
        for _, client in found.values():
            client.close()


def run(*, seed: int, scale: float, coverage: Coverage) -> StageReport:
    """So many steps, on each store its share."""
    report = StageReport("stateful", [seed])
    with stores() as found:
        shares = {name: 0.1 if name == "memory" else 0.9 / (len(found) - 1) for name in found}
        for number, (name, store) in enumerate(found.items()):
            wanted = scale * STEPS * shares[name]
            machine: Any = type("LedgerOfThisStore", (Counted,), {"store": store, "steps": 0})
            turn = 0
            while machine.steps < wanted and not report.problems:
                stories = max(1, round((wanted - machine.steps) / STEPS_A_STORY_MEAN))
                _tell(machine, seed + 1000 * number + turn, stories, report)
                turn += 1
            report.counts.update({"steps": machine.steps, f"steps_{name}": machine.steps})
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
