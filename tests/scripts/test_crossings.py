"""Two mechanisms that meet in one call: what one has planned for a record, the other must not undo or repeat."""

from __future__ import annotations

import pytest

from tests.scripts.ledger import MINUTE, T0, Ledger, Line, broken, contract, fields


def _with_a_gap(ledger: Ledger) -> None:
    """A pool that nobody wrote to for 65 s: the lease `a` was live when that began, `dead` was not."""
    ledger.create({"cpu": 4})
    ledger.grant("dead", {"cpu": 1}, ttl=1000)
    ledger.grant("live", {"cpu": 1}, ttl=0)
    ledger.grant("a", {"cpu": 2}, ttl=30_000)
    ledger.client.hset(ledger.key("pool"), mapping={"gap_from_ms": T0 + 5000, "gap_to_ms": T0 + 70_000})
    ledger.now = T0 + 70_000


@pytest.mark.parametrize("ttl", [30_000, 0])
def test_a_lease_spared_for_a_gap_and_shared_in_one_call(ledger: Ledger, ttl: int) -> None:
    """The call used to fail in the midst of its writes; what it had reclaimed was given back twice later."""
    _with_a_gap(ledger)
    replies = ledger.allocate(ledger.want("a", {"cpu": 2}, ttl=ttl), ledger.want("n1", {"cpu": 1}, ttl=0))
    assert [reply[0] for reply in replies] == ["existing", "granted"]
    assert "gap_ms" not in ledger.record("a"), "its deadline is its own again"
    assert ledger.allocate(ledger.want("n2", {"cpu": 1}, ttl=0))[0][0] == "denied"
    assert ledger.allocated() == 4


@pytest.mark.parametrize(("ttl", "gap"), [(60_000, False), (20_000, True), (0, False)])
def test_a_lease_spared_for_room_and_shared_later_in_the_call(ledger: Ledger, ttl: int, gap: bool) -> None:
    """The first item needs room and finds the lease, the second is another caller of it: there is one record."""
    _with_a_gap(ledger)
    shared = ledger.want("a", {"cpu": 2}, ttl=ttl)
    replies = ledger.allocate(ledger.want("n1", {"cpu": 2}, ttl=0), shared)
    assert [reply[0] for reply in replies] == ["denied", "existing"]
    record = ledger.record("a")
    assert ("gap_ms" in record, "deadline_ms" in record) == (gap, bool(ttl))
    assert shared.call in record["call"].split()
    assert ledger.kinds.count("deferred") == 1


def test_a_lease_spared_for_a_gap_and_pinned_in_one_call(ledger: Ledger) -> None:
    """The pin is what is written last."""
    _with_a_gap(ledger)
    assert ledger.allocate(ledger.want("a", {"cpu": 2}, ttl=0))[0][0] == "existing"
    assert not ledger.record("a").keys() & {"deadline_ms", "ttl_ms", "gap_ms"}


def test_a_repeat_and_a_new_call_of_a_lapsed_id_in_one_batch(pool: Ledger) -> None:
    """The new grant is the new call's: undoing the old one must not take it."""
    first = pool.want("x", {"cpu": 2}, ttl=1000)
    pool.allocate(first)
    pool.now += 1500
    second = pool.want("x", {"cpu": 2})
    assert [reply[0] for reply in pool.allocate(first.again(), second)] in (
        ["replayed", "granted"],
        ["replayed", "existing"],
    )
    pool.undo((first.call, "x"))
    assert pool.allocated() == 2, "the second caller still has it"
    assert second.call in pool.record("x")["call"].split()


def test_a_repeat_and_a_new_call_of_what_ends_in_the_batch(pool: Ledger) -> None:
    """It was on its way out and its grace is over: the repeat is answered, the new call is granted it."""
    first = pool.want("x", {"cpu": 2})
    pool.allocate(first)
    pool.begin_release(pool.begin_release_line("x", 1000))
    pool.now += 1500
    second = pool.want("x", {"cpu": 2})
    assert [reply[0] for reply in pool.allocate(first.again(), second)] == ["replayed", "granted"]
    assert pool.record("x")["call"] == second.call
    assert "asserted_ms" not in pool.record("x"), "nothing of the record that has ended"
    assert pool.undo((first.call, "x")) == [["absent"]]
    assert (pool.allocated(), pool.index("deadlines")) == (2, {"x": pool.now + MINUTE})


