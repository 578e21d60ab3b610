"""All short histories of a tiny pool: two scopes, four requests, every act in every order.

Acts are continued once from each state: of two histories that lead to the same state one goes on.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tests.properties.lines.acts import Act, perform
from tests.properties.lines.asking import WAIT_MS
from tests.properties.lines.book import Held, InLine, Item
from tests.properties.lines.model import Model
from tests.properties.lines.run import model_of
from tests.properties.lines.states import PoolKind, Scopes
from tests.properties.waiting_order import SILENT_MS
from tests.scripts.ledger import T0
from tests.scripts.quota_tree import Limit

__all__ = ["ACTS", "POOLS", "History", "Move", "histories", "key"]

TWO: Final = Scopes(
    "a guarantee and a borrower", {"a": {"cpu": Limit(4, None, 0)}, "b": {"cpu": Limit(4, 4, None)}}, own="a", other="b"
)
"""Of 8 in all."""

POOLS: Final = (
    PoolKind(TWO, "best_effort queue_passes_max=1", 5000),
    PoolKind(TWO, "contended", 5000),
    PoolKind(TWO, "strict", 0),
    PoolKind(TWO, "contended queue_wait_max_ms=5000", None),
)

LOOK_AGAIN_MS: Final = 2500


@dataclass(frozen=True)
class Move:
    """Some time passes, or one call is made."""

    name: str
    pause: int = 0
    verb: str = ""
    items: tuple[Any, ...] = ()


def _ask(name: str, who: str, number: int, **says: Any) -> Move:
    return Move(name, 0, "allocate", (Item(who, f"{who}-{number}", **says),))


X: Final[dict[str, Any]] = {"amounts": {"cpu": 6}, "scope": "a", "ttl": 20_000}
Y: Final[dict[str, Any]] = {"amounts": {"cpu": 3}, "scope": "b"}
Z: Final[dict[str, Any]] = {"amounts": {"cpu": 4}, "scope": "b", "priority": 5, "wait": True, "preempt": True}

W: Final[dict[str, Any]] = {"amounts": {"cpu": 1}}

ACTS: Final = (
    _ask("x waits", "x", 1, **X, wait=True),
    _ask("y waits", "y", 1, **Y, wait=True),
    _ask("z preempts", "px", 1, **Z),
    _ask("x for the last time", "x", 1, **X),
    _ask("y for the last time", "y", 1, **Y),
    _ask("x anew, what is guaranteed", "x", 2, **{**X, "amounts": {"cpu": 4}}),
    _ask("w at once", "gx", 1, **W),
    Move("x released", 0, "release", (("x", "x-r", False),)),
    Move("y released", 0, "release", (("y", "y-r", False),)),
    Move("z released", 0, "release", (("px", "px-r", False),)),
    Move("y withdrawn", 0, "withdraw", (("y", "y-w"),)),
    Move("x undone", 0, "undo", (("x", "x-1"),)),
    Move("x renewed", 0, "renew", (("x", False, 0),)),
    Move("reclaimed", 0, "reclaim", ((),)),
    Move("capacity lowered", 0, "configure", (("lower", (("cpu", 5),)),)),
    Move("a heartbeat", 5000),
    Move("a silence", 15_000),
)

BY_NAME: Final = {move.name: move for move in ACTS}

ASKED: Final = {"x-1", "x-2", "y-1", "px-1", "gx-1"}
"""The calls that may be sent again."""


@dataclass(frozen=True)
class History:
    """One of them, as a world."""

    number: int
    pool: PoolKind
    moves: tuple[Move, ...]

    def setup(self) -> list[Act]:
        """Nothing."""
        return []

    @property
    def acts(self) -> tuple[Act, ...]:
        """The calls, each at its instant; who gives back twice makes two calls."""
        at, found = 0, []
        for number, move in enumerate(self.moves):
            at += move.pause
            items = move.items
            if move.verb in ("release", "withdraw"):
                ((who, call, *more),) = items
                items = ((who, f"{call}{number}", *more),)
            found += [Act(move.verb, at, items)] if move.verb else []
        return tuple(found)

    def __str__(self) -> str:
        return f"pool of {self.pool}; {', '.join(move.name for move in self.moves)}"


def histories(pool: PoolKind, depth: int, begin: Sequence[str] = ()) -> Iterator[History]:
    """Each of at most so many moves after the beginning that ends with a call; every state is gone on from once."""
    model, opening = model_of(pool), tuple(BY_NAME[name] for name in begin)
    model.now = T0
    for move in opening:
        model = _made(model, move)
    frontier: list[tuple[Model, tuple[Move, ...]]] = [(model, opening)]
    seen, number = {key(model)}, 0
    for _ in range(depth):
        reached: list[tuple[Model, tuple[Move, ...]]] = []
        for before, moves in frontier:
            for move in ACTS:
                after, path = _made(before, move), (*moves, move)
                if move.verb:
                    number += 1
                    yield History(number, pool, path)
                state = key(after)
                if state not in seen:
                    seen.add(state)
                    reached.append((after, path))
        frontier = reached


def _made(before: Model, move: Move) -> Model:
    after = copy.deepcopy(before)
    after.events.clear()
    after.now += move.pause
    if move.verb:
        perform(after, Act(move.verb, after.now - T0, move.items))
    return after


def key(model: Model, calls: Collection[str] = ASKED) -> str:
    """What of a state decides what comes: times from now on, orders instead of instants; `calls` may be sent again."""
    now = model.now
    granted = sorted({one.granted for one in model.live.values() if isinstance(one, Held)})
    live = [
        (name, one.calls, one.amounts, _from(one.deadline, now), one.unclaimed, granted.index(one.granted), one.ttl,
         [(told.call, told.ttl, _from(told.until or None, now)) for told in one.told or ()], bool(one.releasing),
         one.taken_by)
        for name, one in sorted(model.live.items()) if isinstance(one, Held)
    ]  # fmt: skip
    line = [
        (one.asked.id, one.asked.call, min(now - one.heard, SILENT_MS), min(now - one.since, model.wait_max, WAIT_MS),
         [held.asked.id for held in model.pending(one)])
        for one in model.line if isinstance(one, InLine)
    ]  # fmt: skip
    looked = model.looked is not None and now - model.looked < LOOK_AGAIN_MS
    over = sorted(model.over.keys() & set(calls))
    return repr((live, line, over, sorted(model.withdrawn), model.passed, looked, model.tree.capacity))


def _from(instant: int | None, now: int) -> int | None:
    return None if instant is None else max(0, instant - now)
