"""release and undo: what comes back, once, and to whom it is said."""

from __future__ import annotations

from tests.scripts.ledger import MINUTE, T0, Ledger


def test_a_release_gives_back_what_the_record_says(pool: Ledger) -> None:
    """Every resource of it; record and index entry go, the reason is in the event."""
    fence = pool.grant("a", {"cpu": 4, "memory": 50})
    pool.grant("b", {"cpu": 1})
    pool.now += 5
    assert pool.release("a", reason="done") == [["released", T0 + 5]]
    assert (pool.allocated("cpu"), pool.allocated("memory")) == (1, 0)
    assert (pool.record("a"), pool.index("deadlines").keys()) == ({}, {"b"})
    assert pool.events[-1] == {
        "kind": "released", "id": "a", "owner": "owner", "fence": str(fence), "cpu.allocated": "4",
        "memory.allocated": "50", "reason": "done",
    }  # fmt: skip


def test_a_pinned_allocation_is_released_as_any(pool: Ledger) -> None:
    """From the other index."""
    pool.grant("a", {"cpu": 4}, ttl=0)
    assert pool.release("a")[0][0] == "released"
    assert pool.index("pinned") == {}


def test_releasing_twice_gives_back_once(pool: Ledger) -> None:
    """Another call finds nothing."""
    pool.grant("a", {"cpu": 4})
    pool.grant("b", {"cpu": 4})
    assert [pool.release("a")[0][0], pool.release("a")[0][0]] == ["released", "unknown"]
    assert pool.allocated() == 4


def test_the_same_id_twice_in_a_batch_is_released_once(pool: Ledger) -> None:
    """Each item sees what those before it did."""
    pool.grant("a", {"cpu": 4})
    pool.grant("b", {"cpu": 4})
    assert pool.release("a", "a", "x", "b") == [["released", T0], ["unknown"], ["unknown"], ["released", T0]]
    assert pool.allocated() == 0


def test_the_same_call_twice_is_answered_as_the_first_time(pool: Ledger) -> None:
    """The lost reply of a release: it was released, and when."""
    pool.grant("a", {"cpu": 4})
    line = pool.release_line("a")
    pool.release(line)
    before = pool.dump()
    pool.now += 5
    assert pool.release(line.again()) == [["released", T0]]
    pool.assert_untouched(before)


def test_the_same_call_does_not_release_a_newer_grant_of_the_id(pool: Ledger) -> None:
    """A late copy, after the id was granted anew."""
    pool.grant("a", {"cpu": 4})
    line = pool.release_line("a")
    pool.release(line)
    pool.grant("a", {"cpu": 4})
    before = pool.dump()
    assert pool.release(line) == [["released", T0]]
    pool.assert_untouched(before)


def test_a_repeat_that_finds_nothing_is_over_and_stays_unknown(pool: Ledger) -> None:
    """Its copy must not release a grant made later, nor hear that it was released."""
    line = pool.release_line("a", repeated=1)
    assert pool.release(line) == [["unknown"]]
    pool.grant("a", {"cpu": 4})
    before = pool.dump()
    assert pool.release(line) == [["unknown"]]
    pool.assert_untouched(before)


def test_a_release_that_finds_nothing_writes_nothing(pool: Ledger) -> None:
    """Unless it is a repeat."""
    before = pool.dump()
    assert pool.release("a") == [["unknown"]]
    pool.assert_untouched(before)


def test_a_stale_holder_s_release_is_a_no_op_that_says_so(pool: Ledger) -> None:
    """The fence of the newer grant; the right fence releases."""
    old = pool.grant("a", {"cpu": 4})
    pool.release("a")
    new = pool.grant("a", {"cpu": 4})
    before = pool.dump()
    assert pool.release(pool.release_line("a", old)) == [["fenced", new]]
    assert pool.release(pool.release_line("a", new + 1)) == [["fenced", new]]
    pool.assert_untouched(before)
    assert pool.release(pool.release_line("a", new)) == [["released", T0]]


def test_a_repeat_is_told_what_it_did_although_the_id_was_granted_anew(pool: Ledger) -> None:
    """Its reply was lost.  A batch that waits may have the id anew in the very call that releases it."""
    fence = pool.grant("a", {"cpu": 10})
    line = pool.release_line("a", fence)
    assert pool.release(line) == [["released", T0]]
    new = pool.grant("a", {"cpu": 5})
    before = pool.dump()
    assert pool.release(line.again()) == [["released", T0]]
    assert pool.release(pool.release_line("a", fence)) == [["fenced", new]]
    pool.assert_untouched(before)


