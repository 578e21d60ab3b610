"""The judge of what killed workers were told: what it must find, and what it must let pass."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from allocator import Allocation, Resources
from tests.soak.words import Doubt, Judgement, Teller, Word, judge, now_ms, read

CAPACITY = {"cpu": 4}

KILL = Doubt(since=90.0, until=100.0)
"""A server was killed at 100; it is known to have kept what it told before 90."""


def told(at: float, fence: int, cpu: int, until: float = 1_000.0, *, asked: float | None = None) -> Word:
    return (at, at - 1 if asked is None else asked, "told", fence, [{"cpu": cpu}, until])


def word(at: float, kind: str, fence: int, *rest: object, asked: float | None = None) -> Word:
    return (at, at - 1 if asked is None else asked, kind, fence, list(rest))


def found(*words: Word, doubts: tuple[Doubt, ...] = (), keeps_growth: bool = True) -> Judgement:
    return judge(sorted(words, key=lambda one: one[0]), CAPACITY, doubts, keeps_growth=keeps_growth)


def test_what_two_believe_at_one_instant_is_added_up() -> None:
    """The planted fault: the room of one that lives is granted to another."""
    seen = found(told(10, 1, 3), told(20, 2, 2))
    assert seen.excess == {"cpu": 1}
    assert seen.holders == {"cpu": [("1", 3), ("2", 2)]}
    assert seen.beliefs == 2
    assert seen.problems == ["1 of cpu more was believed in than there is, by [('1', 3), ('2', 2)]"]


@pytest.mark.parametrize(
    "between",
    [
        [word(19, "over", 1)],
        [word(12, "shrinks", 1, {"cpu": 2})],
        [word(12, "lost", 1, "unknown")],
        [word(12, "stopped", 1, "unknown")],
    ],
    ids=lambda words: str(words[0][2]),
)
def test_what_a_holder_has_no_more_is_free(between: list[Word]) -> None:
    """It gives back, or shrinks, before it asks for that; or it was told that it is gone."""
    assert not found(told(10, 1, 3), *between, told(20, 2, 2)).excess


def test_a_deadline_ends_a_belief_and_a_renewal_moves_it() -> None:
    """The deadline that was told last counts, not that of the ledger."""
    lapsed = (told(10, 1, 3, until=20), told(20, 2, 2))
    assert not found(*lapsed).excess
    assert found(*lapsed, word(15, "renewed", 1, 30.0)).excess == {"cpu": 1}
    assert found(*lapsed, word(25, "renewed", 1, 30.0)).excess == {"cpu": 1}


def test_a_growth_counts_from_when_it_was_told() -> None:
    """A growth that was asked for, and is not heard of, is nobody's."""
    asked = (told(10, 1, 2), told(11, 2, 2), word(12, "shrinks", 1, {"cpu": 3}))
    assert not found(*asked).excess
    assert found(*asked, word(13, "resized", 1, {"cpu": 3}, 1_000.0)).excess == {"cpu": 1}


def test_a_growth_does_not_count_where_it_may_be_lost() -> None:
    """A shrink does, at once; and what was granted."""
    grown = (told(10, 1, 2), word(12, "resized", 1, {"cpu": 3}, 1_000.0), told(13, 2, 2))
    assert not found(*grown, keeps_growth=False).excess
    assert found(*grown, told(14, 3, 1), keeps_growth=False).excess == {"cpu": 1}


def test_callers_of_one_id_share_its_grant() -> None:
    """It counts once, with the least amounts, and ends for all when one gives it back."""
    shared = (told(10, 1, 3), told(11, 1, 3), word(12, "shrinks", 1, {"cpu": 2}), told(13, 2, 2))
    assert not found(*shared).excess
    assert not found(*shared, word(14, "resized", 1, {"cpu": 3}, 1_000.0)).excess
    assert not found(told(10, 1, 3), told(11, 1, 3), word(12, "over", 1), told(13, 2, 4)).excess


def test_what_is_told_late_of_what_was_given_back_says_nothing() -> None:
    """But one who asked after the answer was heard has been told anew: the release was lost."""
    given_back = (told(10, 1, 3), word(12, "over", 1), word(14, "answered", 1, "released"), told(20, 2, 2))
    assert not found(*given_back, told(15, 1, 3, asked=13)).excess
    assert found(*given_back, told(17, 1, 3, asked=16)).excess == {"cpu": 1}
    unanswered = (told(10, 1, 3), word(12, "over", 1), told(20, 2, 2))
    assert not found(*unanswered, told(17, 1, 3, asked=16)).excess


