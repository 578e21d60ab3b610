"""An independent model of a pool, after the rules of docs/guarantees.md: what all verbs share.

A reply is a tuple that begins with the script's word; `compare` says how it is held against a real one.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from tests.properties.worlds.state import (
    CALLS_MAX,
    OTHERS,
    Amounts,
    Belief,
    Broken,
    BrokenDataError,
    Fence,
    Record,
    State,
    Told,
)

Reply = tuple[Any, ...]

LOOK_MAX: Final = 64
"""Lapsed records that one call may take back."""

KNOWN_NEAR_MS: Final = 1000
KNOWN_FAR_MS: Final = 120_000
"""How far ahead a deadline that a holder knows must be to tell of a loss."""


class Base:
    """One call on a pool's state, at one instant."""

    def __init__(self, state: State, now: int) -> None:
        self.s = state
        self.now = now
        self.answered: set[str] = set()
        self.looked = 0
        self.passed = False
        self.taken: list[str] = []
        self.spared: list[str] = []
        self.left_index: list[str] = []

    # -- reading -----------------------------------------------------------------------------------------------------

    def record(self, identity: str) -> Record | None:
        """The live record, lapsed or not; broken data is an error."""
        found = self.s.records.get(identity)
        if isinstance(found, Broken):
            raise BrokenDataError(identity)
        return found

    @property
    def recovering(self) -> bool:
        """Whether the store has lost data and its holders are coming back."""
        return self.s.recovering_until > self.now

    def notice_server(self) -> None:
        """Another server than before begins a recovery."""
        if self.s.other_server and self.s.options.grace:
            self.begin_recovery()
            self.s.other_server = False

    def notice_fence(self, fence: int) -> None:
        """A fence that the store does not know: those that come are far beyond it."""
        self.s.jumped, self.s.moved = fence, True
        if self.s.options.grace:
            self.s.recovering_until = self.now + self.s.options.grace

    def begin_recovery(self) -> None:
        """For the grace; one that has begun goes on."""
        if self.recovering:
            return
        self.s.recovering_until = self.now + self.s.options.grace
        self.s.moved = True

    def left_ms(self) -> int:
        """What is left of the recovery."""
        return self.s.recovering_until - self.now

    def every_call(self, epoch: str = "") -> str:
        """The word that answers whatever is asked."""
        if not self.s.there:
            return "unknown_pool"
        if epoch and epoch != self.s.epoch:
            return "other_epoch"
        return "schema" if self.s.word == "schema" else ""

    # -- ends --------------------------------------------------------------------------------------------------------

    def end_call(self, call: str) -> None:
        """From now on it has ended."""
        if call != OTHERS:
            self.s.ended.setdefault(call, self.now)

    def say(self, kind: str, identity: str) -> None:
        """An event."""
        self.s.events.append((kind, identity))

    def end(self, identity: str, record: Record, kind: str) -> None:
        """Its charge returns; all its calls have ended; an event of this kind says so."""
        self.say(kind, identity)
        for name, amount in record.amounts.items():
            self.s.allocated[name] -= amount
        for entry in record.calls:
            self.end_call(entry.call)
        self.s.ended_fences.append(record.fence)
        del self.s.records[identity]
        self.s.moved = True

    def spare(self, identity: str, record: Record) -> bool:
        """Whether it is given the time of a gap of the clock again."""
        if record.gap or self.s.gap is None:
            return False
        begin, end = self.s.gap
        moved = record.deadline + end - begin
        if record.deadline <= begin or record.asserted >= end or moved <= self.now:
            return False
        record.deadline = moved
        record.gap = True
        if len(record.calls) == 1:
            record.calls[0].until = moved
        for entry in record.calls[1:] and record.calls:
            entry.until += end - begin if entry.until > begin else 0
        record.loosen("asserted")
        self.spared.append(identity)
        self.say("deferred", identity)
        self.s.perhaps_moved = True
        return True

    def is_over(self, identity: str, record: Record) -> bool:
        """Whether a lapsed record that was met is to be taken back."""
        return record.lapsed(self.now) and not self.recovering and not self.spare(identity, record)

    def take_back(self, identity: str, record: Record) -> None:
        """A lapsed one ends."""
        self.end(identity, record, "reclaimed")
        self.taken.append(identity)

    # -- room --------------------------------------------------------------------------------------------------------

    def refusal(self, asked: Amounts, sums: Amounts) -> Reply | None:
        """Rule 8: what can never be granted.  `sums` is what is held against the capacity."""
        unknown = [name for name in asked if name not in self.s.capacity]
        if unknown:
            return ("denied", "unknown_resource", [(name, asked[name], 0, 0) for name in unknown])
        never = [name for name in asked if sums[name] > self.s.capacity[name]]
        if never:
            return ("denied", "never_fits", [self.row(name, asked[name]) for name in never])
        return None

    def row(self, name: str, asked: int) -> tuple[str, int, int, int]:
        """A resource of a denial."""
        return (name, asked, self.s.allocated.get(name, 0), self.s.capacity[name])

    def short(self, asked: Amounts) -> list[str]:
        """The resources of which there is too little now."""
        return [name for name, n in asked.items() if self.s.allocated.get(name, 0) + n > self.s.capacity[name]]

    def make_room(self, asked: Amounts) -> Reply | None:
        """Rules 9 and 10: nothing where there is room, perhaps after lapsed records were taken back."""
        passed, passed_before = False, self.passed
        for identity in self.due():
            if not self.short(asked):
                return None
            if identity in self.answered:
                passed = self.passed = True
                continue
            if self.looked == LOOK_MAX:
                return ("reclaim_first",)
            self.looked += 1
            self.look_at(identity)
        if not self.short(asked):
            return None
        if passed:
            return ("reclaim_first",)
        word = "denied|reclaim_first" if passed_before else "denied"
        return (word, "capacity_exceeded", [self.row(name, asked[name]) for name in self.short(asked)])

    def due(self) -> list[str]:
        """The lapsed ones, earliest deadline first."""
        found = []
        for identity, record in self.s.records.items():
            held = record.was if isinstance(record, Broken) else record
            if held.lapsed(self.now) and (not isinstance(record, Broken) or record.indexed):
                found.append((held.deadline, identity))
        return [identity for _, identity in sorted(found)]

    def look_at(self, identity: str) -> bool:
        """Take a lapsed one back, spare it, or let what is broken leave its index."""
        record = self.s.records[identity]
        if isinstance(record, Broken):
            record.indexed = False
            self.left_index.append(identity)
            self.s.perhaps_moved = True
            return False
        if self.spare(identity, record):
            return False
        self.take_back(identity, record)
        return True

    # -- what was told -----------------------------------------------------------------------------------------------

    def tell(self, record: Record, call: str, ttl: int) -> None:
        """A call is told of a record as it stands."""
        entry = record.told(call)
        if entry is None:
            entry = Told(call, ttl, 0)
            record.calls.append(entry)
        entry.until = record.deadline
        record.asserted = self.now
        record.loose -= {"asserted"}
        own = [entry for entry in record.calls if entry.call != OTHERS]
        for oldest in own[:-CALLS_MAX]:
            record.calls.remove(oldest)
            self.end_call(oldest.call)
            self.merge_others(record, oldest.ttl, oldest.until)

    @staticmethod
    def merge_others(record: Record, ttl: int, until: int) -> None:
        """Let `*` stand for one more."""
        if record.calls and record.calls[0].call == OTHERS:
            others = record.calls[0]
            others.ttl = max(others.ttl, ttl)
            others.until = 0 if 0 in (others.until, until) else max(others.until, until)
        else:
            record.calls.insert(0, Told(OTHERS, ttl, until))

    @staticmethod
    def add_holder(record: Record) -> None:
        """Let `*` stand for a holder whose call the store may have lost."""
        if record.calls[0].call != OTHERS:
            record.calls.insert(0, Told(OTHERS, record.ttl, record.deadline))

    def believe(self, who: object, identity: str, record: Record, until: int) -> None:
        """Somebody was told that it is there until then; 0: for ever."""
        self.s.beliefs[who] = Belief(identity, record.fence, until, self.now)

    def disbelieve(self, fence: Fence | None, *, until: int = 0) -> None:
        """Nobody believes in that grant any more; or no longer than until then."""
        for who, belief in list(self.s.beliefs.items()):
            if belief.fence is not fence:
                continue
            if not until:
                del self.s.beliefs[who]
            elif belief.until == 0 or belief.until > until:
                belief.until = until

    def disbelieve_number(self, identity: str, number: int) -> None:
        """A holder with a fence was told that it has nothing."""
        for belief in list(self.s.beliefs.values()):
            if belief.id == identity and belief.fence.value == number:
                self.disbelieve(belief.fence)

    def reconciled(self, identity: str, record: Record, as_of: int) -> None:
        """The controller does not have it; whoever was told of it since does not know that."""
        self.end(identity, record, "released")
        for who, belief in list(self.s.beliefs.items()):
            if belief.fence is record.fence and belief.at < as_of:
                del self.s.beliefs[who]

    # -- Absent ------------------------------------------------------------------------------------------------------

    def absent(self, fence: int, epoch: str, known: int) -> Reply:
        """What a holder is told whose record is not there."""
        known_to_have_ended = any(fence and ended.value == fence for ended in self.s.ended_fences)
        if not self.s.options.grace or not epoch or known_to_have_ended:
            return ("unknown",)
        lost = fence > max(self.s.greatest, self.s.jumped)
        early = KNOWN_NEAR_MS < known - self.now <= KNOWN_FAR_MS
        if self.s.other_server or lost or early:
            self.s.other_server = False
            if lost:
                self.notice_fence(fence)
            self.begin_recovery()
        return ("missing", self.left_ms()) if self.recovering else ("unknown",)


def sum_of(many: Iterable[Amounts]) -> Amounts:
    """Resource by resource."""
    total: Amounts = {}
    for amounts in many:
        for name, amount in amounts.items():
            total[name] = total.get(name, 0) + amount
    return total
