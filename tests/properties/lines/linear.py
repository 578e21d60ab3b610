"""Is there an order in which nobody was told a lie, of calls that wait, pass, preempt and give back?

An allocate that waits takes effect twice: where it takes its place, and where it has what it was told, or leaves.  Both
lie between its beginning and its end, and so does the one effect of each other call.  The search goes on with any call
that had begun before the first of the others ended, and never looks twice at the same effects with the same state.
Time plays no part: the scripts are told that it stands still.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from tests.properties.lines.book import Item
from tests.properties.lines.histories import key
from tests.properties.lines.model import Model

__all__ = ["STEPS_MAX", "Told", "explain", "find_order"]

STEPS_MAX: Final = 60_000
"""States that one search may look at."""

SHOWN: Final = 12

IN_LINE: Final = 1
DONE: Final = 2


@dataclass(frozen=True)
class Told:
    """One call, the instants between which it was made, and what its caller was told.

    `asked` is an `Item`, an id, or nothing.  The outcome of an allocate is `granted` and its fence, or the code of its
    denial, the account and the numbers; or `withdrawn`.
    """

    number: int
    verb: str
    asked: Any
    began: int
    ended: int
    outcome: tuple[Any, ...]

    def __str__(self) -> str:
        return f"#{self.number} {self.began}..{self.ended} {self.verb} {self.asked} -> {self.outcome}"


@dataclass
class _Place:
    """How far each call is, and where that leads."""

    model: Model
    phases: tuple[int, ...]
    fence: int
    order: tuple[int, ...]
    nexts: Iterator[_Place] = field(init=False)


class _Search:
    def __init__(self, calls: Sequence[Told]) -> None:
        self.calls = sorted(calls, key=lambda call: (call.began, call.number))
        self.fences = {
            call.asked.call: call.outcome[1]
            for call in self.calls
            if call.verb == "allocate" and call.outcome[0] == "granted"
        }

    def nexts(self, place: _Place) -> Iterator[_Place]:
        """What may be next, those that ended first before the others."""
        open_calls = [(call, at) for at, call in enumerate(self.calls) if place.phases[at] != DONE]
        limit = min(call.ended for call, _ in open_calls)
        ready = sorted((call.ended, at) for call, at in open_calls if call.began <= limit)
        for _, at in ready:
            yield from self._step(place, at, again=False)
        for _, at in ready:
            if place.phases[at] == IN_LINE and self.calls[at].asked.preempt:
                yield from self._step(place, at, again=True)

    def _step(self, place: _Place, at: int, *, again: bool) -> Iterator[_Place]:
        """`again`: who waits asks once more, as it does now and then, and may preempt."""
        call = self.calls[at]
        if not again and place.phases[at] == IN_LINE and not _may_end(place.model, call):
            return
        model = copy.deepcopy(place.model)
        model.events.clear()
        phase = _ask_again(model, call) if again else _perform(model, call, place.phases[at])
        fence = place.fence if phase is None else self._fence(model, place.fence)
        if phase is None or fence is None:
            return
        phases = (*place.phases[:at], phase, *place.phases[at + 1 :])
        yield _Place(model, phases, fence, (*place.order, call.number))

    def _fence(self, model: Model, fence: int) -> int | None:
        """The greatest that is known, after what was granted; None: one of them is not greater than those before."""
        for name in (name for kind, name in model.events if kind == "granted"):
            held = model.held(name)
            own = self.fences.get(held.asked.call) if held else None
            if own is not None and own <= fence:
                return None
            fence = own or fence
        return fence

    def run(self, model: Model) -> tuple[_Place, bool, int]:
        """The longest order, whether it is whole, and the states that were looked at."""
        first = _Place(model, (0,) * len(self.calls), 0, ())
        first.nexts = self.nexts(first)
        places, best, seen = [first], first, {(first.phases, 0, _state(model))}
        while places:
            if all(phase == DONE for phase in places[-1].phases):
                return places[-1], True, len(seen)
            after = next(places[-1].nexts, None)
            if after is None:
                places.pop()
                continue
            state = (after.phases, after.fence, _state(after.model))
            if state in seen:
                continue
            assert len(seen) < STEPS_MAX, f"more than {STEPS_MAX:,} states for {len(self.calls)} calls"
            seen.add(state)
            after.nexts = self.nexts(after) if not all(phase == DONE for phase in after.phases) else iter(())
            places.append(after)
            best = max(best, after, key=lambda place: len(place.order))
        return best, False, len(seen)


def _state(model: Model) -> str:
    return key(model, model.over.keys())


def _may_end(model: Model, call: Told) -> bool:
    """Of one in line; a look before the model is copied."""
    item = call.asked
    held = model.held(item.id)
    if call.outcome[0] == "granted":
        return held is not None and item.call in held.calls
    return held is None and (item.call in model.withdrawn or call.outcome[0] != "withdrawn")


def _perform(model: Model, call: Told, phase: int) -> int | None:
    """How far the call is then; None: it was told something else."""
    asked, told = call.asked, call.outcome
    if call.verb == "allocate":
        return _allocate(model, asked, told, phase)
    if call.verb in ("release", "withdraw"):
        own = f"{call.verb}-{call.number}"
        (reply,) = model.release([(asked, own, 0)]) if call.verb == "release" else model.withdraw([(asked, own)])
        return DONE if reply[0] == told[0] else None
    return DONE if _read(model, call.verb) == told else None


def _read(model: Model, verb: str) -> tuple[Any, ...]:
    tree = model.tree
    if verb == "line":
        return tuple(one.asked.id for one in model.line)
    if verb == "quotas":
        return tuple((tree.allocated(name, "cpu"), tree.kept(name, "cpu")) for name in sorted(tree.limits))
    return (tree.allocated("", "cpu"), len(model.live))


def _ask_again(model: Model, call: Told) -> int | None:
    (reply,) = model.allocate([call.asked])
    return IN_LINE if reply[0] in ("waiting", "replayed") else None


def _allocate(model: Model, item: Item, told: tuple[Any, ...], phase: int) -> int | None:
    is_refused = told[0] not in ("granted", "withdrawn")
    if phase == IN_LINE and is_refused and item.call in model.withdrawn:
        return DONE  # its time was over: then it is told why it waited before
    is_over = phase == IN_LINE and is_refused
    (reply,) = model.allocate([replace(item, wait=False) if is_over else item])
    word = reply[0]
    if word == "waiting":
        return IN_LINE if phase == 0 else None
    if word in ("granted", "replayed"):
        return DONE if told[0] == "granted" else None
    if word == "denied":
        rows = tuple(part for part in reply[3:] if not isinstance(part, list))
        return DONE if told == (reply[1], reply[2], *rows) else None
    return DONE if told[0] == word else None


def find_order(calls: Sequence[Told], model: Model) -> tuple[bool, int]:
    """Whether there is one, and the states that were looked at."""
    _, is_whole, states = _Search(calls).run(model)
    return is_whole, states


def explain(calls: Sequence[Told], model: Model) -> str:
    """The longest order that was found, and what is left of the history."""
    best, _, _ = _Search(calls).run(model)
    by_number = {call.number: call for call in calls}
    left = [call for call, phase in zip(_Search(calls).calls, best.phases, strict=True) if phase != DONE]
    lines = [f"no order of {len(calls)} calls; the longest ends with:"]
    lines += [f"  {by_number[number]}" for number in best.order[-SHOWN:]]
    lines += ["and none of these is next:", *(f"  {call}" for call in left[:SHOWN])]
    lines += [f"held: {sorted(best.model.live)}, in line: {[one.asked.id for one in best.model.line]}"]
    return "\n".join(lines)
