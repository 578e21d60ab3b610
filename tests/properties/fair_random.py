"""Random stories of a pool whose scopes have weights, told to the scripts and to the rule.

After each call: of those who were granted, each had the smallest share over its weight among those who waited with the
highest priority, but for what it has used since its place was taken: at most one heartbeat of use.
`python -m tests.properties.fair_random --stories 1000 --seed 1` tells more of them than the suite.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

import redis

from tests.properties.fair_model import FairShare, Sharer
from tests.scripts.invariants import check_pool
from tests.scripts.ledger import Ledger, Line
from tests.support.servers import SessionServers, engines

__all__ = ["HALF_LIFE_MS", "Story", "begin", "tell"]

HALF_LIFE_MS: Final = 60_000
"""The shortest that a pool may have: places are the least exact."""

WEIGHTS: Final = {"": 1, "a": 1, "b": 2, "b/x": 2, "c": 4}
"""The scope of a request, and the weight that counts for it; `b/x` has none itself."""

CAPACITY: Final = 10
SHARE: Final = 1_000_000 // CAPACITY
STEPS: Final = 40
HEARD_MS: Final = 5_000
ROUNDING: Final = 1.00001
"""A place has steps of 2^(1/262144)."""


@dataclass
class Waiter:
    """Who waits, by arrival."""

    line: Line
    sharer: str
    priority: int


@dataclass
class Story:
    """One pool, and what each scope is due in it."""

    ledger: Ledger
    model: FairShare
    rng: random.Random
    waiting: dict[str, Waiter] = field(default_factory=dict)
    claims: dict[str, Line] = field(default_factory=dict)
    heard: int = 0
    drawn: int = 0
    most: float = 0.0
    """By how much the share of one that was granted was above the smallest, in allocations."""

    # -- acts ----------------------------------------------------------------------------------------------------------

    def step(self) -> None:
        act = self.rng.choices([self.ask, self.release, self.rest, self.leave, self.move], [6, 5, 4, 1, 1])[0]
        act()

    def ask(self, scopes: Iterable[str] = (), priority: int | None = None) -> None:
        """New requests, in one call."""
        rng, lines = self.rng, list[tuple[Line, Waiter]]()
        for scope in scopes or rng.choices(list(WEIGHTS), k=rng.randint(1, 4)):
            self.drawn += 1
            rank = rng.choice([0, 0, 0, 1]) if priority is None else priority
            name = f"id-{self.drawn}"
            line = self.ledger.want(name, {"cpu": 1}, ttl=0, scope=scope, wait=60_000, priority=rank or None)
            lines.append((line, Waiter(line, "b" if scope == "b/x" else scope, rank)))
        for reply, (line, waiter) in zip(self.ledger.allocate(*[line for line, _ in lines]), lines, strict=True):
            if reply[0] == "granted":
                assert len(self.model.allocations) < CAPACITY, reply
                self.model.grant(line.id, waiter.sharer, SHARE)
            else:
                assert reply[0] == "waiting", reply
                self.waiting[line.id] = waiter
        self.judge()

    def release(self, names: Iterable[str] = ()) -> None:
        live = sorted(self.model.allocations)
        names = list(names) or self.rng.sample(live, min(len(live), self.rng.choice([1, 1, 2, 4])))
        if names:
            self.ledger.release(*names)
            for name in names:
                self.model.end(name)
            self.judge()

    def rest(self, ms: int | None = None) -> None:
        """Time passes; those who wait ask again at least each five seconds."""
        pause = self.rng.choice([1, 700, HEARD_MS]) if ms is None else ms
        if self.ledger.now + pause - self.heard > HEARD_MS:
            self.hear()
        self.model.pass_time(pause)
        self.ledger.now += pause
        if self.rng.random() < 0.5:
            self.hear()

    def hear(self) -> None:
        if self.waiting:
            replies = self.ledger.allocate(*(one.line.again() for one in self.waiting.values()))
            assert {reply[0] for reply in replies} == {"waiting"}, replies
        self.heard = self.ledger.now

    def leave(self) -> None:
        names = self.rng.sample(sorted(self.waiting), min(2, len(self.waiting)))
        if names:
            self.ledger.withdraw(*names)
            for name in names:
                del self.waiting[name]
            self.judge()

    def move(self) -> None:
        """An allocation is charged to another scope."""
        name = next(iter(sorted(self.model.allocations)), "")
        if name:
            scope = self.rng.choice(list(WEIGHTS))
            assert self.ledger.move(name, scope)[0] == "moved"
            self.model.end(name)
            self.model.grant(name, "b" if scope == "b/x" else scope, SHARE)
            self.judge()

    # -- judging -------------------------------------------------------------------------------------------------------

    def judge(self) -> None:
        """Each grant was the next one's that the rule names, at that instant."""
        still = set(self.ledger.waiting)
        gone = [name for name in self.waiting if name not in still]
        fences = {name: int(self.ledger.record(name)["fence"]) for name in gone}
        for name in sorted(gone, key=fences.__getitem__):
            self._judge_one(name)
        if gone:
            replies = self.ledger.allocate(*(self.claims.pop(name).again() for name in gone))
            assert {reply[0] for reply in replies} == {"replayed"}, replies
        assert not self.waiting or len(self.model.allocations) == CAPACITY, "somebody waits while there is room"

    def _judge_one(self, name: str) -> None:
        waiter = self.waiting[name]
        rivals = [one for one in self.waiting.values() if one.priority == waiter.priority]
        assert waiter.priority == max(one.priority for one in self.waiting.values()), f"{name}: of low priority"
        first = next(one for one in rivals if one.sharer == waiter.sharer)
        assert first is waiter, f"{name} goes before {first.line.id}, which came earlier"
        load, best = self.model.load(waiter.sharer), self.model.best({one.sharer for one in rivals})
        loads = {one: self.model.load(one) for one in self.model.sharers}
        unseen = self.model.unseen(waiter.sharer, self.ledger.now - self.heard)
        assert load <= best * ROUNDING + unseen + 1e-6, f"{name} of {waiter.sharer!r}: {loads}"
        self.most = max(self.most, (load - best) / SHARE)
        del self.waiting[name]
        self.claims[name] = waiter.line
        self.model.grant(name, waiter.sharer, SHARE)

    def end(self) -> None:
        """What is stored is what was used; the invariants; and nothing is left once everybody has gone."""
        ledger = self.ledger
        for name, one in self.model.sharers.items():
            fields = ledger.client.hgetall(f"{ledger.keys.base}quota:{name}") if name else ledger.account
            kept = 0.5 ** ((ledger.now - int(fields.get("used_ms", ledger.now))) / HALF_LIFE_MS)
            live = int(fields.get("live_share", 0))
            assert live == one.live, f"{name!r}: {fields}, {one}"
            assert abs(float(fields.get("used_share", 0)) * kept + live * (1 - kept) - one.used) < 1e-3, f"{name!r}"
        check_pool(ledger.client, ledger.keys)
        assert ledger.audit()[4] == 0, ledger.audit()
        if self.waiting:
            ledger.withdraw(*self.waiting)
        assert not [key for key in ledger.client.scan_iter(count=1000) if "wait" in key]


