"""What holders may believe to have, from what they were told alone: a grant, and until when.

Nothing is read from the ledger.  Several callers of one id share its grant: it is believed in as long as one of them
may, and counted once.  Whatever one of them is told that they have no more, they have no more together.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from allocator import Allocation

__all__ = ["EVER", "Beliefs"]

EVER: Final = 1 << 62
"""Until when a pinned allocation is believed in."""

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

    def __init__(self, capacity: Callable[[], Mapping[str, int]], now: Callable[[], int]) -> None:
        self._capacity = capacity
        self._now = now
        self._grants: dict[int, _Grant] = {}
        self.checked = 0
        """How often the sums were held against the capacity."""

    def told(self, caller: Hashable, one: Allocation) -> None:
        """A caller was told of an allocation, created or there already, as it stands."""
        grant = self._grants.setdefault(one.fence, _Grant(one.id, {}))
        grew = self._amounts(grant, one.resources)
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
            self._check(self._amounts(grant, one.resources))

    def over(self, fence: int) -> None:
        """Somebody was told that this grant is over."""
        self._grants.pop(fence, None)

    def released(self, id: str) -> None:
        """Somebody was told that it is released, whatever its fence was."""
        for fence in [fence for fence, grant in self._grants.items() if grant.id == id]:
            del self._grants[fence]

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

    def _amounts(self, grant: _Grant, amounts: Mapping[str, int]) -> list[str]:
        """Note what a grant has; what grew."""
        grew = [name for name, amount in amounts.items() if amount > grant.amounts.get(name, 0)]
        grant.amounts = dict(amounts)
        return grew

    def _check(self, grew: Iterable[str]) -> None:
        """What grew fits into what there is; capacity that was lowered evicts nobody, so the rest is not looked at."""
        self.checked += 1
        believed, capacity = self.believed(), self._capacity()
        for name in grew:
            amount, most = believed.get(name, 0), capacity.get(name, 0)
            assert amount <= most, f"{amount} of {most} {name} are believed in: {self._grants}"
