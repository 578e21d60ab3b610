"""What the tasks of several processes were told, word by word, and what they may have believed by that alone.

Each process writes its words down at once, a line each: what a process that was killed had been told is believed until
the deadline that it was told.  The instants are those of CLOCK_REALTIME: all processes of a machine share it, and the
server sets its deadlines by it.

A word that a killed server may have lost is *doubtful*: it was told after the last one that the server is known to have
kept, and asked for before the server was dead.  What is believed by all words is held against what is believed without
the doubtful ones: more than there is may be believed by doubtful words alone.
"""

from __future__ import annotations

import heapq
import json
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TextIO

from allocator import Allocation
from tests.soak.reality import Belief, Loss, worst
from tests.support.beliefs import EVER, Beliefs

__all__ = ["Doubt", "Judgement", "Story", "Teller", "judge", "now_ms", "read"]

ANSWERED: Final = ("released", "missing", "unknown", "fenced", "lost")
"""What came of a release: its answer was heard."""

GONE: Final = ("unknown", "fenced", "lost")
"""What a holder is told whose allocation is no more."""


def now_ms() -> float:
    """Milliseconds of the clock that all processes of this machine share, and the server's deadlines are set by."""
    return time.time_ns() / 1e6


class Teller(Beliefs):
    """Writes down what one task is told; it is judged later, together with what all others were told."""

    def __init__(self, file: TextIO) -> None:
        """The file, which the tasks of a process share, is written line by line."""
        super().__init__(dict, lambda: 0)
        self._file = file
        self._asked = now_ms()
        self._given_back = 0
        self._resizes = False

    def asks(self) -> None:
        """The task is about to do the next thing."""
        self._asked, self._given_back, self._resizes = now_ms(), 0, False

    def told(self, caller: object, one: Allocation) -> None:
        """It was told of an allocation."""
        self._write("told", one.fence, dict(one.resources), one.deadline_ms or EVER)

    def renewed(self, fence: int, deadline_ms: int | None, *, shortened: bool = False) -> None:
        """It was told of a later deadline."""
        assert not shortened, "no task shortens"
        self._write("renewed", fence, deadline_ms or EVER)

    def resized(self, one: Allocation) -> None:
        """It was told of other amounts."""
        self._write("resized", one.fence, dict(one.resources), one.deadline_ms or EVER)

    def shrinks(self, fence: int, amounts: Mapping[str, int]) -> None:
        """It is about to ask for other amounts."""
        self._resizes = True
        self._write("shrinks", fence, dict(amounts))

    def over(self, fence: int) -> None:
        """It is about to give this back."""
        self._given_back = fence
        self._write("over", fence)

    def heard(self, word: str, fence: int) -> None:
        """What came of the thing that was done, with this grant or with none (0)."""
        if self._given_back and word in ANSWERED:
            self._write("answered", self._given_back, word)
        elif fence and word in GONE:
            self._write("stopped" if self._resizes else "lost", fence, word)

    def _write(self, kind: str, fence: int, *words: object) -> None:
        self._file.write(json.dumps([now_ms(), self._asked, kind, fence, *words]) + "\n")


@dataclass(frozen=True, slots=True)
class Doubt:
    """A killed server may have lost what was told from `since` on and asked for until `until`."""

    since: float
    until: float

    def touches(self, asked: float, told: float) -> bool:
        """Whether it may have lost this word."""
        return asked <= self.until and told >= self.since


Word = tuple[float, float, str, int, list[Any]]
"""When it was told and when asked for, its kind, the fence, and the rest."""


def read(paths: Iterable[Path]) -> Iterator[Word]:
    """The words of all processes in the order of their instants; a half-written last line is left out."""
    return heapq.merge(*(_lines(path) for path in paths), key=lambda word: word[0])


def _lines(path: Path) -> Iterator[Word]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            try:
                at, asked, kind, fence, *rest = json.loads(line)
            except ValueError:
                continue
            yield at, asked, kind, fence, rest


