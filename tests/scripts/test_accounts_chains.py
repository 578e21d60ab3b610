"""Random chains of accounts and batches against a model of a few lines: all accounts or none, in every order."""

from __future__ import annotations

import random
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any, Final

import pytest

from tests.scripts import accounts
from tests.scripts.invariants import check_pool
from tests.scripts.ledger import MINUTE, Ledger
from tests.scripts.ordinary import TEAM

NAMES: Final = (*TEAM, "reservation:team-b/bob", "node:n2", "node:n3")
"""Those that exist, one that is made in the midst of it, and two that never are."""

LATER: Final = "node:n2"

UNLIMITED: Final = 2**53 - 1


@dataclass
class Want:
    """What is asked for."""

    id: str
    amounts: dict[str, int]
    accounts: tuple[str, ...]
    ttl: int


@dataclass
class Live:
    """What was granted: the accounts are those that it was charged to, the pool last."""

    amounts: dict[str, int]
    accounts: list[str]
    deadline: int | None


@dataclass
class Model:
    """Accounts that are charged together.  The pool is the account ''."""

    capacity: dict[str, dict[str, int]]
    live: dict[str, Live] = field(default_factory=dict)
    now: int = 0

    def allocated(self, name: str) -> dict[str, int]:
        sums: dict[str, int] = defaultdict(int)
        for one in self.live.values():
            for resource, amount in one.amounts.items() if name in one.accounts else ():
                sums[resource] += amount
        return dict(sums)

    def short(self, charged: list[str], growth: dict[str, int]) -> str | None:
        """The first account that has no room."""
        for name in charged:
            have, most = self.allocated(name), self.capacity[name]
            if any(up > 0 and have.get(what, 0) + up > most.get(what, UNLIMITED) for what, up in growth.items()):
                return name
        return None

    def never(self, charged: list[str], growth: dict[str, int], wanted: dict[str, dict[str, int]]) -> str | None:
        """The first account that has too little even where it is empty."""
        for name in charged:
            most = self.capacity[name]
            if any(growth[what] > 0 and wanted[name][what] > most.get(what, UNLIMITED) for what in growth):
                return name
        return None

    def make_room(self, charged: list[str], growth: dict[str, int], but: str) -> list[Any] | None:
        """Take back what is due, the oldest first, until it fits; None once it does."""
        due = sorted((one.deadline, key) for key, one in self.live.items() if one.deadline and one.deadline <= self.now)
        for _, key in due:
            if key == but:
                continue
            del self.live[key]
            if self.short(charged, growth) is None:
                return None
        return ["denied", "capacity_exceeded", self.short(charged, growth)]

    def refusal(
        self, charged: list[str], growth: dict[str, int], wanted: dict[str, dict[str, int]], but: str = ""
    ) -> list[Any] | None:
        """The beginning of the answer, where it is none that grants."""
        if self.short(charged, growth) is None:
            return None
        never = self.never(charged, growth, wanted)
        return ["denied", "never_fits", never] if never is not None else self.make_room(charged, growth, but)

    def charged(self, names: tuple[str, ...]) -> list[str]:
        return [*(name for name in names if name in self.capacity), ""]

    def allocate(self, wants: list[Want], *, atomic: bool) -> list[list[Any]]:
        replies: list[list[Any]] = []
        for at, want in enumerate(wants):
            charged = self.charged(want.accounts)
            asked: dict[str, dict[str, int]] = {name: dict(want.amounts) for name in charged}
            for other in wants[:at] if atomic else ():
                for name in set(charged) & set(self.charged(other.accounts)):
                    for what, amount in other.amounts.items():
                        asked[name][what] = asked[name].get(what, 0) + amount
            refusal = self.refusal(charged, want.amounts, asked)
            replies.append(refusal or ["granted"])
            if refusal is None:
                self.live[want.id] = Live(want.amounts, charged, self.now + want.ttl if want.ttl else None)
            elif atomic:
                for granted in wants[:at]:
                    del self.live[granted.id]
                other_word = "reclaim_first" if refusal[0] == "reclaim_first" else "aborted"
                return [refusal if place == at else [other_word, at + 1] for place in range(len(wants))]
        return replies

    def resize(self, key: str, change: dict[str, int]) -> list[Any]:
        one = self.live[key]
        amounts = {what: amount for what, amount in (one.amounts | change).items() if amount}
        growth = {what: amount - one.amounts.get(what, 0) for what, amount in amounts.items()}
        if not amounts:
            return ["empty"]
        refusal = self.refusal(one.accounts, growth, dict.fromkeys(one.accounts, amounts), but=key)
        if refusal is None:
            one.amounts = amounts
        return refusal or ["resized"]


