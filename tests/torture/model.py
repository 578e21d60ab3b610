"""What one pool should be, one operation after another, from the documentation alone: for the linearizability check.

Every ttl is long, so that time plays no part.  A state is a value: the last fence, what is allocated, the live
records.  `Model.after` gives the states that an operation, told what it was told, may lead to: none, if that is a lie.

Outcomes::

    allocate  granted fence amounts | existing fence | conflict | lost | denied (resource, requested, allocated,
              capacity)...
    resize    resized amounts | denied ... | unknown | fenced
    renew     renewed | unknown | fenced           release   released | unknown | fenced
    get       record (owner, amounts, fence) | record None
    usage     counters amounts count               listing   records ((id, owner, amounts, fence), ...)
    withdraw  the undoing of an allocate that nobody heard of; it is never heard of either
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, TypeAlias

from tests.torture.history import Amounts, Op

__all__ = ["SHARED", "Model", "Record", "State", "mark_granters"]

SHARED: Final = -1
"""The call of a record that two callers know of: the withdrawal of one does not end it."""


class Record(NamedTuple):
    """A live allocation; `fence` is negative where only a bound is known: it is at least its absolute value."""

    owner: str
    amounts: Amounts
    fence: int
    call: int


class State(NamedTuple):
    """One pool."""

    last_fence: int
    allocated: Amounts
    records: tuple[tuple[str, Record], ...]


States: TypeAlias = tuple[State, ...]

NONE: Final[States] = ()


class Model:
    """The rules of one pool of a fixed capacity."""

    def __init__(self, capacity: Mapping[str, int]) -> None:
        self.capacity = dict(capacity)
        self._rules: dict[str, Callable[[State, Op], States]] = {
            "allocate": self._allocate, "resize": self._resize, "renew": self._renew, "release": self._release,
            "get": self._get, "usage": self._usage, "listing": self._listing, "withdraw": self._withdraw,
        }  # fmt: skip

    def empty(self) -> State:
        """A new pool."""
        return State(0, tuple(sorted((name, 0) for name in self.capacity)), ())

    def of(self, listing: tuple[tuple[str, str, Amounts, int], ...], last_fence: int) -> State:
        """A pool with these records, that nobody has in doubt."""
        state = self.empty()._replace(last_fence=last_fence)
        for name, owner, amounts, fence in listing:
            state = self._with(state, name, Record(owner, amounts, fence, 0))
        return state

    def after(self, state: State, op: Op) -> States:
        """The states that this operation, told what it was told, may lead to."""
        return self._rules[op.verb](state, op)

    # -- states --------------------------------------------------------------------------------------------------------

    def _with(self, state: State, name: str, record: Record | None, last_fence: int | None = None) -> State:
        """The state with another record of that name, or with none."""
        records = dict(state.records)
        before = records.pop(name, None)
        allocated = dict(state.allocated)
        for resource, amount in before.amounts if before else ():
            allocated[resource] -= amount
        if record is not None:
            records[name] = record
            for resource, amount in record.amounts:
                allocated[resource] += amount
        fence = state.last_fence if last_fence is None else last_fence
        return State(fence, tuple(sorted(allocated.items())), tuple(sorted(records.items())))

    def _fits(self, state: State, growth: Amounts) -> bool:
        allocated = dict(state.allocated)
        return all(grow <= 0 or allocated[name] + grow <= self.capacity[name] for name, grow in growth)

    def _is_so(self, state: State, growth: Amounts, told: tuple[Any, ...], *, retried: bool) -> bool:
        """Whether a denial's numbers are the state's; only a repeat is denied what would fit by now."""
        allocated, wanted = dict(state.allocated), dict(growth)
        return bool(told) and all(
            requested == wanted.get(name)
            and taken == allocated[name]
            and capacity == self.capacity[name]
            and (retried or taken + requested > capacity)
            for name, requested, taken, capacity in told
        )

    def _bound(self, record: Record, fence: int) -> Record | None:
        """The record if it may have this fence, which is known from now on."""
        if record.fence < 0 and fence >= -record.fence:
            return record._replace(fence=fence)
        return record if record.fence == fence else None

    # -- verbs ---------------------------------------------------------------------------------------------------------

    def _allocate(self, state: State, op: Op) -> States:
        record = dict(state.records).get(op.args[0])
        match op.outcome:
            case ("granted", fence, told):
                honest = record is None and fence > state.last_fence and (told == op.args[2] or op.retried)
                return self._granted(state, op, fence) if honest else NONE
            case ("existing", fence):
                return self._existing(state, op, record, fence)
            case ("conflict",):
                return (state,) if record is not None and not self._is_of(record, op) else NONE
            case ("denied", *told):
                denied = self._is_so(state, op.args[2], tuple(told), retried=op.retried)
                return (state,) if denied and (op.retried or record is None) else NONE
        return self._lost(state, op, record) if op.known else self._unheard(state, op, record)

    def _existing(self, state: State, op: Op, record: Record | None, fence: int) -> States:
        if record is None:
            # Its first attempt was the grant; somebody shared it before the repeat was answered.
            may = op.grants and op.retried and fence > state.last_fence
            return self._granted(state, op, fence) if may else NONE
        bound = self._bound(record, fence)
        if bound is None or not self._is_of(record, op):
            return NONE
        return (self._with(state, op.args[0], bound._replace(call=SHARED)),)

    def _lost(self, state: State, op: Op, record: Record | None) -> States:
        """Granted by one attempt, and ended before the next; or shared, and changed before the next."""
        if not op.retried:
            return NONE
        return (*(self._granted(state, op, -state.last_fence - 1) if record is None else NONE), state)

    def _unheard(self, state: State, op: Op, record: Record | None) -> States:
        """It may have been granted, or have shared what was there."""
        if record is None:
            return self._granted(state, op, -state.last_fence - 1)
        shares = self._is_of(record, op) and record.call != SHARED
        return (self._with(state, op.args[0], record._replace(call=SHARED)),) if shares else NONE

    def _is_of(self, record: Record, op: Op) -> bool:
        """Whether it is what this request asks for."""
        return (record.owner, record.amounts) == op.args[1:]

    def _granted(self, state: State, op: Op, fence: int) -> States:
        name, owner, amounts = op.args
        if not self._fits(state, amounts):
            return NONE
        return (self._with(state, name, Record(owner, amounts, fence, op.number), max(state.last_fence, fence)),)

    def _withdraw(self, state: State, op: Op) -> States:
        name, call = op.args
        record = dict(state.records).get(name)
        return (self._with(state, name, None),) if record is not None and record.call == call else NONE

    def _resize(self, state: State, op: Op) -> States:
        name, fence, changes = op.args
        record = dict(state.records).get(name)
        word = op.outcome[0]
        if record is None:
            return (state,) if word == "unknown" else NONE
        after = _changed(record.amounts, changes)
        unchanged = NONE
        if word == "fenced":
            unchanged = (state,) if self._is_fenced(record, fence) else NONE
        elif word == "denied":
            growth = _growth(record.amounts, after)
            mine = not self._is_fenced(record, fence) or record.fence < 0
            so = mine and self._is_so(state, growth, op.outcome[1:], retried=op.retried)
            return (state,) if so else NONE
        # An answer that is not about its effect is that of a repeat, which met what had become of it.
        told_so = word == "resized" and after == op.outcome[1]
        changed = self._resized(state, name, record, fence, after) if told_so or op.retried or not op.known else NONE
        return (*unchanged, *changed)

    def _resized(self, state: State, name: str, record: Record, fence: int, after: Amounts) -> States:
        bound = self._bound(record, fence) if fence else record
        if bound is None or not after or not self._fits(state, _growth(record.amounts, after)):
            return NONE
        return (self._with(state, name, bound._replace(amounts=after)),)

    def _is_fenced(self, record: Record, fence: int) -> bool:
        return bool(fence) and (record.fence < 0 or record.fence != fence)

    def _renew(self, state: State, op: Op) -> States:
        return self._met(state, op, "renewed", lambda name, bound: self._with(state, name, bound))

    def _release(self, state: State, op: Op) -> States:
        return self._met(state, op, "released", lambda name, _: self._with(state, name, None))

    def _met(self, state: State, op: Op, done: str, then: Callable[[str, Record], State]) -> States:
        name, fence = op.args
        record = dict(state.records).get(name)
        word = op.outcome[0]
        if record is None:
            return (state,) if word == "unknown" else NONE
        if word == "fenced":
            return (state,) if self._is_fenced(record, fence) else NONE
        bound = self._bound(record, fence) if fence else record
        return (then(name, bound),) if bound is not None and (word == done or not op.known) else NONE

    # -- readings ------------------------------------------------------------------------------------------------------

    def _get(self, state: State, op: Op) -> States:
        (name,) = op.args
        record = dict(state.records).get(name)
        told = op.outcome[1]
        if record is None or told is None:
            return (state,) if record is None and told is None else NONE
        owner, amounts, fence = told
        bound = self._bound(record, fence)
        if bound is None or (bound.owner, bound.amounts) != (owner, amounts):
            return NONE
        return (self._with(state, name, bound),)

    def _usage(self, state: State, op: Op) -> States:
        return (state,) if op.outcome[1:] == (state.allocated, len(state.records)) else NONE

    def _listing(self, state: State, op: Op) -> States:
        told = op.outcome[1]
        if len(told) != len(state.records):
            return NONE
        for (name, record), (listed, owner, amounts, fence) in zip(state.records, told, strict=True):
            if (name, record.owner, record.amounts) != (listed, owner, amounts) or self._bound(record, fence) is None:
                return NONE
        return (state,)


def _changed(before: Amounts, changes: Amounts) -> Amounts:
    return tuple(sorted((name, amount) for name, amount in {**dict(before), **dict(changes)}.items() if amount))


def _growth(before: Amounts, after: Amounts) -> Amounts:
    had = dict(before)
    return tuple((name, amount - had.get(name, 0)) for name, amount in after)


def mark_granters(ops: list[Op]) -> None:
    """Mark who may have been the grant of what it was told exists.

    The repeat of a grant is told `existing` where another caller has shared it meanwhile.  So nobody was told
    `granted`, and there was that other caller, who was told so too, or whose own answer was lost.
    """
    granted = {op.outcome[1] for op in ops if op.outcome[0] == "granted"}
    by_name: dict[str, list[Op]] = {}
    for op in ops:
        if op.verb == "allocate":
            by_name.setdefault(op.args[0], []).append(op)
    for op in ops:
        if op.outcome[0] == "existing" and op.retried and op.outcome[1] not in granted:
            op.grants = any(other is not op and _shares(other, op) for other in by_name[op.args[0]])


def _shares(other: Op, op: Op) -> bool:
    """Whether the other may have met what this one was granted, before this one was answered."""
    meets = other.began <= op.ended and op.began <= other.ended
    return meets and (other.retried or not other.known or other.outcome == op.outcome)
