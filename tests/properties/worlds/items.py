"""Items of calls: every verb, with the right, a stale and no fence, and with the calls that a record may have."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Final

from tests.properties.worlds.state import Amounts

MINUTE: Final = 60_000
LONG: Final = 90_000
SHORT: Final = 5_000


@dataclass(frozen=True)
class Item:
    """One item; `fence` is `any`, `right` (of the last grant of the id), `stale`, `ahead`, or a number."""

    id: str
    call: str = ""
    owner: str = "owner"
    amounts: Amounts = field(default_factory=lambda: {"cpu": 2})
    ttl: int = MINUTE
    fence: str | int = "any"
    epoch: str = ""
    shorten: int = 0
    known: int = 0
    """A deadline that its holder knows, or the instant of its grant, from now."""
    repeated: int = 0


@dataclass(frozen=True)
class Step:
    """One call, or a plain writing, at so many milliseconds from the instant of the world."""

    verb: str
    at: int
    items: tuple[Item, ...] = ()
    atomic: bool = False
    options: tuple[tuple[str, Any], ...] = ()

    def option(self, name: str, default: Any = None) -> Any:
        """One that is no item's."""
        return dict(self.options).get(name, default)


@dataclass(frozen=True, eq=False)
class Kind:
    """A verb and what its item says; `caller` is whose call it repeats, -1 the last one's."""

    verb: str
    name: str
    says: tuple[tuple[str, Any], ...] = ()
    caller: int = 0
    options: tuple[tuple[str, Any], ...] = ()

    def item(self, identity: str, fresh: str, ttls: tuple[int, ...]) -> Item | None:
        """The item for an id whose callers asked for these times to live; None where there is no such caller."""
        says = dict(self.says)
        call = says.pop("own", None)
        if self.caller:
            if not ttls or self.caller > len(ttls):
                return None
            number = self.caller if self.caller > 0 else len(ttls)
            if self.caller < 0 and len(ttls) < 3:
                return None
            return Item(identity, f"{identity}-{number}", **{"ttl": ttls[number - 1], **says})
        return Item(identity, **{"call": f"{identity}-{call}" if call else fresh, **says})


def _kind(verb: str, name: str, *, caller: int = 0, options: dict[str, Any] | None = None, **says: Any) -> Kind:
    return Kind(verb, name, tuple(says.items()), caller, tuple((options or {}).items()))


HERE: Final = "epoch-1"

ALLOCATE: Final = (
    _kind("allocate", "new"),
    _kind("allocate", "longer", ttl=LONG),
    _kind("allocate", "shorter", ttl=SHORT),
    _kind("allocate", "pin", ttl=0),
    _kind("allocate", "repeat of the first", caller=1, repeated=1),
    _kind("allocate", "repeat of the second", caller=2, repeated=1),
    _kind("allocate", "other amounts", amounts={"cpu": 3}),
    _kind("allocate", "repeat of the last", caller=-1, repeated=1),
    _kind("allocate", "another owner", owner="another"),
    _kind("allocate", "all of it", amounts={"cpu": 10}),
    _kind("allocate", "more than there is", amounts={"cpu": 11}),
    _kind("allocate", "what is not counted", amounts={"cpu": 1, "disk": 1}),
    _kind("allocate", "new, sent again", repeated=1),
    _kind("allocate", "of a client that knows a later fence", options={"mark": 1}),
)

RENEW: Final = (
    _kind("renew", "plain"),
    _kind("renew", "right", fence="right"),
    _kind("renew", "stale", fence="stale"),
    _kind("renew", "longer", fence="right", ttl=LONG),
    _kind("renew", "own ttl", ttl=0, fence="right"),
    _kind("renew", "shorter", ttl=SHORT),
    _kind("renew", "shorten", ttl=SHORT, shorten=1),
    _kind("renew", "shorten to its ttl", ttl=0, shorten=1),
    _kind("renew", "shorten to longer", ttl=LONG, shorten=1, fence="right"),
    _kind("renew", "another epoch", fence="right", epoch="epoch-0"),
    _kind("renew", "known", fence="right", epoch=HERE, known=40_000),
    _kind("renew", "known and near", fence="right", epoch=HERE, known=1000),
    _kind("renew", "known and far", fence="right", epoch=HERE, known=120_001),
    _kind("renew", "of an unknown grant", fence="ahead", epoch=HERE),
)

