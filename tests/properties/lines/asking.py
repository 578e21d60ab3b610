"""The model's `allocate`: who is granted, who waits, and whose room is taken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from tests.properties.lines.book import Book, Held, InLine, Item, Reply
from tests.properties.waiting_order import Waiter
from tests.scripts import preempting
from tests.scripts.quota_tree import Tree

__all__ = ["WAIT_MS", "Asking"]

WAIT_MS: Final = 60_000
"""For which a caller says that it waits."""

STOPS: Final = {"denied", "conflict", "ended", "withdrawn", "conflict_waiting", "reclaim_first"}
"""What stops an atomic batch."""

Sums = Mapping[tuple[str, str], int]


@dataclass
class Asking(Book):
    """Calls of `allocate`."""

    def allocate(self, items: Sequence[Item], *, atomic: bool = False) -> list[Reply]:
        """The replies."""
        self.begin()
        self.reverts = [] if atomic else None
        replies: list[Reply] = []
        touched: set[str] = set()
        for at, item in enumerate(items):
            replies.append(self._item(item, touched, self._sums(items[: at + 1]) if atomic else None))
            touched.add(item.id)
            if atomic and replies[-1][0] in STOPS:
                for revert in reversed(self.reverts or []):
                    revert()
                others: Reply = ("reclaim_first",) if replies[-1][0] == "reclaim_first" else ("aborted", at + 1)
                replies = [replies[-1] if other == at else others for other in range(len(items))]
                break
        self.reverts = None
        self.finish()
        return replies

    def _sums(self, items: Sequence[Item]) -> Sums:
        """The totals of an atomic batch, by account and resource; an id twice counts once."""
        sums: dict[tuple[str, str], int] = {}
        for one in {item.id: item for item in reversed(items)}.values():
            whole = {**one.amounts, "allocations": 1000} if one.scope else one.amounts
            for name in self.chain(one.scope):
                for resource, amount in whole.items():
                    sums[name, resource] = sums.get((name, resource), 0) + amount
        return sums

    def _item(self, item: Item, touched: set[str], sums: Sums | None) -> Reply:
        held = self.held(item.id)
        if held:
            reply = self._known(item, held)
            if reply:
                return reply
        elif item.call in self.over:
            return ("withdrawn",) if item.call in self.withdrawn else ("ended", self.over[item.call])
        return self._new(item, touched, sums)

    # -- an id that is live --------------------------------------------------------------------------------------------

    def _save(self, held: Held) -> None:
        if self.reverts is None:
            return
        calls, told = list(held.calls), None if held.told is None else [(one, vars(one).copy()) for one in held.told]
        was = vars(held).copy()

        def revert() -> None:
            vars(held).update(was)
            held.calls[:] = calls
            held.told = None if told is None else [one for one, _ in told]
            for one, fields in told or []:
                vars(one).update(fields)

        self.reverts.append(revert)

    def _known(self, item: Item, held: Held) -> Reply | None:
        """None: it has lapsed, and the item is decided as if it were absent."""
        if item.call in held.calls:
            return self._replay(item, held)
        if item.call in self.over:
            return ("ended", self.over[item.call])
        if held.lapsed(self.now):
            self.close(item.id, "reclaimed")
            return None
        same = held.amounts == item.amounts and held.asked.owner == item.owner
        if held.releasing or not same or item.scope not in ("", held.scope):
            return ("conflict", held.fields())
        self._save(held)
        oldest = self.share(held, item)
        held.known = True
        if self.reverts is not None:
            self.reverts.append(lambda: self.over.pop(oldest, None) and None)
        self.extend(held, item.ttl)
        held.hear(item.call)
        return ("existing", held.fields())

    def _replay(self, item: Item, held: Held) -> Reply:
        first = held.calls[0] == item.call
        self._save(held)
        if first and held.unclaimed is not None:
            self._claim(item, held)
        elif held.lapsed(self.now) and not held.releasing:
            self.extend(held, item.ttl)
        held.hear(item.call)
        return ("replayed" if first else "existing", held.fields())

    def _claim(self, item: Item, held: Held) -> None:
        """Its time to live begins now; where others have it, too, they keep what they were told."""
        ttl, held.unclaimed = held.unclaimed or 0, None
        if held.releasing:
            return
        told = held.told_of(item.call)
        assert told
        told.ttl = ttl
        if ttl and len(held.calls) == 1:
            held.ttl, held.deadline = ttl, max(self.now + ttl, (held.known and held.deadline) or 0)
        else:
            self.extend(held, ttl)

    # -- an id that is not ---------------------------------------------------------------------------------------------

    def _new(self, item: Item, touched: set[str], sums: Sums | None) -> Reply:
        waiter = self.of(item.id)
        if waiter and self.silent(waiter):
            self.give_up(waiter)
            waiter = None
        if waiter and waiter.asked.call != item.call:
            return ("conflict_waiting", waiter.asked.owner)
        self.look_first(touched | {item.id}, again=waiter is not None)
        if held := self.held(item.id):
            reply = self._known(item, held)
            assert reply
            return reply
        return self._queue(item, touched, sums)

    def _queue(self, item: Item, touched: set[str], sums: Sums | None) -> Reply:
        """Decide it after those who stand before it."""
        waiter, fits = self.of(item.id), self.tree.fits(item.scope, item.amounts)
        before = self.standing((-item.priority, self.numbers + 1))
        if waiter or self.must_queue(before, item.scope, item.amounts):
            refusal = self.queued(item.amounts) if fits else self.refusal(item.scope, item.amounts, sums=sums)
            never = refusal[1] == "never_fits"
            if not never and self.behind and not item.wait:
                return ("reclaim_first",)
            if never and waiter and item.wait:
                self.give_up(waiter)
            return refusal if never and (item.wait or not waiter) else self._stay(item, waiter, refusal)
        if not fits:
            refusal = self.refusal(item.scope, item.amounts, sums=sums)
            if refusal[1] == "never_fits":
                return refusal
            self.clear_expired(touched, lambda: self.tree.fits(item.scope, item.amounts))
            if not self.tree.fits(item.scope, item.amounts):
                if self.behind:
                    return ("reclaim_first",)
                return self._stay(item, None, self.refusal(item.scope, item.amounts, sums=sums))
        self.passes(before)
        held = self.grant(item)
        if self.reverts is not None:
            self.reverts.append(lambda: self._forget(item.id))
        scope = ("", item.scope) if item.scope else ()
        return ("granted", held.grant, self.now, held.deadline or 0, "epoch-1", *scope)

    def _forget(self, identity: str) -> None:
        self.forget(identity)
        self.events.remove(("granted", identity))

    def _stay(self, item: Item, waiter: InLine | None, refusal: Reply) -> Reply:
        """Its place in line, if it may wait; the last try of one that has waited leaves."""
        if waiter and not item.wait:
            self.withdraw_call(waiter)
        if not item.wait:
            return refusal
        if not waiter:
            if len(self.line) >= self.length_max:
                return ("queue_full", self.length_max)
            self.numbers += 1
            waiter = InLine(item, self.numbers, self.now, self.now)
            self.line.append(waiter)
            self.line.sort(key=lambda one: one.place)
            self.say("waiting", item.id)
        waiter.heard, waiter.until = self.now, self.now + WAIT_MS
        if item.preempt and self.preempts and refusal[0] == "denied" and not self.behind:
            self._preempt(waiter)
            if held := self.held(item.id):
                return self._replay(item, held)
        return ("waiting", self.position(waiter), self.nexts | {self.next_deadline()}, refusal)

    # -- preemption ----------------------------------------------------------------------------------------------------

    def _preempt(self, waiter: InLine) -> None:
        """Take room from strictly lower priorities, where all that is taken is enough."""
        pending, ended = self.pending(waiter), False
        chosen = self._victims(waiter)
        for name in sorted(chosen):
            held = self.held(name)
            assert held
            if not self.grace:
                self.close(name, "preempted")
                ended = True
                continue
            held.releasing, held.ttl, held.deadline = self.now, self.grace, self.now + self.grace
            held.told, held.taken_by = None, waiter.asked.id
            self.say("preempted", name)
            pending.append(held)
        waiter.victims = pending
        if ended:
            self.serve()

    def _victims(self, waiter: InLine) -> set[str]:
        tree, asked = self.tree, waiter.asked
        before = [one for one in self.standing() if one.place < waiter.place]
        try:
            blocked = self._charge_ahead(before, waiter)
            if blocked:
                return set()
            self.tree = self._without(self.pending(waiter))
            return preempting.victims(self.tree, self._takeable(), asked.scope, asked.amounts, asked.priority)
        finally:
            self.tree = tree

    def _charge_ahead(self, before: Sequence[Waiter], waiter: InLine) -> bool:
        """Those before it get their room first; whether one that stays short competes with it."""
        counters: set[tuple[str, str]] = set()
        accounts: set[str] = set()
        for at, one in enumerate(before):
            trial = self._without(self.pending(one))
            if trial.fits(one.asked.scope, one.asked.amounts):
                trial.live[f"+{one.asked.id}"] = (one.asked.scope, one.asked.amounts)
                self.tree = trial
            else:
                self.hold(one, at == 0, counters, accounts)
        return any(
            one in counters or (one[0] in accounts and (one[1] != "allocations" or self.counts(one[0])))
            for one in self.touches(waiter.asked.scope, waiter.asked.amounts)
        )

    def _without(self, gone: Sequence[Held]) -> Tree:
        names = {one.asked.id for one in gone}
        live = {name: one for name, one in self.tree.live.items() if name not in names}
        return Tree(self.tree.capacity, self.tree.limits, live)

    def _takeable(self) -> list[preempting.Held]:
        """Not what is released already, nor what its caller does not know of yet."""
        found = []
        for name in self.live.keys() & self.tree.live.keys():
            held = self.held(name)
            assert held
            free = not held.releasing and held.unclaimed is None and not held.lapsed(self.now)
            one = preempting.Held(name, held.asked.priority, held.granted, held.scope, held.amounts, free)
            found += [one] if name not in self.fresh else []
        return found
