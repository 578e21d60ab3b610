"""What one pool should be, one operation after another, from the documentation alone: for the linearizability check.

Every ttl is long, so that time plays no part.  A state is a value: the last fence, what is allocated, the live records
with the calls that were told of them, and the calls that have ended.  `Model.after` gives the states that an operation,
told what it was told, may lead to: none, if that is a lie.  `Model.may` gives those that something of it leads to whose
answer nobody heard: an attempt that was repeated, or the undoing of a call that was given up.

One call has one effect, however often it is sent: an attempt meets what the one before has left, and is told of that
grant, or that it is over; never of another.

Outcomes::

    allocate  granted fence amounts | existing fence amounts | conflict | lost
              | denied (resource, requested, allocated, capacity)...
    resize    resized amounts | denied ... | unknown | fenced
    renew     renewed | unknown | fenced           release   released | unknown | fenced
    get       record (owner, amounts, fence) | record None
    usage     counters amounts count               listing   records ((id, owner, amounts, fence), ...)
    undo      undone: the end of a call that nobody hears of
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, TypeAlias

from tests.properties.history import Amounts, Op
from tests.properties.pool_states import CALLS_MAX, NONE, ONCE, OTHERS, Record, State, States

__all__ = ["CALLS_MAX", "ONCE", "OTHERS", "Model", "Record", "State"]

Listing: TypeAlias = tuple[tuple[str, str, Amounts, int], ...]


class Step(NamedTuple):
    """What an attempt is told, and the state that it leaves.

    `fence` is what its record must have, where that is said: by the answer (-1), or by the caller.
    """

    told: tuple[Any, ...]
    state: State
    fence: int = 0


TOLD: Final = -1
"""The fence of a step that is the answer's."""