RELEASE: Final = (
    _kind("release", "plain"),
    _kind("release", "right", fence="right"),
    _kind("release", "stale", fence="stale"),
    _kind("release", "another epoch", fence="right", epoch="epoch-0"),
    _kind("release", "known", fence="right", epoch=HERE, known=40_000),
    _kind("release", "again", own="r", repeated=1),
    _kind("release", "again, by its fence", own="r", fence="right", repeated=1),
)

BEGIN: Final = (
    _kind("begin_release", "right", fence="right", ttl=10_000),
    _kind("begin_release", "plain, at length", ttl=MINUTE),
    _kind("begin_release", "stale", fence="stale", ttl=10_000),
    _kind("begin_release", "too long", ttl=LONG),
    _kind("begin_release", "again", own="b", ttl=10_000, repeated=1),
)

RESIZE: Final = (
    _kind("resize", "grow", amounts={"cpu": 3}),
    _kind("resize", "grow much", amounts={"cpu": 6}, fence="right"),
    _kind("resize", "shrink", amounts={"cpu": 1}, fence="right"),
    _kind("resize", "as it is", amounts={"cpu": 2}),
    _kind("resize", "give up", amounts={"cpu": 0}),
    _kind("resize", "more than there is", amounts={"cpu": 11}),
    _kind("resize", "what is not counted", amounts={"cpu": 1, "disk": 1}),
    _kind("resize", "stale", amounts={"cpu": 3}, fence="stale"),
    _kind("resize", "again", own="s", amounts={"cpu": 3}, repeated=1),
)

UNDO: Final = (
    _kind("undo", "first", caller=1),
    _kind("undo", "second", caller=2),
    _kind("undo", "last", caller=-1),
    _kind("undo", "unknown"),
)

UNDO_NEW: Final = _kind("undo", "of the first new call", call="new-1")

ADOPT: Final = (
    _kind("adopt", "right", fence="right", epoch=HERE, known=5000),
    _kind("adopt", "of long ago", fence=7, epoch=HERE, known=5000),
    _kind("adopt", "ahead", fence="ahead", epoch=HERE, known=5000),
    _kind("adopt", "another owner", fence="right", epoch=HERE, known=5000, owner="another"),
    _kind("adopt", "another epoch", fence="right", epoch="epoch-0", known=5000),
    _kind("adopt", "forced", fence="right", epoch=HERE, known=5000, options={"reason": "by hand"}),
)

UPKEEP: Final = (
    _kind("reclaim", "plain"),
    _kind("reclaim", "of an age", options={"age": 15_000}),
    _kind("reconcile", "of now", fence="right", options={"as_of": 0}),
    _kind("reconcile", "of before", fence="right", options={"as_of": -15_000}),
    _kind("reconcile", "of long before", fence="right", options={"as_of": -60_000}),
    _kind("reconcile", "stale", fence="stale", options={"as_of": 0}),
    _kind("reconcile", "of the future", fence="right", options={"as_of": 1}),
    _kind("reconcile", "of another owner", fence="right", options={"as_of": 0, "owner": "another"}),
    _kind("reconcile", "stale, of before", fence="stale", options={"as_of": -15_000}),
)

ALL: Final = (*ALLOCATE, *RENEW, *RELEASE, *BEGIN, *RESIZE, *UNDO, *ADOPT, *UPKEEP)


def step_of(kind: Kind, items: tuple[Item, ...], at: int = 0, *, atomic: bool = False) -> Step:
    """A call of these items."""
    return Step(kind.verb, at, items, atomic, kind.options)


def renamed(item: Item, call: str) -> Item:
    """The same by another call."""
    return replace(item, call=call)
