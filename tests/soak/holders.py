"""Processes that hold and give back near saturation, and note what they believe to have.  Run as a program, too.

Each has threads that take a few units for a while with `hold`, which renews and adopts by itself; a holder that is
told that its lease is lost stops at once.  A process that finds its pool emptied makes it again, as
`Plan.when_emptied` says: with `pools.recover`, or (what a naive controller does) with `pools.create`, or not at all.
"""

from __future__ import annotations

import dataclasses
import json
import random
import signal
import sys
import threading
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from allocator import (
    AllocationLost,
    Allocator,
    BackendError,
    Hold,
    Insufficient,
    Pool,
    Recovering,
    UnknownPool,
)
from allocator._engine.servers.process import GuardedProcess
from allocator._engine.transport import failures
from tests.soak import reality
from tests.soak.reality import History, Journal
from tests.support.waiting import wait_until

__all__ = ["UNIT", "Crew", "Plan"]

ROOT: Final = Path(__file__).parents[2]

UNIT: Final = "seats"
"""The one resource of the pools."""

DONE: Final = "done"
"""Noted by a process that ended as it should."""

END_DEADLINE_S: Final = 15.0
"""Seconds that a process may take to give everything back and end."""

WORDS: Final = {
    "READONLY": "readonly", "NOREPLICAS": "noreplicas", "MOVED": "moved", "ASK": "ask", "NOSCRIPT": "noscript",
    "TRYAGAIN": "tryagain",
}  # fmt: skip
"""Error replies that are counted, by their first words."""


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """What one process does.  `units` and `seconds` are ranges: how much each holder takes, for how long."""

    url: str
    journal: str
    seed: int
    pool: str
    threads: int = 8
    ttl: float = 3.0
    units: tuple[int, int] = (1, 4)
    seconds: tuple[float, float] = (0.5, 6.0)
    attempt_timeout: float = 0.5
    deadline: float = 2.0
    when_emptied: str = "recover"


class Crew:
    """The processes, from their start to the history that they have noted."""

    def __init__(self, plans: Sequence[Plan], prefixes: Sequence[Sequence[str]] = ()) -> None:
        """Start them.

        Args:
            plans: One for each process.
            prefixes: The beginnings of their command lines: where they run.  None: here.
        """
        self._plans = plans
        self._processes: list[GuardedProcess] = []
        program = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from tests.soak.holders import main; main()"
        for plan, prefix in zip(plans, prefixes or [()] * len(plans), strict=True):
            argv = [*prefix, sys.executable, "-c", program, json.dumps(dataclasses.asdict(plan))]
            Path(plan.journal).touch()
            self._processes.append(GuardedProcess(argv, output=self._log(plan)))

    @staticmethod
    def _log(plan: Plan) -> Path:
        return Path(f"{plan.journal}.log")

    @property
    def journals(self) -> list[Path]:
        """What they write."""
        return [Path(plan.journal) for plan in self._plans]

    def history(self) -> History:
        """What they have noted so far."""
        return reality.read(self.journals, until=reality.now())

    def check(self) -> None:
        """None has ended by itself."""
        for plan, process in zip(self._plans, self._processes, strict=True):
            if not process.running:
                raise AssertionError(f"a holder ended by itself:\n{self._log(plan).read_text()[-3000:]}")

    def finish(self) -> History:
        """Have them give everything back; return what all have noted."""
        for process in self._processes:
            process.signal(signal.SIGTERM)
        for plan, process in zip(self._plans, self._processes, strict=True):
            if not process.wait(END_DEADLINE_S):
                raise AssertionError(f"a holder does not end:\n{self._log(plan).read_text()[-3000:]}")
        history = self.history()
        if history.seen[DONE] != len(self._plans):
            logs = "\n".join(self._log(plan).read_text()[-3000:] for plan in self._plans)
            raise AssertionError(f"a holder failed:\n{logs}")
        return history

    def close(self) -> None:
        """Kill them."""
        for process in self._processes:
            process.kill()

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


# -- the program -------------------------------------------------------------------------------------------------------


