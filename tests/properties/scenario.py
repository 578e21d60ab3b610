"""Several replicas that work on the same pools over a bad network, and the history of what they were told.

Three are threads with the blocking client, three are tasks of one event loop with two awaited clients.  All draw from
generators seeded with the run's seed and their own number, the network from one more: what they try is the same each
time, what it meets is not, for threads and sockets keep their own time.
"""

from __future__ import annotations

import asyncio
import operator
import random
import threading
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from allocator import (
    Allocation,
    AllocationConflict,
    AllocationLost,
    Allocator,
    AllocatorError,
    AsyncAllocator,
    BackendUnavailable,
    Denial,
    Insufficient,
    OutcomeUnknown,
    UnknownAllocation,
)
from tests.properties.history import Amounts, Op, Recorder, amounts_of
from tests.soak import counting
from tests.soak.counting import Sent
from tests.support.faults import Fault
from tests.support.proxy import FaultProxy

__all__ = ["CAPACITY", "POOLS", "TASKS", "THREADS", "Board", "Luck", "Replica", "play", "texts"]

POOLS: Final = ("north", "south", "west")
CAPACITY: Final = {"cpu": 8000, "nvidia.com/gpu": 3000}
"""Of each pool, exactly: 8 cores, 3 devices.  Small, so that many are refused."""

TTL_S: Final = 3600.0
"""So long that time plays no part."""

THREADS: Final = 3
TASKS: Final = 3

FATES: Final = {
    Fault.RESET_BEFORE: 0.006, Fault.RESET_AFTER: 0.008, Fault.HOLD_RESET: 0.006, Fault.DELAY: 0.004,
    Fault.SWALLOW: 0.006,
}  # fmt: skip
"""How often each happens to a request: about three in a hundred in all."""

DELAY_S: Final = 0.03
ATTEMPT_S: Final = 0.2
PATIENCE_S: Final = (0.2, 3.0)
"""Deadlines of the replicas, in turn: half of them give up soon, and do not hear what became of their call."""

VERBS: Final = {"allocate": 38, "release": 28, "resize": 11, "renew": 7, "get": 8, "usage": 8}
CHANGING: Final = frozenset({"allocate", "release", "resize", "renew"})

CANCELLED: Final = 0.04
"""How many calls of the awaited clients are cancelled."""

BOARD_MAX: Final = 24

STALE: Final = 0.2
"""How often what was released is tried again."""

JOBS: Final = 5
"""Ids that all replicas ask for."""


class Luck:
    """What happens to each request; asked by the proxy's thread alone."""

    def __init__(self, seed: str) -> None:
        self.bad = True
        self._chooser = random.Random(seed)
        self._fate: Fault | None = None

    def arm(self, proxy: FaultProxy) -> None:
        """Let it decide from now on."""
        for at, fault in enumerate(FATES):
            proxy.arm(fault, match=self._decider(fault, draws=at == 0), times=1 << 60, delay_s=DELAY_S)

    def _decider(self, fault: Fault, *, draws: bool) -> Callable[[bytes], bool]:
        def decide(_: bytes) -> bool:
            if draws:
                self._draw()
            return self._fate is fault

        return decide

    def _draw(self) -> None:
        number = self._chooser.random()
        self._fate = None
        for fault, share in FATES.items():
            number -= share
            if number < 0 and self.bad:
                self._fate = fault
                return


@dataclass(frozen=True)
class Move:
    """What is to be done: for the history, and as a call of a client."""

    pool: str
    verb: str
    args: tuple[Any, ...]
    words: tuple[Any, ...]
    options: dict[str, Any]


class Board:
    """What the replicas know of each other's allocations: (id, fence) by pool, the latest ones, some of them stale."""

    def __init__(self) -> None:
        self.seen: dict[str, deque[tuple[str, int]]] = {pool: deque(maxlen=BOARD_MAX) for pool in POOLS}

    def add(self, pool: str, name: str, fence: int) -> None:
        """It was granted, or is there."""
        self.seen[pool].append((name, fence))

    def drop(self, pool: str, name: str) -> None:
        """It is there no more."""
        self.seen[pool] = deque((one for one in list(self.seen[pool]) if one[0] != name), maxlen=BOARD_MAX)