def test_an_allocation_past_its_deadline_may_still_be_released(pool: Ledger) -> None:
    """Nobody took it before."""
    pool.grant("a", {"cpu": 4})
    pool.now += 2 * MINUTE
    assert pool.release("a")[0][0] == "released"
    assert pool.kinds[-1] == "released"


def test_a_release_of_another_epoch_is_not_performed(pool: Ledger) -> None:
    """Whoever was granted by a pool that is gone has nothing of this one, whatever the id and the fence."""
    fence = pool.grant("a", {"cpu": 4})
    before = pool.dump()
    for known in (0, fence):
        assert pool.release(pool.release_line("a", known, epoch="epoch-0"))[0] == ["wrong_epoch"]
    pool.assert_untouched(before)
    assert pool.release(pool.release_line("a", fence, epoch="epoch-1"))[0][0] == "released"


def test_an_overcommitted_pool_takes_back(pool: Ledger) -> None:
    """Lowered capacity is no reason to refuse a release."""
    pool.grant("a", {"cpu": 8})
    pool.configure("change", {"cpu": 4})
    assert pool.release("a")[0][0] == "released"


# -- undo --------------------------------------------------------------------------------------------------------------


def test_an_undo_releases_the_record_of_its_own_call(pool: Ledger) -> None:
    """And a copy of the call grants nothing any more."""
    line = pool.want("a", {"cpu": 4})
    pool.allocate(line)
    assert pool.undo((line.call, "a")) == [["undone"]]
    assert (pool.allocated(), pool.record("a"), pool.kinds[-1]) == (0, {}, "undone")
    assert pool.allocate(line) == [["ended", T0]]


def test_an_undo_that_overtakes_its_call_keeps_it_from_granting(pool: Ledger) -> None:
    """The mark is set in any case."""
    line = pool.want("a", {"cpu": 4})
    assert pool.undo((line.call, "a")) == [["absent"]]
    assert pool.allocate(line) == [["ended", T0]]
    assert pool.allocated() == 0


def test_an_undo_leaves_a_record_that_another_call_made(pool: Ledger) -> None:
    """An allocation that was replayed to somebody else is theirs."""
    pool.grant("a", {"cpu": 4})
    mine = pool.want("a", {"cpu": 4})
    assert pool.allocate(mine)[0][0] == "existing"
    assert pool.undo((mine.call, "a")) == [["left"]]
    assert pool.allocated() == 4
    assert mine.call in pool.index("ended")


def test_an_undo_of_a_call_that_a_record_does_not_name_is_not_told_of_it(pool: Ledger) -> None:
    """Nor does the record or an event say anything."""
    pool.grant("a", {"cpu": 4})
    before = pool.dump()
    assert pool.undo(("another", "a")) == [["absent"]]
    pool.assert_untouched(before, but="ended")


def test_an_undo_may_be_repeated(pool: Ledger) -> None:
    """The second time there is nothing left, and the mark is not made younger."""
    line = pool.want("a", {"cpu": 4})
    pool.allocate(line)
    pool.undo((line.call, "a"))
    before = pool.dump()
    pool.now += 5
    assert pool.undo((line.call, "a")) == [["absent"]]
    pool.assert_untouched(before)


def test_undos_in_a_batch_see_those_before_them(pool: Ledger) -> None:
    """The same call twice, and one that names no allocation."""
    line = pool.want("a", {"cpu": 4})
    pool.allocate(line)
    assert pool.undo((line.call, "a"), (line.call, "a"), ("other", "-")) == [["undone"], ["absent"], ["absent"]]
    assert "other" in pool.index("ended")


def test_where_the_pool_is_gone_the_mark_stays_for_as_long_as_a_copy_may_travel(ledger: Ledger) -> None:
    """With a Redis TTL, for nobody would trim it; a pool that is made again takes it over."""
    line = ledger.want("a", {"cpu": 4})
    assert ledger.undo((line.call, "a")) == [["absent"]]
    assert 0 < ledger.client.pttl(ledger.keys["ended"]) <= 2 * MINUTE
    ledger.create({"cpu": 10})
    assert ledger.client.pttl(ledger.keys["ended"]) == -1
    assert ledger.allocate(line) == [["ended", T0]]
