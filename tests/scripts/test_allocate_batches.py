"""allocate: items that see those before them, and gangs."""

from __future__ import annotations

import pytest

from tests.scripts.ledger import MINUTE, T0, Ledger, fields


def test_each_item_sees_what_those_before_it_took(pool: Ledger) -> None:
    """The first two fit, the third does not, the fourth is small enough for the rest."""
    lines = [pool.want(name, {"cpu": cpu}) for name, cpu in (("a", 4), ("b", 4), ("c", 4), ("d", 2))]
    replies = pool.allocate(*lines)
    assert [reply[0] for reply in replies] == ["granted", "granted", "denied", "granted"]
    assert replies[2] == ["denied", "capacity_exceeded", "", "cpu", 4, 8, 10]
    assert pool.allocated() == 10


@pytest.mark.parametrize("order", [{"cpu": 6, "memory": 1}, {"memory": 1, "cpu": 6}])
def test_a_refused_item_leaves_nothing_charged_for_those_after_it(pool: Ledger, order: dict[str, int]) -> None:
    """Not even for the resources of it that would have fitted, wherever they stand."""
    pool.grant("full", {"memory": 100})
    replies = pool.allocate(pool.want("a", order), pool.want("b", {"cpu": 10}))
    assert replies[0] == ["denied", "capacity_exceeded", "", "memory", 1, 100, 100]
    assert replies[1][0] == "granted"


def test_the_same_id_twice_in_a_batch_is_granted_once(pool: Ledger) -> None:
    """The second item meets the first one's grant: existing, a conflict; and then it is both calls'."""
    first = pool.want("a", {"cpu": 2})
    same, other, copy = pool.want("a", {"cpu": 2}, ttl=2 * MINUTE), pool.want("a", {"cpu": 3}), first.again()
    replies = pool.allocate(first, same, other, copy)
    assert [reply[0] for reply in replies] == ["granted", "existing", "conflict", "replayed"]
    assert pool.allocated() == 2
    assert pool.index("deadlines") == {"a": T0 + 2 * MINUTE}
    assert [kind for kind in pool.kinds if kind == "granted"] == ["granted"]


def test_a_lease_that_a_later_item_of_the_batch_pins_is_only_pinned(pool: Ledger) -> None:
    """Granted with a deadline and pinned in one call: it stands in one index."""
    pool.allocate(pool.want("a", {"cpu": 2}), pool.want("a", {"cpu": 2}, ttl=0))
    assert (pool.index("deadlines"), pool.index("pinned")) == ({}, {"a": T0})


def test_an_expired_id_twice_in_a_batch_is_reclaimed_once(pool: Ledger) -> None:
    """What came back came back once."""
    pool.grant("a", {"cpu": 6}, meta={"old": "x"})
    pool.now += MINUTE
    replies = pool.allocate(pool.want("a", {"cpu": 7}), pool.want("a", {"cpu": 7}), pool.want("b", {"cpu": 3}))
    assert [reply[0] for reply in replies] == ["granted", "existing", "granted"]
    assert (pool.allocated(), pool.kinds.count("reclaimed")) == (10, 1)
    assert "meta.old" not in pool.record("a")


def test_a_hundred_items_are_decided_in_one_call_and_one_more_is_refused(pool: Ledger) -> None:
    """The bound of a call; above it nothing is granted."""
    replies = pool.allocate(*(pool.want(f"i{n}", {"memory": 1}) for n in range(100)))
    assert [reply[0] for reply in replies] == ["granted"] * 100
    assert [reply[1] for reply in replies] == list(range(replies[0][1], replies[0][1] + 100))
    assert pool.allocated("memory") == 100


def test_a_gang_is_granted_whole(pool: Ledger) -> None:
    """Room for all of them: all of them."""
    replies = pool.allocate(pool.want("a", {"cpu": 5}), pool.want("b", {"cpu": 5}), atomic=1)
    assert [reply[0] for reply in replies] == ["granted", "granted"]


def test_a_gang_that_does_not_fit_is_granted_nothing(pool: Ledger) -> None:
    """The item that stopped it says why; the others name it, counted from 1."""
    pool.grant("x", {"cpu": 4})
    before = pool.dump()
    lines = [pool.want(name, {"cpu": 3}) for name in ("a", "b", "c")]
    assert pool.allocate(*lines, atomic=1) == [
        ["aborted", 3],
        ["aborted", 3],
        ["denied", "capacity_exceeded", "", "cpu", 3, 10, 10],
    ]
    pool.assert_untouched(before)


def test_a_gang_that_comes_again_is_refused_in_the_same_numbers(pool: Ledger) -> None:
    """What its earlier items asked for counts, though it was not granted; what fitted is not called short."""
    pool.grant("x", {"cpu": 2})
    lines = [pool.want(name, {"cpu": amount, "memory": 1}, repeated=1) for name, amount in (("a", 3), ("b", 6))]
    first = pool.allocate(*lines, atomic=1)
    assert first == [["aborted", 2], ["denied", "capacity_exceeded", "", "cpu", 6, 5, 10]]
    before = pool.dump()
    assert pool.allocate(*lines, atomic=1)[1] == first[1]
    pool.assert_untouched(before)


def test_a_gang_that_is_larger_than_the_pool_never_fits(pool: Ledger) -> None:
    """Each member would fit into the empty pool; together they never do, and are told so."""
    lines = [pool.want(name, {"cpu": 4}) for name in ("a", "b", "c")]
    assert pool.allocate(*lines, atomic=1) == [
        ["aborted", 3],
        ["aborted", 3],
        ["denied", "never_fits", "", "cpu", 4, 8, 10],
    ]


