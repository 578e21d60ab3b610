"""What a pool should be, in plain Python, from the documentation alone.

Amounts are integers, instants milliseconds.  Every verb changes the model as the documentation says and returns what
the caller should be told: a word, or ("denied", code, resources that were short).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

Amounts: TypeAlias = Mapping[str, int]
Told: TypeAlias = "str | tuple[str, str, tuple[str, ...]]"


EVER: Final = 0
"""The deadline, and the time to live, of what is pinned, where somebody was told of it."""

CALLS_MAX: Final = 3
"""Calls that a record remembers; `OTHERS` stands for those before them."""

OTHERS: Final = "*"


@dataclass(frozen=True)
class Caller:
    """A call that was told of an allocation: what it asked for, and the deadline that it was told."""

    call: object
    ttl_ms: int
    told_ms: int


@dataclass
class Held:
    """A live allocation."""

    owner: str
    amounts: dict[str, int]
    granted_ms: int
    ttl_ms: int | None
    deadline_ms: int | None
    fence: int = 0
    callers: tuple[Caller, ...] = ()

    def told(self) -> tuple[Caller, ...]:
        """Who was told what; of a single one, what the allocation has."""
        if len(self.callers) > 1:
            return self.callers
        return (Caller(self.callers[0].call, self.ttl_ms or EVER, self.deadline_ms or EVER),)

    def share(self, before: tuple[Caller, ...], call: object, ttl_ms: int) -> None:
        """Another call, beside those before, is told of it as it stands now."""
        callers = (*before, Caller(call, ttl_ms, self.deadline_ms or EVER))
        others = callers[0].call == OTHERS
        if len(callers) - others > CALLS_MAX:
            oldest = callers[others]
            if others:
                oldest = Caller(
                    OTHERS, _longer(callers[0].ttl_ms, oldest.ttl_ms), _longer(callers[0].told_ms, oldest.told_ms)
                )
            callers = (dataclasses.replace(oldest, call=OTHERS), *callers[1 + others :])
        self.callers = callers

    def forget(self, call: object) -> bool:
        """The call is undone: it is as the others were told; False where there are none."""
        left = tuple(one for one in self.told() if one.call != call)
        if not left:
            return False
        self.callers = left
        told_ms = EVER if any(one.told_ms == EVER for one in left) else max(one.told_ms for one in left)
        self.ttl_ms = max(one.ttl_ms for one in left) if told_ms else None
        self.deadline_ms = told_ms or None
        return True


def _longer(one: int, other: int) -> int:
    return EVER if EVER in (one, other) else max(one, other)


@dataclass(frozen=True)
class Wanted:
    """One request, valid in itself; ttl 0 pins."""

    id: str
    owner: str
    amounts: Amounts
    ttl_ms: int


@dataclass
class Model:
    """One pool and its clock."""

    capacity: dict[str, int]
    whole_units: frozenset[str]
    now_ms: int
    live: dict[str, Held] = field(default_factory=dict)
    ended: set[object] = field(default_factory=set)
    bounds: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    """Of a resource: the least, the most (what grows) and the step of an amount; 0 is none."""

    def allocated(self) -> dict[str, int]:
        """The sum over what is live, for every resource that is counted."""
        return {name: sum(held.amounts.get(name, 0) for held in self.live.values()) for name in self.capacity}

    def overcommitted(self) -> tuple[str, ...]:
        """Where the capacity was lowered below what is allocated."""
        return tuple(name for name, amount in sorted(self.allocated().items()) if amount > self.capacity[name])

    def due(self) -> list[str]:
        """What is past its deadline, the oldest first."""
        found = [
            (held.deadline_ms, name)
            for name, held in self.live.items()
            if held.deadline_ms is not None and held.deadline_ms <= self.now_ms
        ]
        return [name for _, name in sorted(found)]

    # -- does it fit ---------------------------------------------------------------------------------------------------

    def refusal(self, amounts: Amounts, held: Amounts, together: Amounts | None = None) -> Told | None:
        """The first check that fails, and where; None where it fits.  `held` is what the caller has already."""
        growth = {name: amount - held.get(name, 0) for name, amount in amounts.items() if amount > held.get(name, 0)}
        allocated = self.allocated()
        checks = {
            "unknown_resource": [name for name in growth if name not in self.capacity],
            "constraint_violation": [name for name in growth if name in self.whole_units and amounts[name] % 1000],
            "unit_violation": [
                name for name in amounts if self.is_out_of_bounds(name, amounts[name], held.get(name, 0))
            ],
            "never_fits": [name for name in growth if (together or amounts)[name] > self.capacity.get(name, 0)],
            "capacity_exceeded": [
                name for name in growth if allocated.get(name, 0) + growth[name] > self.capacity.get(name, 0)
            ],
        }
        if not any(checks[code] for code in checks if code != "never_fits"):
            return None
        return next(("denied", code, tuple(sorted(short))) for code, short in checks.items() if short)

    def is_out_of_bounds(self, name: str, amount: int, held: int) -> bool:
        """Whether an amount that changes is one that the pool does not give out."""
        least, most, step = self.bounds.get(name, (0, 0, 0))
        too_much = amount > max(held, most) and most > 0
        return amount != held and (amount < least or too_much or (step > 0 and amount % step > 0))

    def fits_or_why(
        self, amounts: Amounts, held: Amounts, *, but: Iterable[str] = (), together: Amounts | None = None
    ) -> Told | None:
        """The same, after taking back what is due, oldest first, and only as much as it takes."""
        why = self.refusal(amounts, held, together)
        if why is None or why[1] != "capacity_exceeded":
            return why
        for name in self.due():
            if name not in but:
                self.end(name)
                if self.refusal(amounts, held) is None:
                    return None
        return self.refusal(amounts, held)

    # -- verbs ---------------------------------------------------------------------------------------------------------

    def configure(self, capacity: Amounts) -> None:
        """Merge; nothing is taken away."""
        self.capacity.update(capacity)

    def allocate(self, wanted: Wanted, call: object, together: Amounts | None = None) -> Told:
        """Grant, answer with what is there, or refuse."""
        held = self.live.get(wanted.id)
        lapsed = held is not None and held.deadline_ms is not None and held.deadline_ms <= self.now_ms
        if held is not None and any(one.call == call for one in held.callers):
            return self._again(held, wanted, call, lapsed=lapsed)
        if call in self.ended:
            return "lost"
        if lapsed:
            self.end(wanted.id)
            held = None
        if held is not None:
            if (held.owner, held.amounts) != (wanted.owner, dict(wanted.amounts)):
                return "conflict"
            before = held.told()
            self._extend(held, wanted.ttl_ms)
            held.share(before, call, wanted.ttl_ms)
            return "existing"
        why = self.fits_or_why(wanted.amounts, {}, together=together)
        if why is not None:
            return why
        deadline = self.now_ms + wanted.ttl_ms if wanted.ttl_ms else None
        self.live[wanted.id] = Held(
            wanted.owner,
            dict(wanted.amounts),
            self.now_ms,
            wanted.ttl_ms or None,
            deadline,
            callers=(Caller(call, wanted.ttl_ms, deadline or EVER),),
        )
        return "granted"

    def _again(self, held: Held, wanted: Wanted, call: object, *, lapsed: bool) -> Told:
        """The very call that was told of it: told again; a lapsed one lives on, for nobody has taken it back."""
        callers = held.told()
        if lapsed:
            self._extend(held, wanted.ttl_ms)
        told_ms = held.deadline_ms or EVER
        held.callers = tuple(dataclasses.replace(one, told_ms=told_ms) if one.call == call else one for one in callers)
        return "granted" if held.callers[0].call == call else "existing"

    def end(self, name: str) -> None:
        """It is over, and so are the calls that were told of it."""
        self.ended |= {one.call for one in self.live.pop(name).callers}

    def _extend(self, held: Held, ttl_ms: int) -> None:
        if held.deadline_ms is None:
            return
        if not ttl_ms:
            held.ttl_ms = held.deadline_ms = None
        elif self.now_ms + ttl_ms > held.deadline_ms:
            held.ttl_ms, held.deadline_ms = ttl_ms, self.now_ms + ttl_ms

    def gang(self, many: Sequence[Wanted], calls: Sequence[object]) -> list[Told] | tuple[int, Told]:
        """All or none; of a refused one only what was due is gone.  Returns the answers, or which item stopped it."""
        before = {name: dataclasses.replace(held, amounts=dict(held.amounts)) for name, held in self.live.items()}
        fresh = set(calls)
        together: dict[str, int] = {}
        told: list[Told] = []
        for at, (wanted, call) in enumerate(zip(many, calls, strict=True)):
            for name, amount in wanted.amounts.items():
                together[name] = together.get(name, 0) + amount
            told.append(self.allocate(wanted, call, together))
            if told[-1] not in ("granted", "existing"):
                self.live = {name: held for name, held in before.items() if self._stays(name, held)}
                self.ended -= fresh
                return at, told[-1]
        return told

    def _stays(self, name: str, before: Held) -> bool:
        """Whether what was live before a gang still is: it was not taken back (nor replaced, which takes it back)."""
        now = self.live.get(name)
        return now is not None and now.callers[0].call in (before.callers[0].call, OTHERS)

    def renew(self, name: str, fence: int, ttl_ms: int, *, shorten: bool) -> str:
        """Extend; shorten, or give a deadline, only when asked."""
        held = self.live.get(name)
        if held is None:
            return "unknown"
        if fence not in (0, held.fence):
            return "fenced"
        several = len(held.callers) > 1
        leases = [one.ttl_ms for one in held.callers if one.told_ms and one.ttl_ms] if several else []
        ttl = ttl_ms or held.ttl_ms or max(leases, default=0)
        if not ttl:
            return "renewed"
        deadline = self.now_ms + ttl
        shortens = shorten and (bool(ttl_ms) if held.deadline_ms is None else deadline < held.deadline_ms)
        if shortens:
            held.ttl_ms, held.deadline_ms = held.ttl_ms or ttl_ms, deadline
        elif held.deadline_ms is not None:
            held.deadline_ms = max(deadline, held.deadline_ms)
        if several:
            self._tell_leases(held, held.deadline_ms or deadline, shortens=shortens)
        return "renewed"

    def _tell_leases(self, held: Held, deadline: int, *, shortens: bool) -> None:
        """Nobody knows which of the callers renewed: each that has a lease is told so, if it is later."""
        held.callers = tuple(
            Caller(one.call, one.ttl_ms or held.ttl_ms or 0, deadline if shortens else max(deadline, one.told_ms))
            if shortens or one.told_ms
            else one
            for one in held.callers
        )

    def renewal(self, name: str) -> int | None:
        """The deadline that a renewal is told."""
        held = self.live[name]
        leases = [one.told_ms for one in held.callers if one.told_ms] if len(held.callers) > 1 else []
        return held.deadline_ms or max(leases, default=None)

    def resize(self, name: str, fence: int, amounts: Amounts) -> Told:
        """Named resources change, 0 gives one up, the rest stays."""
        held = self.live.get(name)
        if held is None:
            return "unknown"
        if fence not in (0, held.fence):
            return "fenced"
        after = {resource: amount for resource, amount in {**held.amounts, **amounts}.items() if amount}
        if not after:
            return "empty"
        why = self.fits_or_why(after, held.amounts, but=(name,))
        if why is not None:
            return why
        held.amounts = after
        return "resized"

    def release(self, name: str, fence: int) -> str:
        """Give back, once."""
        held = self.live.get(name)
        if held is None:
            return "unknown"
        if fence not in (0, held.fence):
            return "fenced"
        self.end(name)
        return "released"

    def undo(self, call: object) -> None:
        """The call has ended; an allocation that no other was told of is over, and else is as the others were told."""
        self.ended.add(call)
        for name, held in list(self.live.items()):
            if any(one.call == call for one in held.callers) and not held.forget(call):
                self.end(name)

    def reclaim(self, age_ms: int, *, include_live: bool) -> set[str]:
        """Past the deadline, or pinned and old; with `include_live` whatever is old."""
        taken = set(self.due())
        if age_ms:
            for name, held in self.live.items():
                if held.granted_ms <= self.now_ms - age_ms and (held.deadline_ms is None or include_live):
                    taken.add(name)
        for name in taken:
            self.end(name)
        return taken

    def facts(self) -> dict[str, dict[str, Any]]:
        """What a listing must show."""
        return {
            name: {
                "owner": held.owner,
                "amounts": held.amounts,
                "granted_ms": held.granted_ms,
                "deadline_ms": held.deadline_ms,
                "fence": held.fence,
            }
            for name, held in self.live.items()
        }
