"""Preemption against an independent model: over all subsets of small sets, and through seeded stories."""

from __future__ import annotations

import random
from typing import Any

import pytest

from tests.scripts.invariants import check_pool
from tests.scripts.items import Line
from tests.scripts.ledger import MINUTE, Ledger
from tests.scripts.preempting import GRACE, Held, brute, live, names, permit, preempted, victims
from tests.scripts.quota_tree import Limit, Tree

SCOPES = ("", "a", "a/x", "a/y", "b")


def _limits(rng: random.Random) -> dict[str, Limit]:
    """Limits of a scope: a share, perhaps lent and borrowed within bounds."""
    found: dict[str, Limit] = {}
    for resource, most in (("cpu", 4), ("memory", 40)):
        if rng.random() < 0.7:
            nominal = rng.randint(0, most)
            borrowing = rng.choice([None, rng.randint(0, most)])
            lending = rng.choice([None, rng.randint(0, nominal)])
            found[resource] = Limit(nominal, borrowing, lending)
    return found


def _set(pool: Ledger, tree: Tree, rng: random.Random) -> None:
    """Give the pool a tree of quotas, as far as its rules allow."""
    for scope in SCOPES[1:]:
        limits = _limits(rng) if rng.random() < 0.8 else {}
        flat = {
            name: tuple("-" if one is None else one for one in (limit.nominal, limit.borrowing, limit.lending))
            for name, limit in limits.items()
        }
        reply = pool.set_quota(scope, flat)  # type: ignore[arg-type]
        if reply[0] != "quota":
            limits = {}
            assert pool.set_quota(scope, {})[0] == "quota", reply
        tree.limits[scope] = limits


def _fill(pool: Ledger, tree: Tree, rng: random.Random, most: int) -> list[Held]:
    """Allocations of random priorities, in random scopes, until little is left."""
    held: list[Held] = []
    for number in range(3 * most):
        amounts = {"cpu": rng.randint(1, 3)} if rng.random() < 0.6 else {"cpu": rng.randint(1, 2), "memory": 20}
        if rng.random() < 0.2:
            amounts = {"memory": rng.randint(10, 40)}
        name, scope, priority = f"h{number}", rng.choice(SCOPES if tree.limits else ("",)), rng.randint(-2, 2)
        reply = pool.allocate(
            pool.want(name, amounts, scope=scope, priority=priority, ttl=rng.choice([0, MINUTE * 60]))
        )
        if reply[0][0] == "granted":
            tree.live[name] = (scope, amounts)
            held.append(Held(name, priority, pool.now, scope, amounts))
        pool.now += rng.randint(0, 2)
        if len(held) == most:
            break
    return held


@pytest.mark.parametrize("quotas", [False, True], ids=["flat", "quotas"])
@pytest.mark.parametrize("seed", range(6))
def test_the_victims_are_those_of_the_model(newest: Ledger, seed: int, quotas: bool) -> None:
    """Enough, none too many, in the order of preference; none if all of them would not be enough."""
    rng = random.Random(f"{seed} {quotas}")
    for _ in range(6):
        newest.client.flushall()
        assert newest.create({"cpu": 10, "memory": 100})[0] == "created"
        tree = Tree({"cpu": 10, "memory": 100})
        if quotas:
            _set(newest, tree, rng)
        permit(newest, protect=3)
        held = _fill(newest, tree, rng, 8)
        for _ in range(8):
            scope = rng.choice(SCOPES if quotas else ("",))
            amounts = {"cpu": rng.randint(1, 6)} if rng.random() < 0.7 else {"cpu": 1, "memory": rng.randint(10, 90)}
            _compare(newest, tree, held, scope, amounts, rng.randint(-2, 3))


def _compare(pool: Ledger, tree: Tree, held: list[Held], scope: str, amounts: dict[str, int], priority: int) -> None:
    now = [
        Held(one.id, one.priority, one.granted_ms, one.scope, one.amounts, one.granted_ms + 3 <= pool.now)
        for one in held
    ]
    reply = pool.check(amounts, priority=priority, preempt=1, scope=scope)
    assert (reply[0] == "fits") == tree.fits(scope, amounts), (reply, tree)
    if reply[0] == "denied" and reply[1] != "capacity_exceeded":
        assert names(reply) == set()
        return
    taken = names(reply)
    assert taken == victims(tree, now, scope, amounts, priority), (tree, now, scope, amounts, priority)
    small = brute(tree, now, scope, amounts, priority)
    if reply[0] == "fits":
        assert not taken
    else:
        assert taken in small if small else not taken, (taken, small)


