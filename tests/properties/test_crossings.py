"""Random calls of all kinds on one pool, with everything that a pool can have: what must hold whatever crosses.

No model says what each call replies.  After each step the stored data are consistent, and an audit finds nothing; what
callers were told never exceeds what there was; and once everybody has left, nothing is left.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest
import redis

from tests.scripts.invariants import check_pool
from tests.scripts.items import Line
from tests.scripts.ledger import Ledger
from tests.support.servers import SessionServers, engines

STORIES: Final = 60
STEPS: Final = 60
IDS: Final = [f"id-{number}" for number in range(10)]
SCOPES: Final = ["", "", "a", "a/x", "a/y", "b"]
QUEUES: Final = ["", " queue_policy=strict", " queue_policy=best_effort", " queue_passes_max=2"]
PREEMPTION: Final = [
    "",
    " preemption=1 preempt_grace_ms=3000",
    " preemption=1 preempt_grace_ms=8000",
    " preemption=1 preempt_grace_ms=0 preempt_protect_ms=2000",
]
UNITS: Final = ["", " units=cpu:1:500:::,gpu:::1:6:1"]
ENDS: Final = ["", "", " max_lifetime_ms=30000"]
GRACE: Final = ["", "", " recovery_grace_ms=20000 max_ttl_ms=15000"]


class Story:
    """One pool, what was sent, and what was told."""

    def __init__(self, ledger: Ledger, seed: int) -> None:
        self.rng = rng = random.Random(seed)
        self.ledger, self.seed = ledger, seed
        self.sent: list[tuple[Line, Line, bool]] = []
        self.told: list[str] = []
        options = "".join(rng.choice(some) for some in (QUEUES, PREEMPTION, UNITS, ENDS, GRACE)).strip()
        self.graced = "recovery_grace" in options
        self.say(ledger.create({"cpu": 12, "gpu": 12}, promises=options), options)
        if rng.random() < 0.7:
            ledger.set_quota("a", {"cpu": (6, 2, 1), "gpu": (6, "-", 0), "allocations": (4000, "-", "-")})
            ledger.set_quota("a/x", {"cpu": (3, "-", 1), "gpu": (4, 4, 2)})
            ledger.set_quota("a/y", {"cpu": (2, 2, "-")})
            ledger.set_quota("b", {"gpu": (4, 0, 0)})
        self.scopes = SCOPES if ledger.list_quotas()[3:] else [""]
        self.overcommitted = False

    def say(self, reply: Any, *words: object) -> Any:
        self.told.append(f"{self.ledger.now % 10**7}: {' '.join(map(str, words))} -> {reply}"[:400])
        return reply

    # -- calls ---------------------------------------------------------------------------------------------------------

    def new(self) -> Line:
        rng, ledger = self.rng, self.ledger
        waits = rng.random() < 0.5
        names = rng.sample(["cpu", "gpu"], rng.randint(1, 2))
        resources = {name: rng.choice([1, 2, 3, 4, 5, 6]) for name in names}
        options: dict[str, Any] = {
            "ttl": rng.choice([2000, 5000, 15_000] if self.graced else [0, 0, 5000, 20_000, 60_000]),
            "owner": rng.choice(["me", "me", "you"]),
            "scope": rng.choice(self.scopes),
            "priority": rng.choice([0, 1, 5, 5] if waits else [None, None, -3, -3, 1]),
            "lifetime": rng.choice([0, 0, 0, 4000, 20_000]),
            "exclusive": rng.random() < 0.1,
            "call": ledger.new_call(),
        }
        identity = rng.choice(IDS)
        last = ledger.want(identity, resources, **options)
        if not waits:
            self.sent.append((last, last, False))
            return last
        line = ledger.want(identity, resources, wait=60_000, preempt=int(rng.random() < 0.5), **options)
        self.sent.append((line, last, True))
        return line

    def again(self) -> Line:
        line, last, _ = self.rng.choice(self.sent[-30:])
        return (last if self.rng.random() < 0.2 else line).again()

    def items(self, most: int) -> list[Line]:
        rng = self.rng
        return [self.again() if self.sent and rng.random() < 0.5 else self.new() for _ in range(rng.randint(1, most))]

    def allocate(self) -> None:
        lines = self.items(self.rng.choice([1, 1, 2, 4]))
        replies = self.ledger.allocate(*lines)
        self.say([reply[:2] for reply in replies], "allocate", [(line.id, line.call) for line in lines])

    def allocate_all(self) -> None:
        lines = [line for line in self.items(3) if "wait" not in line.words]
        if lines:
            replies = self.ledger.allocate(*lines, atomic=1)
            self.say([reply[:2] for reply in replies], "all of", [(line.id, line.call) for line in lines])

    def hear(self) -> None:
        calls = {self.ledger.waiter(name)["call"] for name in self.ledger.waiting}
        lines = [line.again() for line, _, waits in self.sent if waits and line.call in calls]
        self.rng.shuffle(lines)
        if lines:
            replies = self.ledger.allocate(*lines)
            self.say([reply[:2] for reply in replies], "hear", [line.id for line in lines])

    def live(self) -> list[str]:
        return [*self.ledger.index("deadlines"), *self.ledger.index("pinned")]

    def some(self) -> str:
        return self.rng.choice([*self.live(), *IDS[:2]])

    def act(self) -> None:
        rng, ledger = self.rng, self.ledger
        acts: list[tuple[int, str, Callable[[], Any]]] = [
            (4, "release", lambda: ledger.release(self.some(), self.some())),
            (3, "renew", lambda: ledger.renew(self.some(), self.some())),
            (2, "shorten", lambda: ledger.renew(ledger.renew_line(self.some(), ttl=1500, shorten=1))),
            (3, "resize", self.resize),
            (2, "move", lambda: ledger.move(self.some(), rng.choice(self.scopes))),
            (2, "begin", lambda: ledger.begin_release(ledger.begin_release_line(self.some(), rng.choice([500, 5000])))),
            (2, "reclaim", lambda: ledger.reclaim(age=rng.choice([None, None, 5000]))),
            (2, "withdraw", lambda: ledger.withdraw(rng.choice([*ledger.waiting, "nobody"]))),
            (2, "undo", lambda: ledger.undo(*((line.call, line.id) for line, _, _ in rng.sample(self.sent, 1)))),
            (1, "reconcile", self.reconcile),
            (1, "configure", self.configure),
            (1, "check", lambda: ledger.check({"cpu": 3}, priority=2, preempt=1, explain=1)),
            (1, "list", lambda: ledger.list_waiters(starts=1)),
            (1, "repair", ledger.repair),
        ]  # fmt: skip
        _, name, call = rng.choices(acts, [weight for weight, _, _ in acts])[0]
        if self.sent or name != "undo":
            self.say(call(), name)

    def resize(self) -> Any:
        return self.ledger.resize(self.some(), {self.rng.choice(["cpu", "gpu"]): self.rng.choice([0, 1, 2, 4, 8])})

    def reconcile(self) -> Any:
        held = [(name, int(self.ledger.record(name)["fence"])) for name in self.live()[:3]]
        return self.ledger.reconcile(*held, owner="you", as_of=self.ledger.now)

    def configure(self) -> Any:
        reply = self.ledger.configure("change", {self.rng.choice(["cpu", "gpu"]): self.rng.choice([12, 12, 10, 16])})
        # Lowering ends nothing.
        account = self.ledger.account
        above = [
            name for name in ("cpu", "gpu") if int(account[f"{name}.allocated"]) > int(account[f"{name}.capacity"])
        ]
        self.overcommitted = self.overcommitted or bool(above)
        return reply

    def step(self) -> None:
        rng = self.rng
        self.ledger.now += rng.choice(
            [0, 0, 0, 1, 100, 400, 1000, 2500, 6000] + [rng.choice([16_000, 90_000])] * (rng.random() < 0.2)
        )
        call = rng.choices([self.allocate, self.allocate_all, self.hear, self.act], [6, 1, 5, 5])[0]
        call()
        check_pool(self.ledger.client, self.ledger.keys, overcommitted=True)
        if not self.overcommitted:
            self.within()
        assert self.ledger.audit()[4] == 0, self.ledger.audit()

    def within(self) -> None:
        """Nothing beyond what the pool gives out."""
        account = self.ledger.account
        for name in ("cpu", "gpu"):
            assert int(account[f"{name}.allocated"]) <= int(account[f"{name}.capacity"]), account

    def end(self) -> None:
        for name in self.ledger.waiting:
            self.say(self.ledger.withdraw(name), "withdraw", name)
        for name in self.live():
            self.say(self.ledger.release(name), "release", name)
        for name in self.ledger.waiting:
            self.ledger.withdraw(name)
        for name in self.live():
            self.ledger.release(name)
        account = self.ledger.account
        assert not self.live()
        assert not [key for key in account if key.startswith("waiting_") and key != "waiting_count"], account
        assert all(account[f"{name}.allocated"] == "0" for name in ("cpu", "gpu")), account
        check_pool(self.ledger.client, self.ledger.keys)


def tell(ledger: Ledger, seed: int, steps: int = STEPS) -> None:
    """One story; an error has the steps that led to it."""
    story = Story(ledger, seed)
    try:
        for _ in range(steps):
            story.step()
        story.end()
    except (AssertionError, redis.ResponseError, KeyError) as error:
        raise AssertionError("\n".join([f"seed {seed}", *story.told[-14:], repr(error)])) from error


@pytest.fixture
def newest(servers: SessionServers) -> Iterator[Ledger]:
    """A pool on the newest engine."""
    client = redis.Redis(unix_socket_path=servers.get(engines()[0]).socket, decode_responses=True)
    yield Ledger(client)
    client.close()


@pytest.mark.parametrize("group", range(6))
def test_whatever_crosses_the_ledger_stays_whole(newest: Ledger, group: int) -> None:
    """The same stories in every run."""
    for seed in range(group * STORIES // 6, (group + 1) * STORIES // 6):
        newest.client.flushall()
        tell(Ledger(newest.client), seed)