def test_a_doubtful_grant_is_excused_and_counted_and_no_other_is() -> None:
    """What was told before the last word that was kept, or asked for after the kill, has no excuse."""
    lost = (told(95, 1, 3), told(120, 2, 2))
    assert found(*lost).excess == {"cpu": 1}
    excused = found(*lost, doubts=(KILL,))
    assert (excused.excess, excused.doubtful, excused.doubtful_words) == ({}, {"cpu": 1}, 1)
    assert found(told(89, 1, 3), told(120, 2, 2), doubts=(KILL,)).excess == {"cpu": 1}
    assert found(told(110, 1, 3, asked=101), told(120, 2, 2), doubts=(KILL,)).excess == {"cpu": 1}


def test_the_doubt_ends_with_the_next_word() -> None:
    """Whoever renews after the kill has been told that it is there, with all that it was told before."""
    grown = (told(80, 1, 2), word(95, "resized", 1, {"cpu": 3}, 1_000.0), told(120, 2, 2))
    assert not found(*grown, doubts=(KILL,)).excess
    assert found(*grown, word(130, "renewed", 1, 1_000.0), doubts=(KILL,)).excess == {"cpu": 1}


def test_a_doubtful_renewal_leaves_the_deadline_of_before() -> None:
    """Until then it is believed in without a doubt."""
    renewed = (told(80, 1, 3, until=150), word(95, "renewed", 1, 200.0))
    assert found(*renewed, told(140, 2, 2), doubts=(KILL,)).excess == {"cpu": 1}
    late = found(*renewed, told(160, 2, 2), doubts=(KILL,))
    assert (late.excess, late.doubtful) == ({}, {"cpu": 1})


def test_a_live_lease_that_a_renewal_calls_gone_is_lost() -> None:
    """Not one that was over, doubtful, given back or come back; nor one that a resize calls so."""
    lost = found(told(10, 1, 3), word(20, "lost", 1, "unknown"))
    assert (len(lost.losses), len(lost.problems)) == (1, 1)
    assert not found(told(10, 1, 3, until=19), word(20, "lost", 1, "unknown")).losses
    assert not found(told(10, 1, 3), told(11, 1, 3), word(15, "over", 1), word(20, "lost", 1, "unknown")).losses
    back = (told(10, 1, 3), told(11, 1, 3), word(12, "over", 1), word(14, "answered", 1, "released"))
    for words, doubts in (
        ((*back, word(17, "renewed", 1, 1_000.0, asked=16), word(20, "lost", 1, "lost")), ()),
        ((told(95, 1, 3), word(120, "lost", 1, "unknown")), (KILL,)),
        ((told(10, 1, 3), word(20, "stopped", 1, "unknown")), ()),
    ):
        seen = found(*words, doubts=doubts)
        assert (seen.losses, seen.stopped) == ([], 1)


def test_a_live_lease_that_a_release_does_not_find_is_lost() -> None:
    """Where the store has lost it, and the pool recovers, it is missing."""
    for outcome, losses in (("unknown", 1), ("released", 0), ("missing", 0), ("fenced", 0)):
        seen = found(told(10, 1, 3), word(12, "over", 1), word(14, "answered", 1, outcome))
        assert len(seen.losses) == losses, outcome


def test_what_a_task_is_told_is_read_as_it_was_written(tmp_path: Path) -> None:
    """Two processes, one clock; the half line of a killed one is left out."""
    files = [io.StringIO(), io.StringIO()]
    until = round(now_ms()) + 60_000
    tellers = [Teller(file) for file in files]
    for fence, teller in enumerate(tellers, 1):
        teller.asks()
        one = Allocation("a", "lab", "me", Resources.of({"cpu": 3}), fence, 0, 60_000, until, created=True)
        teller.told(object(), one)
        teller.heard("granted", 0)
        teller.asks()
        teller.renewed(fence, until + 1)
        teller.heard("renewed", fence)
    second = tellers[1]
    second.asks()
    second.shrinks(2, {"cpu": 1})
    second.heard("unknown", 2)
    second.asks()
    second.over(2)
    second.heard("released", 2)
    for number, file in enumerate(files):
        (tmp_path / str(number)).write_text(file.getvalue() + '[1, 2, "ov')
    words = list(read(sorted(tmp_path.iterdir())))
    kinds = [[kind for _, _, kind, fence, _ in words if fence == one] for one in (1, 2)]
    assert kinds == [["told", "renewed"], ["told", "renewed", "shrinks", "stopped", "over", "answered"]]
    assert judge(words, CAPACITY).excess == {"cpu": 2}
    assert json.loads(files[0].getvalue().splitlines()[0])[4:] == [{"cpu": 3}, until]
