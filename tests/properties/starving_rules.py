"""What holds of a full pool for as long as one looks: nobody starves, victims have their grace, guarantees are kept.

The bound of a wait follows from the policy.  The first in line is passed `passes_max` times at most, and not at all
after `wait_max`; from then on all that is given back is kept for it, and nobody holds anything longer than `hold_ms`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from tests.properties.waiting_order import Asked, Order, Waiter
from tests.scripts.items import Line
from tests.scripts.quota_tree import Tree

__all__ = ["CLAIM_MS", "GRACE_MS", "Client", "Rules", "Seen", "Terms"]

HEARTBEAT_MS: Final = 5000
"""Within which each client asks again."""

CLAIM_MS: Final = 15_000
"""For which a grant from the line is kept."""

SILENT_MS: Final = 15_000

GRACE_MS: Final = 3000

GUARANTEED: Final = "a"
"""The scope whose guarantee passes everybody."""


@dataclass(frozen=True)
class Terms:
    """A pool's policy, and whether it has scopes."""

    policy: str
    passes_max: int
    wait_max: int
    scopes: bool


@dataclass
class Client:
    """One request; `asks_at`: when its client asks again, None: it holds, or is dead."""

    id: str
    amounts: dict[str, int]
    scope: str
    priority: int
    came: int
    preempts: bool = False
    is_owner: bool = False
    line: Line | None = None
    asks_at: int | None = None
    asked: int = 0
    alive: bool = True
    left: bool = False
    ahead: int = 0
    """How many have ever stood before it."""

    def __str__(self) -> str:
        return f"{self.id} ({self.amounts} in {self.scope or 'no scope'}, priority {self.priority})"


@dataclass
class Seen:
    """What is stored after a call: who waits in order, who holds until when, and who was passed."""

    waiting: list[str] = field(default_factory=list)
    deadlines: dict[str, int] = field(default_factory=dict)
    allocated: dict[str, int] = field(default_factory=dict)
    passed: tuple[str, int] = ("", 0)


