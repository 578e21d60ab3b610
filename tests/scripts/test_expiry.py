"""allocate and resize: what is past its deadline is taken back where room is short, in bounds, and never by mistake."""

from __future__ import annotations

import pytest

from tests.scripts.ledger import MINUTE, T0, Ledger


def test_only_as_much_is_reclaimed_as_the_request_is_short_of(pool: Ledger) -> None:
    """Oldest deadline first; the others stay until somebody needs them."""
    for n in range(5):
        pool.grant(f"due{n}", {"cpu": 2}, ttl=1000 + n)
    pool.now += MINUTE
    pool.grant("a", {"cpu": 3})
    assert list(pool.index("deadlines")) == ["due2", "due3", "due4", "a"]
    reclaimed = [event for event in pool.events if event["kind"] == "reclaimed"]
    assert [(event["id"], event["reason"], event["cpu.allocated"]) for event in reclaimed] == [
        ("due0", "deadline", "2"), ("due1", "deadline", "2"),
    ]  # fmt: skip
    assert pool.allocated() == 9


def test_nothing_is_reclaimed_where_there_is_room(pool: Ledger) -> None:
    """The hot path does not look."""
    pool.grant("due", {"cpu": 2})
    pool.now += MINUTE
    pool.grant("a", {"cpu": 8})
    assert pool.record("due")


@pytest.mark.parametrize(("late", "word"), [(-1, "denied"), (0, "granted"), (1, "granted")])
def test_an_allocation_is_due_at_its_deadline_and_not_before(pool: Ledger, late: int, word: str) -> None:
    """To the millisecond."""
    pool.grant("due", {"cpu": 10})
    pool.now += MINUTE + late
    assert pool.allocate(pool.want("a", {"cpu": 1}))[0][0] == word


def test_a_lease_that_was_renewed_is_not_taken(pool: Ledger) -> None:
    """The index says when it ends, not what it was granted for."""
    pool.grant("kept", {"cpu": 10})
    pool.now += MINUTE - 1
    pool.renew("kept")
    pool.now += MINUTE - 1
    assert pool.allocate(pool.want("a", {"cpu": 1}))[0][0] == "denied"


def test_pinned_allocations_are_never_due(pool: Ledger) -> None:
    """However old."""
    pool.grant("pinned", {"cpu": 10}, ttl=0)
    pool.now += 10**9
    assert pool.allocate(pool.want("a", {"cpu": 1}))[0][:2] == ["denied", "capacity_exceeded"]


def test_a_request_that_can_never_fit_reclaims_nothing(pool: Ledger) -> None:
    """It is refused by what there is, not by what is taken."""
    pool.grant("due", {"cpu": 10})
    pool.now += MINUTE
    assert pool.allocate(pool.want("a", {"cpu": 11}))[0][:2] == ["denied", "never_fits"]
    assert pool.record("due")


@pytest.mark.parametrize(("due", "word"), [(63, "granted"), (64, "granted"), (65, "reclaim_first")])
def test_more_due_than_one_call_reclaims_is_behind_and_never_a_denial(ledger: Ledger, due: int, word: str) -> None:
    """The bound of a call must not look like a full pool.  What was taken back on the way stays taken back."""
    ledger.create({"cpu": 1000})
    ledger.allocate(*(ledger.want(f"due{n}", {"cpu": 1}) for n in range(due)))
    ledger.grant("big", {"cpu": 1000 - due}, ttl=0)
    ledger.now += MINUTE
    reply = ledger.allocate(ledger.want("a", {"cpu": due}))[0]
    assert reply[0] == word
    assert len(ledger.index("deadlines")) == 1
    if word == "reclaim_first":
        assert ledger.reclaim()[:2] == ["reclaimed", 0]
        assert ledger.allocate(ledger.want("a", {"cpu": due}))[0][0] == "granted"


def test_exactly_as_many_due_as_one_call_reclaims_and_still_too_few_is_a_denial(ledger: Ledger) -> None:
    """Nothing more is due: the answer is final."""
    ledger.create({"cpu": 1000})
    ledger.allocate(*(ledger.want(f"due{n}", {"cpu": 1}) for n in range(64)))
    ledger.grant("big", {"cpu": 936}, ttl=0)
    ledger.now += MINUTE
    assert ledger.allocate(ledger.want("a", {"cpu": 65}))[0] == [
        "denied",
        "capacity_exceeded",
        "",
        "cpu",
        65,
        936,
        1000,
    ]


def test_the_items_of_a_batch_share_the_bound(ledger: Ledger) -> None:
    """Two items that need 40 due records each: the second is behind, not denied."""
    ledger.create({"cpu": 80})
    ledger.allocate(*(ledger.want(f"due{n}", {"cpu": 1}) for n in range(80)))
    ledger.now += MINUTE
    replies = ledger.allocate(ledger.want("a", {"cpu": 40}), ledger.want("b", {"cpu": 40}))
    assert [reply[0] for reply in replies] == ["granted", "reclaim_first"]


