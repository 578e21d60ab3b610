"""The model's other calls: of a holder, of the line, and of limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tests.properties.lines.asking import Asking
from tests.properties.lines.book import Held, Reply
from tests.scripts.quota_tree import Limit

__all__ = ["Model"]


@dataclass
class Model(Asking):
    """All calls; `fence` 0 is any, another one that of no grant."""

    def _of(self, identity: str, fence: int) -> tuple[Held | None, Reply]:
        held = self.held(identity)
        if not held:
            return None, ("unknown",)
        if fence and held.grant.value != fence:
            return None, ("fenced", held.grant)
        return held, ()

    def release(self, items: Sequence[tuple[str, str, int]]) -> list[Reply]:
        """(id, call, fence) each."""
        self.begin()
        replies = []
        for identity, call, fence in items:
            held, reply = self._of(identity, fence)
            if reply[:1] == ("fenced",) and call in self.over:
                reply = ("released", self.over[call])
            if held:
                self.close(identity, "released")
                self.complete(call)
                reply = ("released", self.now)
            replies.append(reply)
        self.finish()
        return replies

    def begin_release(self, identity: str, call: str, grace: int) -> Reply:
        """It frees nothing yet."""
        self.begin()
        held, reply = self._of(identity, 0)
        if not held:
            return reply
        if not held.releasing:
            held.releasing, held.ttl, held.deadline, held.told = self.now, grace, self.now + grace, None
            self.complete(call)
            self.say("releasing", identity)
        return ("releasing", held.fields())

    def renew(self, items: Sequence[tuple[str, int, int]]) -> list[Reply]:
        """(id, fence, ttl) each; ttl 0: the record's."""
        self.begin()
        return [self._renew(*item) for item in items]

    def _renew(self, identity: str, fence: int, ttl: int) -> Reply:
        held, reply = self._of(identity, fence)
        if not held:
            return reply
        if held.taken_by:
            assert held.deadline is not None
            return ("preempted", held.deadline, held.deadline - self.now, held.taken_by)
        if held.releasing:
            return ("releasing",)
        assert held.told is not None
        leases = [one for one in held.told if one.until]
        ttl, held.known = ttl or held.unclaimed or 0, True
        if held.deadline is not None:
            until = held.deadline = max(held.deadline, self.now + (ttl or held.ttl))
        else:
            until = self.now + (ttl or max((one.ttl for one in leases), default=0))
        for one in leases:
            one.until, one.ttl = max(one.until, until), one.ttl or held.ttl
        alone = len(held.told) == 1
        latest = max((one.until for one in leases), default=0)
        return ("renewed", held.grant, (held.deadline or 0) if alone else latest)

    def undo(self, items: Sequence[tuple[str, str]]) -> list[Reply]:
        """(id, call) each."""
        self.begin()
        replies: list[Reply] = []
        for identity, call in items:
            held, waiter = self.held(identity), self.of(identity)
            if held and call in held.calls:
                replies.append(self._undo(identity, held, call))
            else:
                if waiter and not held and waiter.asked.call == call:
                    self.give_up(waiter)
                replies.append(("absent",))
            self.complete(call)
        self.finish()
        return replies

    def _undo(self, identity: str, held: Held, call: str) -> Reply:
        if len(held.calls) == 1:
            self.close(identity, "undone")
            return ("undone",)
        if held.calls[0] == call:
            held.unclaimed = None
        held.calls.remove(call)
        self.say("call_undone", identity)
        if held.told is not None:
            held.told = [one for one in held.told if one.call != call]
            pinned = any(not one.until for one in held.told)
            held.ttl = 0 if pinned else max(one.ttl for one in held.told)
            held.deadline = None if pinned else max(one.until for one in held.told)
            if len(held.told) == 1:
                held.told[0].ttl, held.told[0].until = held.ttl, held.deadline or 0
        return ("left",)

    def withdraw(self, items: Sequence[tuple[str, str]]) -> list[Reply]:
        """(id, call) each."""
        self.begin()
        replies: list[Reply] = []
        for identity, call in items:
            waiter = self.of(identity)
            if waiter:
                self.withdraw_call(waiter)
                self.complete(call)
            replies.append(("withdrawn",) if waiter else ("absent",))
        self.finish()
        return replies

    # -- changes of what is held ---------------------------------------------------------------------------------------

    def resize(self, identity: str, call: str, resource: str, amount: int) -> Reply:
        """One resource."""
        self.begin()
        held, reply = self._of(identity, 0)
        if held:
            growth = amount - held.amounts.get(resource, 0)
            reply = self._grow(held, resource, growth, amount) if growth > 0 else ()
            if not reply:
                held.amounts[resource] = amount
                self.freed = True
                self.complete(call)
                self.say("resized", identity)
                reply = ("resized", held.fields())
        self.finish()
        return reply

    def _grow(self, held: Held, resource: str, growth: int, amount: int) -> Reply:
        """The refusal, if it is refused."""
        scope, change = held.scope, {resource: growth}

        def fits() -> bool:
            return growth <= self.tree.available(scope, resource)

        self.look_first({held.asked.id})
        before = self.standing((0, self.numbers + 1))
        if fits() and self.must_queue(before, scope, change, new=False):
            return self.queued(change)
        if not fits():
            refusal = self.refusal(scope, change, {resource: amount})
            if refusal[1] != "never_fits":
                self.clear_expired({held.asked.id}, fits)
            if not fits():
                return self.refusal(scope, change, {resource: amount})
        self.passes(before)
        return ()

    def move(self, identity: str, call: str, scope: str) -> Reply:
        """It is decided as a release and a request after it, and waits for nobody."""
        self.begin()
        held, reply = self._of(identity, 0)
        if held and held.scope == scope:
            return ("moved", held.fields())
        if held:
            reply = self._move(identity, held, scope)
            if not reply:
                held.asked = replace(held.asked, scope=scope)
                self.freed = True
                self.complete(call)
                self.say("moved", identity)
                reply = ("moved", held.fields())
        self.finish()
        return reply

    def _move(self, identity: str, held: Held, scope: str) -> Reply:
        was = self.tree.live.pop(identity)
        refusal: Reply = ()

        def fits() -> bool:
            return self.tree.fits(scope, held.amounts)

        if not fits():
            refusal = self.refusal(scope, held.amounts)
            if refusal[1] != "never_fits":
                self.clear_expired({identity}, fits)
            refusal = () if fits() else self.refusal(scope, held.amounts)
        self.tree.live[identity] = was if refusal else (scope, held.amounts)
        return refusal

    # -- upkeep --------------------------------------------------------------------------------------------------------

    def reclaim(self) -> Reply:
        """What has expired."""
        self.begin()
        gone = self.expired()
        for name in gone:
            self.close(name, "reclaimed")
        self.freed = True
        self.finish()
        return ("reclaimed", 0, *gone)

    def set_quota(self, scope: str, call: str, limits: dict[str, Limit]) -> Reply:
        """It grants nothing; the first in line is woken, and looks."""
        self.begin()
        self.tree.limits[scope] = {**self.tree.limits[scope], **limits}
        self.looked = None
        self.complete(call)
        return ("quota",)

    def configure(self, call: str, capacity: dict[str, int]) -> Reply:
        """The same of the pool's capacity."""
        self.begin()
        self.tree.capacity = {**self.tree.capacity, **capacity}
        self.looked = None
        self.complete(call)
        return ("configured",)