@dataclass
class Rules:
    """Looks at each call of one pool."""

    terms: Terms
    tree: Tree
    ttl: int
    now: int = 0
    was: Seen = field(default_factory=Seen)
    seen: Seen = field(default_factory=Seen)
    first: tuple[str, int, int] = ("", 0, 0)
    """Who is the first that is heard, since when, and how often it was passed since then."""
    could: dict[str, int] = field(default_factory=dict)
    """Who could go, and since when."""
    victims: dict[str, int] = field(default_factory=dict)
    """Until when each has its grace."""
    waiting: dict[str, Client] = field(default_factory=dict)
    met: Counter[str] = field(default_factory=Counter)

    @property
    def hold_ms(self) -> int:
        """From a grant until its room is free again: what is not asked for lapses, and each lapse is noticed."""
        return max(CLAIM_MS, HEARTBEAT_MS + self.ttl) + HEARTBEAT_MS

    @property
    def first_ms(self) -> int:
        """For how long anybody is the first."""
        return min(self.terms.wait_max, self.terms.passes_max * self.hold_ms) + 2 * self.hold_ms

    def comes(self, client: Client) -> None:
        """It takes its place."""
        for name in self.seen.waiting:
            other = self.waiting[name]
            if other.priority >= client.priority:
                client.ahead += 1
            else:
                other.ahead += 1

    def sees(self, now: int, seen: Seen) -> None:
        """After a call."""
        self.was, self.seen, self.now = self.seen, seen, now

    def unused(self, scope: str) -> int:
        """What is guaranteed to a scope and not used."""
        return self.tree.limit(scope, "cpu").guaranteed - self.tree.used(scope, "cpu")

    # -- after each call ---------------------------------------------------------------------------------------------

    def judge(self, clients: Mapping[str, Client], released: str = "") -> None:
        """What the call may have done."""
        was, seen = self.was, self.seen
        both = seen.deadlines.keys() & set(seen.waiting)
        assert not both, f"{both} wait and are granted"
        self.waiting = {name: clients[name] for name in seen.waiting}
        self._ends(released)
        granted = [clients[name] for name in seen.deadlines.keys() - was.deadlines.keys()]
        self._passes(clients, granted)
        for client in granted:
            self.tree.live[client.id] = (client.scope, client.amounts)
            self._waited(client)
        for name, capacity in self.tree.capacity.items():
            held = self.tree.allocated("", name)
            assert seen.allocated[name] == held <= capacity, f"{name}: {seen.allocated[name]}, and not {held}"
        gone = set(was.waiting) - set(seen.waiting) - seen.deadlines.keys()
        for client in (clients[name] for name in gone):
            assert client.left or client.asked + SILENT_MS <= self.now, f"{client} has left the line"

    def _ends(self, released: str) -> None:
        """Nothing ends before its time; a victim has its grace."""
        for name, deadline in self.was.deadlines.items():
            after = self.seen.deadlines.get(name)
            if after is None:
                assert name == released or deadline <= self.now, f"{name} ended {deadline - self.now} ms too early"
                assert name == released or self.victims.get(name, 0) <= self.now, f"{name} had no grace"
                self.met["victims_gone"] += name in self.victims
                self.victims.pop(name, None)
                del self.tree.live[name]
            elif after < deadline or (after != deadline and name in self.victims):
                assert name not in self.victims, f"{name} is preempted twice"
                assert after == self.now + GRACE_MS, f"{name} has {after - self.now} ms of grace"
                self.victims[name] = after
                self.met["preempted"] += 1

    def _waited(self, client: Client) -> None:
        """It was granted, or still waits."""
        waited = self.now - client.came
        assert waited <= (1 + client.ahead) * self.first_ms, f"{client} waits for {waited} ms behind {client.ahead}"
        if client.is_owner:
            most = GRACE_MS + CLAIM_MS + 2 * HEARTBEAT_MS
            assert waited <= most, f"{client}, whose share it is, waits for {waited} ms"
            self.met["owners"] += client.id in self.seen.deadlines
        self.met["longest_ms"] = max(self.met["longest_ms"], waited)

    def _heard(self, name: str) -> bool:
        return self.waiting[name].asked + SILENT_MS > self.now

    def _passes(self, clients: Mapping[str, Client], granted: list[Client]) -> None:
        """The first is not passed too often, nor is it the first for too long."""
        now_first = next((name for name in self.seen.waiting if self._heard(name)), "")
        name, since, passes = self.first
        if now_first != name:
            self.first = (now_first, self.now, 0)
            return
        if not name:
            return
        first = clients[name]
        behind = [one for one in granted if one.priority < first.priority or self._is_later(one, first)]
        passes += len(behind)
        self.first = (name, since, passes)
        if first.came + self.terms.wait_max <= self.now:
            uncovered = [str(one) for one in behind if one.scope != GUARANTEED]
            assert not uncovered, f"{first} waits for {self.now - first.came} ms and is passed by {uncovered}"
        assert self.now - since <= self.first_ms, f"{first} is the first for {self.now - since} ms"
        assert self.terms.scopes or passes <= self.terms.passes_max, f"{first} was passed {passes} times"
        self.met["most_passes"] = max(self.met["most_passes"], passes)
        self.met["first_longest_ms"] = max(self.met["first_longest_ms"], self.now - since)
        for one in self.waiting.values():
            if one.alive:
                self._waited(one)

    @staticmethod
    def _is_later(one: Client, first: Client) -> bool:
        return one.priority == first.priority and int(one.id[1:]) > int(first.id[1:])

    # -- now and then ------------------------------------------------------------------------------------------------

    def look(self, clients: Mapping[str, Client]) -> None:
        """Nobody could go for longer than a heartbeat."""
        free = self._free(clients)
        self.could = {name: self.could.get(name, self.now) for name in free}
        for name, since in self.could.items():
            assert self.now - since <= HEARTBEAT_MS, f"{clients[name]} could go for {self.now - since} ms"
        self.met["could"] += len(free)

    def _free(self, clients: Mapping[str, Client]) -> list[str]:
        """Who waits and could have what it asks for, by the rules as people read them."""
        order = Order(self.tree, self.terms.policy, self.terms.passes_max, self.terms.wait_max, now=self.now)
        counters: set[tuple[str, str]] = set()
        accounts: set[str] = set()
        free = []
        passes = self.seen.passed[1]
        for number, name in enumerate(name for name in self.seen.waiting if self._heard(name)):
            one = clients[name]
            taken = set(order.touches(one.scope, one.amounts))
            held = taken & counters or any(
                account in accounts and (what != "allocations" or order.counts(account)) for account, what in taken
            )
            if not held and self.tree.fits(one.scope, one.amounts) and one.alive:
                free.append(name)
            order.line = [Waiter(Asked(one.id, "", one.amounts, scope=one.scope), 0, one.came, one.asked)]
            order.passed = (name, passes) if self.seen.passed[0] == name else ("", 0)
            more, whole = order.held_back(order.line) if number == 0 else self._held_back(order, one)
            counters |= more | (set(order.lacking(one.scope, one.amounts)) if one.preempts else set())
            accounts |= whole
        return free

    def _held_back(self, order: Order, one: Client) -> tuple[set[tuple[str, str]], set[str]]:
        """By one that is not the first."""
        accounts = set(order.chain(one.scope)) if self.terms.policy == "strict" else set()
        counters = set(order.lacking(one.scope, one.amounts)) if self.terms.policy == "contended" else set()
        return counters, accounts
