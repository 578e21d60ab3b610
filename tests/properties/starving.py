"""Long random stories of a full pool: nobody waits longer than a bound that follows from the pool's policy.

Clients come, ask again, hold, give back, give up and die; the scripts are told what time it is.  The rules that are
watched are those of `starving_rules`.  `python -m tests.properties.starving --steps 100000 --seed 1` tells one of each.
"""

from __future__ import annotations

import argparse
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

from tests.properties.lines.run import LineLedger
from tests.properties.starving_rules import GRACE_MS, GUARANTEED, Client, Rules, Seen, Terms
from tests.properties.worlds.run import Wire
from tests.scripts.items import Line
from tests.scripts.quota_tree import Limit, Tree
from tests.support.servers import Server

__all__ = ["KINDS", "Story", "begin", "tell"]

CAPACITY: Final = {"cpu": 8, "memory": 8}

TTL_MS: Final = 15_000

PAUSES: Final = (0, 0, 0, 100, 300, 700, 1500)

ASKS_MS: Final = (800, 3400)
"""After which a client asks again: with the longest pause, within a heartbeat."""

LINE_MAX: Final = 10

LOOKED_EVERY: Final = 4
"""Steps between two looks at who could go."""

SUMMED_EVERY: Final = 50

SCOPES: Final = {
    GUARANTEED: {"cpu": Limit(3, None, 0)},
    "b": {"cpu": Limit(4, 4, None)},
    "b/x": {"cpu": Limit(2, None, None), "allocations": Limit(3000, 0, None)},
}
"""A guarantee; a share that is lent whole; one below it that has three allocations at most."""

KINDS: Final = tuple(
    Terms(policy, passes_max, wait_max, scopes)
    for policy in ("contended", "strict", "best_effort")
    for passes_max, wait_max, scopes in ((3, 600_000, False), (1000, 20_000, True))
)


