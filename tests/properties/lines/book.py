"""What a pool with scopes, priorities and a line holds: its records, who waits, and the numbers of a refusal.

It follows docs/policies.md and docs/guarantees.md, and shares no code with the scripts.  Time passes only when told.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from tests.properties.waiting_order import CLAIM_MS, Asked, Live, Order, Waiter
from tests.properties.worlds.state import CALLS_MAX, OTHERS, Amounts, Fence
from tests.scripts.quota_tree import UNLIMITED

__all__ = ["Book", "Held", "InLine", "Item", "Reply"]

Reply = tuple[Any, ...]

LEAST_AGAIN_MS: Final = 15_000
"""After which a waiter is told to ask again where no deadline comes before."""


@dataclass(frozen=True)
class Item(Asked):
    """One item of an allocate."""

    preempt: bool = False


@dataclass
class Told:
    """What one call asked for, and until when it was told to have it; 0: for ever."""

    call: str
    ttl: int
    until: int


@dataclass
class Held(Live):
    """A record."""

    grant: Fence = field(default_factory=Fence)
    above: int = 0
    """The greatest fence that was known before it: its own is greater."""
    granted: int = 0
    ttl: int = 0
    told: list[Told] | None = None
    """None: its release has begun."""
    releasing: int = 0
    taken_by: str = ""

    @property
    def scope(self) -> str:
        """Where it is charged."""
        return self.asked.scope

    def lapsed(self, now: int) -> bool:
        """Its deadline has passed."""
        return self.deadline is not None and self.deadline <= now

    def told_of(self, call: str) -> Told | None:
        """What that call was told."""
        return next((one for one in self.told or () if one.call == call), None)

    def hear(self, call: str) -> None:
        """The call is told of it as it stands."""
        if one := self.told_of(call):
            one.until = self.deadline or 0

    def fields(self) -> dict[str, object]:
        """As it is stored, but for `asserted_ms`."""
        found: dict[str, object] = {"owner": self.asked.owner, "fence": self.grant, "call": " ".join(self.calls)}
        found["granted_ms"] = self.granted
        if self.deadline is not None:
            found |= {"ttl_ms": self.ttl, "deadline_ms": self.deadline}
        found |= {f"{name}.allocated": amount for name, amount in self.amounts.items()}
        if len(self.calls) > 1 and self.told is not None:
            found["ttls"] = " ".join(str(one.ttl) for one in self.told)
            found["told"] = " ".join(str(one.until) for one in self.told)
        optional = {
            "releasing_ms": self.releasing, "preempted_by": self.taken_by, "priority": self.asked.priority,
        }  # fmt: skip
        found |= {name: value for name, value in optional.items() if value}
        if self.unclaimed is not None:
            found["unclaimed_ttl_ms"] = self.unclaimed
        return found | accounts_of(self.scope)


@dataclass
class InLine(Waiter):
    """A place in line."""

    until: int = 0
    victims: list[Held] = field(default_factory=list)
    """Whose room it takes, as it knew when it was last heard."""

    def fields(self) -> dict[str, object]:
        """As it is stored, but for the victims."""
        asked = self.asked
        found: dict[str, object] = {
            "owner": asked.owner, "call": asked.call, "priority": asked.priority, "since_ms": self.since,
            "heard_ms": self.heard, "until_ms": self.until, "ttl_ms": asked.ttl,
        }  # fmt: skip
        if asked.scope:
            found["scope"] = asked.scope
        if isinstance(asked, Item) and asked.preempt:
            found["preempt"] = 1
        found |= {f"requested.{name}": amount for name, amount in asked.amounts.items()}
        return found | accounts_of(asked.scope)


def accounts_of(scope: str) -> dict[str, object]:
    """The fields that name the accounts of a scope."""
    found: dict[str, object] = {}
    while scope:
        found[f"account.{len(found) + 1}"] = f"quota:{scope}"
        scope = scope.rpartition("/")[0]
    return found


@dataclass
class Book(Order):
    """The pool, and what one call does to it."""

    preempts: bool = False
    grace: int = 0
    over: dict[str, int] = field(default_factory=dict)
    """Calls that have ended, and when."""
    events: list[tuple[str, str]] = field(default_factory=list)
    greatest: int = 0
    fresh: set[str] = field(default_factory=set)
    nexts: set[int] = field(default_factory=set)
    """After how long the next deadline comes, as it was before the call and as it is."""

    def begin(self) -> None:
        """A call arrives."""
        self.freed, self.served, self.behind, self.waited = False, False, False, bool(self.line)
        self.cleared, self.removed, self.reverts = False, False, None
        self.fresh = set()
        self.nexts = {self.next_deadline()}

    def finish(self) -> None:
        """Whoever frees room serves the line in the same call."""
        if self.freed:
            self.serve()
        if not self.line:
            self.looked = None

    def next_deadline(self) -> int:
        """The time until then."""
        ahead = [one.deadline - self.now for one in self.live.values() if one.deadline and one.deadline > self.now]
        return min(ahead, default=LEAST_AGAIN_MS)

    # -- records -------------------------------------------------------------------------------------------------------

    def held(self, identity: str) -> Held | None:
        """The record of an id."""
        found = self.live.get(identity)
        assert found is None or isinstance(found, Held)
        return found

    def say(self, kind: str, identity: str) -> None:
        """An event."""
        self.events.append((kind, identity))

    def complete(self, *calls: str) -> None:
        """They have ended."""
        for call in calls:
            if call != OTHERS:
                self.over.setdefault(call, self.now)

    def grant(self, asked: Asked, *, from_line: bool = False) -> Held:
        """A new record."""
        ttl = CLAIM_MS if from_line else asked.ttl
        deadline = self.now + ttl if ttl else None
        held = Held(
            asked, [asked.call], deadline, asked.ttl if from_line else None, amounts=dict(asked.amounts),
            above=self.greatest, granted=self.now, ttl=ttl, told=[Told(asked.call, ttl, deadline or 0)],
        )  # fmt: skip
        self.put(asked.id, held)
        self.fresh.add(asked.id)
        self.say("granted", asked.id)
        return held

    def close(self, identity: str, kind: str) -> None:
        """An allocation ends."""
        self.complete(*self.live[identity].calls)
        self.end(identity)
        self.say(kind, identity)

    def share(self, held: Held, item: Asked) -> str:
        """One more call has it; returns the oldest, which is forgotten for a fourth."""
        assert held.told is not None
        if len(held.told) == 1:
            held.told[0].ttl, held.told[0].until = held.ttl, held.deadline or 0
        held.calls.append(item.call)
        held.told.append(Told(item.call, item.ttl, 0))
        own = [one for one in held.told if one.call != OTHERS]
        if len(own) <= CALLS_MAX:
            return ""
        oldest = own[0]
        held.told.remove(oldest)
        held.unclaimed = None
        self.complete(oldest.call)
        if held.told[0].call != OTHERS:
            held.told.insert(0, Told(OTHERS, oldest.ttl, oldest.until))
        else:
            first = held.told[0]
            first.ttl, first.until = _longer(first.ttl, oldest.ttl), _longer(first.until, oldest.until)
        held.calls[:] = [one.call for one in held.told]
        return oldest.call

    def extend(self, held: Held, ttl: int) -> None:
        """Until now + ttl at least; 0 pins."""
        if held.deadline is None:
            return
        if not ttl:
            held.deadline, held.ttl = None, 0
        elif self.now + ttl > held.deadline:
            held.deadline, held.ttl = self.now + ttl, ttl

    # -- the line ------------------------------------------------------------------------------------------------------

    def of(self, identity: str) -> InLine | None:
        """Who waits for an id."""
        found = next((one for one in self.line if one.asked.id == identity), None)
        assert found is None or isinstance(found, InLine)
        return found

    def position(self, waiter: Waiter) -> tuple[int, int]:
        """The least and the most that it may be: who is silent may have left."""
        before = [one for one in self.line if one.place < waiter.place]
        return 1 + sum(not self.silent(one) for one in before), 1 + len(before)

    def give_up(self, waiter: Waiter) -> None:
        """It leaves, and is not granted."""
        self.leave(waiter)
        self.say("withdrawn", waiter.asked.id)

    def withdraw_call(self, waiter: Waiter) -> None:
        """It leaves, and its call has ended."""
        self.give_up(waiter)
        self.withdrawn.add(waiter.asked.call)
        self.complete(waiter.asked.call)

    def pending(self, waiter: Waiter) -> list[Held]:
        """Its victims that still have their charge."""
        assert isinstance(waiter, InLine)
        return [one for one in waiter.victims if self.live.get(one.asked.id) is one and one.releasing]

    def hold(self, waiter: Waiter, first: bool, counters: set[tuple[str, str]], accounts: set[str]) -> None:
        """Add what nobody behind this waiter may take from."""
        passes = self.passed[1] if self.passed[0] == waiter.asked.id else 0
        kept = first and (passes >= self.passes_max or waiter.since + self.wait_max <= self.now)
        asked = waiter.asked
        if kept or self.policy == "strict":
            accounts |= set(self.chain(asked.scope))
        has_victims = isinstance(waiter, InLine) and bool(waiter.victims)
        if kept or has_victims or self.policy != "best_effort":
            counters |= set(self.lacking(asked.scope, asked.amounts))

    def held_back(self, before: Any) -> tuple[set[tuple[str, str]], set[str]]:
        """Counters, and accounts, that nobody behind these may take from; what its victims leave is a waiter's."""
        counters: set[tuple[str, str]] = set()
        accounts: set[str] = set()
        for at, waiter in enumerate(before):
            self.hold(waiter, at == 0, counters, accounts)
        return counters, accounts

    def serve(self) -> None:
        """Grant in order what may be granted."""
        self.looked = self.now if self.line else None
        for waiter in list(self.line):
            if waiter not in self.line or self.silent(waiter):
                continue
            if self.policy == "strict" and not self.guarantees and self.standing()[0] is not waiter:
                break
            asked = waiter.asked
            if self.never(asked.scope, asked.amounts):
                self.give_up(waiter)
                continue
            before = [one for one in self.standing() if one.place < waiter.place]
            if self.tree.fits(asked.scope, asked.amounts) and not self.must_queue(before, asked.scope, asked.amounts):
                self.leave(waiter)
                self.grant(asked, from_line=True)
                reverts, self.reverts = self.reverts, None
                self.passes(before)
                self.reverts = reverts

    def clear_expired(self, touched: Collection[str], until: Callable[[], bool]) -> None:
        """What has expired is taken back, the oldest first; not what an item of this call has been answered about."""
        for name in self.expired():
            if until():
                break
            if name in touched:
                self.behind = True
            else:
                self.close(name, "reclaimed")

    def look_first(self, touched: Collection[str], *, again: bool = False, lately: int = 2500) -> None:
        """Who comes while somebody waits takes back what has expired, and lets the others go first.

        Who asks again does so only if nobody has looked at the line lately.
        """
        if not self.waited:
            return
        if not self.cleared:
            self.clear_expired(touched, lambda: False)
        self.cleared = True
        is_fresh = self.looked is not None and self.now - self.looked < lately
        if not self.served and not (again and is_fresh and not self.removed):
            self.served = True
            self.serve()

    # -- refusals ------------------------------------------------------------------------------------------------------

    def capacity(self, name: str, resource: str) -> int:
        """The most that an account gives out."""
        if not name:
            return self.tree.capacity[resource]
        limit = self.tree.limit(name, resource)
        return UNLIMITED if limit.borrowing is None else (limit.nominal or 0) + limit.borrowing

    def counted(self, name: str, resource: str) -> bool:
        """The pool does not count allocations."""
        return bool(name) or resource in self.tree.capacity

    def short_at(self, scope: str, resource: str, amount: int) -> str | None:
        """The innermost account that has no room for a growth; None: there is room."""
        found = list(self.lacking(scope, {resource: amount}))
        own = [name for name, which in found if which == resource]
        return own[-1] if own else None

    def row(self, name: str, resource: str, growth: int) -> tuple[str, int, int, int]:
        """A resource of a denial."""
        return resource, growth, self.tree.allocated(name, resource), self.capacity(name, resource)

    def kept_for_others(self, scope: str, name: str, resource: str) -> int:
        """What an account keeps for scopes that are not of this chain."""
        chain = self.chain(scope)
        below = chain[: chain.index(name)]
        return self.tree.kept(name, resource) - sum(self.unused(one, resource) for one in below)

    def refusal(
        self, scope: str, growth: Mapping[str, int], whole: Mapping[str, int] | None = None,
        sums: Mapping[tuple[str, str], int] | None = None,
    ) -> Reply:  # fmt: skip
        """Which level is short of what, the innermost first; what can never fit before what does not fit now.

        `whole`: the amounts after a growth; `sums`: the totals of an atomic batch.
        """
        counts = dict(growth)
        if scope and whole is None:
            counts["allocations"] = 1000

        def never(name: str, resource: str, amount: int) -> bool:
            asked = (whole or {}).get(resource, amount)
            return (sums or {}).get((name, resource), asked) > self.capacity(name, resource)

        def short(name: str, resource: str, amount: int) -> bool:
            return self.short_at(scope, resource, amount) == name

        for code, fails in (("never_fits", never), ("capacity_exceeded", short)):
            for name in self.chain(scope):
                rows = [
                    self.row(name, resource, amount) for resource, amount in counts.items()
                    if self.counted(name, resource) and fails(name, resource, amount)
                ]  # fmt: skip
                if rows:
                    return self.denied(code, scope, name, rows)
        raise AssertionError("it fits")

    def denied(self, code: str, scope: str, name: str, rows: list[tuple[str, int, int, int]]) -> Reply:
        """With what is kept for others, where something is."""
        kept = [self.kept_for_others(scope, name, row[0]) for row in rows]
        flat = [word for row in rows for word in row]
        return ("denied", code, f"quota:{name}" if name else "", *flat, *([kept] if any(kept) else []))

    def queued(self, amounts: Amounts) -> Reply:
        """It fits, and must not pass: what the pool has of each resource."""
        flat = [word for resource, amount in amounts.items() for word in self.row("", resource, amount)]
        return ("denied", "queued", "", *flat)


def _longer(one: int, other: int) -> int:
    """Of two times, where 0 is without end."""
    return 0 if 0 in (one, other) else max(one, other)
