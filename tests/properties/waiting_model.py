"""What a pool in which requests wait answers and holds: shares no code with the scripts.

Time passes only when told.  A story must be shorter than the time for which completed calls are remembered, and a line
shorter than what one call looks at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from tests.properties.waiting_order import Asked, Live, Order, Waiter

__all__ = ["Model"]

LOOK_AGAIN_MS: Final = 2_500
"""Within which those who ask again look at a line of at most 32."""

STOPS: Final = {"denied", "conflict", "ended", "withdrawn", "conflict_waiting", "reclaim_first"}
"""What stops an atomic batch."""


@dataclass
class Model(Order):
    """The calls of such a pool."""

    def begin(self) -> None:
        self.freed, self.served, self.behind, self.waited = False, False, False, bool(self.line)
        self.cleared, self.removed = False, False
        self.reverts = None

    def finish(self) -> None:
        """Whoever frees room serves the line in the same call."""
        if self.freed:
            self.serve()

    def look_first(self, touched: set[str], *, again: bool = False) -> None:
        """Who comes while somebody waits takes back what has expired, and lets the others go first.

        Who asks again does so only if nobody has looked at the line lately.
        """
        if not self.waited:
            return
        for name in [] if self.cleared else self.expired():
            if name in touched:
                self.behind = True
            else:
                self.end(name)
        self.cleared = True
        is_fresh = self.looked is not None and self.now - self.looked < LOOK_AGAIN_MS
        if not self.served and not (again and is_fresh and not self.removed):
            self.served = True
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
        """Who waits for the id: itself, or a batch with it."""
        return next((one for one in self.line if identity in {item.id for item in one.items or (one.asked,)}), None)

    def position(self, waiter: Waiter) -> tuple[int, int]:
        """The least and the most that it may be: who is silent may have left."""
        before = [one for one in self.line if one.place < waiter.place]
        return 1 + sum(not self.silent(one) for one in before), 1 + len(before)

    def allocate(self, *items: Asked, atomic: bool = False) -> list[tuple[object, ...]]:
        """The first words of the replies; of a waiter its position and the code of its refusal."""
        self.begin()
        replies = self.decide_batch(items, atomic=atomic)
        self.reverts = None
        self.finish()
        return replies

    def decide_batch(self, items: Sequence[Asked], *, atomic: bool) -> list[tuple[object, ...]]:
        """The replies; what an atomic batch has changed is reverted where it is stopped."""
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
            live.deadline = max(live.deadline, live.cut(self.now + ttl)) if ttl else None

    def _known(self, item: Asked, live: Live) -> tuple[object, ...] | None:
        first = live.calls[0] == item.call
        is_over = live.ends is not None and live.ends <= self.now
        if item.call in live.calls and is_over:
            self.end(item.id)
            return ("ended",)
        if item.call in live.calls:
            self._save(live)
            if first and live.unclaimed is not None:
                ttl, live.unclaimed = live.lasting(live.unclaimed, self.now), None
                if ttl and not live.shared:
                    live.deadline = max(live.cut(self.now + ttl), (live.known and live.deadline) or 0)
                else:
                    self._extend(live, ttl)
            elif live.deadline is not None and live.deadline <= self.now:
                self._extend(live, live.lasting(item.ttl, self.now))
            return ("replayed" if first else "existing",)
        if item.call in self.ended or item.call in self.withdrawn:
            return ("ended",)
        if is_over or (live.deadline is not None and live.deadline <= self.now):
            self.end(item.id)
            return None
        same = live.amounts == item.amounts and live.asked.owner == item.owner
        if not same or item.scope not in ("", live.asked.scope):
            return ("conflict",)
        self._save(live)
        live.calls.append(item.call)
        live.shared = live.known = True
        self._extend(live, live.lasting(item.ttl, self.now))
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
        same = old and old.asked.scope == item.scope and old.amounts == item.amounts
        if old and same and not self.outlasts(item, old):
            self.end(item.replaces)
            return self._grant(item, [])
        self.look_first(touched | {item.id}, again=waiter is not None)
        if item.id in self.live:
            reply = self._known(item, self.live[item.id])
            assert reply
            return reply
        return self._queue(item, touched, sums)

    def _queue(self, item: Asked, touched: set[str], sums: dict[tuple[str, str], int] | None) -> tuple[object, ...]:
        """Decide it after those who stand before it."""
        waiter = self.of(item.id)
        left_over = self.behind and not item.wait
        if waiter:
            return ("reclaim_first",) if left_over else self._again(item, waiter, sums)
        before = self.standing((-item.priority, self.numbers + 1))
        fits = self.tree.fits(item.scope, item.amounts)
        if not fits and self._too_much(item, sums):
            return ("denied", "never_fits")
        filled = fits and self.may_fill(before, self.end_of(item))
        if self.must_queue(before, item.scope, item.amounts):
            code = "queued" if fits else "capacity_exceeded"
            stays = ("reclaim_first",) if left_over and not filled else None
            return stays or (self._grant(item, []) if filled else self._stay(item, None, code))
        if not fits and not self.make_room(item.scope, item.amounts, touched):
            return ("reclaim_first",) if self.behind else self._stay(item, None, "capacity_exceeded")
        return self._grant(item, before)

    def _again(self, item: Asked, waiter: Waiter, sums: dict[tuple[str, str], int] | None) -> tuple[object, ...]:
        """Who waits asks again, and was not served."""
        code = "never_fits" if self._too_much(item, sums) else "capacity_exceeded"
        if code == "never_fits" and item.wait:
            self.leave(waiter)
            return ("denied", code)
        return self._stay(item, waiter, "queued" if self.tree.fits(item.scope, item.amounts) else code)

    def _grant(self, item: Asked, before: Sequence[Waiter]) -> tuple[object, ...]:
        self.passes(before)
        live = Live(item, [item.call], None, ends=self.end_of(item))
        ttl = live.lasting(item.ttl, self.now)
        live.deadline = live.cut(self.now + ttl) if ttl else None
        self.put(item.id, live)
        if self.reverts is not None:
            self.reverts.append(lambda: self.forget(item.id))
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
                if waiter and call in {one.call for one in waiter.items or (waiter.asked,) if one.id == identity}:
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
            if not self.may_fill(before, live.ends):
                return ("denied", "queued")
            before = []
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
