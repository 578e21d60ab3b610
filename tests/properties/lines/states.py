"""Pools, states of an id, each by the calls that lead to it, and how much room is left.

Instants are milliseconds from that of the world.  First comes what is granted while there is room; then everything is
taken; then come those who wait.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from tests.properties.lines.acts import FILLER, Act
from tests.properties.lines.book import Item
from tests.scripts.quota_tree import Limit

__all__ = ["CAPACITY", "CORE", "IDS", "POOLS", "ROOMS", "SCOPES", "STATES", "PoolKind", "Scopes", "filling"]

CAPACITY: Final = {"cpu": 8, "gpu": 2}

MINUTE: Final = 60_000

Limits = dict[str, dict[str, Limit]]


@dataclass(frozen=True, eq=False)
class Scopes:
    """A tree of quotas, the scope of those who are looked at, and another one."""

    name: str
    limits: Limits = field(default_factory=dict)
    own: str = ""
    other: str = ""
    more: Limit | None = None
    less: Limit | None = None
    """Other limits of the own scope's cpu."""


SCOPES: Final = (
    Scopes("no scopes"),
    Scopes("a quota", {"a": {"cpu": Limit(4, 0, None)}}, own="a", more=Limit(6, 0, None), less=Limit(2, 0, None)),
    Scopes(
        "a sibling's guarantee", {"a": {"cpu": Limit(4, None, 0)}, "b": {"cpu": Limit(4, 2, None)}},
        own="b", other="a", more=Limit(4, None, 2), less=Limit(2, 0, 0),
    ),
    Scopes(
        "two levels",
        {
            "a": {"cpu": Limit(6, 0, 2), "allocations": Limit(3000, 0, None)},
            "a/x": {"cpu": Limit(3, 1, 1)},
            "b": {"allocations": Limit(2000, 0, None)},
        },
        own="a/x", other="b", more=Limit(4, 2, 1), less=Limit(3, 0, 3),
    ),
)  # fmt: skip

POLICIES: Final = (
    "contended", "strict", "best_effort", "contended queue_wait_max_ms=10000", "best_effort queue_passes_max=1",
)  # fmt: skip

GRACES: Final = (None, 5000, 0)
"""Of those that preempt: None: the pool does not permit it."""


@dataclass(frozen=True)
class PoolKind:
    """A pool: its scopes, its policy, and what it permits."""

    scopes: Scopes
    policy: str
    grace: int | None

    @property
    def promises(self) -> str:
        """As `configure_pool` is told."""
        permits = "" if self.grace is None else f" preemption=1 preempt_grace_ms={self.grace}"
        return f"queue_policy={self.policy}{permits}"

    @property
    def options(self) -> dict[str, str]:
        """The words of the policy after its name."""
        return dict(word.split("=") for word in self.policy.split()[1:])

    def __str__(self) -> str:
        return f"{self.scopes.name}, {self.promises}"


POOLS: Final = tuple(PoolKind(scopes, policy, grace) for scopes in SCOPES for policy in POLICIES for grace in GRACES)

Builder = Callable[[str, Scopes], list[Act]]


@dataclass(frozen=True)
class IdState:
    """A state, and the calls that lead to it."""

    name: str
    build: Builder

    def asked(self, who: str, scopes: Scopes) -> dict[str, Item]:
        """What was asked for the id, by its call."""
        acts = self.build(who, scopes)
        return {item.call: item for act in acts if act.verb == "allocate" for item in act.items if item.id == who}


def filling(room: str) -> list[Act]:
    """What leaves no more room than that."""
    lapses = 28_600 if room == "due" else MINUTE
    return [Act("fill", -29_000, (lapses,)), *ROOMS[room]]


ROOMS: Final[Mapping[str, tuple[Act, ...]]] = {
    "none": (),
    "some": (Act("shrink", -1000),),
    "due": (),
    "raised": (Act("configure", -900, (("raise", (("cpu", 12),)),)),),
    "lowered": (Act("configure", -900, (("lower", (("cpu", 6),)),)),),
}
"""All is taken; one more is free; all that was taken has expired, and nobody has looked; there is more than there was,
and nobody has looked; there is less."""


def _ask(at: int, who: str, number: int, scope: str, **says: Any) -> Act:
    return Act("allocate", at, (Item(who, f"{who}-{number}", **{"amounts": {"cpu": 2}, "scope": scope, **says}),))


def _live(at: int = -36_000, **says: Any) -> Builder:
    return lambda who, scopes: [_ask(at, who, 1, **{"scope": scopes.own, **says})]


def _waits(at: int, **says: Any) -> Builder:
    return lambda who, scopes: [_ask(at, who, 1, **{"scope": scopes.own, "wait": True, **says})]


