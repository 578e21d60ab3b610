"""Who waits in a pool, who may pass whom, and who is granted, from the rules as people read them.

It shares no code with the scripts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from tests.scripts.quota_tree import Tree

__all__ = ["Asked", "Live", "Order", "Waiter"]

SILENT_MS: Final = 15_000
"""A waiter that is not heard for this time leaves."""

CLAIM_MS: Final = 15_000
"""A grant from the line is kept for this time."""


@dataclass(frozen=True)
class Asked:
    """One item of an allocate; `wait`: it may wait; `replaces`: the id of a live allocation; `lifetime` 0: none."""

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
    lifetime: int = 0


@dataclass
class Live:
    """A record; `deadline` None: pinned; `unclaimed`: the ttl that its caller asked for and does not know to run.

    `ends`: its hard end; `known`: another was told of its deadline before its caller asked.
    """

    asked: Asked
    calls: list[str]
    deadline: int | None
    unclaimed: int | None = None
    shared: bool = False
    fence: int = 0
    amounts: dict[str, int] = field(default_factory=dict)
    ends: int | None = None
    known: bool = False

    def cut(self, deadline: int) -> int:
        return deadline if self.ends is None else min(deadline, self.ends)

    def lasting(self, ttl: int, now: int) -> int:
        """A hard end makes a lease of what is pinned."""
        return self.ends - now if self.ends is not None and not ttl else ttl


@dataclass
class Waiter:
    """A place in line; `items`: of an atomic batch, one for each id, `asked` being the first."""

    asked: Asked
    number: int
    since: int
    heard: int
    items: tuple[Asked, ...] = ()

    @property
    def place(self) -> tuple[int, int]:
        return -self.asked.priority, self.number


@dataclass
class Order:
    """The pool, its quotas, what is live, and who waits."""

    tree: Tree
    policy: str = "contended"
    passes_max: int = 100
    wait_max: int = 600_000
    length_max: int = 100_000
    backfill: bool = False
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
    cleared: bool = False
    removed: bool = False
    looked: int | None = None
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
        self.freed, self.removed = True, True

    def forget(self, identity: str) -> None:
        """It was never granted."""
        del self.live[identity], self.tree.live[identity]

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
            with self.charged() as charge:
                for one in self.parts(waiter):
                    if kept or self.policy == "strict":
                        accounts |= set(self.chain(one.scope))
                    if self.policy == "contended" or (kept and self.policy == "best_effort"):
                        counters |= set(self.lacking(one.scope, one.amounts))
                    charge(one)
        return counters, accounts

    def parts(self, waiter: Waiter) -> list[Asked]:
        """What is to be granted to it: of a batch what is not live."""
        return [one for one in waiter.items or (waiter.asked,) if not waiter.items or one.id not in self.live]

    @contextmanager
    def charged(self) -> Iterator[Callable[[Asked], None]]:
        """Charge some requests beside what is live, for a while."""
        names: list[str] = []

        def charge(one: Asked) -> None:
            names.append(f"charged {len(names)} {id(names)}")
            self.tree.live[names[-1]] = (one.scope, one.amounts)

        try:
            yield charge
        finally:
            for name in names:
                del self.tree.live[name]

    def may_go(self, waiter: Waiter, before: Sequence[Waiter]) -> bool | None:
        """Whether all of it may be granted now; None: it does not fit."""
        may = True
        counters, accounts = self.held_back(before)
        with self.charged() as charge:
            for one in self.parts(waiter):
                may = may and not self.is_held(counters, accounts, one.scope, one.amounts)
                if not self.tree.fits(one.scope, one.amounts):
                    return None
                charge(one)
        return may

    def is_behind(self, waiter: Waiter, before: Sequence[Waiter]) -> bool:
        """Whether a part of it takes from what these hold back, room or not."""
        held, behind = self.held_back(before), False
        with self.charged() as charge:
            for one in self.parts(waiter):
                behind = behind or self.is_held(*held, one.scope, one.amounts)
                charge(one)
        return behind

    def can_never(self, waiter: Waiter) -> bool:
        return self.never(waiter.asked.scope, waiter.asked.amounts)

    def is_other(self, waiter: Waiter) -> bool:
        """Whether an id of the batch is live with something else."""
        lives = [(one, self.live[one.id]) for one in waiter.items if one.id in self.live]
        return any(
            live.amounts != one.amounts or live.asked.owner != one.owner or one.scope not in ("", live.asked.scope)
            for one, live in lives
        )

    def must_queue(self, before: Sequence[Waiter], scope: str, amounts: dict[str, int], *, new: bool = True) -> bool:
        return self.is_held(*self.held_back(before), scope, amounts, new=new)

    def is_held(
        self,
        counters: set[tuple[str, str]],
        accounts: set[str],
        scope: str,
        amounts: dict[str, int],
        *,
        new: bool = True,
    ) -> bool:
        """Whether a request takes from what is held back."""
        return any(
            one in counters or (one[0] in accounts and (one[1] != "allocations" or self.counts(one[0])))
            for one in self.touches(scope, amounts, new=new)
        )

    def counts(self, scope: str) -> bool:
        """Whether a scope limits the number of its allocations."""
        return bool(scope) and self.tree.limit(scope, "allocations").borrowing is not None

    def end_of(self, asked: Asked) -> int | None:
        """The hard end of what is granted now."""
        return self.now + asked.lifetime if asked.lifetime else None

    def end_of_all(self, some: Sequence[Asked]) -> int | None:
        """The latest hard end of what is granted together now; None: one has none."""
        ends = [self.end_of(one) for one in some]
        return None if not ends or None in ends else max(end for end in ends if end is not None)

    def start_of(self, waiter: Waiter) -> int | None:
        """When all of it fits at the earliest, if nobody renews, releases or comes.

        What counts as granted, and ends by then, has to fit again.
        """
        left = dict(self.tree.live)
        tree, at = Tree(self.tree.capacity, self.tree.limits, left), self.now
        ends = sorted((one.deadline, name) for name, one in self.live.items() if one.deadline is not None)
        for deadline, name in ends:
            if _fits_whole(tree, waiter):
                return at
            del left[name]
            at = max(at, deadline)
        return at if _fits_whole(tree, waiter) else None

    def leading(self, before: Sequence[Waiter]) -> list[Waiter]:
        """The first, and those that none before them holds back."""
        others = [] if self.policy == "best_effort" else list(enumerate(before))[1:]
        free = [one for at, one in others if not self.is_behind(one, before[:at])]
        return [*before[:1], *free]

    def may_fill(self, before: Sequence[Waiter], ends: int | None) -> bool:
        """Whether it is sure to end before each of these that leads could start."""
        if not self.backfill or ends is None or not before:
            return False
        starts = [self.start_of(one) for one in self.leading(before)]
        return all(start is not None and ends <= start for start in starts)

    def outlasts(self, asked: Asked, live: Live) -> bool:
        """Whether it would keep the room beyond the hard end that those who wait may count on."""
        if not self.backfill or not self.standing() or live.ends is None:
            return False
        ends = self.end_of(asked)
        return ends is None or ends > live.ends

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
        self.looked = self.now if self.line else None
        for waiter in list(self.line):
            if waiter not in self.line or self.silent(waiter):
                continue
            no_others = self.policy == "strict" and not self.guarantees and not self.backfill
            if no_others and self.standing()[0] is not waiter:
                break
            before = [one for one in self.standing() if one.place < waiter.place]
            may = self.may_go(waiter, before)
            filled = may is False and self.may_fill(before, self.end_of_all(self.parts(waiter)))
            if (may is None and self.can_never(waiter)) or ((may or filled) and self.is_other(waiter)):
                self.leave(waiter)
            elif may or filled:
                self.give(waiter, [] if filled else before)

    def give(self, waiter: Waiter, before: Sequence[Waiter]) -> None:
        """All that it waits for is granted."""
        parts = self.parts(waiter)
        self.leave(waiter)
        for one in parts:
            live = Live(one, [one.call], None, unclaimed=one.ttl, ends=self.end_of(one))
            live.deadline = live.cut(self.now + CLAIM_MS)
            self.put(one.id, live)
        reverts, self.reverts = self.reverts, None
        self.passes(before)
        self.reverts = reverts

    def expired(self) -> list[str]:
        """Past their deadline, oldest first."""
        due = [(one.deadline, name) for name, one in self.live.items() if one.deadline is not None]
        return [name for deadline, name in sorted(due) if deadline <= self.now]


def _fits_whole(tree: Tree, waiter: Waiter) -> bool:
    """Whether all of it fits that is not live in this tree."""
    left, fits, names = tree.live, True, list[str]()
    for one in [one for one in waiter.items if one.id not in left] if waiter.items else [waiter.asked]:
        fits = fits and tree.fits(one.scope, one.amounts)
        names.append(f"fits {len(names)}")
        left[names[-1]] = (one.scope, one.amounts)
    for name in names:
        del left[name]
    return fits
