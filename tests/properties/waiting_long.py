"""Random stories of lines that are longer than what one call looks at: the rules that hold there, too.

Nobody is granted who competes with one before it that was short of the same all the time; nothing is granted twice or
lost; and once all have asked again a few times, nobody waits who could go.
"""

from __future__ import annotations

import argparse
import contextlib
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from unittest import mock

import redis

from allocator._engine.protocol import schema, scripts
from allocator._engine.protocol.scripts import Script
from tests.scripts.invariants import check_pool
from tests.scripts.ledger import Ledger, Line
from tests.support.servers import SessionServers, engines

__all__ = ["LOOKED", "bounded", "tell"]

LOOKED = 3
"""Waiters that one call looks at here."""

HEARD_MS = 15_000
IDS = [f"id-{number}" for number in range(18)]


@contextlib.contextmanager
def bounded(**bounds: int) -> Iterator[None]:
    """The scripts with other bounds."""
    made: dict[str, Script] = {}

    def load(name: str) -> Script:
        if name not in made:
            made[name] = original(name)
        return made[name]

    original = scripts.load.__wrapped__
    with mock.patch.dict(schema.LIMITS, bounds), mock.patch.object(scripts, "load", load):
        yield


@dataclass(frozen=True)
class Place:
    """One who waits, as it is stored."""

    call: str
    place: float
    amounts: dict[str, int]
    heard: int