def _shared_and_lapsed(pool: Ledger) -> Line:
    first, second = pool.want("x", {"cpu": 2}, ttl=1000), pool.want("x", {"cpu": 2}, ttl=1000)
    pool.allocate(first)
    assert pool.allocate(second.again())[0][0] == "existing"
    pool.now += 1500
    return second


def test_a_repeat_is_told_of_no_later_grant_of_the_same_batch(pool: Ledger) -> None:
    """An item is answered with what is live at its turn; what a later item is granted is not its."""
    first, second = pool.want("x", {"cpu": 2}, ttl=1000), pool.want("x", {"cpu": 2}, ttl=1000)
    fence = pool.allocate(first)[0][1]
    pool.now += 500
    reply = pool.allocate(second.again())[0]
    assert fields(reply[1:])["fence"] == fence
    pool.release("x")
    later = pool.grant("x", {"cpu": 2})
    assert later > fence
    assert pool.allocate(second.again())[0][0] == "ended"
    assert pool.allocate(first.again())[0][0] == "ended"


@pytest.mark.parametrize("order", ["repeat last", "repeat first", "repeat amid"])
def test_items_of_a_lapsed_id_in_any_order(pool: Ledger, order: str) -> None:
    """A repeat of a shared grant, a new call, and a call for something else: one order used to fail."""
    second = _shared_and_lapsed(pool)
    third, other = pool.want("x", {"cpu": 2}), pool.want("x", {"cpu": 3})
    repeat = second.again()
    items = {
        "repeat last": [third, other, repeat],
        "repeat first": [repeat, other, third],
        "repeat amid": [other, repeat, third],
    }[order]
    replies = pool.allocate(*items)
    granted = [reply[1] for reply in replies if reply[0] == "granted"]
    assert len(granted) <= 1
    told = {fields(reply[1:])["fence"] for reply in replies if reply[0] in ("existing", "replayed")}
    assert len(told | set(granted)) == 1, "one id, one grant that anybody is told of"
    assert pool.allocated() in (2, 3)


FAR: int = 2**53 - 1


def test_a_renewal_with_an_impossible_fence_changes_nothing(ledger: Ledger) -> None:
    """It used to put the revision beyond what counts, and the pool answered INVARIANT for ever."""
    ledger.create({"cpu": 4}, promises=f"recovery_grace_ms={MINUTE}")
    ledger.now += 2 * MINUTE
    before = ledger.dump()
    with contract("fence"):
        ledger.renew(ledger.renew_line("a", fence=FAR, epoch="epoch-1", known=ledger.now + MINUTE))
    ledger.assert_untouched(before)


@pytest.mark.parametrize("reason", ["", "by hand"])
def test_an_adoption_with_an_impossible_fence_changes_nothing(ledger: Ledger, reason: str) -> None:
    """The same, forced or not."""
    ledger.create({"cpu": 4}, promises=f"recovery_grace_ms={MINUTE}")
    before = ledger.dump()
    with contract("fence"):
        ledger.adopt(ledger.adopt_line("a", {"cpu": 1}, fence=FAR), reason=reason)
    ledger.assert_untouched(before)


def test_a_grant_with_an_impossible_mark_changes_nothing(pool: Ledger) -> None:
    """The largest fence that a caller knows is compared with the pool's."""
    before = pool.dump()
    with contract("fence"):
        pool.allocate(pool.want("a", {"cpu": 1}), mark=("epoch-1", FAR))
    pool.assert_untouched(before)


def test_a_recovery_from_an_impossible_fence_makes_no_pool(ledger: Ledger) -> None:
    """`floor` is a fence, too."""
    with contract("fence"):
        ledger.configure("recover", {"cpu": 1}, new_epoch="epoch-1", floor=FAR, promises=f"recovery_grace_ms={MINUTE}")
    assert not ledger.dump()


