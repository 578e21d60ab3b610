"""All small worlds, by number: blocks of one set-up each, and in a block every combination of items."""

from __future__ import annotations

import bisect
import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Final

from tests.properties.worlds import items as kinds_of
from tests.properties.worlds.items import ALLOCATE, BEGIN, RELEASE, RENEW, RESIZE, UNDO, Item, Kind, Step, step_of
from tests.properties.worlds.states import BESIDE, CORE, FEW, LOWERED, POOLS, STATES, WORDED, RecordState, World

ROOMS: Final = (6, 2, 0)
"""What is free of the capacity: room for all, for one item, for none."""

LATER: Final = (0, 45_000)
"""How long after the first call the second one comes."""

PAIR: Final = ALLOCATE[:9]
"""Kinds of items for two in a call."""

TRIPLE: Final = (ALLOCATE[0], ALLOCATE[3], ALLOCATE[4], ALLOCATE[6], ALLOCATE[9])
"""For three in a call."""

STORY: Final = (
    *ALLOCATE[:6], ALLOCATE[7], RENEW[1], RENEW[2], RENEW[4], RENEW[6], RENEW[8], RELEASE[0], RELEASE[1], RELEASE[2],
    BEGIN[0], RESIZE[1], RESIZE[2], *UNDO, kinds_of.ADOPT[0], *kinds_of.UPKEEP[:4],
)  # fmt: skip
"""For two calls."""

LONG: Final = (
    ALLOCATE[:4], (*RENEW[3:6], *ALLOCATE[4:6], kinds_of.ADOPT[0], BEGIN[0], RESIZE[2]), (*UNDO[:3], kinds_of.UNDO_NEW),
)  # fmt: skip
"""For three calls: somebody more is told, one is told again, and one will never hear of it."""

HOLDERS: Final = (
    ("renew", (RENEW[1], RENEW[2], RENEW[3], RENEW[6], RENEW[8], RENEW[10])),
    ("release", (RELEASE[0], RELEASE[1], RELEASE[2], RELEASE[5])),
    ("undo", UNDO),
    ("begin_release", (BEGIN[0], BEGIN[2], BEGIN[4])),
    ("reconcile", (kinds_of.UPKEEP[3], kinds_of.UPKEEP[8])),
)
"""For two items of one call that is no `allocate`."""

PATTERNS: Final = (("x", "y", "x"), ("x", "x", "y"), ("x", "y", "z"))
"""The ids of three items."""


@dataclass(frozen=True)
class Setup:
    """The pool of a world and the states of its two records, with so much room left."""

    pool: World
    x: str
    y: str
    room: int

    def state(self, identity: str) -> RecordState:
        """Of x or y; any other id is absent."""
        return STATES[{"x": self.x, "y": self.y}.get(identity, "absent")]

    def __str__(self) -> str:
        return f"pool {self.pool.name!r}, x {self.x!r}, y {self.y!r}, room for {self.room}"


@dataclass(frozen=True)
class Case:
    """One world: its number, its set-up, and its calls."""

    number: int
    setup: Setup
    steps: tuple[Step, ...]


@dataclass
class Block:
    """All calls of one shape on one set-up."""

    family: str
    setup: Setup
    ids: tuple[str, ...]
    kinds: tuple[tuple[Kind, ...], ...]
    """For each item, those that are possible."""
    ends: tuple[int, ...]
    """What the last digit says: a gang or not, or how much later the second call comes."""

    @cached_property
    def size(self) -> int:
        """How many worlds."""
        total = len(self.ends)
        for kinds in self.kinds:
            total *= len(kinds)
        return total

    def steps(self, number: int) -> tuple[Step, ...]:
        """The calls of one of its worlds."""
        number, end = divmod(number, len(self.ends))
        chosen = []
        for kinds in reversed(self.kinds):
            number, at = divmod(number, len(kinds))
            chosen.append(kinds[at])
        chosen.reverse()
        pairs = zip(chosen, self.ids, strict=True)
        items = [self._item(kind, identity, at) for at, (kind, identity) in enumerate(pairs)]
        if self.family in ("story", "long story"):
            return tuple(
                step_of(kind, (item,), at * self.ends[end])
                for at, (kind, item) in enumerate(zip(chosen, items, strict=True))
            )
        return (step_of(chosen[0], tuple(items), atomic=bool(self.ends[end])),)

    def _item(self, kind: Kind, identity: str, at: int) -> Item:
        item = kind.item(identity, f"new-{at + 1}", self.setup.state(identity).ttls)
        assert item is not None
        return item


