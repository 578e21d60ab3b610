"""The judge of the replication stages is judged: it must see what no store would tell."""

from __future__ import annotations

from pathlib import Path

from tests.soak import reality
from tests.soak.reality import Belief, History, Journal, Loss, Outage, Peak, Reality


def test_the_worst_instant_is_where_beliefs_overlap() -> None:
    """Three of four, at two instants: the larger sum counts, wherever it is."""
    beliefs = [Belief("a", 3, 0, 10), Belief("b", 4, 5, 6), Belief("c", 2, 5.5, 20), Belief("d", 5, 12, 13)]
    assert reality.worst(beliefs) == Peak(9, 5.5)


def test_what_ends_when_another_begins_does_not_overlap_it() -> None:
    """A unit that is handed over is in use once."""
    assert reality.worst([Belief("a", 3, 0, 5), Belief("b", 3, 5, 9)]) == Peak(3, 0)


def test_a_belief_that_never_was_counts_for_nothing() -> None:
    """A holder that was told at once that it is too late has used nothing."""
    assert reality.worst([Belief("a", 3, 5, 5), Belief("b", 3, 6, 5)]) == Peak()


def test_without_beliefs_nothing_was_in_use() -> None:
    """An empty run has no peak, and no excess either."""
    assert Reality.of(History(), 10, [], slack_s=1) == Reality(10, Peak(), 0, 0, 0)
    assert Reality(10, Peak(), 0, 0, 0).excess == 0


def test_the_excess_is_what_is_above_the_capacity() -> None:
    """Twelve of ten are two too many; nine are none."""
    assert Reality(10, Peak(12, 1), 3, 0, 0).excess == 2
    assert Reality(10, Peak(9, 1), 3, 0, 0).excess == 0


def test_a_lease_that_was_taken_away_is_lost_alive_at_any_time() -> None:
    """An outage is no excuse for telling a holder that its lease is gone."""
    losses = [Loss("a", 5, "gone"), Loss("b", 5, "fenced")]
    assert reality.lost_alive(losses, [Outage(0, 10)], slack_s=1) == losses


def test_a_lapse_is_excused_by_an_outage_and_a_little_after_it() -> None:
    """Who could not be heard may lapse; who could be heard for longer than that may not."""
    losses = [Loss("before", 1, "lapsed"), Loss("in", 3, "lapsed"), Loss("just after", 5.5, "lapsed")]
    losses.append(Loss("late", 7, "lapsed"))
    found = reality.lost_alive(losses, [Outage(2, 5)], slack_s=1)
    assert [loss.id for loss in found] == ["before", "late"]


def test_journals_are_laid_over_each_other(tmp_path: Path) -> None:
    """Two processes, one clock: what both held at once is added up, and each loss ends its belief."""
    first, second = Journal(tmp_path / "first"), Journal(tmp_path / "second")
    first.begins("a", 2)
    second.begins("b", 3)
    first.lost("a", "gone")
    second.saw("readonly")
    second.saw("readonly", 2)
    second.ends("b")
    second.ends("b")
    first.close()
    second.close()
    history = reality.read([tmp_path / "first", tmp_path / "second"])
    assert reality.worst(history.beliefs).amount == 5
    assert [loss.code for loss in history.losses] == ["gone"]
    assert history.seen == {"readonly": 3}
    assert Reality.of(history, 4, [], slack_s=0).excess == 1


def test_what_was_not_ended_is_believed_to_the_end(tmp_path: Path) -> None:
    """A process that was killed in the middle of a line had held what it had noted before."""
    journal = Journal(tmp_path / "killed")
    journal.begins("a", 2)
    journal.close()
    with (tmp_path / "killed").open("a") as file:
        file.write('["ends", 12.')
    (belief,) = reality.read([tmp_path / "killed"], until=1e12).beliefs
    assert (belief.amount, belief.until) == (2, 1e12)


def test_the_same_id_held_twice_is_two_beliefs(tmp_path: Path) -> None:
    """An id may be granted again once it was given back."""
    journal = Journal(tmp_path / "one")
    for _ in range(2):
        journal.begins("a", 2)
        journal.ends("a")
    journal.close()
    history = reality.read([tmp_path / "one"])
    assert len(history.beliefs) == 2
    assert reality.worst(history.beliefs).amount == 2
