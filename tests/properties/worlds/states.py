"""States of a record, each by the calls that lead to it; and the pools in which they stand.

Instants are milliseconds from that of the world.  In a pool with a gap its clock was not seen from -70 s to -22 s.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from tests.properties.worlds.items import MINUTE, Item, Step

GAP: Final = (-70_000, -22_000)

CAPACITY: Final = 10

GRACE: Final = 30_000

RECOVERING_LEFT: Final = 20_000


@dataclass(frozen=True)
class World:
    """A pool: what it promises, and what has happened to it."""

    name: str
    promises: str = ""
    gap: bool = False
    recovering: bool = False
    other_server: bool = False
    lowered: bool = False
    """Its capacity is less than what is allocated."""
    word: str = ""
    """What answers every call, or every grant."""

    @property
    def bounded(self) -> bool:
        """Nothing is pinned, and nothing lives long."""
        return bool(self.promises)


BOUNDED: Final = f"recovery_grace_ms={GRACE} max_ttl_ms={MINUTE}"

POOLS: Final = (
    World("plain"),
    World("gap", gap=True),
    World("grace", BOUNDED),
    World("recovering", BOUNDED, recovering=True),
    World("other server", BOUNDED, other_server=True),
    World("grace and gap", BOUNDED, gap=True),
)

LOWERED: Final = World("lowered", lowered=True)

LOW: Final = 3
"""What its capacity is lowered to."""

WORDED: Final = tuple(
    World(word.replace("_", " "), promises, word=word)
    for word in ("offline", "deleting", "schema", "other_epoch", "lost", "deleted")
    for promises in ("", BOUNDED)
)
"""Pools that grant nothing, or are not there."""

Builder = Callable[[str], list[Step]]


@dataclass(frozen=True)
class RecordState:
    """A state: its name, its steps for an id, the times to live of its callers, and where it can be."""

    name: str
    build: Builder
    ttls: tuple[int, ...] = ()
    where: str = "anywhere"
    """`anywhere`, `pins` (in no bounded pool), `gap`, or `grace`."""

    def fits(self, pool: World) -> bool:
        """Whether it can be in that pool."""
        if self.where == "pins":
            return not pool.bounded
        if self.where == "gap":
            return pool.gap
        return bool(pool.promises) if self.where == "grace" else True


def _step(verb: str, at: int, identity: str, call: str = "", **says: object) -> Step:
    return Step(verb, at, (Item(identity, f"{identity}-{call}", **says),))  # type: ignore[arg-type]


def _calls(*callers: tuple[int, int]) -> Builder:
    """(instant, ttl) of each caller."""
    return lambda identity: [
        _step("allocate", at, identity, str(number), ttl=ttl) for number, (at, ttl) in enumerate(callers, start=1)
    ]


def _then(first: Builder, *more: tuple[str, int, str, dict[str, object]]) -> Builder:
    return lambda identity: [
        *first(identity), *(_step(verb, at, identity, call, **says) for verb, at, call, says in more)
    ]  # fmt: skip


def _state(
    name: str, *callers: tuple[int, int], then: tuple[tuple[str, int, str, dict[str, object]], ...] = (),
    where: str = "anywhere", more: tuple[int, ...] = (),
) -> RecordState:  # fmt: skip
    pins = "pins" if any(ttl == 0 for _, ttl in callers) else where
    return RecordState(name, _then(_calls(*callers), *then), (*(ttl for _, ttl in callers), *more), pins)


def _adopted(identity: str) -> list[Step]:
    item = Item(identity, f"{identity}-a", fence=900, epoch="epoch-1", known=20_000)
    return [Step("adopt", -9000, (item,), options=(("reason", "by hand"),))]


def _shared(identity: str) -> list[Step]:
    return [Step("allocate", -5000, (Item(identity, f"{identity}-1"),))]


ONE: Final = (-20_000, MINUTE)
TWO: Final = (-10_000, MINUTE)

_SPARE: Final = ("allocate", -20_000, "c", {"amounts": {"cpu": 3}})
"""A call that meets a lapsed record, and is told of a conflict."""

_AGAIN: Final = ("allocate", -5000, "1", {"repeated": 1})
"""The first caller's call once more."""

_BACK: Final = ("allocate", -5000, "1", {"repeated": 1, "ttl": 30_000})

_SECOND: Final = ("allocate", -10_000, "2", {"ttl": 20_000})

_RIGHT: Final[dict[str, object]] = {"fence": "right"}