class Model:
    """The rules of one pool of a fixed capacity."""

    def __init__(self, capacity: Mapping[str, int]) -> None:
        self.capacity = dict(capacity)
        self._attempts: dict[str, Callable[[State, Op], list[Step]]] = {
            "allocate": self._allocate, "resize": self._resize, "renew": self._renew, "release": self._release,
            "undo": self._undo,
        }  # fmt: skip
        self._readings: dict[str, Callable[[State, Op], States]] = {
            "get": self._get, "usage": self._usage, "listing": self._listing,
        }  # fmt: skip

    def empty(self) -> State:
        """A new pool."""
        return State(0, tuple(sorted((name, 0) for name in self.capacity)), (), frozenset())

    def of(self, listing: Listing, last_fence: int, calls: Mapping[str, tuple[int, ...]] | None = None) -> State:
        """A pool with these records, that nobody has in doubt; `calls` are those that were told of each."""
        state = self.empty()._replace(last_fence=last_fence)
        for name, owner, amounts, fence in listing:
            state = state.put(name, Record(owner, amounts, fence, 0, (calls or {}).get(name, (ONCE,))))
        return state

    def after(self, state: State, op: Op) -> States:
        """The states that this operation, told what it was told, may lead to."""
        if op.verb in self._readings:
            return self._readings[op.verb](state, op)
        found: list[State] = []
        for told, after, fence in self._attempts[op.verb](state, op):
            if told != ((op.outcome[0], *op.outcome[2:]) if fence == TOLD else op.outcome):
                continue
            bound = after.bound(op.args[0], op.outcome[1] if fence == TOLD else fence) if fence else after
            if bound is not None:
                found.append(bound if self.is_refused(op) else bound.settled(op))
        return tuple(found)

    def may(self, state: State, op: Op) -> States:
        """The states that an attempt whose answer nobody heard leads to, but for the one that it changes nothing."""
        found: list[State] = []
        for told, after, fence in self._attempts[op.verb](state, op) if op.verb in self._attempts else ():
            bound = after.bound(op.args[0], fence) if fence > 0 else after
            if bound is not None and bound != state:
                found.append(bound)
            if self._marks(op, told):
                found.append(state.end(op.number, told[0]))
        return tuple(found)

    def is_refused(self, op: Op) -> bool:
        """Whether a call that was repeated was refused without a mark: it is undone, and until then may still act."""
        return op.verb == "allocate" and op.again and op.outcome[0] in ("denied", "conflict")

    def _marks(self, op: Op, told: tuple[Any, ...]) -> bool:
        """Whether a repeat that was refused, and repeated once more, is remembered as refused."""
        refusals = {"resize": ("denied", "unknown"), "release": ("unknown",)}.get(op.verb, ())
        return op.known and op.sent > 2 and told[0] in refusals

    # -- does it fit ---------------------------------------------------------------------------------------------------

    def _short(self, state: State, growth: Amounts, *, stands: bool = False) -> tuple[tuple[str, int, int, int], ...]:
        """What there is too little of, in numbers; with `stands` all that grows, where there is enough by now."""
        allocated = dict(state.allocated)
        grows = [(name, more, allocated[name], self.capacity[name]) for name, more in growth if more > 0]
        short = tuple(one for one in grows if one[2] + one[1] > one[3])
        return short or tuple(grows) if stands else short

    # -- verbs: each as the script decides it, whoever asks ------------------------------------------------------------

    def _allocate(self, state: State, op: Op) -> list[Step]:
        name, owner, amounts = op.args
        record = state.record(name)
        mine = op.again and record is not None and op.number in record.calls
        if not mine and state.has_ended(op):
            return [Step(("lost",), state)]
        if record is None:
            if short := self._short(state, amounts):
                return [Step(("denied", *short), state)]
            return [Step(("granted", amounts), state.grant(op), TOLD)]
        if mine:
            word = "granted" if record.calls[0] == op.number else "existing"
            return [Step((word, record.amounts), state, TOLD)]
        if (record.owner, record.amounts) != (owner, amounts):
            return [Step(("conflict",), state)]
        return [Step(("existing", amounts), state.share(op, record), TOLD)]

    def _undo(self, state: State, op: Op) -> list[Step]:
        name, call = op.args
        record, ended = state.record(name), state.end(call)
        if record is None or call not in record.calls:
            return [Step(("undone",), ended)]
        left = tuple(one for one in record.calls if one != call)
        return [Step(("undone",), ended.put(name, record._replace(calls=left) if left else None))]

    def _resize(self, state: State, op: Op) -> list[Step]:
        name, fence, changes = op.args
        record = state.record(name)
        if record is None or state.has_ended(op, "unknown"):
            return [Step(("unknown",), state)]
        fenced = [Step(("fenced",), state)] if record.may_differ(fence) else []
        if not record.may_have(fence):
            return fenced
        if state.has_ended(op):
            return [*fenced, Step(("resized", record.amounts), state, fence)]
        after = _changed(record.amounts, changes)
        growth = _growth(record.amounts, after)
        stands = state.has_ended(op, "denied")
        if (short := self._short(state, growth, stands=stands)) or stands:
            return [*fenced, Step(("denied", *short), state, fence)]
        changed = state.put(name, record._replace(amounts=after))
        return [*fenced, Step(("resized", after), changed.end(op.number) if op.again else changed, fence)]

    def _renew(self, state: State, op: Op) -> list[Step]:
        return self._met(state, op, "renewed", lambda bound: bound)

    def _release(self, state: State, op: Op) -> list[Step]:
        name, fence = op.args
        record = state.record(name)
        if record is None or not fence:
            if state.has_ended(op, "unknown"):
                return [Step(("unknown",), state)]
            if state.has_ended(op):
                return [Step(("released",), state)]
        return self._met(state, op, "released", lambda bound: _gone(bound, op, record))

    def _met(self, state: State, op: Op, done: str, then: Callable[[State], State]) -> list[Step]:
        name, fence = op.args
        record = state.record(name)
        if record is None:
            return [Step(("unknown",), state)]
        fenced = [Step(("fenced",), state)] if record.may_differ(fence) else []
        bound = state.bound(name, fence) if fence else state
        return [*fenced, Step((done,), then(bound))] if bound is not None else fenced

    # -- readings ------------------------------------------------------------------------------------------------------

    def _get(self, state: State, op: Op) -> States:
        (name,) = op.args
        record = state.record(name)
        told = op.outcome[1]
        if record is None or told is None:
            return (state,) if record is None and told is None else NONE
        owner, amounts, fence = told
        bound = state.bound(name, fence)
        return (bound,) if bound is not None and (record.owner, record.amounts) == (owner, amounts) else NONE

    def _usage(self, state: State, op: Op) -> States:
        return (state,) if op.outcome[1:] == (state.allocated, len(state.records)) else NONE

    def _listing(self, state: State, op: Op) -> States:
        told = op.outcome[1]
        if len(told) != len(state.records):
            return NONE
        bound: State | None = state
        for (name, record), (listed, owner, amounts, fence) in zip(state.records, told, strict=True):
            if (name, record.owner, record.amounts) != (listed, owner, amounts):
                return NONE
            bound = bound and bound.bound(name, fence)
        return (bound,) if bound is not None else NONE


def _gone(state: State, op: Op, record: Record | None) -> State:
    """Released: every call that was told of it has ended, and the release."""
    gone = state.put(op.args[0], None)
    for call in (*(record.calls if record else ()), op.number if op.again else ONCE):
        gone = gone.end(call)
    return gone


def _changed(before: Amounts, changes: Amounts) -> Amounts:
    return tuple(sorted((name, amount) for name, amount in {**dict(before), **dict(changes)}.items() if amount))


def _growth(before: Amounts, after: Amounts) -> Amounts:
    had = dict(before)
    return tuple((name, amount - had.get(name, 0)) for name, amount in after)