@dataclass
class Chain:
    """One seed: the same steps to the scripts and to the model."""

    ledger: Ledger
    model: Model
    dice: random.Random
    drawn: int = 0

    def amounts(self, least: int) -> dict[str, int]:
        found = {"cpu": self.dice.randint(least, 4), "memory": self.dice.randint(least, 40)}
        left_out = self.dice.choice(("cpu", "memory", "", ""))
        return {what: amount for what, amount in found.items() if what != left_out}

    def want(self) -> Want:
        self.drawn += 1
        names = [name for name in NAMES if self.dice.random() < 0.5]
        ttl = self.dice.choice((0, 1, MINUTE, 2 * MINUTE))
        return Want(f"a{self.drawn:04}", self.amounts(1), tuple(names), ttl)

    def step(self) -> None:
        self.ledger.now += self.dice.choice((0, 0, 1, MINUTE // 2))
        self.model.now = self.ledger.now
        keys = sorted(self.model.live)
        verb = self.dice.choices(("allocate", "resize", "release", "undo", "reclaim"), (5, 3, 3, 1, 0.3))[0]
        if verb == "allocate" or not keys:
            self.allocate()
        elif verb == "resize":
            key, change = self.dice.choice(keys), self.amounts(0)
            reply, expected = self.ledger.resize(key, change), self.model.resize(key, change)
            assert reply[: len(expected)] == expected
        elif verb == "reclaim":
            due = [key for key, one in self.model.live.items() if one.deadline and one.deadline <= self.ledger.now]
            assert sorted(self.ledger.reclaim()[2:]) == sorted(due)
            self.forget(due)
        else:
            ended = self.dice.sample(keys, min(len(keys), self.dice.randint(1, 3)))
            self.end(verb, ended)
            self.forget(ended)

    def allocate(self) -> None:
        wants = [self.want() for _ in range(self.dice.choice((1, 1, 2, 3)))]
        atomic = len(wants) > 1 and self.dice.random() < 0.5
        lines = [self.ledger.want(one.id, one.amounts, accounts=one.accounts, ttl=one.ttl) for one in wants]
        replies = self.ledger.allocate(*lines, atomic=int(atomic))
        expected = self.model.allocate(wants, atomic=atomic)
        assert [reply[: len(told)] for reply, told in zip(replies, expected, strict=True)] == expected

    def end(self, verb: str, keys: list[str]) -> None:
        if verb == "release":
            assert {reply[0] for reply in self.ledger.release(*keys)} == {"released"}
        else:
            calls = [(self.ledger.record(key)["call"], key) for key in keys]
            assert {reply[0] for reply in self.ledger.undo(*calls)} == {"undone"}

    def forget(self, keys: list[str]) -> None:
        for key in keys:
            del self.model.live[key]

    def make_later(self) -> None:
        """An account that was named before it was there: it begins with nothing."""
        self.ledger.client.hset(accounts.key(self.ledger, LATER), mapping={"generation": 1, "cpu.capacity": 3})
        self.model.capacity[LATER] = {"cpu": 3}

    def compare(self) -> None:
        check_pool(self.ledger.client, self.ledger.keys)
        for name in self.model.capacity:
            assert accounts.allocated(self.ledger, name) == self.model.allocated(name), name
        for key, one in self.model.live.items():
            assert [*accounts.named(self.ledger.record(key)), ""] == one.accounts


def _go(ledger: Ledger, seed: int, steps: int) -> None:
    accounts.make(ledger)
    chain = Chain(ledger, Model({"": accounts.POOL, **accounts.CAPACITY}), random.Random(seed))
    for at in range(steps):
        if at == steps // 3:
            chain.make_later()
        try:
            chain.step()
            chain.compare()
        except AssertionError as failure:
            failure.add_note(f"seed {seed}, step {at}")
            raise
    ledger.release(*chain.model.live)
    chain.forget(list(chain.model.live))
    chain.compare()


@pytest.mark.parametrize("seed", range(3))
def test_a_random_chain_charges_all_accounts_or_none(newest: Ledger, seed: int) -> None:
    """Each reply is the model's, and so is every account after each step."""
    _go(newest, seed, 250)


def test_a_shorter_chain_is_the_same_on_every_engine(ledger: Ledger) -> None:
    """The numbers and the orders of replies are the scripts', not an engine's."""
    _go(ledger, 99, 60)
