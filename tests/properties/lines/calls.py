"""Calls on an id: every verb, with what it may say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from tests.properties.lines.acts import FILLER
from tests.properties.lines.book import Item
from tests.properties.lines.states import Scopes

__all__ = ["ALL", "ASKS", "GROUPS", "STORY", "Kind"]

Builder = Callable[[str, str, Mapping[str, Item], Scopes], Any]
"""From the id, a new call, what was asked for the id before, and the scopes; None: there is no such call here."""


@dataclass(frozen=True, eq=False)
class Kind:
    """A verb, and what its item says."""

    verb: str
    name: str
    build: Builder


def _ask(name: str, *, where: str = "own", **says: Any) -> Kind:
    def build(who: str, call: str, asked: Mapping[str, Item], scopes: Scopes) -> Item | None:
        scope = {"own": scopes.own, "other": scopes.other, "none": ""}[where]
        if where != "own" and scope == scopes.own:
            return None
        return Item(who, call, **{"amounts": {"cpu": 2}, "scope": scope, **says})

    return Kind("allocate", name, build)


def _again(name: str, number: int, **changes: Any) -> Kind:
    """What was asked before, word by word, but for these."""

    def build(who: str, call: str, asked: Mapping[str, Item], scopes: Scopes) -> Item | None:
        was = asked.get(f"{who}-{number}")
        return replace(was, **changes) if was and (was.wait or not changes) else None

    return Kind("allocate", name, build)


def _plain(verb: str, name: str, *says: Any, call: bool = True) -> Kind:
    return Kind(verb, name, lambda who, new, *_: (who, new, *says) if call else (who, *says))


def _undo(number: int) -> Kind:
    return Kind(
        "undo", f"of call {number}",
        lambda who, _, asked, __: (who, f"{who}-{number}") if f"{who}-{number}" in asked else None,
    )  # fmt: skip


def _quota(name: str) -> Kind:
    def build(who: str, call: str, asked: Mapping[str, Item], scopes: Scopes) -> Any:
        limit = getattr(scopes, name)
        return (scopes.own, call, (("cpu", limit),)) if limit else None

    return Kind("set_quota", name, build)


ASKS: Final = (
    _ask("new"),
    _ask("waits", wait=True),
    _ask("waits, high", wait=True, priority=5),
    _ask("waits, low", wait=True, priority=-5),
    _ask("preempts", wait=True, priority=5, preempt=True),
    _ask("a gpu", amounts={"gpu": 1}),
    _ask("waits for much", wait=True, amounts={"cpu": 4}),
    _again("again", 1),
    _again("the last time", 1, wait=False),
    _ask("one", amounts={"cpu": 1}, priority=1),
    _ask("waits for both", wait=True, amounts={"cpu": 1, "gpu": 1}),
    _ask("waits in the other scope", where="other", wait=True),
    _ask("in no scope", where="none"),
    _ask("pins", ttl=0),
    _ask("another owner", owner="another"),
    _ask("more than there is", wait=True, amounts={"cpu": 13}),
    _ask("preempts, lowest", wait=True, priority=-5, preempt=True),
    _ask("preempts much", wait=True, priority=9, preempt=True, amounts={"cpu": 5}, where="none"),
    _again("again, of the second", 2),
)

RELEASES: Final = (_plain("release", "plain", False), _plain("release", "stale", True))

RENEWS: Final = (
    _plain("renew", "plain", False, 0, call=False),
    _plain("renew", "longer", False, 90_000, call=False),
    _plain("renew", "stale", True, 0, call=False),
)

UNDOS: Final = (_undo(1), _undo(2), _plain("undo", "of an unknown call"))

WITHDRAWS: Final = (_plain("withdraw", "plain"),)

OTHERS: Final = (
    _plain("begin_release", "plain", 10_000),
    _plain("resize", "grow", "cpu", 3),
    _plain("resize", "grow much", "cpu", 7),
    _plain("resize", "shrink", "cpu", 1),
    _plain("resize", "also a gpu", "gpu", 1),
    Kind("move", "to the other scope", lambda who, new, _, scopes: (who, new, scopes.other)),
    Kind("move", "to its scope", lambda who, new, _, scopes: (who, new, scopes.own)),
    Kind("move", "to no scope", lambda who, new, _, scopes: (who, new, "") if scopes.own else None),
    Kind("reclaim", "plain", lambda *_: ()),
    Kind("release", "of all the rest", lambda _, new, *__: (FILLER, new, False)),
    Kind("resize", "of the rest", lambda _, new, *__: (FILLER, new, "cpu", 1)),
    _quota("more"),
    _quota("less"),
    Kind("configure", "more", lambda _, new, *__: (new, (("cpu", 11),))),
    Kind("configure", "less", lambda _, new, *__: (new, (("cpu", 6),))),
)

ALL: Final = (*ASKS, *RELEASES, *RENEWS, *UNDOS, *WITHDRAWS, *OTHERS)

GROUPS: Final = (ASKS[:12], RELEASES, RENEWS[:2], UNDOS, WITHDRAWS)
"""For two items of one call: each group is of one verb."""

STORY: Final = (*ASKS[:9], RELEASES[0], RENEWS[1], UNDOS[0], WITHDRAWS[0], *OTHERS[1:2], *OTHERS[5:6], *OTHERS[8:12])
"""For two calls."""