STATES: Final = {
    state.name: state
    for state in (
        _state("absent"),
        _state("live", ONE),
        _state("live, two callers", ONE, TWO),
        _state("live, the second caller's is shorter", ONE, (-10_000, 20_000)),
        _state("live, three callers", ONE, (-15_000, MINUTE), TWO),
        _state("live, four callers", ONE, (-15_000, 30_000), TWO, (-8000, 40_000)),
        _state("live for a millisecond", (-19_999, 20_000)),
        _state("lapsed now", (-20_000, 20_000)),
        _state("lapsed in the gap", (-75_000, 45_000)),
        _state("lapsed in the gap, two callers", (-75_000, 45_000), (-72_000, 45_000)),
        _state("lapsed", (-110_000, 30_000)),
        _state("lapsed, two callers", (-110_000, 30_000), (-105_000, 30_000)),
        _state("spared", (-75_000, 45_000), then=(_SPARE,), where="gap"),
        _state("spared, two callers", (-75_000, 45_000), (-72_000, 45_000), then=(_SPARE,), where="gap"),
        _state("spared and lapsed", (-80_000, 30_000), then=(_SPARE,), where="gap"),
        _state("releasing", ONE, then=(("begin_release", -10_000, "b", {"ttl": 30_000}),)),
        _state("releasing, two callers", ONE, TWO, then=(("begin_release", -9000, "b", {"ttl": 30_000}),)),
        _state("releasing and lapsed", ONE, then=(("begin_release", -10_000, "b", {"ttl": 5000}),)),
        _state("pinned", (-20_000, 0)),
        _state("pinned, a lease told of it", (-20_000, 0), TWO),
        _state("pinned over a lease", ONE, (-10_000, 0)),
        _state("pinned over a lease that is over", (-20_000, 15_000), (-10_000, 0)),
        _state("pinned over two leases", ONE, (-15_000, 30_000), (-10_000, 0)),
        _state("released", ONE, then=(("release", -5000, "r", _RIGHT),)),
        _state("undone", ONE, then=(("undo", -5000, "1", {}),)),
        _state("granted again", ONE, then=(("release", -5000, "r", {}), ("allocate", -4000, "2", {})), more=(MINUTE,)),
        _state("granted again over a lapsed one", (-20_000, 5000), TWO),
        _state("shared and renewed", ONE, TWO, then=(("renew", -5000, "w", _RIGHT),)),
        _state("shared and renewed for longer", ONE, TWO, then=(("renew", -5000, "w", {"ttl": 58_000}),)),
        _state("shared, then left by the first", ONE, TWO, then=(("undo", -5000, "1", {}),)),
        _state("shared, then left by the second", ONE, (-10_000, 55_000), then=(("undo", -5000, "2", {}),)),
        _state("pinned, then left", ONE, (-10_000, 0), then=(("undo", -5000, "2", {}),)),
        _state("shared, then the first told again", ONE, TWO, then=(_AGAIN,)),
        _state("pinned over a lease, then the first told again", ONE, (-10_000, 0), then=(_AGAIN,)),
        _state("pinned over a lease and renewed", ONE, (-10_000, 0), then=(("renew", -5000, "w", {"ttl": 70_000}),)),
        _state("lapsed, then brought back", (-110_000, 30_000), then=(_BACK,)),
        _state("spared, then shared", (-75_000, 45_000), then=(_SPARE, _SECOND), where="gap", more=(20_000,)),
        RecordState("adopted, then shared", lambda identity: [*_adopted(identity), *_shared(identity)], (MINUTE,)),
        _state("resized", ONE, then=(("resize", -5000, "s", {"amounts": {"cpu": 1}}),)),
        _state("shortened", ONE, then=(("renew", -5000, "w", {"ttl": 10_000, "shorten": 1}),)),
        RecordState("adopted", _adopted),
        _state("lost", ONE, then=(("lose", -5000, "", {}),), where="grace"),
        _state("a string", ONE, then=(("break string", -1500, "", {}),)),
        _state("a string, lapsed", (-110_000, 30_000), then=(("break string", -1500, "", {}),)),
        _state("no number for a fence", ONE, then=(("break fence", -1500, "", {}),)),
        _state("no number for a fence, lapsed", (-110_000, 30_000), then=(("break fence", -1500, "", {}),)),
    )
}

BESIDE: Final = (
    "absent", "live", "lapsed", "lapsed in the gap", "lapsed now", "lapsed, two callers", "releasing and lapsed",
    "spared and lapsed", "pinned", "a string, lapsed", "no number for a fence, lapsed",
)  # fmt: skip
"""States of a record that a call does not name."""

CORE: Final = (
    "absent", "live", "live, two callers", "lapsed now", "lapsed in the gap", "lapsed, two callers", "spared",
    "spared and lapsed", "releasing", "releasing and lapsed", "pinned", "pinned over a lease", "released",
    "a string, lapsed",
)  # fmt: skip
"""States of both of two records that a batch names."""

FEW: Final = (
    "absent", "live, two callers", "lapsed", "lapsed in the gap", "releasing and lapsed", "pinned over a lease",
    "released",
)  # fmt: skip
"""States of both, for three items."""
