"""What holders may believe to have, from what they were told alone: a grant, and until when.

Nothing is read from the ledger.  Several callers of one id share its grant: it is believed in as long as one of them
may, and counted once.  Whatever one of them is told that they have no more, or gives back, they have no more together.

Callers that run side by side hear their answers in another order than that in which they were decided.  So whoever
gives back says so before it asks (`over`), whoever shrinks does (`shrinks`), and where several share the least counts.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from allocator import Allocation

__all__ = ["EVER", "Beliefs"]

EVER: Final = 1 << 62
"""Until when a pinned allocation is believed in."""

TOLD_LATE_MS: Final = 60_000
"""So long after a grant is over somebody may still be told of it, of before."""

OVER_MAX: Final = 1_000
"""Grants that are over, of which old ones are forgotten."""

SHOWN: Final = 12
"""Grants that a complaint names."""

RENEWED: Final = "whoever renewed it"
"""Whoever was told of a deadline without an allocate: any of the callers."""


@dataclass
class _Grant:
    """One grant: its amounts as they were told last, and until when each caller may believe in it."""

    id: str
    amounts: dict[str, int]
    until: dict[Hashable, int] = field(default_factory=dict)


class Beliefs:
    """Of one pool, whose capacity is asked for when something grows."""

    def __init__(
        self, capacity: Callable[[], Mapping[str, int]], now: Callable[[], int], *, side_by_side: bool = False
    ) -> None:
        """Begin with none; `side_by_side`: its callers are."""
        self._side_by_side = side_by_side
        self._capacity = capacity
        self._now = now
        self._grants: dict[int, _Grant] = {}
        self._over: dict[int, int] = {}
        self.checked = 0
        """How often the sums were held against the capacity."""

    def told(self, caller: Hashable, one: Allocation) -> None:
        """A caller was told of an allocation, created or there already, as it stands."""
        if one.fence in self._over:
            return
        grant = self._grants.setdefault(one.fence, _Grant(one.id, dict(one.resources) if not one.created else {}))
        grew = self._amounts(grant, one.resources, shared=bool(grant.until))
        grant.until[caller] = one.deadline_ms or EVER
        self._check(one.resources if one.created else grew)

    def renewed(self, fence: int, deadline_ms: int | None, *, shortened: bool = False) -> None:
        """A holder was told of another deadline; with `shortened` that is all that is left of it, for everybody."""
        if (grant := self._grants.get(fence)) is None:
            return
        until = deadline_ms or EVER
        if shortened:
            grant.until = {who: min(before, until) for who, before in grant.until.items()}
        else:
            grant.until[RENEWED] = max(grant.until.get(RENEWED, 0), until)

    def resized(self, one: Allocation) -> None:
        """Its holders were told of other amounts."""
        if grant := self._grants.get(one.fence):
            self._check(self._amounts(grant, one.resources, shared=len(grant.until.keys() - {RENEWED}) > 1))

    def shrinks(self, fence: int, amounts: Mapping[str, int]) -> None:
        """Its holders are about to ask for other amounts: from now on they have no more than that."""
        if grant := self._grants.get(fence):
            for name, amount in amounts.items():
                grant.amounts[name] = min(amount, grant.amounts.get(name, 0))

    def over(self, fence: int) -> None:
        """This grant is over, or is about to be given back; whoever is told of it later than that was told before."""
        self._over[fence] = now = self._now()
        if len(self._over) > OVER_MAX:
            self._over = {one: at for one, at in self._over.items() if at > now - TOLD_LATE_MS}
        self._grants.pop(fence, None)

    def released(self, id: str) -> None:
        """Somebody was told that it is released, whatever its fence was."""
        for fence in [fence for fence, grant in self._grants.items() if grant.id == id]:
            self.over(fence)

    def believed(self, ids: Iterable[str] | None = None) -> dict[str, int]:
        """The sums of what may be believed now, by resource; of these ids, or of all."""
        now, sums = self._now(), dict[str, int]()
        wanted = None if ids is None else set(ids)
        for fence, grant in list(self._grants.items()):
            grant.until = {who: until for who, until in grant.until.items() if until > now}
            if not grant.until:
                del self._grants[fence]
            elif wanted is None or grant.id in wanted:
                for name, amount in grant.amounts.items():
                    sums[name] = sums.get(name, 0) + amount
        return sums

    def alive(self) -> dict[str, tuple[int, int]]:
        """Who is believed in: by id, the fence and until when."""
        self.believed()
        return {grant.id: (fence, max(grant.until.values())) for fence, grant in self._grants.items()}

    def _amounts(self, grant: _Grant, amounts: Mapping[str, int], *, shared: bool) -> list[str]:
        """Note what a grant has; what grew."""
        least = shared and self._side_by_side
        grew = [name for name, amount in amounts.items() if amount > grant.amounts.get(name, 0) and not least]
        before = grant.amounts
        grant.amounts = {
            name: min(amount, before.get(name, 0)) if least else amount for name, amount in amounts.items()
        }
        return grew

    def _check(self, grew: Iterable[str]) -> None:
        """What grew fits into what there is; capacity that was lowered evicts nobody, so the rest is not looked at."""
        self.checked += 1
        believed, capacity = self.believed(), self._capacity()
        for name in grew:
            amount, most = believed.get(name, 0), capacity.get(name, 0)
            assert amount <= most, f"{amount} of {most} {name} are believed in: {self._shown(name)}"

    def _shown(self, name: str) -> str:
        """The grants that have some of it, the latest first."""
        found = [(fence, one) for fence, one in sorted(self._grants.items(), reverse=True) if name in one.amounts]
        lines = [f"{one.id}#{fence}: {one.amounts[name]}, until {max(one.until.values())}" for fence, one in found]
        return "; ".join(lines[:SHOWN]) + (f"; and {len(lines) - SHOWN} more" if len(lines) > SHOWN else "")
