"""One call: what it asks, what the model says of it, and how it is sent as a call of `Ledger`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from tests.properties.lines.asking import WAIT_MS
from tests.properties.lines.book import Item, Reply
from tests.properties.lines.model import Model
from tests.properties.worlds.perform import Word
from tests.scripts.ledger import T0
from tests.scripts.quota_tree import Limit

__all__ = ["FILLER", "Act", "limits_of", "perform", "resolve", "word"]

FILLER: Final = "f"
"""The id that has the room which is to be full."""

STALE: Final = 7
"""The fence of a grant that nobody has ever seen."""


@dataclass(frozen=True)
class Act:
    """A verb, the instant of the call from that of the world, and what each item says after the id.

    `fill` takes what is left of the pool for FILLER, `shrink` gives some of it back.
    """

    verb: str
    at: int
    items: tuple[Any, ...] = ()
    atomic: bool = False


def resolve(model: Model, act: Act) -> Act | None:
    """The act, where what it says follows from the pool; None: there is nothing to do."""
    if act.verb == "fill":
        left = {name: model.tree.available("", name) for name in model.tree.capacity}
        amounts = {name: amount for name, amount in left.items() if amount > 0}
        item = Item(FILLER, f"{FILLER}-1", amounts, ttl=act.items[0], priority=50)
        return Act("allocate", act.at, (item,)) if amounts else None
    if act.verb == "shrink":
        held = model.held(FILLER)
        has = held.amounts.get("cpu", 0) if held else 0
        return Act("resize", act.at, ((FILLER, f"{FILLER}-s", "cpu", has - 1),)) if has > 1 else None
    return act


def perform(model: Model, act: Act) -> list[Reply]:
    """What the model replies; it is changed."""
    model.now = T0 + act.at
    if act.verb == "allocate":
        return model.allocate(act.items, atomic=act.atomic)
    return PERFORMED[act.verb](model, act.items)


def _fence(stale: object) -> int:
    return STALE if stale else 0


PERFORMED: Final[dict[str, Callable[[Model, tuple[Any, ...]], list[Reply]]]] = {
    "release": lambda model, items: model.release([(name, call, _fence(stale)) for name, call, stale in items]),
    "renew": lambda model, items: model.renew([(name, _fence(stale), ttl) for name, stale, ttl in items]),
    "undo": lambda model, items: model.undo(items),
    "withdraw": lambda model, items: model.withdraw(items),
    "begin_release": lambda model, items: [model.begin_release(*items[0])],
    "resize": lambda model, items: [model.resize(*items[0])],
    "move": lambda model, items: [model.move(*items[0])],
    "reclaim": lambda model, _: [model.reclaim()],
    "set_quota": lambda model, items: [model.set_quota(items[0][0], items[0][1], dict(items[0][2]))],
    "configure": lambda model, items: [model.configure(items[0][0], dict(items[0][1]))],
}


def limits_of(limits: dict[str, Limit]) -> dict[str, tuple[int | str, ...]]:
    """As `set_quota` is told of them."""
    return {
        name: tuple("-" if part is None else part for part in (one.nominal, one.borrowing, one.lending))
        for name, one in limits.items()
    }


def want(item: Item) -> Word:
    """An item of an allocate."""
    says: dict[str, Any] = {"ttl": item.ttl, "call": item.call}
    if item.owner != "owner":
        says["owner"] = item.owner
    if item.scope:
        says["scope"] = item.scope
    if item.wait:
        says["wait"] = WAIT_MS
    if item.priority:
        says["priority"] = item.priority
    if item.preempt and item.wait:
        says["preempt"] = 1
    return ("want", (item.id, item.amounts), says)


def word(act: Act) -> Word:
    """The call of `Ledger`."""
    if act.verb == "allocate":
        return ("allocate", tuple(want(item) for item in act.items), {"atomic": 1} if act.atomic else {})
    return WORDS[act.verb](*act.items)


def _release_line(name: str, call: str, stale: object) -> Word:
    return ("release_line", (name, _fence(stale)), {"call": call})


def _renew_line(name: str, stale: object, ttl: int) -> Word:
    return ("renew_line", (name,), {"fence": _fence(stale), "ttl": ttl})


def _begin_release(item: tuple[str, str, int]) -> Word:
    name, call, grace = item
    return ("begin_release", (("begin_release_line", (name, grace), {"call": call}),), {})


def _resize(item: tuple[str, str, str, int]) -> Word:
    name, call, resource, amount = item
    return ("resize", (("resize_line", (name, {resource: amount}), {"call": call}),), {})


WORDS: Final[dict[str, Callable[..., Word]]] = {
    "release": lambda *items: ("release", tuple(_release_line(*item) for item in items), {}),
    "renew": lambda *items: ("renew", tuple(_renew_line(*item) for item in items), {}),
    "undo": lambda *items: ("undo", tuple((call, name) for name, call in items), {}),
    "withdraw": lambda *items: ("withdraw_lines", items, {}),
    "begin_release": _begin_release,
    "resize": _resize,
    "move": lambda item: ("move", (item[0], item[2]), {"call": item[1]}),
    "reclaim": lambda *_: ("reclaim", (), {}),
    "set_quota": lambda item: ("set_quota", (item[0], limits_of(dict(item[2]))), {"call": item[1]}),
    "configure": lambda item: ("configure", ("change", dict(item[1])), {"call": item[0]}),
}