@dataclass(slots=True)
class _Side:
    """What is believed of one grant: amounts, until when, and since when just so."""

    amounts: dict[str, int] = field(default_factory=dict[str, int])
    until: float = 0.0
    since: float = 0.0

    def least(self, amounts: Mapping[str, int]) -> dict[str, int]:
        """The smaller ones; what is not named stays."""
        return {name: min(amount, amounts.get(name, amount)) for name, amount in self.amounts.items()}


@dataclass(slots=True)
class _Grant:
    """By all words, and by those alone that are not doubtful; and whether somebody has given it back."""

    all: _Side = field(default_factory=_Side)
    sure: _Side = field(default_factory=_Side)
    callers: int = 0
    over_at: float | None = None
    answered_at: float | None = None
    came_back: bool = False
    """Somebody gave it back, and it is there again: a later grant of its id may take its place at any time."""

    def is_heard(self, asked: float) -> bool:
        """Whether a word counts that was asked for then; one of before the grant was given back says nothing now."""
        return self.over_at is None or (self.answered_at is not None and asked > self.answered_at)


Pieces = dict[str, list[Belief]]
"""By resource: who believed in how much of it, from when until when."""


class Story:
    """Takes the words in their order, and makes beliefs of them.

    Several callers of one id share a grant, and it is counted once.  Where they do, the least that one of them was told
    counts, and what one of them gives back none of them has any more.
    """

    def __init__(self, doubts: Sequence[Doubt] = (), *, keeps_growth: bool = True) -> None:
        self._doubts = doubts
        self._keeps_growth = keeps_growth
        self._grants: dict[int, _Grant] = {}
        self.all: Pieces = defaultdict(list)
        self.sure: Pieces = defaultdict(list)
        self.losses: list[Loss] = []
        """Of holders that were told so before the deadline that they had been told without doubt."""
        self.doubtful_words = 0
        self.stopped = 0
        """Holders that were told so by a resize, before a deadline that is doubtful, or of what had come back."""

    def take(self, word: Word) -> None:
        """The next word."""
        at, asked, kind, fence, rest = word
        if kind == "told":
            grant = self._grants.setdefault(fence, _Grant())
            grant.callers += 1
        elif (known := self._grants.get(fence)) is not None:
            grant = known
        else:
            return  # of a process that was killed before it had written down the first
        match kind, rest:
            case "over", []:
                self._over(grant, fence, at)
            case "answered", [outcome]:
                self._answered(grant, fence, at, outcome)
            case (("lost" | "stopped"), [outcome]):
                self._lost(grant, fence, at, outcome, renewed=kind == "lost")
            case "shrinks", [amounts] if grant.over_at is None:
                self._turn(grant, fence, at, grant.all.least(amounts), 0.0, sure=False)
            case (("told" | "renewed" | "resized"), [*told, until]) if grant.is_heard(asked):
                sure = not any(doubt.touches(asked, at) for doubt in self._doubts)
                self.doubtful_words += not sure
                grant.came_back |= grant.over_at is not None
                grant.over_at = grant.answered_at = None
                amounts = told[0] if told else grant.all.amounts
                if told and (grant.callers > 1 or (kind == "resized" and not self._keeps_growth)):
                    amounts = grant.all.least(amounts)
                self._turn(grant, fence, at, amounts, until, sure=sure)
            case _:
                pass  # of what is over

    def _turn(self, grant: _Grant, fence: int, at: float, amounts: dict[str, int], until: float, *, sure: bool) -> None:
        """From now on this is believed; where that is not sure, no more is sure than was."""
        self._end(self.all, grant.all, fence, at)
        self._end(self.sure, grant.sure, fence, at)
        grant.all = _Side(amounts, max(until, grant.all.until), at)
        if sure:
            grant.sure = _Side(amounts, max(until, grant.sure.until), at)
        else:
            grant.sure = _Side(grant.sure.least(amounts), grant.sure.until, at)

    @staticmethod
    def _end(pieces: Pieces, side: _Side, fence: int, at: float) -> None:
        until = min(at, side.until)
        if until > side.since:
            for name, amount in side.amounts.items():
                pieces[name].append(Belief(str(fence), amount, side.since, until))

    def _over(self, grant: _Grant, fence: int, at: float) -> None:
        """It is not believed in from here on; what was sure is remembered, for the answer."""
        if grant.over_at is None:
            self._end(self.all, grant.all, fence, at)
            self._end(self.sure, grant.sure, fence, at)
            grant.over_at = grant.all.since = grant.sure.since = at
            grant.all = _Side(grant.all.amounts, 0.0, at)

    def _answered(self, grant: _Grant, fence: int, at: float, outcome: str) -> None:
        """The release was heard of; one that lives is released, or missing.

        It is another's by its fence, where a loss has brought back an older grant of the same id: then it stays.
        """
        if grant.over_at is not None and grant.answered_at is None:
            grant.answered_at = at
            if outcome == "unknown" and grant.callers == 1 and grant.sure.until > at:
                self.losses.append(Loss(str(fence), at, outcome))
            grant.sure = _Side(grant.sure.amounts, 0.0, at)

    def _lost(self, grant: _Grant, fence: int, at: float, outcome: str, *, renewed: bool) -> None:
        """Its holder was told, before its deadline or later, that it is no more.

        A resize says so of what the store has lost, too; only a renewal (and a release) can tell the two apart.
        """
        if grant.over_at is not None:
            return
        if renewed and not grant.came_back and grant.sure.until > at:
            self.losses.append(Loss(str(fence), at, outcome))
        elif grant.all.until > at:
            self.stopped += 1
        self._over(grant, fence, at)
        self._answered(grant, fence, at, "released")

    @property
    def grants(self) -> int:
        """How many were believed in."""
        return len(self._grants)

    def end(self) -> None:
        """Nothing more is told: each grant is believed in until its deadline."""
        for fence, grant in self._grants.items():
            if grant.over_at is None:
                self._end(self.all, grant.all, fence, float(EVER))
                self._end(self.sure, grant.sure, fence, float(EVER))