class Replica:
    """One caller: it chooses what to do next, and writes down what it was told."""

    def __init__(self, number: int, seed: str, recorder: Recorder, board: Board) -> None:
        self.number = number
        self.seed = seed
        self.chooser = random.Random(f"{seed}/{number}")
        self.recorder = recorder
        self.board = board
        self.counts: Counter[str] = Counter()
        self.undos: list[tuple[Op, Sent]] = []

    def choose(self) -> Move:
        """What to do next."""
        chooser = self.chooser
        pool = chooser.choice(POOLS)
        (verb,) = chooser.choices(list(VERBS), list(VERBS.values()))
        self.counts["operations"] += 1
        if verb == "usage":
            return Move(pool, verb, (), (), {})
        if verb == "allocate":
            name, owner, amounts = self._wanted()
            options = {"ttl": TTL_S, "id": name, "owner": owner}
            return Move(pool, "allocate", (name, owner, amounts), (texts(amounts),), options)
        seen = list(self.board.seen[pool]) or [("nobody", 0)]
        name, fence = chooser.choice(seen) if chooser.random() < 0.7 else (f"job-{chooser.randrange(JOBS)}", 0)
        if verb == "get":
            return Move(pool, verb, (name,), (name,), {})
        fence = fence if chooser.random() < 0.7 else 0
        options = {"fence": fence or None}
        if verb == "resize":
            changes = (("cpu", 500 * chooser.randint(1, 6)), ("nvidia.com/gpu", 1000 * chooser.randint(0, 1)))
            return Move(pool, verb, (name, fence, changes), (name, texts(changes)), options)
        return Move(pool, verb, (name, fence), (name,), options)

    def _undone(self, op: Op, sent: Sent) -> None:
        """The library undoes it, in the background, and is done with that when it is closed."""
        undo = self.recorder.begin(op.process, op.pool, "undo", op.args[0], op.number)
        undo.began = op.began  # it may have been sent before the caller was told
        self.undos.append((undo, sent))

    def close(self) -> None:
        """All clients are closed: what was ambiguous has been undone, unless the library says that it was not."""
        for undo, sent in self.undos:
            if sent.given_up:
                self.counts["undos_given_up"] += 1
            else:
                self.recorder.end(undo, "undone")

    def _wanted(self) -> tuple[str, str, Amounts]:
        chooser = self.chooser
        if chooser.random() < 0.5:
            job = chooser.randrange(JOBS)
            kind = job if chooser.random() < 0.85 else chooser.randrange(JOBS)
            return f"job-{job}", "alice" if kind % 2 else "bob", (("cpu", 1000 + 500 * kind),)
        name = f"{self.seed}/{self.number}/{self.counts['operations']}"
        gpu = (("nvidia.com/gpu", 1000),) if chooser.random() < 0.3 else ()
        return name, "carol", (("cpu", 500 * chooser.randint(1, 6)), *gpu)

    def told(self, op: Op, answer: object, sent: Sent) -> None:
        """Write down what it was told, of a call that was sent so often."""
        if isinstance(answer, OutcomeUnknown | TimeoutError) and op.verb in CHANGING and sent.times:
            self.counts["unknowns"] += 1
            self._undone(op, sent)
            return
        if isinstance(answer, BackendUnavailable | OutcomeUnknown | TimeoutError):
            self.counts["not_executed"] += 1
            self.recorder.forget(op)
            return
        outcome = outcome_of(op.verb, answer)
        self.recorder.end(op, *outcome, sent=sent.times)
        self.counts["sent_again"] += sent.times > 1
        if op.verb == "allocate" and sent.times > 1 and outcome[0] in ("denied", "conflict"):
            self.counts["refused_again"] += 1
            self._undone(op, sent)
        self.counts[f"told_{outcome[0]}"] += 1
        if outcome[0] in ("granted", "existing"):
            self.board.add(op.pool, op.args[0], outcome[1])
        elif outcome[0] in ("unknown", "released") and self.chooser.random() >= STALE:
            self.board.drop(op.pool, op.args[0])


