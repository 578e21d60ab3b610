"""Is there an order of the operations, each between its beginning and its end, in which no answer was a lie?

The search of Wing and Gong with the memory of Lowe: go on with any operation that had begun before the first of the
others ended; come back where none leads on; never look twice at the same operations done with the same state.  What
was sent and not answered may come at any time after its beginning, or not at all: an attempt of a call that was
repeated, up to its answer; of one that nobody heard of, or that was refused and is undone, until then.  Each pool is
searched alone: a history is linearizable where that of every pool is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from tests.properties.clocked_model import Model, State
from tests.properties.history import NEVER, UNKNOWN, Op

__all__ = ["STEPS_MAX", "TooLong", "Verdict", "check", "explain"]

STEPS_MAX: Final = 2_000_000
"""States that one search may look at.  More is an error, for then nothing is known."""

WINDOW_AROUND: Final = 12
"""Operations shown of those that happened at the same time."""

WINDOW_BEFORE: Final = 6
"""Operations shown of those that led to the window which has no order."""


UNHEARD: Final = -1
"""The place of a step that is no operation's answer."""


class TooLong(Exception):
    """The search was given up: neither yes nor no."""


@dataclass(frozen=True)
class Verdict:
    """Whether there is an order; the longest that was found, the state after it, and what it took to find it."""

    ok: bool
    order: tuple[int, ...]
    state: State
    steps: int

    def __bool__(self) -> bool:
        return self.ok


@dataclass(slots=True)
class _Frame:
    """One place of the search: what is done, where that leads, and what may be next."""

    done: int
    first: int
    state: State
    chosen: int
    nexts: Iterator[tuple[int, State]]


class _Search:
    def __init__(self, ops: Sequence[Op], model: Model) -> None:
        self.ops = sorted((op for op in ops if op.known), key=lambda op: (op.began, op.number))
        self.doubtful = [op for op in ops if not op.known]
        self.repeated = [(at, op) for at, op in enumerate(self.ops) if op.again]
        self.model = model
        self.all = self.ops + self.doubtful
        self.wanted = (1 << len(self.ops)) - 1

    def first_open(self, done: int, first: int) -> int:
        while done >> first & 1:
            first += 1
        return first

    def nexts(self, done: int, first: int, state: State) -> Iterator[tuple[int, State]]:
        """What may be next, those that ended first and are known first, and where it leads."""
        ops = self.ops
        limit = NEVER
        found: list[tuple[int, int]] = []
        for at in range(first, len(ops)):
            op = ops[at]
            if op.began > limit:
                break
            if not done >> at & 1:
                found.append((op.ended, at))
                limit = min(limit, op.ended)
        for _, at in sorted(found):
            if ops[at].began <= limit:
                for after in self.model.after(state, ops[at]):
                    yield at, after
        for op in self._under_way(done, limit):
            for after in self.model.may(state, op):
                yield UNHEARD, after

    def _under_way(self, done: int, limit: int) -> Iterator[Op]:
        """What may arrive without an answer that anybody hears."""
        for at, op in self.repeated:
            if op.began <= limit and (not done >> at & 1 or self.model.is_refused(op)):
                yield op
        for op in self.doubtful:
            if op.began <= limit:
                yield op

    def run(self, state: State, steps_max: int) -> Verdict:
        frames = [_Frame(0, 0, state, -1, self.nexts(0, 0, state))]
        seen = {(0, state)}
        best: tuple[int, tuple[int, ...], State] = (0, (), state)
        while frames:
            frame = frames[-1]
            if frame.done & self.wanted == self.wanted:
                return Verdict(True, self._order(frames), frame.state, len(seen))
            step = next(frame.nexts, None)
            if step is None:
                frames.pop()
                continue
            at, after = step
            done = frame.done if at == UNHEARD else frame.done | 1 << at
            if (done, after) in seen:
                continue
            if len(seen) >= steps_max:
                raise TooLong(f"more than {steps_max:,} states for {len(self.all)} operations")
            seen.add((done, after))
            first = self.first_open(done, frame.first)
            frames.append(_Frame(done, first, after, at, self.nexts(done, first, after)))
            count = (done & self.wanted).bit_count()
            if count > best[0]:
                best = (count, self._order(frames), after)
        return Verdict(False, best[1], best[2], len(seen))

    def _order(self, frames: list[_Frame]) -> tuple[int, ...]:
        # Only the end is ever shown, and writing down the whole at each step would be quadratic.
        return tuple(self.all[frame.chosen].number for frame in frames[-WINDOW_BEFORE:] if frame.chosen >= 0)


def check(ops: Sequence[Op], model: Model, state: State | None = None, *, steps_max: int = STEPS_MAX) -> Verdict:
    """Search for an order of one pool's operations.

    Args:
        ops: What was done.
        model: The rules.
        state: How the pool was before; empty by default.
        steps_max: States to look at.

    Raises:
        TooLong: More would have been needed.
    """
    return _Search(ops, model).run(model.empty() if state is None else state, steps_max)


def explain(ops: Sequence[Op], model: Model, state: State | None = None) -> str:
    """The smallest window that has no order: the shortest beginning of the history that has none, and how it ends.

    What had not ended by then is not counted among it: its end is in the future, where anything may still happen.
    """
    ends = sorted(op.ended for op in ops if op.known)
    low, high = 0, len(ends) - 1
    while low < high:
        middle = (low + high) // 2
        if check(_until(ops, ends[middle]), model, state):
            low = middle + 1
        else:
            high = middle
    window = _until(ops, ends[high])
    verdict = check(window, model, state)
    last = next(op for op in ops if op.ended == ends[high])
    by_number = {op.number: op for op in window}
    around = [op for op in window if op.began <= last.ended and op.ended >= last.began and op.number != last.number]
    lines = [f"no order of {len(window)} of {len(ops)} operations; this one was told what cannot be:", f"  {last}"]
    lines += ["at the same time:", *(f"  {op}" for op in around[-WINDOW_AROUND:])] if around else []
    if verdict.order:
        lines += ["the longest order ends with:", *(f"  {by_number[number]}" for number in verdict.order)]
    records = ", ".join(
        f"{name}={record.owner}{record.amounts}#{record.fence}{'+' if record.below else ''} of {record.calls}"
        for name, record in verdict.state.records
    )
    lines += [f"and leads to: allocated {dict(verdict.state.allocated)}, records {records or 'none'}"]
    lines += [f"of what was ended: {sorted(verdict.state.ended)}"] if verdict.state.ended else []
    return "\n".join(lines)


def _until(ops: Sequence[Op], instant: int) -> list[Op]:
    """What is known of a history at that instant: what had not ended may have taken effect."""
    return [
        op if not op.known or op.ended <= instant else _open(op)
        for op in ops
        if op.began <= instant and (op.ended <= instant or op.verb in CHANGING)
    ]


CHANGING: Final = frozenset({"allocate", "resize", "renew", "release", "undo"})
"""Verbs that may have an effect before they are answered."""


def _open(op: Op) -> Op:
    return replace(op, ended=NEVER, outcome=UNKNOWN)