class Holders:
    """The threads of one process."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._over = threading.Event()
        self._journal = Journal(Path(plan.journal))
        self._lock = threading.Lock()
        self._holds: dict[str, Hold] = {}
        self._failed = False
        self._pool: Pool | None = None

    def stop(self) -> None:
        """End soon."""
        self._over.set()

    def run(self) -> bool:
        """Hold and give back until it is over; say whether nothing went wrong."""
        plan = self._plan
        with _client(plan) as client:
            self._pool = self._first_look(client)
            threads = [
                threading.Thread(target=self._work, args=(client, plan.seed * 1000 + number), daemon=True)
                for number in range(plan.threads)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        if not self._failed:
            self._journal.saw(DONE)
        return not self._failed

    def _first_look(self, client: Allocator) -> Pool | None:
        while not self._over.is_set():
            try:
                return client.pools.get()
            except (BackendError, UnknownPool):
                self._over.wait(0.05)
        return None

    def _work(self, client: Allocator, seed: int) -> None:
        chance = random.Random(seed)
        try:
            while not self._over.is_set():
                self._step(client, chance)
        except BaseException:  # noqa: BLE001 - whatever it was ends the process, and the stage with it
            traceback.print_exc()
            self._failed = True
            self._over.set()

    def _step(self, client: Allocator, chance: random.Random) -> None:
        try:
            self._hold_once(client, chance)
        except Insufficient:
            self._over.wait(chance.uniform(0.02, 0.1))
        except Recovering as error:
            self._journal.saw("recovering")
            self._over.wait(min(error.retry_after or 0.1, chance.uniform(0.1, 0.3)))
        except UnknownPool:
            self._journal.saw("unknown_pool")
            self._make_again(client)
            self._over.wait(chance.uniform(0.05, 0.15))
        except BackendError as error:
            self._journal.saw(error.code)
            self._over.wait(chance.uniform(0.02, 0.1))
        except AllocationLost:
            self._journal.saw("told_lost")

    def _hold_once(self, client: Allocator, chance: random.Random) -> None:
        plan = self._plan
        amount, seconds = chance.randint(*plan.units), chance.uniform(*plan.seconds)
        woken = threading.Event()

        def on_lost(hold: Hold) -> None:
            loss = hold.loss
            self._journal.lost(hold.id, loss.code if loss is not None else "unknown")
            woken.set()

        with client.hold({UNIT: amount}, ttl=plan.ttl, on_lost=on_lost) as hold:
            self._journal.begins(hold.id, amount)
            with self._lock:
                self._holds[hold.id] = hold
            if hold.lost:  # before the belief was noted
                self._journal.ends(hold.id)
            self._wait(woken, seconds)
            self._journal.ends(hold.id)
            with self._lock:
                del self._holds[hold.id]

    def _wait(self, woken: threading.Event, seconds: float) -> None:
        until = reality.now() + seconds
        while not self._over.is_set() and (left := until - reality.now()) > 0:
            if woken.wait(min(left, 0.2)):
                return

    def _make_again(self, client: Allocator) -> None:
        """The pool is not there: was it emptied?  Whoever holds something of it can tell."""
        with self._lock:
            held = next(iter(self._holds.values()), None)
        if self._plan.when_emptied == "nothing" or self._pool is None or held is None:
            return
        try:
            client.renew(held.allocation)
        except UnknownPool as error:
            if error.code == "pool_lost" and self._plan.when_emptied == "recover":
                client.pools.recover(self._pool)
                self._journal.saw("recovered")
            elif self._plan.when_emptied == "create":
                client.pools.create(self._pool.name, self._pool.capacity)
                self._journal.saw("created")
        except (BackendError, AllocationLost, LookupError):
            pass


def _client(plan: Plan) -> Allocator:
    """The client of one process."""
    return Allocator.from_url(plan.url, pool=plan.pool, timeout=plan.deadline, attempt_timeout=plan.attempt_timeout)


def _count_error_replies(journal: Journal) -> None:
    """Note each error reply that an attempt meets: the library deals with them, and its caller hears nothing."""
    of_reply, is_unknown_script = failures.reply_failure, failures.is_unknown_script

    def counted(where: str, error: Exception, script: Any) -> failures.AttemptFailure:
        told = error.__context__ if failures.error_code(error) == "" and error.__context__ is not None else error
        if name := WORDS.get(failures.error_code(told)):
            journal.saw(name)
        return of_reply(where, error, script)

    def looked_at(error: BaseException) -> bool:
        unknown = is_unknown_script(error)
        if unknown:
            journal.saw("noscript")
        return unknown

    failures.reply_failure, failures.is_unknown_script = counted, looked_at


def main() -> None:
    """Play the plan given as the last argument."""
    told = json.loads(sys.argv[-1])
    plan = Plan(**{**told, "units": tuple(told["units"]), "seconds": tuple(told["seconds"])})
    holders = Holders(plan)
    _count_error_replies(holders._journal)
    signal.signal(signal.SIGTERM, lambda *_: holders.stop())
    sys.exit(0 if holders.run() else 1)


def wait_for_ends(crew: Crew, enough: int, *, timeout_s: float = 20.0) -> None:
    """Wait until so many beliefs have been noted in all: the holders are at work."""
    wait_until(lambda: len(crew.history().beliefs) >= enough, timeout_s=timeout_s, message=f"{enough} holds were begun")
