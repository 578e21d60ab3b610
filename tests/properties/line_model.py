"""What a pool with a line answers and holds, from the rules as people read them: shares no code with the scripts.

Time passes only when told.  A story must be shorter than the time for which completed calls are remembered, and a line
shorter than what one call looks at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from tests.scripts.quota_tree import Tree

__all__ = ["CLAIM_MS", "SILENT_MS", "Asked", "Live", "Model", "Waiter"]

SILENT_MS: Final = 15_000
"""A waiter that is not heard for this time leaves."""

CLAIM_MS: Final = 15_000
"""A grant from the line is kept for this time."""

STOPS: Final = {"denied", "conflict", "ended", "withdrawn", "conflict_waiting", "reclaim_first"}
"""What stops an atomic batch."""


@dataclass(frozen=True)
class Asked:
    """One item of an allocate; `wait`: it may wait; `replaces`: the id of a live allocation."""

    id: str
    call: str
    amounts: dict[str, int]
    owner: str = "owner"
    ttl: int = 60_000
    scope: str = ""
    wait: bool = False
    priority: int = 0
    replaces: str = ""
    replaces_fence: int = 0


@dataclass
class Live:
    """A record; `deadline` None: pinned; `unclaimed`: the ttl that its caller asked for and does not know to run."""

    asked: Asked
    calls: list[str]
    deadline: int | None
    unclaimed: int | None = None
    shared: bool = False
    fence: int = 0
    amounts: dict[str, int] = field(default_factory=dict)


@dataclass
class Waiter:
    """A place in line."""

    asked: Asked
    number: int
    since: int
    heard: int

    @property
    def place(self) -> tuple[int, int]:
        return -self.asked.priority, self.number


@dataclass
class Model:
    """The pool, its quotas, what is live, and who waits."""

    tree: Tree
    policy: str = "contended"
    passes_max: int = 100
    wait_max: int = 600_000
    length_max: int = 100_000
    live: dict[str, Live] = field(default_factory=dict)
    line: list[Waiter] = field(default_factory=list)
    ended: set[str] = field(default_factory=set)
    withdrawn: set[str] = field(default_factory=set)
    now: int = 0
    numbers: int = 0
    passed: tuple[str, int] = ("", 0)
    freed: bool = False
    served: bool = False
    waited: bool = False
    behind: bool = False
    reverts: list[Callable[[], None]] | None = None

    # -- counters ------------------------------------------------------------------------------------------------------

    def put(self, identity: str, live: Live) -> None:
        self.live[identity] = live
        live.amounts = live.amounts or dict(live.asked.amounts)
        self.tree.live[identity] = (live.asked.scope, live.amounts)

    def end(self, identity: str) -> None:
        """The allocation ends, for whatever reason: its calls are over."""
        self.ended |= set(self.live.pop(identity).calls)
        del self.tree.live[identity]
        self.freed = True

    def chain(self, scope: str) -> list[str]:
        """The scope, those above it, and the pool."""
        names = []
        while scope:
            names.append(scope)
            scope = scope.rpartition("/")[0]
        return [*names, ""]

    def never(self, scope: str, amounts: dict[str, int]) -> bool:
        whole = {**amounts, "allocations": 1000} if scope else amounts
        for resource, amount in whole.items():
            for name in self.chain(scope):
                if name:
                    limit = self.tree.limit(name, resource)
                    most = None if limit.borrowing is None else (limit.nominal or 0) + limit.borrowing
                else:
                    most = self.tree.capacity.get(resource)
                if most is not None and amount > most:
                    return True
        return False

    @property
    def guarantees(self) -> bool:
        return any(limit.guaranteed for limits in self.tree.limits.values() for limit in limits.values())

    def unused(self, scope: str, resource: str) -> int:
        """What is guaranteed to a scope and not used."""
        return max(0, self.tree.limit(scope, resource).guaranteed - self.tree.used(scope, resource))

    def lacking(self, scope: str, amounts: dict[str, int]) -> Iterator[tuple[str, str]]:
        """The counters that a request is short of, and those below them, whose guarantees it counts on."""
        whole = {**amounts, "allocations": 1000} if scope else amounts
        for resource, amount in whole.items():
            if amount <= self.tree.available(scope, resource):
                continue
            rest = amount
            for name in self.chain(scope):
                yield name, resource
                if not name:
                    break
                rest -= self.unused(name, resource)
                limit = self.tree.limit(name, resource)
                if limit.borrowing is not None:
                    bound = (limit.nominal or 0) - limit.guaranteed + limit.borrowing
                    if rest > bound - max(0, self.tree.used(name, resource) - limit.guaranteed):
                        break

    def touches(self, scope: str, amounts: dict[str, int], *, new: bool = True) -> Iterator[tuple[str, str]]:
        """The counters that a request takes from: what a guarantee covers is not taken from above."""
        whole = {**amounts, "allocations": 1000} if scope and new else amounts
        for resource, amount in whole.items():
            rest = amount
            for name in self.chain(scope):
                if rest <= 0:
                    break
                yield name, resource
                if name:
                    rest -= self.unused(name, resource)

    # -- the order -----------------------------------------------------------------------------------------------------

    def silent(self, waiter: Waiter) -> bool:
        return waiter.heard + SILENT_MS <= self.now

    def standing(self, place: tuple[int, int] | None = None) -> list[Waiter]:
        """Those who wait before a place, in order."""
        return [one for one in self.line if not self.silent(one) and (place is None or one.place <= place)]

    def held_back(self, before: Sequence[Waiter]) -> tuple[set[tuple[str, str]], set[str]]:
        """Counters, and accounts, that nobody behind these may take from."""
        counters: set[tuple[str, str]] = set()
        accounts: set[str] = set()
        for at, waiter in enumerate(before):
            passes = self.passed[1] if self.passed[0] == waiter.asked.id else 0
            kept = at == 0 and (passes >= self.passes_max or waiter.since + self.wait_max <= self.now)
            if kept or self.policy == "strict":
                accounts |= set(self.chain(waiter.asked.scope))
            if self.policy == "contended" or (kept and self.policy == "best_effort"):
                counters |= set(self.lacking(waiter.asked.scope, waiter.asked.amounts))
        return counters, accounts

    def must_queue(self, before: Sequence[Waiter], scope: str, amounts: dict[str, int], *, new: bool = True) -> bool:
        counters, accounts = self.held_back(before)
        return any(one in counters or one[0] in accounts for one in self.touches(scope, amounts, new=new))

    def passes(self, before: Sequence[Waiter]) -> None:
        """Somebody was granted who stands behind these."""
        if not before:
            return
        first = before[0].asked.id
        was = self.passed
        self.passed = (first, (was[1] if was[0] == first else 0) + 1)
        if self.reverts is not None:
            self.reverts.append(lambda: setattr(self, "passed", was))

    def leave(self, waiter: Waiter) -> None:
        self.line.remove(waiter)
        if self.passed[0] == waiter.asked.id:
            self.passed = ("", 0)
        self.freed = True

    def serve(self) -> None:
        """Grant in order what may be granted."""
        for waiter in list(self.line):
            if waiter not in self.line or self.silent(waiter):
                continue
            if self.policy == "strict" and not self.guarantees and self.standing()[0] is not waiter:
                break
            asked = waiter.asked
            if self.never(asked.scope, asked.amounts):
                self.leave(waiter)
                continue
            before = [one for one in self.standing() if one.place < waiter.place]
            if self.tree.fits(asked.scope, asked.amounts) and not self.must_queue(before, asked.scope, asked.amounts):
                self.leave(waiter)
                self.put(asked.id, Live(asked, [asked.call], self.now + CLAIM_MS, unclaimed=asked.ttl))
                reverts, self.reverts = self.reverts, None
                self.passes(before)
                self.reverts = reverts

    def expired(self) -> list[str]:
        """Past their deadline, oldest first."""
        due = [(one.deadline, name) for name, one in self.live.items() if one.deadline is not None]
        return [name for deadline, name in sorted(due) if deadline <= self.now]

    # -- calls ---------------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        self.freed, self.served, self.behind, self.waited = False, False, False, bool(self.line)
        self.reverts = None

    def finish(self) -> None:
        """Whoever frees room serves the line in the same call."""
        if self.freed:
            self.serve()

    def look_first(self, touched: set[str]) -> None:
        """Who comes while somebody waits takes back what has expired, and lets the others go first."""
        if self.served or not self.waited:
            return
        self.served = True
        for name in self.expired():
            if name in touched:
                self.behind = True
            else:
                self.end(name)
        self.serve()

    def make_room(self, scope: str, amounts: dict[str, int], touched: set[str]) -> bool:
        for name in self.expired():
            if self.tree.fits(scope, amounts):
                break
            if name in touched:
                self.behind = True
            else:
                self.end(name)
        return self.tree.fits(scope, amounts)

    def of(self, identity: str) -> Waiter | None:
        return next((one for one in self.line if one.asked.id == identity), None)

    def position(self, waiter: Waiter) -> tuple[int, int]:
        """The least and the most that it may be: who is silent may have left."""
        before = [one for one in self.line if one.place < waiter.place]
        return 1 + sum(not self.silent(one) for one in before), 1 + len(before)

    def allocate(self, *items: Asked, atomic: bool = False) -> list[tuple[object, ...]]:
        """The first words of the replies; of a waiter its position and the code of its refusal."""
        self.begin()
        self.reverts = [] if atomic else None
        replies: list[tuple[object, ...]] = []
        touched: set[str] = set()
        for at, item in enumerate(items):
            sums = self._asked(items[: at + 1]) if atomic else None
            replies.append(self._item(item, touched, sums))
            touched.add(item.id)
            if atomic and replies[-1][0] in STOPS:
                for revert in reversed(self.reverts or []):
                    revert()
                replies = [replies[-1] if other == at else ("aborted", at + 1) for other in range(len(items))]
                break
        self.reverts = None
        self.finish()
        return replies

    def _asked(self, items: Sequence[Asked]) -> dict[tuple[str, str], int]:
        """The totals of an atomic batch, by account and resource; an id twice counts once."""
        sums: dict[tuple[str, str], int] = {}
        for identity in {one.id for one in items}:
            one = next(item for item in items if item.id == identity)
            whole = {**one.amounts, "allocations": 1000} if one.scope else one.amounts
            for name in self.chain(one.scope):
                for resource, amount in whole.items():
                    sums[name, resource] = sums.get((name, resource), 0) + amount
        return sums

    def _too_much(self, item: Asked, sums: dict[tuple[str, str], int] | None) -> bool:
        if sums is None:
            return self.never(item.scope, item.amounts)
        whole = {**item.amounts, "allocations": 1000} if item.scope else item.amounts
        return any(
            self.never(item.scope if name else "", {resource: sums[name, resource]}) if not name else
            self._above(name, resource, sums[name, resource])
            for name in self.chain(item.scope) for resource in whole if name or resource in self.tree.capacity
        )  # fmt: skip

    def _above(self, scope: str, resource: str, amount: int) -> bool:
        limit = self.tree.limit(scope, resource)
        return limit.borrowing is not None and amount > (limit.nominal or 0) + limit.borrowing

    def _item(self, item: Asked, touched: set[str], sums: dict[tuple[str, str], int] | None) -> tuple[object, ...]:
        live = self.live.get(item.id)
        if live:
            reply = self._known(item, live)
            if reply and reply[0] == "existing" and self._replaced(item):
                self.end(item.replaces)
            if reply:
                return reply
        elif item.call in self.withdrawn or item.call in self.ended:
            return ("withdrawn" if item.call in self.withdrawn else "ended",)
        return self._new(item, touched, sums)

    def _save(self, live: Live) -> None:
        if self.reverts is not None:
            was = replace(live, calls=list(live.calls))
            self.reverts.append(lambda: live.__dict__.update(was.__dict__))

    def _extend(self, live: Live, ttl: int) -> None:
        if live.deadline is not None:
            live.deadline = max(live.deadline, self.now + ttl) if ttl else None

    def _known(self, item: Asked, live: Live) -> tuple[object, ...] | None:
        first = live.calls[0] == item.call
        if item.call in live.calls:
            self._save(live)
            if first and live.unclaimed is not None:
                ttl, live.unclaimed = live.unclaimed, None
                if ttl and not live.shared:
                    live.deadline = self.now + ttl
                else:
                    self._extend(live, ttl)
            elif live.deadline is not None and live.deadline <= self.now:
                self._extend(live, item.ttl)
            return ("replayed" if first else "existing",)
        if item.call in self.ended or item.call in self.withdrawn:
            return ("ended",)
        if live.deadline is not None and live.deadline <= self.now:
            self.end(item.id)
            return None
        same = live.amounts == item.amounts and live.asked.owner == item.owner
        if not same or item.scope not in ("", live.asked.scope):
            return ("conflict",)
        self._save(live)
        live.calls.append(item.call)
        live.shared = True
        self._extend(live, item.ttl)
        return ("existing",)

    def _replaced(self, item: Asked) -> Live | None:
        """What the item replaces, if it is still that allocation."""
        live = self.live.get(item.replaces)
        return live if live and live.fence == item.replaces_fence else None

    def _new(self, item: Asked, touched: set[str], sums: dict[tuple[str, str], int] | None) -> tuple[object, ...]:
        waiter = self.of(item.id)
        if waiter and self.silent(waiter):
            self.leave(waiter)
            waiter = None
        if waiter and waiter.asked.call != item.call:
            return ("conflict_waiting",)
        old = self._replaced(item)
        if old and old.asked.scope == item.scope and old.amounts == item.amounts:
            self.end(item.replaces)
            return self._grant(item, [])
        self.look_first(touched | {item.id})
        if item.id in self.live:
            reply = self._known(item, self.live[item.id])
            assert reply
            return reply
        waiter = self.of(item.id)
        left_over = self.behind and not item.wait
        if waiter and left_over:
            return ("reclaim_first",)
        if waiter:
            code = "never_fits" if self._too_much(item, sums) else "capacity_exceeded"
            return self._stay(item, waiter, "queued" if self.tree.fits(item.scope, item.amounts) else code)
        before = self.standing((-item.priority, self.numbers + 1))
        fits = self.tree.fits(item.scope, item.amounts)
        if not fits and self._too_much(item, sums):
            return ("denied", "never_fits")
        if self.must_queue(before, item.scope, item.amounts):
            if left_over:
                return ("reclaim_first",)
            return self._stay(item, None, "queued" if fits else "capacity_exceeded")
        if not fits and not self.make_room(item.scope, item.amounts, touched):
            if self.behind:
                return ("reclaim_first",)
            return self._stay(item, None, "capacity_exceeded")
        return self._grant(item, before)

    def _grant(self, item: Asked, before: Sequence[Waiter]) -> tuple[object, ...]:
        self.passes(before)
        self.put(item.id, Live(item, [item.call], self.now + item.ttl if item.ttl else None))
        if self.reverts is not None:
            self.reverts.append(lambda: (self.live.pop(item.id), self.tree.live.pop(item.id)) and None)
        return ("granted",)

    def _stay(self, item: Asked, waiter: Waiter | None, code: str) -> tuple[object, ...]:
        if waiter and not item.wait:
            self.leave(waiter)
            self.withdrawn.add(item.call)
        if not item.wait:
            return ("denied", code)
        if not waiter:
            if len(self.line) >= self.length_max:
                return ("queue_full",)
            self.numbers += 1
            waiter = Waiter(item, self.numbers, self.now, self.now)
            self.line.append(waiter)
            self.line.sort(key=lambda one: one.place)
        waiter.heard = self.now
        return ("waiting", code, *self.position(waiter))

    def release(self, *identities: str) -> list[tuple[object, ...]]:
        self.begin()
        replies: list[tuple[object, ...]] = []
        for identity in identities:
            replies.append(("released",) if identity in self.live else ("unknown",))
            if identity in self.live:
                self.end(identity)
        self.finish()
        return replies

    def undo(self, *calls: tuple[str, str]) -> list[tuple[object, ...]]:
        """(call, id) each."""
        self.begin()
        replies: list[tuple[object, ...]] = []
        for call, identity in calls:
            live, waiter = self.live.get(identity), self.of(identity)
            if live and call in live.calls:
                if len(live.calls) > 1:
                    if live.calls[0] == call:
                        live.unclaimed = None
                    live.calls.remove(call)
                    replies.append(("left",))
                else:
                    self.end(identity)
                    replies.append(("undone",))
            else:
                if waiter and not live and waiter.asked.call == call:
                    self.leave(waiter)
                replies.append(("absent",))
            self.ended.add(call)
        self.finish()
        return replies

    def withdraw(self, *identities: str) -> list[tuple[object, ...]]:
        self.begin()
        replies: list[tuple[object, ...]] = []
        for identity in identities:
            waiter = self.of(identity)
            replies.append(("withdrawn",) if waiter else ("absent",))
            if waiter:
                self.leave(waiter)
                self.withdrawn.add(waiter.asked.call)
        self.finish()
        return replies

    def resize(self, identity: str, resource: str, amount: int) -> tuple[object, ...]:
        """One resource that it has."""
        self.begin()
        live = self.live.get(identity)
        if not live:
            return ("unknown",)
        growth = amount - live.amounts[resource]
        reply: tuple[object, ...] = ("resized",)
        if growth > 0:
            reply = self._grow(identity, live, resource, growth, amount)
        if reply[0] == "resized":
            live.amounts[resource] = amount
            self.freed = True
        self.finish()
        return reply

    def _grow(self, identity: str, live: Live, resource: str, growth: int, amount: int) -> tuple[object, ...]:
        scope = live.asked.scope
        self.look_first({identity})
        before = self.standing((0, self.numbers + 1))
        fits = growth <= self.tree.available(scope, resource)
        if fits and self.must_queue(before, scope, {resource: growth}, new=False):
            return ("denied", "queued")
        if not fits:
            limits = [(self.tree.limit(name, resource), name) for name in self.chain(scope) if name]
            above = any(self._above(name, resource, amount) for _, name in limits)
            if above or amount > self.tree.capacity[resource]:
                return ("denied", "never_fits")
            for name in self.expired():
                if growth <= self.tree.available(scope, resource):
                    break
                if name != identity:
                    self.end(name)
            if growth > self.tree.available(scope, resource):
                return ("denied", "capacity_exceeded")
        self.passes(before)
        return ("resized",)

    def reclaim(self) -> None:
        self.begin()
        for name in self.expired():
            self.end(name)
        self.serve()