class _Story:
    """One pool through many calls; what happened is checked after each."""

    def __init__(self, pool: Ledger, seed: int) -> None:
        self.pool, self.rng = pool, random.Random(seed)
        self.names = 0
        self.waits: dict[str, Line] = {}
        self.before: set[str] = set()

    def name(self) -> str:
        self.names += 1
        return f"n{self.names}"

    def step(self) -> None:
        pool, rng = self.pool, self.rng
        what = rng.choice(
            ("grant", "grant", "grant", "wait", "wait", "hear", "hear", "hear", "hear", "release", "renew", "undo",
             "pass", "pass", "withdraw", "resize", "begin", "batch", "reclaim", "share"),
        )  # fmt: skip
        self.before = preempted(pool)
        getattr(self, what if what == "grant" else f"_{what}")()
        pool.epoch = ""

    def _request(self, **options: Any) -> Line:
        amounts = {"cpu": self.rng.randint(1, 5)}
        if self.rng.random() < 0.3:
            amounts["memory"] = self.rng.randint(1, 60)
        return self.pool.want(
            self.name(), amounts, priority=self.rng.randint(-3, 3), scope=self.rng.choice(("", "", "a", "a/x")),
            ttl=self.rng.choice([0, 20_000, 10 * MINUTE]), **options,
        )  # fmt: skip

    def _take(self, *lines: Line) -> None:
        for line, reply in zip(lines, self.pool.allocate(*lines), strict=True):
            if reply[0] == "waiting":
                self.waits[line.id] = line
            else:
                self.waits.pop(line.id, None)

    def grant(self) -> None:
        self._take(self._request())

    def _wait(self) -> None:
        self._take(self._request(wait=MINUTE, preempt=1))

    def _batch(self) -> None:
        self._take(*(self._request(wait=MINUTE, preempt=self.rng.randint(0, 1)) for _ in range(3)))

    def _share(self) -> None:
        name = self._some(live(self.pool))
        record = self.pool.record(name) if name else {}
        amounts = {key[:-10]: int(text) for key, text in record.items() if key.endswith(".allocated")}
        if name:
            self.pool.allocate(self.pool.want(name, amounts, ttl=2000, scope=record.get("account.1", "")[6:]))

    def _some(self, ids: Any) -> str:
        found = sorted(ids)
        return self.rng.choice(found) if found else ""

    def _hear(self) -> None:
        for name in sorted(self.waits):
            self._take(self.waits[name].again())

    def _release(self) -> None:
        if name := self._some(preempted(self.pool) or live(self.pool)):
            self.pool.release(name)

    def _renew(self) -> None:
        for name in sorted(live(self.pool)):
            reply = self.pool.renew(name)[0]
            record = self.pool.record(name)
            if "preempted_by" in record:
                assert reply == [
                    "preempted", int(record["deadline_ms"]), int(record["deadline_ms"]) - self.pool.now,
                    record["preempted_by"],
                ]  # fmt: skip

    def _undo(self) -> None:
        if name := self._some(self.waits):
            self.pool.undo((self.waits.pop(name).call, name))

    def _withdraw(self) -> None:
        if name := self._some(self.waits):
            self.pool.withdraw(name)
            del self.waits[name]

    def _pass(self) -> None:
        self.pool.now += self.rng.choice([1, 200, 500, 4000, GRACE])

    def _resize(self) -> None:
        if name := self._some(live(self.pool)):
            self.pool.resize(name, {"cpu": self.rng.randint(1, 4)})

    def _begin(self) -> None:
        if name := self._some(live(self.pool)):
            self.pool.begin_release(self.pool.begin_release_line(name, 4000))

    def _reclaim(self) -> None:
        self.pool.reclaim()

    def check(self) -> None:
        pool = self.pool
        check_pool(pool.client, pool.keys)
        assert pool.audit()[4] == 0, pool.audit()[8]
        for name in preempted(pool):
            record = pool.record(name)
            begun = int(record["releasing_ms"])
            assert begun - int(record["granted_ms"]) >= 100, "preempted within its protected time"
            assert int(record["deadline_ms"]) <= begun + GRACE or name in self.before
        for name in preempted(pool) - self.before:
            by = pool.record(name)["preempted_by"]
            rival = pool.waiter(by) or pool.record(by)
            assert int(rival.get("priority", "0")) > int(pool.record(name).get("priority", "0"))


@pytest.mark.parametrize("policy", ["contended", "strict", "best_effort"])
@pytest.mark.parametrize("seed", range(4))
def test_stories_keep_every_invariant(newest: Ledger, seed: int, policy: str) -> None:
    """Grants, waits, releases, undos, batches, time: with an audit after each step."""
    assert newest.create({"cpu": 10, "memory": 100})[0] == "created"
    assert newest.set_quota("a", {"cpu": (5, 3, 2)})[0] == "quota"
    assert newest.set_quota("a/x", {"cpu": (2, "-", 1)})[0] == "quota"
    permit(newest, protect=100, more=f"queue_policy={policy}")
    story = _Story(newest, seed)
    for _ in range(6):
        story.grant()
    for _ in range(70):
        story.step()
        story.check()
    assert "preempted" in newest.kinds