def test_a_gang_that_is_behind_is_behind_as_a_whole(ledger: Ledger) -> None:
    """None is granted, none of its calls is over, and it may be asked again."""
    ledger.create({"cpu": 80})
    ledger.allocate(*(ledger.want(f"due{n}", {"cpu": 1}) for n in range(80)))
    ledger.now += MINUTE
    lines = [ledger.want("a", {"cpu": 40}, repeated=1), ledger.want("b", {"cpu": 40}, repeated=1)]
    replies = ledger.allocate(*lines, atomic=1)
    assert [reply[0] for reply in replies] == ["reclaim_first", "reclaim_first"]
    assert ledger.allocated() == 16
    ledger.reclaim()
    assert [reply[0] for reply in ledger.allocate(*lines, atomic=1)] == ["granted", "granted"]


def test_a_repeated_item_that_is_behind_is_not_over(ledger: Ledger) -> None:
    """It has not been answered yet."""
    ledger.create({"cpu": 65})
    ledger.allocate(*(ledger.want(f"due{n}", {"cpu": 1}) for n in range(65)))
    ledger.now += MINUTE
    line = ledger.want("a", {"cpu": 65}, repeated=1)
    assert ledger.allocate(line) == [["reclaim_first"]]
    ledger.reclaim()
    assert ledger.allocate(line)[0][0] == "granted"


def test_a_due_allocation_that_an_earlier_item_met_is_not_taken_back_again(pool: Ledger) -> None:
    """The first item replays a call that is past its deadline, and so extends it; the second must not take its room."""
    line = pool.want("a", {"cpu": 10})
    pool.allocate(line)
    pool.now += MINUTE
    replies = pool.allocate(line.again(), pool.want("b", {"cpu": 1}))
    assert [reply[0] for reply in replies] == ["replayed", "denied"]
    assert pool.record("a")


def test_a_due_allocation_that_an_earlier_item_reclaimed_may_be_granted_by_a_later_one(pool: Ledger) -> None:
    """The id is free by then; what comes back comes back once."""
    pool.grant("due", {"cpu": 10}, meta={"old": "x"})
    pool.now += MINUTE
    replies = pool.allocate(pool.want("a", {"cpu": 4}), pool.want("due", {"cpu": 5}))
    assert [reply[0] for reply in replies] == ["granted", "granted"]
    assert pool.allocated() == 9
    assert "meta.old" not in pool.record("due")
    assert pool.kinds.count("reclaimed") == 1


def test_a_due_lease_may_come_back_pinned(pool: Ledger) -> None:
    """Reclaimed and granted anew in one call, in the other index."""
    pool.grant("due", {"cpu": 10})
    pool.now += MINUTE
    pool.allocate(pool.want("a", {"cpu": 4}), pool.want("due", {"cpu": 5}, ttl=0))
    assert (pool.index("deadlines"), pool.index("pinned")) == ({"a": T0 + 2 * MINUTE}, {"due": T0 + MINUTE})


def test_a_growing_resize_takes_back_what_is_due(pool: Ledger) -> None:
    """As an allocation does."""
    pool.grant("a", {"cpu": 4}, ttl=0)
    pool.grant("due", {"cpu": 6})
    pool.now += MINUTE
    assert pool.resize("a", {"cpu": 10})[0] == "resized"
    assert (pool.allocated(), pool.record("due")) == (10, {})


def test_a_resize_of_a_due_allocation_does_not_take_it_back_itself(pool: Ledger) -> None:
    """It is live until somebody takes it."""
    pool.grant("a", {"cpu": 4})
    pool.grant("due", {"cpu": 6})
    pool.now += MINUTE
    assert pool.resize("a", {"cpu": 7})[0] == "resized"
    assert pool.index("deadlines").keys() == {"a"}


def test_a_resize_that_needs_more_than_one_call_reclaims_is_behind(ledger: Ledger) -> None:
    """And the allocation stays as it is."""
    ledger.create({"cpu": 80})
    ledger.grant("a", {"cpu": 10}, ttl=0)
    ledger.allocate(*(ledger.want(f"due{n}", {"cpu": 1}) for n in range(70)))
    ledger.now += MINUTE
    assert ledger.resize("a", {"cpu": 80}) == ["reclaim_first"]
    assert ledger.record("a")["cpu.allocated"] == "10"
    ledger.reclaim()
    assert ledger.resize("a", {"cpu": 80})[0] == "resized"


def test_a_resize_of_what_has_lapsed_itself_is_denied_rather_than_told_to_reclaim_it(pool: Ledger) -> None:
    """Reclaiming what is due before asking again would end the very allocation."""
    pool.grant("a", {"cpu": 6})
    pool.grant("b", {"cpu": 4}, ttl=0)
    pool.now += MINUTE
    assert pool.resize("a", {"cpu": 7})[:2] == ["denied", "capacity_exceeded"]
    assert pool.record("a")["cpu.allocated"] == "6"