def _possible(kinds: Sequence[Kind], setup: Setup, identity: str) -> tuple[Kind, ...]:
    return _in_state(tuple(kinds), setup.state(identity).name, recovering=setup.pool.recovering)


@cache
def _in_state(kinds: tuple[Kind, ...], name: str, *, recovering: bool) -> tuple[Kind, ...]:
    state = STATES[name]
    possible = (kind for kind in kinds if kind.item("x", "", state.ttls))
    return tuple(kind for kind in possible if _makes_sense(kind, state, recovering=recovering))


def _makes_sense(kind: Kind, state: RecordState, *, recovering: bool) -> bool:
    """Adoption is specified for a pool that recovers, and for what is not there."""
    if kind.verb != "adopt":
        return True
    if state.name.startswith(("releasing", "a string", "no number")):
        return False
    return recovering or state.name in ("absent", "lost")


def _setups(xs: Sequence[str], ys: Sequence[str], pools: Sequence[World], rooms: Sequence[int]) -> Iterator[Setup]:
    for pool, x, y, room in itertools.product(pools, xs, ys, rooms):
        if STATES[x].fits(pool) and STATES[y].fits(pool):
            yield Setup(pool, x, y, room)


def _blocks() -> Iterator[Block]:
    every = tuple(STATES)
    for setup in _setups(every, BESIDE, POOLS, ROOMS):
        yield Block("single", setup, ("x",), (_possible(kinds_of.ALL, setup, "x"),), (0,))
    for setup in _setups(every, BESIDE[:4], (LOWERED,), ROOMS):
        yield Block("single", setup, ("x",), (_possible(kinds_of.ALL, setup, "x"),), (0,))
    for setup in _setups(every, ("absent", "lapsed", "lapsed in the gap"), POOLS, ROOMS):
        kinds = _possible(PAIR, setup, "x")
        yield Block("twice", setup, ("x", "x"), (kinds, kinds), (0, 1))
    for setup in _setups(CORE, CORE, POOLS, ROOMS):
        kinds = tuple(_possible(PAIR, setup, identity) for identity in "xy")
        yield Block("pair", setup, ("x", "y"), kinds, (0, 1))
    for setup in _setups(FEW, FEW, POOLS[:4], ROOMS):
        for ids in PATTERNS:
            kinds = tuple(_possible(TRIPLE, setup, identity) for identity in ids)
            yield Block("three", setup, ids, kinds, (0, 1))
    for setup in _setups(every, ("absent", "live", "lapsed"), POOLS, (2,)):
        for verb, kinds in HOLDERS:
            for ids in (("x", "x"), ("x", "y")) if verb != "reconcile" else (("x", "y"),):
                each = tuple(_possible(kinds, setup, identity) for identity in ids)
                yield Block("holders", setup, ids, each, (0,))
    for setup in _setups(every, ("absent", "lapsed in the gap"), POOLS, (2, 0)):
        kinds = _possible(STORY, setup, "x")
        yield Block("story", setup, ("x", "x"), (kinds, kinds), LATER)
    for setup in _setups(every, ("absent",), POOLS, (2,)):
        each = tuple(_possible(kinds, setup, "x") for kinds in LONG)
        yield Block("long story", setup, ("x", "x", "x"), each, (0, 1000))
    for setup in _setups(("absent", "live", "lapsed", "releasing", "released"), ("absent",), WORDED, (2,)):
        kinds = _possible((*ALLOCATE[:-1], *RENEW, *RELEASE, *BEGIN, *RESIZE[2:5], *UNDO), setup, "x")
        yield Block("worded", setup, ("x",), (kinds,), (0,))


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
        block = self.blocks[at]
        return Case(number, block.setup, block.steps(number - self._starts[at]))

    def drawn(self, count: int, seed: int) -> list[int]:
        """So many numbers, one out of each of as many equal stretches; all of them where there are no more."""
        total = len(self)
        if count >= total:
            return list(range(total))
        chooser = random.Random(seed)
        edges = [total * at // count for at in range(count + 1)]
        return [chooser.randrange(begin, end) for begin, end in itertools.pairwise(edges)]