def texts(amounts: Amounts) -> dict[str, str]:
    """A request for exactly this."""
    return {name: f"{amount}m" if name == "cpu" else str(amount // 1000) for name, amount in amounts}


REFUSALS: Final[dict[type[AllocatorError], str]] = {
    AllocationConflict: "conflict",
    AllocationLost: "fenced",
    UnknownAllocation: "unknown",
}


def outcome_of(verb: str, answer: Any) -> tuple[Any, ...]:
    """What a caller was told, in the words of `model`."""
    if isinstance(answer, Insufficient):
        return "denied", *numbers(answer.denial)
    if isinstance(answer, AllocatorError):
        word = REFUSALS.get(type(answer))
        if word is None:
            raise answer
        return ("lost" if verb == "allocate" and word == "fenced" else word,)
    return ANSWERS[verb](answer)


def allocated(answer: Allocation) -> tuple[Any, ...]:
    """Granted just now, or there before."""
    if answer.created:
        return "granted", answer.fence, amounts_of(answer.resources.items())
    return "existing", answer.fence, amounts_of(answer.resources.items())


def found(answer: Allocation | None) -> tuple[Any, ...]:
    """What is read."""
    return "record", answer and (answer.owner, amounts_of(answer.resources.items()), answer.fence)


ANSWERS: Final[dict[str, Callable[[Any], tuple[Any, ...]]]] = {
    "allocate": allocated,
    "get": found,
    "resize": lambda answer: ("resized", amounts_of(answer.resources.items())),
    "renew": lambda answer: (str(answer.outcome),),
    "release": lambda answer: (str(answer.outcome),),
    "usage": lambda answer: (
        "counters", amounts_of((name, one.allocated) for name, one in answer.resources.items()), answer.allocations,
    ),
}  # fmt: skip


def numbers(denial: Denial) -> tuple[tuple[str, int, int, int], ...]:
    """What was short, of what had to be free."""
    return tuple((one.resource, one.growth, one.allocated, one.capacity) for one in denial.shortages)


def call_of(client: Any, move: Move) -> Callable[..., Any]:
    """The method that a move calls, in its pool."""
    there = client.options(pool=move.pool)
    return operator.attrgetter("pools.usage" if move.verb == "usage" else move.verb)(there)


def work(replica: Replica, client: Allocator, count: int) -> None:
    """A thread's share."""
    for _ in range(count):
        move = replica.choose()
        op = replica.recorder.begin(replica.number, move.pool, move.verb, *move.args)
        sent = counting.begin()
        try:
            answer: object = call_of(client, move)(*move.words, **move.options)
        except AllocatorError as error:
            answer = error
        replica.told(op, answer, sent)


async def work_awaited(replica: Replica, client: AsyncAllocator, count: int) -> None:
    """A task's share; some calls are cancelled."""
    for _ in range(count):
        move = replica.choose()
        cancelled = replica.chooser.uniform(0, 0.003) if replica.chooser.random() < CANCELLED else None
        op = replica.recorder.begin(replica.number, move.pool, move.verb, *move.args)
        sent = counting.begin()
        try:
            call = call_of(client, move)(*move.words, **move.options)
            answer: object = await (asyncio.wait_for(call, cancelled) if cancelled is not None else call)
        except (AllocatorError, TimeoutError) as error:
            answer = error
        replica.told(op, answer, sent)


def play(proxy: FaultProxy, luck: Luck, replicas: list[Replica], count: int) -> list[str]:
    """Let all replicas work at the same time, so often each; then heal the network, and let them close.

    When it returns, what was ambiguous has been undone: nothing of it may take effect any more.
    """
    problems: list[str] = []
    done = threading.Barrier(THREADS + 1)

    def heal() -> None:
        done.wait()
        luck.bad = False

    def guarded(target: Callable[[], None]) -> None:
        try:
            target()
        except Exception as error:  # noqa: BLE001 - whatever a caller meets that is no answer
            problems.append(f"{type(error).__name__}: {error}")
            done.abort()

    def blocking(replica: Replica) -> None:
        patience = PATIENCE_S[replica.number % len(PATIENCE_S)]
        with Allocator.from_url(proxy.url, timeout=patience, attempt_timeout=ATTEMPT_S) as client:
            work(replica, client, count)
            heal()

    async def awaited() -> None:
        options: dict[str, Any] = {"attempt_timeout": ATTEMPT_S}
        async with (
            AsyncAllocator.from_url(proxy.url, timeout=PATIENCE_S[0], **options) as one,
            AsyncAllocator.from_url(proxy.url, timeout=PATIENCE_S[1], **options) as other,
        ):
            shares = zip(replicas[THREADS:], (one, other, other), strict=True)
            await asyncio.gather(*(work_awaited(replica, client, count) for replica, client in shares))
            await asyncio.to_thread(heal)

    targets: list[Callable[[], None]] = [lambda at=at: blocking(replicas[at]) for at in range(THREADS)]  # type: ignore[misc]
    targets.append(lambda: asyncio.run(awaited()))
    threads = [threading.Thread(target=guarded, args=(target,)) for target in targets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for replica in replicas:
        replica.close()
    return problems
