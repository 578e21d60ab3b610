"""Blocking clients in threads that wait, pass, preempt and give back in one small pool, and what they are told."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from allocator import (
    Allocator,
    Insufficient,
    Limit,
    PreemptionPolicy,
    QueuePolicy,
    RequestWithdrawn,
)
from allocator._engine.operations.defaults import Defaults
from allocator._engine.transport.urls import resolve_target
from allocator.denials import Denial
from tests.properties.lines.book import Item
from tests.properties.lines.linear import Told
from tests.properties.lines.model import Model
from tests.scripts import quota_tree
from tests.scripts.ledger import T0
from tests.scripts.quota_tree import Tree

__all__ = ["POLICIES", "Scene", "model_of"]

POOL: Final = "lab"

CPUS: Final = 6

POLICIES: Final = ("contended", "strict", "best_effort")

LIMITS: Final = {"a": Limit(nominal="3", lending_limit="0"), "b": Limit(nominal="3", borrowing_limit="2")}
"""Of cpu: a guarantee, and a share with a bound."""

SCOPES: Final = (None, "a", "b")

WAITS_S: Final = (0.01, 0.05, 0.2)

TTL_MS: Final = 3_600_000

VERBS: Final = {"allocate": 40, "release": 35, "withdraw": 8, "usage": 8, "quotas": 8, "line": 8}


def model_of(policy: str) -> Model:
    """The pool before all of it."""
    limits = {"a": {"cpu": quota_tree.Limit(3000, None, 0)}, "b": {"cpu": quota_tree.Limit(3000, 2000, None)}}
    return Model(Tree({"cpu": 1000 * CPUS}, limits), policy, now=T0, preempts=True)


@dataclass
class Scene:
    """One pool, and the history of what was told; the clock of the scripts stands still."""

    url: str
    policy: str
    seed: int
    told: list[Told] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    _numbers: Any = field(default_factory=lambda: itertools.count(1))
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _asked: list[str] = field(default_factory=list)
    _granted: list[str] = field(default_factory=list)
    """Ids, as their callers know of them."""

    def client(self) -> Allocator:
        """One of them."""
        return Allocator._on(resolve_target(self.url), Defaults(POOL, "allocator", None, 30.0), lambda: T0)

    def play(self, threads: int, calls: int) -> list[Told]:
        """Each thread makes so many calls; what all of them were told."""
        with self.client() as first:
            policy, permitted = QueuePolicy(self.policy), PreemptionPolicy(permitted=True, grace=0)
            first.pools.create(POOL, {"cpu": CPUS}, new=True, queue=policy, preemption=permitted)
            for scope, limit in LIMITS.items():
                first.quotas.set(scope, {"cpu": limit})
        workers = [threading.Thread(target=self._work, args=(number, calls)) for number in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert not self.problems, self.problems
        return self.told

    def _work(self, thread: int, calls: int) -> None:
        rng = random.Random(f"{self.seed}/{thread}")
        try:
            with self.client() as client:
                for _ in range(calls):
                    self._call(client, rng)
        except Exception as error:  # noqa: BLE001 - whatever it meets that is no answer
            self.problems.append(f"{type(error).__name__}: {error}")

    def _call(self, client: Allocator, rng: random.Random) -> None:
        (verb,) = rng.choices(list(VERBS), list(VERBS.values()))
        with self._lock:
            number = next(self._numbers)
            name = rng.choice((self._granted if verb == "release" else self._asked)[-6:] or ["nobody"])
        asked: Any = name if verb in ("release", "withdraw") else None
        wait = rng.choice((None, *WAITS_S))
        if verb == "allocate":
            priority = rng.choice((0, 0, 0, 1, -1))
            asked = Item(
                f"id-{number}", f"call-{number}", {"cpu": 1000 * rng.choice((1, 1, 2, 3, 5))}, ttl=TTL_MS,
                scope=rng.choice(SCOPES) or "", wait=wait is not None, priority=priority,
                preempt=wait is not None and rng.random() < 0.3,
            )  # fmt: skip
            with self._lock:
                self._asked.append(asked.id)
        began = time.monotonic_ns()
        outcome = self._ask(client, verb, asked, wait)
        ended = time.monotonic_ns()
        with self._lock:
            self.told.append(Told(number, verb, asked, began, ended, outcome))
            if verb == "allocate" and outcome[0] == "granted":
                self._granted.append(asked.id)

    def _ask(self, client: Allocator, verb: str, asked: Any, wait: float | None) -> tuple[Any, ...]:
        if verb == "allocate":
            return _allocate(client, asked, wait)
        if verb == "release":
            return (client.release(asked).outcome,)
        if verb == "withdraw":
            return ("withdrawn" if client.queue.withdraw(asked) else "absent",)
        return READ[verb](client)


def _usage(client: Allocator) -> tuple[Any, ...]:
    usage = client.pools.usage()
    return (usage.resources["cpu"].allocated, usage.allocations)


def _quotas(client: Allocator) -> tuple[Any, ...]:
    found = sorted(client.quotas.list(), key=lambda quota: quota.scope)
    return tuple((one.resources["cpu"].allocated, one.resources["cpu"].kept) for one in found)


READ: Final[dict[str, Callable[[Allocator], tuple[Any, ...]]]] = {
    "usage": _usage,
    "quotas": _quotas,
    "line": lambda client: tuple(one.id for one in client.queue.list()),
}


def _allocate(client: Allocator, item: Item, wait: float | None) -> tuple[Any, ...]:
    amounts = {"cpu": item.amounts["cpu"] // 1000}
    try:
        held = client.allocate(
            amounts, ttl=TTL_MS / 1000, id=item.id, scope=item.scope or None, wait=wait, priority=item.priority,
            preempt=item.preempt, owner=item.owner,
        )  # fmt: skip
    except RequestWithdrawn:
        return ("withdrawn",)
    except Insufficient as refused:
        return _denied(refused.denial)
    return ("granted", held.fence)


def _denied(denial: Denial) -> tuple[Any, ...]:
    first = denial.shortages[0]
    rows = [(one.resource, one.growth, one.allocated, one.capacity) for one in denial.shortages]
    account = "" if first.level == "pool" else f"{first.level}:{first.name}"
    return (denial.code, account, *itertools.chain.from_iterable(rows))