@dataclass
class LongStory:
    """One pool, its policy, and what was sent."""

    ledger: Ledger
    rng: random.Random
    policy: str
    sent: dict[str, tuple[Line, Line, int]] = field(default_factory=dict)
    told: list[str] = field(default_factory=list)

    def line(self) -> dict[str, Place]:
        found: dict[str, Place] = {}
        for name, place in self.ledger.client.zrange(f"{self.ledger.keys.base}waiting", 0, -1, withscores=True):
            entry = self.ledger.waiter(name)
            amounts = {key[10:]: int(text) for key, text in entry.items() if key.startswith("requested.")}
            found[name] = Place(entry["call"], place, amounts, int(entry["heard_ms"]))
        return found

    def live(self) -> dict[tuple[str, str], dict[str, int]]:
        """By id and fence."""
        found: dict[tuple[str, str], dict[str, int]] = {}
        for name in [*self.ledger.index("deadlines"), *self.ledger.index("pinned")]:
            record = self.ledger.record(name)
            amounts = {key[:-10]: int(text) for key, text in record.items() if key.endswith(".allocated")}
            found[name, record["fence"]] = amounts
        return found

    def arrive(self) -> None:
        lines = []
        for _ in range(self.rng.choice([1, 1, 2, 6])):
            identity, priority = self.rng.choice(IDS), self.rng.choice([0, 0, 0, 1, -1])
            names = self.rng.sample(["cpu", "gpu", "memory"], self.rng.randint(1, 2))
            amounts = {name: self.rng.randint(1, 6) for name in names}
            wait = 60_000 if self.rng.random() < 0.9 else 0
            line = self.ledger.want(identity, amounts, ttl=self.rng.choice([0, 60_000]), wait=wait, priority=priority)
            last = self.ledger.want(identity, amounts, priority=priority, call=line.call)
            self.sent[line.call] = (line, last, priority)
            lines.append(line)
        self.ask(lines)

    def ask(self, lines: list[Line]) -> None:
        if lines:
            replies = self.ledger.allocate(*lines)
            said = [(line.id, line.call, reply[0]) for line, reply in zip(lines, replies, strict=True)]
            self.told[-1] += f"allocate {said}"

    def hear(self) -> None:
        waiting = [one.call for one in self.line().values()]
        calls = self.rng.sample(waiting, self.rng.randint(0, len(waiting)))
        lines = [self.sent[call][1 if self.rng.random() < 0.05 else 0].again() for call in calls]
        if self.rng.random() < 0.5:
            self.ask(lines)
        else:
            for line in lines:
                self.watch(lambda line=line: self.ask([line]))  # type: ignore[misc]

    def release(self) -> None:
        names = sorted({name for name, _ in self.live()})
        if names:
            some = self.rng.sample(names, min(len(names), self.rng.randint(1, 3)))
            self.told[-1] += f"release {some}"
            self.ledger.release(*some)

    def leave(self) -> None:
        waiting = self.line()
        if waiting:
            name = self.rng.choice(sorted(waiting))
            self.told[-1] += f"leave {name}"
            if self.rng.random() < 0.5:
                self.ledger.withdraw(name)
            else:
                self.ledger.undo((waiting[name].call, name))

    def step(self) -> None:
        self.ledger.now += self.rng.choice([0, 0, 100, 1_000, 3_000])
        self.told.append("")
        act = self.rng.choice([self.arrive, self.arrive, self.hear, self.hear, self.release, self.release, self.leave])
        self.watch(act)
        check_pool(self.ledger.client, self.ledger.keys)

    def watch(self, act: object) -> None:
        """Who was granted has passed nobody whom it competes with."""
        before, live = self.line(), self.live()
        act()  # type: ignore[operator]
        after, now = self.line(), self.live()
        granted = {one: amounts for one, amounts in now.items() if one not in live}
        if not granted or self.policy == "best_effort":
            return
        account = self.ledger.account
        room = {name: 10 - int(account[f"{name}.allocated"]) for name in ("cpu", "gpu", "memory")}
        for amounts in granted.values():
            for name, amount in amounts.items():
                room[name] += amount
        stayed = {
            name: one for name, one in before.items()
            if name in after and after[name].call == one.call and one.heard + HEARD_MS > self.ledger.now
        }  # fmt: skip
        for (name, _), amounts in granted.items():
            call = self.ledger.record(name)["call"].split()[0]
            place = before[name].place if name in before and before[name].call == call else None
            limit = (1000 - self.sent[call][2] + 1) * 4398046511104
            for other, one in stayed.items():
                if one.place >= (limit if place is None else place):
                    continue
                lacks = {what for what, amount in one.amounts.items() if amount > room[what]}
                assert self.policy != "strict" or not lacks, f"{name} passed {other} in a strict line"
                assert not lacks & amounts.keys(), f"{name} took {lacks & amounts.keys()} that {other} is short of"

    def settle(self) -> None:
        """All ask again; then nobody waits who could go."""
        self.told.append("settle ")
        for _ in range(4 + 2 * len(IDS) // LOOKED):
            self.ledger.now += 1_000
            for one in self.line().values():
                self.ask([self.sent[one.call][0].again()])
        account = self.ledger.account
        room = {name: 10 - int(account[f"{name}.allocated"]) for name in ("cpu", "gpu", "memory")}
        lacked: set[str] = set()
        for number, (name, one) in enumerate(self.line().items()):
            lacks = {what for what, amount in one.amounts.items() if amount > room[what]}
            free = self.policy == "best_effort" or not lacked & one.amounts.keys()
            assert lacks or not free or (self.policy == "strict" and number), f"{name} waits, and could go"
            lacked |= lacks


def tell(ledger: Ledger, seed: int, steps: int = 40) -> None:
    """One story; an error has the steps that led to it."""
    rng = random.Random(seed)
    policy = rng.choice(["contended", "contended", "best_effort", "strict"])
    ledger.create({"cpu": 10, "gpu": 10, "memory": 10})
    ledger.configure("change", promises=f"queue_policy={policy}")
    story = LongStory(ledger, rng, policy)
    try:
        for _ in range(steps):
            story.step()
        story.settle()
        ledger.epoch = ""
        assert ledger.audit()[4] == 0
    except (AssertionError, redis.ResponseError, KeyError) as error:
        raise AssertionError("\n".join([f"seed {seed}: {policy}", *story.told[-12:], repr(error)])) from error


def main() -> None:
    """Tell many."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--stories", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    servers = SessionServers()
    try:
        client = redis.Redis(unix_socket_path=servers.get(engines()[0]).socket, decode_responses=True)
        with bounded(WAITERS_LOOKED_MAX=LOOKED):
            for seed in range(options.seed, options.seed + options.stories):
                client.flushall()
                tell(Ledger(client), seed)
        print(options.stories, "told")
    finally:
        servers.close()


if __name__ == "__main__":
    main()
