"""The states of a pool that the linearizability check goes through: values, each made of the one before."""

from __future__ import annotations

from typing import Final, NamedTuple, TypeAlias

from tests.properties.history import Amounts, Op

__all__ = ["CALLS_MAX", "NONE", "ONCE", "OTHERS", "Record", "State", "States"]

ONCE: Final = 0
"""A call of which nothing more will arrive."""

OTHERS: Final = -1
"""Stands in the first place for the callers of a record whose calls are not remembered any more."""

CALLS_MAX: Final = 3
"""Calls that a record remembers."""

UNBOUND: Final = 1 << 62


class Record(NamedTuple):
    """A live allocation.  Where `below` is 0 its fence is known; else it is at least `fence`, and less than that."""

    owner: str
    amounts: Amounts
    fence: int
    below: int
    calls: tuple[int, ...]

    def may_have(self, fence: int) -> bool:
        """Whether it may have this fence; 0 is any."""
        return fence in (0, self.fence) if not self.below else not fence or self.fence <= fence < self.below

    def may_differ(self, fence: int) -> bool:
        """Whether it may have another."""
        return fence != 0 and (self.below != 0 or fence != self.fence)


class State(NamedTuple):
    """One pool.  `ended` are the calls that have ended, and what they were told where that was a refusal."""

    last_fence: int
    allocated: Amounts
    records: tuple[tuple[str, Record], ...]
    ended: frozenset[tuple[int, str]]

    def record(self, name: str) -> Record | None:
        """The live record of that name."""
        return next((record for one, record in self.records if one == name), None)

    def put(self, name: str, record: Record | None) -> State:
        """The state with another record of that name, or with none."""
        records = dict(self.records)
        before = records.pop(name, None)
        allocated = dict(self.allocated)
        for resource, amount in before.amounts if before else ():
            allocated[resource] -= amount
        if record is not None:
            records[name] = record
            for resource, amount in record.amounts:
                allocated[resource] += amount
        return self._replace(allocated=tuple(sorted(allocated.items())), records=tuple(sorted(records.items())))

    def grant(self, op: Op) -> State:
        """A new record, with a fence that is later than any before."""
        name, owner, amounts = op.args
        calls = (op.number if op.again else ONCE,)
        fence = self.last_fence + 1
        return self.put(name, Record(owner, amounts, fence, UNBOUND, calls))._replace(last_fence=fence)

    def share(self, op: Op, record: Record) -> State:
        """Another caller was told of it; where there are too many the oldest is forgotten, and has ended."""
        calls = (*record.calls, op.number if op.again else ONCE)
        others = int(calls[0] == OTHERS)
        if len(calls) - others <= CALLS_MAX:
            return self.put(op.args[0], record._replace(calls=calls))
        left = record._replace(calls=(OTHERS, *calls[others + 1 :]))
        return self.put(op.args[0], left).end(calls[others])

    def bound(self, name: str, fence: int) -> State | None:
        """The state in which this record has this fence, if it may; those granted before and after it follow."""
        record = self.record(name)
        if record is None or not fence or not record.may_have(fence):
            return None
        if not record.below:
            return self
        records: list[tuple[str, Record]] = []
        for one, other in self.records:
            if one == name:
                records.append((one, record._replace(fence=fence, below=0)))
            elif not other.below:
                records.append((one, other))
            elif other.fence < record.fence:
                records.append((one, other._replace(below=min(other.below, fence))))
            else:
                records.append((one, other._replace(fence=max(other.fence, fence + 1))))
        if any(other.below and other.fence >= other.below for _, other in records):
            return None
        return self._replace(records=tuple(records), last_fence=max(self.last_fence, fence))

    def has_ended(self, op: Op, word: str = "") -> bool:
        """Whether its call has ended, with that word."""
        return op.again and (op.number, word) in self.ended

    def end(self, call: int, word: str = "") -> State:
        """That call has ended."""
        return self if call <= ONCE else self._replace(ended=self.ended | {(call, word)})

    def settled(self, op: Op) -> State:
        """It was answered, and nothing more of it may have an effect: it need not be told from others any more."""
        if not op.again:
            return self
        records = tuple(
            (name, record._replace(calls=tuple(ONCE if call == op.number else call for call in record.calls)))
            for name, record in self.records
        )
        return self._replace(records=records, ended=frozenset(one for one in self.ended if one[0] != op.number))


States: TypeAlias = tuple[State, ...]

NONE: Final[States] = ()