@dataclass
class Story:
    """One pool, those who use it, and what was met."""

    ledger: LineLedger
    rng: random.Random
    rules: Rules
    clients: dict[str, Client] = field(default_factory=dict)
    """Those who wait, or hold."""
    met: Counter[str] = field(default_factory=Counter)
    came: int = 0

    # -- acts --------------------------------------------------------------------------------------------------------

    def step(self) -> None:
        """Time passes; who is due asks again, or something else happens."""
        self.ledger.now += self.rng.choice(PAUSES)
        due = [one for one in self.clients.values() if one.asks_at is not None and one.asks_at <= self.ledger.now]
        if due:
            self.ask(due)
            return
        self.met["steps_of_others"] += 1
        acts = [(60, self.come), (30, self.give_back), (3, self.give_up), (2, self.die), (5, self.probe)]
        if self.rules.terms.scopes:
            acts.append((3, self.come_as_the_owner))
        self.rng.choices([act for _, act in acts], [weight for weight, _ in acts])[0]()

    def come(self) -> None:
        """Many small requests, and some that need nearly all there is."""
        rng = self.rng
        if len(self.rules.seen.waiting) >= LINE_MAX:
            self.give_back()
            return
        amounts = rng.choice([{"cpu": 1}, {"cpu": 2}, {"memory": 1}, {"memory": 2}, {"cpu": 1, "memory": 2}])
        scope = rng.choice(["", "a", "b", "b/x"]) if self.rules.terms.scopes else ""
        if rng.random() < 0.12:
            amounts, scope = rng.choice([({"cpu": 5}, ""), ({"cpu": 4, "memory": 6}, ""), ({"memory": 7}, scope)])
        is_urgent = rng.random() < 0.04
        self._enter(amounts, scope, int(is_urgent), preempts=is_urgent and rng.random() < 0.5)

    def come_as_the_owner(self) -> None:
        """What others have of b's share is asked back."""
        tree = self.rules.tree
        left = (tree.limit("b", "cpu").nominal or 0) - tree.used("b", "cpu")
        if left > 0 and not any(one.is_owner for one in self.clients.values()):
            self._enter({"cpu": left}, "b", 9, preempts=True, is_owner=True)

    def _enter(self, amounts: dict[str, int], scope: str, priority: int, **says: bool) -> None:
        self.came += 1
        client = Client(f"r{self.came}", amounts, scope, priority, self.ledger.now, **says)
        client.line = self._line(client, wait=600_000)
        self.clients[client.id] = client
        self.rules.comes(client)
        self.ask([client])

    def _line(self, client: Client, *, wait: int) -> Line:
        call = client.line.call if client.line else ""
        return self.ledger.want(
            client.id, client.amounts, ttl=TTL_MS, scope=client.scope, wait=wait, priority=client.priority, call=call,
            preempt=int(client.preempts and wait > 0),
        )  # fmt: skip

    def ask(self, clients: list[Client]) -> None:
        """In one call."""
        now = self.ledger.now
        lines = [client.line for client in clients if client.line]
        self.ledger.allocate(*lines)
        replies = self.see()
        for client, reply in zip(clients, replies, strict=True):
            self.met[reply[0]] += 1
            client.asked = now
            client.asks_at = None if reply[0] in ("granted", "replayed") else now + self.rng.randint(*ASKS_MS)
            assert reply[0] in ("granted", "replayed", "waiting"), f"{client} is told {reply}"
        self.judge()

    def give_back(self) -> None:
        """One that knows that it has something."""
        mine = [one for one in self.clients.values() if one.asks_at is None and one.id in self.rules.seen.deadlines]
        if not mine:
            self.probe()
            return
        one = self.rng.choice(mine)
        self.ledger.release(one.id)
        self.see()
        self.judge(one.id)

    def give_up(self) -> None:
        """Its last try."""
        waiting = [one for one in self.clients.values() if one.id in self.rules.seen.waiting and one.alive]
        if not waiting:
            return
        one = self.rng.choice(waiting)
        self.ledger.allocate(self._line(one, wait=0))
        (reply,) = self.see()
        assert reply[0] in ("denied", "granted", "replayed"), f"{one} is told {reply}"
        one.asks_at, one.left = None, reply[0] == "denied"
        self.met["given_up"] += 1
        self.judge()

    def die(self) -> None:
        """It is not heard of any more."""
        waiting = [one for one in self.clients.values() if one.asks_at is not None]
        if waiting:
            one = self.rng.choice(waiting)
            one.asks_at, one.alive, one.is_owner = None, False, False
            self.met["died"] += 1

    def probe(self) -> None:
        """What is guaranteed and not used is there at once, if nobody waits for it."""
        rules = self.rules
        if not rules.terms.scopes or any(self.clients[name].scope == GUARANTEED for name in rules.seen.waiting):
            return
        amount = rules.unused(GUARANTEED)
        if amount > 0:
            self.ledger.check({"cpu": amount}, scope=GUARANTEED)
            reply = self.see()
            assert reply == ["fits"], f"{amount} is guaranteed to a, and it is told {reply}"
            self.met["guaranteed"] += 1

    # -- seeing ------------------------------------------------------------------------------------------------------

    def see(self) -> Any:
        """The reply to what was said, and what is stored after it."""
        wire, at = self.ledger.client, self.ledger.at
        wire.add("ZRANGE", at("waiting"), 0, -1)
        wire.add("ZRANGE", at("deadlines"), 0, -1, "WITHSCORES")
        wire.add("HMGET", at("pool"), "cpu.allocated", "memory.allocated", "waiting_first", "waiting_passes")
        reply, waiting, flat, fields = wire.send()
        deadlines = {name: int(score) for name, score in zip(flat[::2], flat[1::2], strict=True)}
        allocated = {"cpu": int(fields[0] or 0), "memory": int(fields[1] or 0)}
        self.rules.sees(self.ledger.now, Seen(waiting, deadlines, allocated, (fields[2] or "", int(fields[3] or 0))))
        assert not isinstance(reply, Exception), reply
        return reply

    def judge(self, released: str = "") -> None:
        """The rules; then who has left is forgotten."""
        rules = self.rules
        rules.judge(self.clients, released)
        self.met["judged"] += 1
        if self.met["judged"] % LOOKED_EVERY == 0:
            rules.look(self.clients)
        if self.met["judged"] % SUMMED_EVERY == 0:
            self._sum()
        seen = rules.seen
        for name in [name for name in self.clients if name not in seen.waiting and name not in seen.deadlines]:
            del self.clients[name]

    def _sum(self) -> None:
        tree, names = self.rules.tree, list(self.rules.tree.limits)
        for name in names:
            self.ledger.client.add("HMGET", self.ledger.at(f"quota:{name}"), "cpu.allocated", "cpu.kept")
        for name, fields in zip(names, self.ledger.client.send(), strict=True):
            found = [int(text or 0) for text in fields]
            wanted = [tree.allocated(name, "cpu"), tree.kept(name, "cpu")]
            assert found == wanted, f"{name} has {found}, and not {wanted}"


def begin(wire: Wire, terms: Terms, seed: int) -> Story:
    """An empty pool."""
    wire.add("FLUSHALL")
    ledger = LineLedger(wire)
    words = f"queue_policy={terms.policy} queue_passes_max={terms.passes_max} queue_wait_max_ms={terms.wait_max}"
    ledger.create(CAPACITY)
    ledger.configure("change", promises=f"{words} preemption=1 preempt_grace_ms={GRACE_MS}")
    limits = SCOPES if terms.scopes else {}
    for scope, shares in limits.items():
        whole = {name: (one.nominal, one.borrowing, one.lending) for name, one in shares.items()}
        ledger.set_quota(
            scope, {name: tuple("-" if part is None else part for part in one) for name, one in whole.items()}
        )
    made = [reply[0][0] for reply in wire.send()[1:]]
    assert made == ["created", "configured", *("quota" for _ in limits)], made
    return Story(ledger, random.Random(seed), Rules(terms, Tree(dict(CAPACITY), limits), TTL_MS))


def tell(wire: Wire, terms: Terms, seed: int, steps: int) -> Counter[str]:
    """One story; what was met, and the longest waits."""
    story = begin(wire, terms, seed)
    number = 0
    try:
        for number in range(steps):  # noqa: B007 - told if it fails
            story.step()
    except AssertionError as error:
        raise AssertionError(f"{terms}, seed {seed}, step {number}: {error}") from error
    return story.met + story.rules.met


def main() -> None:
    """Tell one of each kind."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with Server() as server:
        wire = Wire(server.socket)
        for terms in KINDS:
            print(terms, dict(tell(wire, terms, options.seed, options.steps)), flush=True)
        wire.close()


if __name__ == "__main__":
    main()