@pytest.mark.breaks_data
@pytest.mark.parametrize("how", ["no hash", "no fence", "more than counted"])
@pytest.mark.parametrize("free", [2, 0])
def test_a_broken_bystander_that_a_later_item_names_is_that_caller_s_to_hear_of(
    ledger: Ledger, how: str, free: int
) -> None:
    """It left the index to make room for the first item; it is not absent for that, and nothing is written."""
    ledger.create({"cpu": 10})
    ledger.grant("y", {"cpu": 2}, ttl=1000)
    ledger.grant("due", {"cpu": 2}, ttl=2000)
    ledger.grant("full", {"cpu": 6 - free}, ttl=0)
    ledger.now += MINUTE
    if how == "no hash":
        ledger.client.delete(ledger.keys.record("y"))
        ledger.client.set(ledger.keys.record("y"), "rubbish")
    else:
        field = {"no fence": {"fence": "x"}, "more than counted": {"cpu.allocated": 99}}[how]
        ledger.client.hset(ledger.keys.record("y"), mapping=field)
    before = ledger.dump()
    with broken(""):
        ledger.allocate(ledger.want("n", {"cpu": free + 3}), ledger.want("y", {"cpu": 2}))
    ledger.assert_untouched(before)


def test_who_passes_over_what_this_call_has_answered_says_that_more_is_due(pool: Ledger) -> None:
    """The next call may take it: the pool is not full."""
    first = pool.want("x", {"cpu": 2})
    pool.allocate(first)
    pool.grant("full", {"cpu": 8}, ttl=0)
    pool.begin_release(pool.begin_release_line("x", 1000))
    pool.now += 1000
    replies = pool.allocate(first.again(), pool.want("n", {"cpu": 1}))
    assert [reply[0] for reply in replies] == ["replayed", "reclaim_first"]
    assert pool.allocate(pool.want("n", {"cpu": 1}))[0][0] == "granted"


def test_who_has_reclaimed_all_there_is_says_that_the_pool_is_full(pool: Ledger) -> None:
    """What ended in this call is no more to come."""
    pool.grant("x", {"cpu": 2})
    pool.grant("full", {"cpu": 8}, ttl=0)
    pool.now += MINUTE
    replies = pool.allocate(pool.want("x", {"cpu": 1}), pool.want("n", {"cpu": 2}))
    assert [reply[0] for reply in replies] == ["granted", "denied"]


def test_what_is_lost_in_the_midst_of_a_recovery_begins_it_anew(ledger: Ledger) -> None:
    """Its holders have the whole grace, and fences jump past theirs."""
    ledger.create({"cpu": 10}, promises=f"recovery_grace_ms={MINUTE}")
    far = ledger.revision + 10
    line = ledger.renew_line("a", fence=far, epoch="epoch-1", known=ledger.now + MINUTE)
    assert ledger.renew(line)[0] == ["missing", MINUTE]
    ledger.now += MINUTE // 2
    farther = ledger.revision + 10
    line = ledger.renew_line("b", fence=farther, epoch="epoch-1", known=ledger.now + MINUTE)
    assert ledger.renew(line)[0] == ["missing", MINUTE]
    assert ledger.revision > farther


@pytest.mark.parametrize(("first", "second"), [(0, MINUTE), (MINUTE, 0), (MINUTE, MINUTE)])
def test_two_grants_of_one_id_that_are_adopted_in_one_call(ledger: Ledger, first: int, second: int) -> None:
    """The later grant stands, and nothing of the other: its fields used to stay beneath."""
    ledger.create({"cpu": 10, "memory": 10}, promises=f"recovery_grace_ms={MINUTE}")
    fence = ledger.revision + 10
    older = ledger.adopt_line("x", {"cpu": 1, "memory": 5}, fence=fence, ttl=first, meta={"of": "the older"})
    newer = ledger.adopt_line("x", {"cpu": 2}, fence=fence + 2, ttl=second)
    assert [reply[0] for reply in ledger.adopt(older, newer)] == ["adopted", "adopted"]
    record = ledger.record("x")
    assert (record["fence"], record["cpu.allocated"]) == (str(fence + 2), "2")
    assert not {"memory.allocated", "meta.of"} & record.keys()
    assert (ledger.allocated("cpu"), ledger.allocated("memory")) == (2, 0)


def test_an_adoption_beyond_what_can_be_counted_changes_nothing(ledger: Ledger) -> None:
    """The counter would be no exact amount any more, and every call that needs it would fail, a release too."""
    ledger.create({"memory": FAR})
    ledger.grant("x", {"memory": FAR - 1})
    one = [ledger.adopt_line(identity, {"memory": 1}, fence=1) for identity in ("y", "z")]
    before = ledger.dump()
    with contract("amount"):
        ledger.adopt(*one, reason="by hand")
    ledger.assert_untouched(before)
    assert ledger.adopt(one[0], reason="by hand")[0][0] == "adopted"
    assert ledger.release("x")[0][0] == "released"