@dataclass(frozen=True, slots=True)
class Judgement:
    """What was believed beyond what there was.

    `excess` is the most by words without doubt, by resource: there must be none.  `doubtful` is the most by all words,
    where a server may have lost some.
    """

    beliefs: int
    excess: dict[str, int]
    doubtful: dict[str, int]
    doubtful_words: int
    losses: list[Loss]
    stopped: int
    holders: dict[str, list[tuple[str, int]]]
    """By resource: who believed in how much of it at the instant of the excess."""

    @property
    def problems(self) -> list[str]:
        """What must not be."""
        found = [
            f"{amount} of {name} more was believed in than there is, by {self.holders[name]}"
            for name, amount in self.excess.items()
        ]
        return [*found, f"{len(self.losses)} live leases were lost: {self.losses[:3]}"] if self.losses else found


def judge(
    words: Iterable[Word], capacity: Mapping[str, int], doubts: Sequence[Doubt] = (), *, keeps_growth: bool = True
) -> Judgement:
    """Hold the sum of what may have been believed at each instant against the capacity.

    Without `keeps_growth` a growth is not counted: where a store goes back in time it is lost, and its holder is not
    told (docs/guarantees.md).
    """
    story = Story(doubts, keeps_growth=keeps_growth)
    for word in words:
        story.take(word)
    story.end()
    peaks = {name: worst(story.sure[name]) for name in capacity}
    largest = {name: worst(story.all[name]).amount for name in capacity}
    return Judgement(
        beliefs=story.grants,
        excess={name: peak.amount - capacity[name] for name, peak in peaks.items() if peak.amount > capacity[name]},
        doubtful={name: most - capacity[name] for name, most in largest.items() if most > capacity[name]},
        doubtful_words=story.doubtful_words,
        losses=story.losses,
        stopped=story.stopped,
        holders={
            name: [(one.id, one.amount) for one in story.sure[name] if one.since <= peak.at < one.until]
            for name, peak in peaks.items()
        },
    )
