"""Play worlds on a real server, many side by side: made, called, read, audited, and compared."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from allocator._engine.protocol.keys import FIXED, PoolKeys
from tests.properties.lines import compare
from tests.properties.lines.acts import Act, limits_of, perform, resolve, word
from tests.properties.lines.enumeration import Worlds
from tests.properties.lines.model import Model
from tests.properties.lines.states import CAPACITY, IDS, PoolKind
from tests.properties.worlds.perform import Word, call, written
from tests.properties.worlds.run import Gathering, Snapshot, Wire
from tests.scripts.invariants import check_pool
from tests.scripts.items import Line
from tests.scripts.ledger import T0
from tests.scripts.quota_tree import Tree

__all__ = ["Runner", "World", "Worlds", "model_of", "reproduction"]

AT_ONCE: Final = 200
"""Worlds that are played side by side."""

CREATED: Final = 50_000
"""How long before the instant of a world its pool was made: no gap of its clock."""

SETS: Final = ("deadlines", "pinned", "ended", "waiting", "priorities", "quotas")

HASHES: Final = ("pool", *(f"record:{name}" for name in IDS), *(f"waiter:{name}" for name in IDS))


class World(Protocol):
    """What is played; its text says how it begins."""

    @property
    def number(self) -> int: ...

    @property
    def pool(self) -> PoolKind: ...

    @property
    def acts(self) -> tuple[Act, ...]: ...

    def setup(self) -> list[Act]: ...


class LineLedger(Gathering):
    """Knows the keys of the line."""

    def at(self, key: str) -> str:
        """The whole key."""
        known = key.startswith("record:") or key in FIXED
        return super().at(key) if known else f"{self.keys.base}{key}"

    def withdraw_lines(self, *items: tuple[str, str]) -> Any:
        """(id, call) each."""
        return self.run("withdraw", *(Line(identity, call, ()) for identity, call in items))


@dataclass
class Play:
    """One pool that is being played, beside the model's."""

    ledger: LineLedger
    model: Model
    acts: list[Act]
    problems: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    expected: Any = None

    def make(self, pool: PoolKind) -> None:
        """Its pool."""
        words: list[Word] = [("create", (CAPACITY,), {}), ("configure", ("change",), {"promises": pool.promises})]
        words += [("set_quota", (scope, limits_of(limits)), {}) for scope, limits in pool.scopes.limits.items()]
        for each in words:
            call(self.ledger, each)
            self.lines.append(written(each))

    def gather(self, number: int) -> bool:
        """Say the act of that number to the wire, and ask who waits then."""
        act = resolve(self.model, self.acts[number]) if number < len(self.acts) and not self.problems else None
        if not act:
            return False
        self.ledger.now = T0 + act.at
        said = word(act)
        call(self.ledger, said)
        self.ledger.client.add("ZRANGE", self.ledger.at("waiting"), 0, -1)
        self.lines += [f"pool.now = T0 + {act.at}".replace("+ -", "- "), written(said)]
        self.expected = perform(self.model, act)
        return True

    def hear(self, answer: Any, waiting: Any) -> None:
        """The reply to it."""
        self.lines.append(f"# {answer}")
        self.problems += compare.replies(self.model, self.expected, answer)
        compare.silent(self.model, waiting)


def model_of(pool: PoolKind) -> Model:
    """An empty one."""
    limits = {scope: dict(shares) for scope, shares in pool.scopes.limits.items()}
    options = pool.options
    return Model(
        Tree(dict(CAPACITY), limits), pool.policy.split()[0], int(options.get("queue_passes_max", 100)),
        int(options.get("queue_wait_max_ms", 600_000)), now=T0 - CREATED, preempts=pool.grace is not None,
        grace=pool.grace or 0,
    )  # fmt: skip


class Runner:
    """Plays worlds over one wire."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.played = self.setups = 0

    def run(self, cases: Iterable[World]) -> Iterator[tuple[World, Play]]:
        """Those that went wrong."""
        left = iter(cases)
        while batch := list(itertools.islice(left, AT_ONCE)):
            yield from ((case, play) for case, play in self.together(batch) if play.problems)

    def together(self, cases: Sequence[World]) -> list[tuple[World, Play]]:
        """Side by side."""
        self.wire.add("FLUSHALL")
        plays = []
        for number, case in enumerate(cases):
            ledger = LineLedger(self.wire, keys=PoolKeys(f"p{number}"), now=T0 - CREATED)
            play = Play(ledger, model_of(case.pool), [*case.setup(), *case.acts])
            play.make(case.pool)
            plays.append(play)
        refused = [answer for answer in self.wire.send() if not _is_made(answer)]
        assert not refused, refused
        for number in range(max(len(play.acts) for play in plays)):
            waiting = [play for play in plays if play.gather(number)]
            answers = iter(self.wire.send())
            for play in waiting:
                play.hear(next(answers), next(answers))
        self._read(plays)
        self.played += len(cases)
        self.setups += len({str(case) for case in cases})
        return list(zip(cases, plays, strict=True))

    def _read(self, plays: Sequence[Play]) -> None:
        for play in plays:
            for name in SETS:
                self.wire.add("ZRANGE", play.ledger.at(name), 0, -1, "WITHSCORES")
            for name in (*HASHES, *(f"quota:{scope}" for scope in play.model.tree.limits)):
                self.wire.add("HGETALL", play.ledger.at(name))
            self.wire.add("XRANGE", play.ledger.at("events"), "-", "+")
            play.ledger.audit()
        answers = iter(self.wire.send())
        for play in plays:
            dump: dict[str, Any] = {name: _scores(next(answers)) for name in SETS}
            for name in (*HASHES, *(f"quota:{scope}" for scope in play.model.tree.limits)):
                flat = next(answers)
                dump[name] = dict(zip(flat[::2], flat[1::2], strict=True))
            dump["events"] = next(answers)
            audit = next(answers)
            if not play.problems:
                play.problems += compare.pool(play.model, dump)
                play.problems += audited(play, dump, audit)


def _is_made(answer: Any) -> bool:
    """A pool, a policy, or a quota; `FLUSHALL`."""
    return answer == "OK" or (isinstance(answer, list) and answer[0][0] in ("created", "configured", "quota"))


def _scores(flat: Sequence[str]) -> dict[str, int]:
    return {member: int(score) for member, score in zip(flat[::2], flat[1::2], strict=True)}


def audited(play: Play, dump: dict[str, Any], audit: Any) -> list[str]:
    """The invariants, as the tests of the scripts have them, and as the script does."""
    found = [f"audit: {audit}"] if isinstance(audit, Exception) or audit[4] or audit[8] else []
    try:
        check_pool(Snapshot(play.ledger, dump), play.ledger.keys, overcommitted=True)
    except AssertionError as error:
        found.append(f"invariants: {str(error).splitlines()[0]}")
    return found


def reproduction(wire: Wire, case: World) -> str:
    """A world that went wrong, in calls of `Ledger` that lead to it, and what is wrong."""
    [(_, play)] = Runner(wire).together([case])
    head = [f"world {case.number}: {case}", "pool = Ledger(client)", f"pool.now = T0 - {CREATED}"]
    return "\n".join([*head, *play.lines, *(f"!! {problem}" for problem in play.problems)])
