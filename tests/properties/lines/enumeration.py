"""All small worlds of a pool in which requests wait, by number."""

from __future__ import annotations

import bisect
import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import Final

from tests.properties.lines.acts import Act
from tests.properties.lines.calls import ALL, GROUPS, STORY, Kind
from tests.properties.lines.states import CORE, POOLS, ROOMS, SCOPES, STATES, PoolKind, Scopes, filling

__all__ = ["Case", "Worlds"]

LATER: Final = (0, 5000, 16_000)
"""How long after the first call the second one comes: at once, a heartbeat, and longer than who is silent stays."""


@dataclass(frozen=True)
class Case:
    """One world: its number, its pool, what leads to it, and its calls."""

    number: int
    pool: PoolKind
    x: str
    y: str
    room: str
    acts: tuple[Act, ...]

    def setup(self) -> list[Act]:
        """What leads to it, in its order."""
        scopes = self.pool.scopes
        acts = [*STATES[self.x].build("x", scopes), *STATES[self.y].build("y", scopes), *filling(self.room)]
        return sorted(acts, key=lambda act: act.at)

    def __str__(self) -> str:
        return f"pool of {self.pool}; x {self.x!r}, y {self.y!r}, room {self.room!r}"


@dataclass(frozen=True)
class Block:
    """The worlds of two states under one tree of quotas: each pool, room and combination of kinds."""

    family: str
    scopes: Scopes
    x: str
    y: str
    ids: tuple[str, ...]
    kinds: tuple[tuple[Kind, ...], ...]
    ends: tuple[int, ...] = (0,)

    @cached_property
    def axes(self) -> tuple[int, ...]:
        """How many there are of each digit."""
        return (len(self.pools), len(ROOMS), *(len(kinds) for kinds in self.kinds), len(self.ends))

    @cached_property
    def pools(self) -> list[PoolKind]:
        """Those with its tree."""
        return [pool for pool in POOLS if pool.scopes is self.scopes]

    @cached_property
    def size(self) -> int:
        """How many worlds."""
        total = 1
        for count in self.axes:
            total *= count
        return total

    def case(self, number: int, within: int) -> Case:
        """One of them."""
        digits = []
        for count in reversed(self.axes):
            within, digit = divmod(within, count)
            digits.append(digit)
        pool, room, *chosen, end = reversed(digits)
        kinds = [kinds[at] for kinds, at in zip(self.kinds, chosen, strict=True)]
        acts = self._acts(kinds, self.ends[end])
        return Case(number, self.pools[pool], self.x, self.y, list(ROOMS)[room], acts)

    def _acts(self, kinds: list[Kind], end: int) -> tuple[Act, ...]:
        asked = {"x": STATES[self.x].asked("x", self.scopes), "y": STATES[self.y].asked("y", self.scopes)}
        items = [
            kind.build(who, f"new-{at}", asked[who], self.scopes)
            for at, (kind, who) in enumerate(zip(kinds, self.ids, strict=True), start=1)
        ]
        if self.family == "story":
            pairs = zip(kinds, items, strict=True)
            return tuple(Act(kind.verb, at * end, (item,)) for at, (kind, item) in enumerate(pairs))
        return (Act(kinds[0].verb, 0, tuple(items), atomic=bool(end)),)


@cache
def _possible(
    kinds: tuple[Kind, ...], state: str, who: str, scopes: Scopes, *, atomic: bool = False
) -> tuple[Kind, ...]:
    """Those that there are of an id in a state; in an atomic batch nobody waits."""
    asked = STATES[state].asked(who, scopes)
    built = [(kind, kind.build(who, "", asked, scopes)) for kind in kinds]
    return tuple(kind for kind, item in built if item is not None and not (atomic and item.wait))


def _both(kinds: tuple[Kind, ...], block: Block, *, atomic: bool = False) -> tuple[tuple[Kind, ...], ...]:
    states = (("x", block.x), ("y", block.y))
    return tuple(_possible(kinds, state, who, block.scopes, atomic=atomic) for who, state in states)


def _blocks() -> Iterator[Block]:
    """Family by family."""
    every = [Block("single", scopes, x, y, ("x",), ()) for scopes, x, y in itertools.product(SCOPES, STATES, STATES)]
    core = [block for block in every if block.x in CORE and block.y in CORE]
    for block in every:
        yield replace(block, kinds=(_possible(ALL, block.x, "x", block.scopes),))
    for block, group in itertools.product(core, GROUPS):
        yield replace(block, family="pair", ids=("x", "y"), kinds=_both(group, block))
    for block in core:
        both = _both(GROUPS[0], block, atomic=True)
        yield replace(block, family="all or none", ids=("x", "y"), kinds=both, ends=(1,))
    for block in every:
        yield replace(block, family="story", ids=("x", "y"), kinds=_both(STORY, block), ends=LATER)


class Worlds:
    """All of them, by number."""

    @cached_property
    def blocks(self) -> list[Block]:
        """In the order of their numbers."""
        return [block for block in _blocks() if block.size]

    @cached_property
    def _starts(self) -> list[int]:
        return list(itertools.accumulate((block.size for block in self.blocks), initial=0))

    def __len__(self) -> int:
        return self._starts[-1]

    def counts(self) -> dict[str, int]:
        """How many there are of each family."""
        found: dict[str, int] = {}
        for block in self.blocks:
            found[block.family] = found.get(block.family, 0) + block.size
        return found

    def __getitem__(self, number: int) -> Case:
        at = bisect.bisect_right(self._starts, number) - 1
        return self.blocks[at].case(number, number - self._starts[at])

    def drawn(self, count: int, seed: int) -> list[int]:
        """So many numbers, each family's share alike: one out of each of as many equal stretches of it."""
        chooser, found, begin = random.Random(seed), [], 0
        families = self.counts()
        for at, size in enumerate(families.values()):
            some = count * (at + 1) // len(families) - count * at // len(families)
            edges = [begin + size * step // some for step in range(some + 1)] if some else []
            found += [chooser.randrange(low, max(low + 1, high)) for low, high in itertools.pairwise(edges)]
            begin += size
        return found