def _then(first: Builder, *more: Callable[[str], Act]) -> Builder:
    return lambda who, scopes: [*first(who, scopes), *(each(who) for each in more)]


def _also(first: Builder, at: int, number: int = 2, **says: Any) -> Builder:
    return lambda who, scopes: [*first(who, scopes), _ask(at, who, number, **{"scope": scopes.own, **says})]


def _elsewhere(who: str, scopes: Scopes) -> list[Act]:
    return [_ask(-36_000, who, 1, scopes.other)]


def _served(at: int, freed: int) -> Builder:
    """Somebody else had its room, and gives it back while it waits."""
    return lambda who, scopes: [
        _ask(-38_000, f"g{who}", 1, scopes.own),
        _ask(at, who, 1, scopes.own, wait=True, ttl=30_000),
        Act("release", freed, ((f"g{who}", f"g{who}-r", False),)),
    ]


def _victim(at: int) -> Builder:
    return lambda who, scopes: [
        _ask(-36_000, who, 1, scopes.own, priority=-5),
        _ask(at, f"p{who}", 1, scopes.own, wait=True, priority=5, preempt=True),
    ]


def _with_victim(who: str, scopes: Scopes) -> list[Act]:
    """The id preempts somebody that has what it needs."""
    return [
        _ask(-38_000, f"g{who}", 1, scopes.own, priority=-9),
        _ask(-3500, who, 1, scopes.own, wait=True, priority=5, preempt=True),
    ]


def _give_back(who: str) -> Act:
    return Act("release", -5000, ((who, f"{who}-r", False),))


STATES: Final = {
    state.name: state
    for state in (
        IdState("absent", lambda *_: []),
        IdState("live", _live()),
        IdState("live, of low priority", _live(priority=-5)),
        IdState("live in the other scope", _elsewhere),
        IdState("live in no scope", _live(scope="")),
        IdState("live, two callers", _also(_live(), -31_000, ttl=50_000)),
        IdState("pinned", _live(ttl=0)),
        IdState("lapsed", _live(ttl=35_500)),
        IdState("lapsed now", _live(ttl=36_000)),
        IdState("lapsed, two callers", _also(_live(ttl=20_000), -35_900, ttl=35_300)),
        IdState("releasing", _then(_live(), lambda who: Act("begin_release", -5000, ((who, f"{who}-b", 20_000),)))),
        IdState(
            "releasing and lapsed", _then(_live(), lambda who: Act("begin_release", -5000, ((who, f"{who}-b", 4500),)))
        ),
        IdState("a victim", _victim(-3000)),
        IdState("a victim after its grace", _victim(-5700)),
        IdState("released", _then(_live(-33_000), _give_back)),
        IdState("undone", _then(_live(-33_000), lambda who: Act("undo", -30_000, ((who, f"{who}-1"),)))),
        IdState("granted in line", _served(-12_000, -9000)),
        IdState("granted in line, and lapsed", _served(-18_000, -15_500)),
        IdState("granted in line, two callers", _also(_served(-12_000, -9000), -6000)),
        IdState("waits", _waits(-4000)),
        IdState("waits, and was heard again", _also(_waits(-20_000), -8000, number=1, wait=True)),
        IdState("waits, almost silent", _waits(-14_999)),
        IdState("waits, silent", _waits(-15_000)),
        IdState("waits, of high priority", _waits(-4000, priority=5)),
        IdState("waits, of low priority", _waits(-4000, priority=-5)),
        IdState("waits for much", _waits(-4100, amounts={"cpu": 4})),
        IdState("waits for all there is", _waits(-4100, amounts={"cpu": 8}, scope="")),
        IdState("waits for a gpu", _waits(-4200, amounts={"gpu": 1})),
        IdState("waits in the other scope", lambda who, scopes: [_ask(-4300, who, 1, scopes.other, wait=True)]),
        IdState("preempts, and nobody is lower", _waits(-2500, priority=-7, preempt=True)),
        IdState("preempts", _waits(-2400, priority=5, preempt=True)),
        IdState("waits for its victim", _with_victim),
        IdState("withdrawn", _then(_waits(-6000), lambda who: Act("withdraw", -2000, ((who, f"{who}-w"),)))),
        IdState("has waited", _also(_waits(-6000), -2000, number=1)),
    )
}

CORE: Final = (
    "absent", "live", "live, of low priority", "lapsed", "releasing and lapsed", "a victim", "a victim after its grace",
    "granted in line", "granted in line, and lapsed", "waits", "waits, silent", "waits, of high priority",
    "waits, of low priority", "waits for much", "waits for a gpu", "preempts", "waits for its victim", "withdrawn",
)  # fmt: skip
"""States of both of two ids that a batch names."""

IDS: Final = (FILLER, "x", "y", "gx", "gy", "px", "py")
"""That a world may have."""
