"""What the model of a pool remembers: records, who was told of them what, and the calls that have ended."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Final

OTHERS: Final = "*"
"""Stands for callers beyond three, and for whoever adopted."""

CALLS_MAX: Final = 3
"""Ids of calls that a record names."""

Amounts = dict[str, int]


@dataclass(slots=True, eq=False)
class Fence:
    """A fence; its number is only known once a reply or the record has shown it."""

    value: int | None = None


@dataclass(slots=True)
class Told:
    """One call that was told of an allocation: what it asked for, and until when it was told to have it; 0 pinned."""

    call: str
    ttl: int
    until: int
    granted: bool = False
    """It is the call that granted it."""


@dataclass(slots=True)
class Record:
    """A live allocation.  `asserted` is when somebody was last told that it is there, however that is written."""

    owner: str
    amounts: Amounts
    fence: Fence
    granted: int
    ttl: int
    deadline: int
    asserted: int
    calls: list[Told]
    releasing: int = 0
    gap: bool = False
    told_gone: bool = False
    loose: frozenset[str] = frozenset()
    """Names of what the specification leaves open for this record: see `tests.properties.worlds.compare`."""

    @property
    def pinned(self) -> bool:
        """It has no deadline."""
        return self.deadline == 0

    def lapsed(self, now: int) -> bool:
        """Its deadline has passed."""
        return 0 < self.deadline <= now

    def told(self, call: str) -> Told | None:
        """The entry of a call; `*` is nobody's."""
        return next((entry for entry in self.calls if entry.call == call != OTHERS), None)

    def loosen(self, *names: str) -> None:
        """From here on the specification says no more about these."""
        self.loose |= set(names)

    def clone(self) -> Record:
        """What it is now; the fence is the same one."""
        calls = [Told(entry.call, entry.ttl, entry.until, entry.granted) for entry in self.calls]
        return Record(
            self.owner, dict(self.amounts), self.fence, self.granted, self.ttl, self.deadline, self.asserted, calls,
            self.releasing, self.gap, self.told_gone, self.loose,
        )  # fmt: skip


@dataclass(slots=True)
class Broken:
    """A record that cannot be read: what it was, and how it was broken."""

    was: Record
    how: str
    indexed: bool = True

    def clone(self) -> Broken:
        """The same again."""
        return Broken(self.was, self.how, self.indexed)


@dataclass(slots=True)
class Belief:
    """What somebody was told: the allocation, and until when; 0: for ever."""

    id: str
    fence: Fence
    until: int
    at: int


class BrokenDataError(Exception):
    """A call names broken data: it is an error, and changes nothing."""


@dataclass(slots=True)
class Options:
    """What a pool promises."""

    grace: int = 0
    max_ttl: int = 0


@dataclass
class State:
    """All of a pool."""

    capacity: Amounts
    options: Options = field(default_factory=Options)
    epoch: str = "epoch-1"
    there: bool = True
    deleted: bool = False
    word: str = ""
    """`offline`, `deleting` or `schema`."""
    named: str = ""
    """The epoch that every call names."""
    other_server: bool = False
    recovering_until: int = 0
    gap: tuple[int, int] | None = None
    allocated: Amounts = field(default_factory=dict)
    records: dict[str, Record | Broken] = field(default_factory=dict)
    ended: dict[str, int] = field(default_factory=dict)
    perhaps_ended: set[str] = field(default_factory=set)
    """Calls of which the specification does not say whether they are remembered."""
    ended_fences: list[Fence] = field(default_factory=list)
    known: dict[str, Fence] = field(default_factory=dict)
    """The last grant of each id."""
    beliefs: dict[object, Belief] = field(default_factory=dict)
    events: list[tuple[str, str]] = field(default_factory=list)
    """Kind and id of what changed."""
    greatest: int = 0
    """The greatest fence that was shown."""
    jumped: int = 0
    """A fence that the store did not know: the next ones are far beyond it."""
    moved: bool = False
    """The revision must have moved."""
    perhaps_moved: bool = False
    judged: bool = True
    """Whether what is believed can be held against the pool: not after a forced adoption or a loss."""

    def clone(self) -> State:
        """What it is now, for another world; the options are shared, for nothing changes them."""
        made = copy.copy(self)
        made.allocated = dict(self.allocated)
        made.records = {identity: record.clone() for identity, record in self.records.items()}
        made.ended = dict(self.ended)
        made.perhaps_ended = set(self.perhaps_ended)
        made.ended_fences = list(self.ended_fences)
        made.known = dict(self.known)
        made.events = list(self.events)
        made.beliefs = {who: Belief(each.id, each.fence, each.until, each.at) for who, each in self.beliefs.items()}
        return made
