"""Atomic batches that wait, in the model of a pool in which requests wait: one place in line for all of a batch.

It shares no code with the scripts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tests.properties.waiting_model import STOPS, Model
from tests.properties.waiting_order import Asked, Waiter

__all__ = ["GangModel"]

Reply = tuple[object, ...]


@dataclass
class GangModel(Model):
    """The calls of such a pool."""

    def allocate_all(self, items: Sequence[Asked]) -> list[Reply]:
        """An atomic batch; with `wait` all of its items wait."""
        self.begin()
        replies = self._decide_all(items)
        self.reverts = None
        self.finish()
        return replies

    def _decide_all(self, items: Sequence[Asked]) -> list[Reply]:
        lead, waits = items[0], items[0].wait
        gang = self.of(lead.id)
        if gang and (not gang.items or gang.asked.call != lead.call):
            gang = None
        if gang and self.silent(gang):
            self.leave(gang)
            gang = None
        live = self.live.get(lead.id)
        if not gang and waits and live and lead.call not in live.calls and lead.call in self.withdrawn:
            return self._stopped(items, 0, ("withdrawn",))
        if gang:
            self.look_first(set(), again=True)
        if gang and gang in self.line:
            return self._hear(gang, items)
        return self._enter(items) if waits else self.decide_batch(items, atomic=True)

    def _enter(self, items: Sequence[Asked]) -> list[Reply]:
        """It is decided as one that does not wait, and waits if it is refused for now."""
        replies = self.decide_batch([replace(one, wait=False) for one in items], atomic=True)
        at = next((at for at, one in enumerate(replies) if one[0] in STOPS), None)
        if at is None or replies[at] not in {("denied", "capacity_exceeded"), ("denied", "queued")}:
            return replies
        if any(one.call in self.live[one.id].calls for one in items if one.id in self.live):
            return self._stopped(items, at, ("ended",))
        stopped = self._examine(items) or self._other(items)
        if stopped:
            return stopped
        self._revert()
        gang = Waiter(items[0], self.numbers + 1, self.now, self.now, _distinct(items))
        code, at = self._refusal(gang)
        if code == "never_fits":
            return self._stopped(items, self._item_at(items, gang, at), ("denied", code))
        self.numbers += 1
        self.line.append(gang)
        self.line.sort(key=lambda one: one.place)
        return self._waits(items, gang, code, at)

    def _hear(self, gang: Waiter, items: Sequence[Asked]) -> list[Reply]:
        """Its client asks again."""
        stopped = self._examine(items)
        if stopped:
            self.leave(gang)
            self.withdrawn.add(gang.asked.call)
            return stopped
        self._revert()
        code, at = self._refusal(gang)
        if items[0].wait and code == "never_fits":
            self.leave(gang)
            return self._stopped(items, self._item_at(items, gang, at), ("denied", code))
        if items[0].wait:
            gang.heard = self.now
            return self._waits(items, gang, code, at)
        self.leave(gang)
        self.withdrawn.add(gang.asked.call)
        return self._stopped(items, self._item_at(items, gang, at), ("denied", code))

    def _waits(self, items: Sequence[Asked], gang: Waiter, code: str, at: int) -> list[Reply]:
        reply = ("waiting", code, *self.position(gang), self._item_at(items, gang, at) + 1)
        return [reply] * len(items)

    def _revert(self) -> None:
        for revert in reversed(self.reverts or []):
            revert()
        self.reverts = None

    def _stopped(self, items: Sequence[Asked], at: int, reply: Reply) -> list[Reply]:
        self._revert()
        return [reply if other == at else ("aborted", at + 1) for other in range(len(items))]

    def _examine(self, items: Sequence[Asked]) -> list[Reply] | None:
        """The replies, if an item ends the wait; what the others share is to be reverted."""
        self.reverts = []
        for at, item in enumerate(items):
            live = self.live.get(item.id)
            reply = self._known(item, live) if live else None
            if not live and item.call in self.ended | self.withdrawn:
                reply = ("ended",)
            if reply and reply[0] in STOPS:
                return self._stopped(items, at, reply)
        return None

    def _other(self, items: Sequence[Asked]) -> list[Reply] | None:
        """The replies, if another call waits for one of the ids."""
        for at, item in enumerate(items):
            waiter = None if item.id in self.live else self.of(item.id)
            if waiter and not self.silent(waiter):
                return self._stopped(items, at, ("conflict_waiting",))
            if waiter:
                self.leave(waiter)
        return None

    def _item_at(self, items: Sequence[Asked], gang: Waiter, at: int) -> int:
        return next(n for n, item in enumerate(items) if item.id == gang.items[at].id)

    def _refusal(self, gang: Waiter) -> tuple[str, int]:
        """Why it waits now, and its member that is refused."""
        waiting = [at for at, one in enumerate(gang.items) if one.id not in self.live]
        for last in (None, len(gang.items)):
            for at in waiting:
                if self._too_much(gang.items[at], self._asked(gang.items[: last or at + 1])):
                    return "never_fits", at
        with self.charged() as charge:
            for at in waiting:
                if not self.tree.fits(gang.items[at].scope, gang.items[at].amounts):
                    return "capacity_exceeded", at
                charge(gang.items[at])
        return "queued", waiting[0] if waiting else 0

    def can_never(self, waiter: Waiter) -> bool:
        if not waiter.items:
            return super().can_never(waiter)
        return self._refusal(waiter)[0] == "never_fits"


def _distinct(items: Sequence[Asked]) -> tuple[Asked, ...]:
    """The first item of each id."""
    found: dict[str, Asked] = {}
    for item in items:
        found.setdefault(item.id, item)
    return tuple(found.values())