def test_a_gang_of_single_calls_would_have_been_granted_in_part(pool: Ledger) -> None:
    """The same items without `atomic`: what fits is granted, the rest is no never-fits."""
    lines = [pool.want(name, {"cpu": 4}) for name in ("a", "b", "c")]
    assert [reply[:2] for reply in pool.allocate(*lines)][2] == ["denied", "capacity_exceeded"]
    assert pool.allocated() == 8


def test_live_members_of_a_gang_are_replayed_and_the_rest_is_granted(pool: Ledger) -> None:
    """Same owner and amounts: the live one counts as granted, and only the others need room."""
    pool.grant("a", {"cpu": 6})
    replies = pool.allocate(pool.want("a", {"cpu": 6}), pool.want("b", {"cpu": 4}), atomic=1)
    assert [reply[0] for reply in replies] == ["existing", "granted"]
    assert pool.allocated() == 10


def test_a_repeated_gang_is_replayed(pool: Ledger) -> None:
    """The reply was lost: the same calls again have no second effect."""
    lines = [pool.want("a", {"cpu": 5}), pool.want("b", {"cpu": 5})]
    pool.allocate(*lines, atomic=1)
    before = pool.dump()
    assert [reply[0] for reply in pool.allocate(*(line.again() for line in lines), atomic=1)] == ["replayed"] * 2
    pool.assert_untouched(before)


def test_a_gang_that_stops_leaves_a_live_member_as_it_was(pool: Ledger) -> None:
    """Neither extended nor pinned by a call that granted nothing."""
    pool.grant("a", {"cpu": 6})
    pool.grant("p", {"cpu": 1})
    before = pool.dump()
    lines = [
        pool.want("a", {"cpu": 6}, ttl=5 * MINUTE), pool.want("p", {"cpu": 1}, ttl=0), pool.want("b", {"cpu": 4}),
    ]  # fmt: skip
    assert [reply[0] for reply in pool.allocate(*lines, atomic=1)] == ["aborted", "aborted", "denied"]
    pool.assert_untouched(before)


def test_a_conflict_stops_a_gang(pool: Ledger) -> None:
    """All or none: a member that is somebody else's is no member."""
    pool.grant("a", {"cpu": 1}, owner="other")
    replies = pool.allocate(pool.want("b", {"cpu": 1}), pool.want("a", {"cpu": 1}), atomic=1)
    assert [reply[0] for reply in replies] == ["aborted", "conflict"]
    assert pool.record("b") == {}


def test_a_member_whose_call_has_ended_stops_a_gang(pool: Ledger) -> None:
    """A late copy of a gang of which one allocation was released grants nothing again."""
    lines = [pool.want("a", {"cpu": 1}), pool.want("b", {"cpu": 1})]
    pool.allocate(*lines, atomic=1)
    pool.release("a", "b")
    assert pool.allocate(*lines, atomic=1) == [["ended", T0], ["aborted", 1]]
    assert pool.allocated() == 0


def test_a_repeated_gang_that_is_refused_is_undone_and_over_for_all_its_members(pool: Ledger) -> None:
    """A refusal leaves no mark; its client undoes a repeated one, for a copy may still travel."""
    pool.grant("x", {"cpu": 8})
    lines = [pool.want("a", {"cpu": 1}, repeated=1), pool.want("b", {"cpu": 2}, repeated=1)]
    assert [reply[0] for reply in pool.allocate(*lines, atomic=1)] == ["aborted", "denied"]
    pool.undo(*((line.call, line.id) for line in lines))
    pool.release("x")
    before = pool.dump()
    assert [reply[0] for reply in pool.allocate(*lines, atomic=1)] == ["ended", "aborted"]
    assert [reply[0] for reply in pool.allocate(*lines)] == ["ended", "ended"]
    pool.assert_untouched(before)


def test_a_gang_reclaims_what_is_due_and_keeps_that_even_where_it_stops(pool: Ledger) -> None:
    """What is past its deadline is over either way."""
    pool.grant("due", {"cpu": 4})
    pool.grant("x", {"cpu": 4}, ttl=0)
    pool.now += MINUTE
    lines = [pool.want("a", {"cpu": 3}), pool.want("b", {"cpu": 4})]
    replies = pool.allocate(*lines, atomic=1)
    assert [reply[0] for reply in replies] == ["aborted", "denied"]
    assert (pool.allocated(), pool.record("due"), pool.kinds.count("reclaimed")) == (4, {}, 1)


def test_a_gang_whose_expired_member_stops_it_reclaims_that_member(pool: Ledger) -> None:
    """An id past its deadline is taken back first; then the gang does not fit, and the id is free."""
    pool.grant("a", {"cpu": 4})
    pool.grant("x", {"cpu": 6}, ttl=0)
    pool.now += MINUTE
    replies = pool.allocate(pool.want("a", {"cpu": 2}), pool.want("b", {"cpu": 3}), atomic=1)
    assert [reply[0] for reply in replies] == ["aborted", "denied"]
    assert (pool.record("a"), pool.allocated()) == ({}, 6)


def test_an_existing_member_is_extended_when_the_gang_is_granted(pool: Ledger) -> None:
    """All members end no earlier than asked for."""
    pool.grant("a", {"cpu": 1})
    replies = pool.allocate(pool.want("a", {"cpu": 1}, ttl=2 * MINUTE), pool.want("b", {"cpu": 1}), atomic=1)
    assert fields(replies[0][1:])["deadline_ms"] == T0 + 2 * MINUTE