def begin(ledger: Ledger, seed: int = 0, weights: dict[str, int] | None = None) -> Story:
    """A pool of ten cores; the scope `b/x` has no weight itself."""
    given = {name: weight for name, weight in WEIGHTS.items() if name and name != "b/x"} | (weights or {})
    assert ledger.create({"cpu": CAPACITY})[0] == "created"
    assert ledger.configure("change", promises=f"queue_half_life_ms={HALF_LIFE_MS}")[0] == "configured"
    for name, weight in given.items():
        assert ledger.set_quota(name, {}, weight=weight)[0] == "quota"
    assert ledger.set_quota("b/x", {"cpu": (CAPACITY, 0, "-")})[0] == "quota"
    model = FairShare(HALF_LIFE_MS, {"": Sharer(1)} | {name: Sharer(weight) for name, weight in given.items()})
    return Story(ledger, model, random.Random(seed), heard=ledger.now)


def tell(ledger: Ledger, seed: int, steps: int = STEPS) -> Story:
    """One story."""
    story = begin(ledger, seed)
    try:
        for _ in range(steps):
            story.step()
        story.end()
    except (AssertionError, redis.ResponseError, KeyError) as error:
        raise AssertionError(f"seed {seed}: {error!r}") from error
    return story


def main() -> None:
    """Tell many."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--stories", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=STEPS)
    options = parser.parse_args()
    servers = SessionServers()
    most = 0.0
    try:
        client = redis.Redis(unix_socket_path=servers.get(engines()[0]).socket, decode_responses=True)
        for seed in range(options.seed, options.seed + options.stories):
            client.flushall()
            most = max(most, tell(Ledger(client), seed, options.steps).most)
    finally:
        servers.close()
    print(f"the share of one that was granted was at most {most:.4f} allocations above the smallest")


if __name__ == "__main__":
    main()
