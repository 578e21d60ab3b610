"""allocate: what a live id, the same call, a late copy and a re-grant are answered."""

from __future__ import annotations

import pytest

from tests.scripts.ledger import MINUTE, T0, Ledger, fields


def test_the_same_call_is_answered_with_the_record_as_it_stands(pool: Ledger) -> None:
    """A retry whose first reply was lost: one effect, the same fence, and no event."""
    line = pool.want("a", {"cpu": 4}, meta={"k": "v"})
    granted = pool.allocate(line)[0]
    before = pool.dump()
    pool.now += 1000
    reply = pool.allocate(line.again())[0]
    assert reply[0] == "replayed"
    told = {name: str(value) for name, value in fields(reply[1:]).items()}
    assert told == {"epoch": "epoch-1", "durability": "", **pool.record("a")}
    assert fields(reply[1:])["fence"] == granted[1]
    assert pool.record("a").pop("asserted_ms") == str(T0 + 1000), "somebody was told that it is there"
    pool.client.hdel(pool.keys.record("a"), "asserted_ms")
    pool.assert_untouched(before)


def test_the_same_call_is_replayed_past_its_deadline_while_nobody_reclaimed_it(pool: Ledger) -> None:
    """The caller learns of the deadline from the record; its room was given to nobody."""
    line = pool.want("a", {"cpu": 4})
    pool.allocate(line)
    pool.now += 2 * MINUTE
    assert pool.allocate(line.again())[0][0] == "replayed"


def test_another_call_of_the_same_owner_and_amounts_gets_the_live_allocation(pool: Ledger) -> None:
    """A reconcile loop that restarted: same fence, nothing charged, metadata as first given."""
    fence = pool.grant("a", {"cpu": 4, "memory": 1}, meta={"k": "v"})
    pool.now += 10
    reply = pool.allocate(pool.want("a", {"memory": 1, "cpu": 4}, meta={"k": "other"}))[0]
    assert reply[0] == "existing"
    found = fields(reply[1:])
    assert (found["fence"], found["deadline_ms"], found["meta.k"]) == (fence, T0 + 10 + MINUTE, "v")
    assert pool.allocated() == 4
    assert pool.index("deadlines") == {"a": T0 + 10 + MINUTE}
    assert pool.record("a")["deadline_ms"] == str(T0 + 10 + MINUTE)


@pytest.mark.parametrize(("ttl", "deadline"), [(MINUTE - 1, MINUTE), (MINUTE, MINUTE), (MINUTE + 1, MINUTE + 1)])
def test_a_live_allocation_ends_no_earlier_than_the_new_call_asks_and_is_never_shortened(
    pool: Ledger, ttl: int, deadline: int
) -> None:
    """The boundary of the extension."""
    pool.grant("a", {"cpu": 1})
    assert fields(pool.allocate(pool.want("a", {"cpu": 1}, ttl=ttl))[0][1:])["deadline_ms"] == T0 + deadline
    assert pool.index("deadlines") == {"a": T0 + deadline}
    assert pool.record("a")["ttl_ms"] == str(deadline)


@pytest.mark.parametrize(
    "other",
    [
        {"resources": {"cpu": 5}},
        {"resources": {"cpu": 3}},
        {"resources": {"cpu": 4, "memory": 1}},
        {"resources": {"memory": 4}},
        {"owner": "somebody"},
    ],
)
def test_another_request_for_a_live_id_is_a_conflict(pool: Ledger, other: dict[str, object]) -> None:
    """Other amounts or another owner: the record comes along, nothing changes."""
    pool.grant("a", {"cpu": 4})
    before = pool.dump()
    wanted = {"resources": {"cpu": 4}, **other}
    reply = pool.allocate(pool.want("a", **wanted))[0]  # type: ignore[arg-type]
    assert (reply[0], fields(reply[1:])["owner"], int(fields(reply[1:])["cpu.allocated"])) == ("conflict", "owner", 4)
    pool.assert_untouched(before)


@pytest.mark.parametrize("resources", [{"cpu": 4}, {"memory": 1}])
def test_a_request_for_a_part_of_what_is_live_is_a_conflict(pool: Ledger, resources: dict[str, int]) -> None:
    """Whether it names the first resources or the last."""
    pool.grant("a", {"cpu": 4, "memory": 1})
    before = pool.dump()
    assert pool.allocate(pool.want("a", resources))[0][0] == "conflict"
    pool.assert_untouched(before)


def test_an_exclusive_request_shares_no_live_allocation(pool: Ledger) -> None:
    """The same owner and amounts: a conflict, and neither the deadline nor the calls of the live one change."""
    pool.grant("a", {"cpu": 4})
    pool.now += 10
    before = pool.dump()
    reply = pool.allocate(pool.want("a", {"cpu": 4}, ttl=5 * MINUTE, exclusive=True))[0]
    assert (reply[0], fields(reply[1:])["owner"]) == ("conflict", "owner")
    pool.assert_untouched(before)


def test_an_exclusive_call_is_answered_its_own_allocation_and_others_may_share_it(pool: Ledger) -> None:
    """A retry whose first reply was lost is no second holder, also once others share it."""
    line = pool.want("a", {"cpu": 4}, exclusive=True)
    assert pool.allocate(line)[0][0] == "granted"
    assert pool.allocate(line.again())[0][0] == "replayed"
    assert pool.allocate(pool.want("a", {"cpu": 4}))[0][0] == "existing"
    assert pool.allocate(line.again())[0][0] == "replayed"
    assert pool.allocate(pool.want("a", {"cpu": 4}, exclusive=True))[0][0] == "conflict"
    assert pool.allocated() == 4


def test_an_exclusive_request_is_granted_once_the_live_one_is_past_its_deadline(pool: Ledger) -> None:
    """As any request for that id: the expired one is reclaimed."""
    fence = pool.grant("a", {"cpu": 4})
    pool.now += MINUTE
    assert pool.allocate(pool.want("a", {"cpu": 4}, exclusive=True))[0][1] > fence
    assert pool.allocated() == 4


def test_an_exclusive_request_stops_an_atomic_batch(pool: Ledger) -> None:
    """Two of one batch for one id, too: they are two calls."""
    lines = [pool.want("a", {"cpu": 1}, exclusive=True), pool.want("a", {"cpu": 1}, exclusive=True)]
    before = pool.dump()
    assert [reply[0] for reply in pool.allocate(*lines, atomic=1)] == ["aborted", "conflict"]
    pool.assert_untouched(before)


def test_a_repeated_conflict_is_undone_and_over(pool: Ledger) -> None:
    """A copy of it must not be granted once the id is free: the client undoes a repeated call that was refused."""
    fence = pool.grant("a", {"cpu": 4})
    line = pool.want("a", {"cpu": 5})
    assert pool.allocate(line.again())[0][0] == "conflict"
    assert pool.undo((line.call, "a")) == [["absent"]]
    pool.release(pool.release_line("a", fence))
    assert pool.allocate(line)[0][0] == "ended"
    assert pool.allocated() == 0


def test_a_repeat_that_was_told_of_a_live_allocation_is_over(pool: Ledger) -> None:
    """A copy of it must not extend that one later, nor be granted once it is gone."""
    pool.grant("a", {"cpu": 4})
    line = pool.want("a", {"cpu": 4}, ttl=5 * MINUTE, repeated=1)
    assert pool.allocate(line)[0][0] == "existing"
    pool.now += 5
    deadlines = pool.index("deadlines")
    assert pool.allocate(line)[0][0] == "existing", "as the first time"
    assert pool.index("deadlines") == deadlines
    pool.release("a")
    assert pool.allocate(line)[0][0] == "ended"


@pytest.mark.parametrize(("late", "word"), [(-1, "existing"), (0, "granted"), (1, "granted")])
def test_an_allocation_past_its_deadline_is_reclaimed_first_and_decided_as_if_absent(
    pool: Ledger, late: int, word: str
) -> None:
    """At the very deadline it is over; a millisecond before it is live.  The new grant has a new fence."""
    fence = pool.grant("a", {"cpu": 10})
    pool.now += MINUTE + late
    reply = pool.allocate(pool.want("a", {"cpu": 10}))[0]
    assert reply[0] == word
    if word == "granted":
        assert reply[1] > fence
        assert pool.kinds[-2:] == ["reclaimed", "granted"]
    assert pool.allocated() == 10


def test_a_re_grant_leaves_no_field_of_the_ended_record(pool: Ledger) -> None:
    """Other resources, other metadata, pinned where there was a deadline: nothing of the old one shows through."""
    pool.grant("a", {"cpu": 5, "memory": 50}, meta={"old": "1", "both": "1"})
    pool.now += MINUTE
    pool.grant("a", {"memory": 10}, ttl=0, meta={"both": "2"})
    assert pool.record("a").keys() == {"memory.allocated", "owner", "fence", "call", "granted_ms", "meta.both"}
    assert pool.record("a")["meta.both"] == "2"
    assert (pool.allocated("cpu"), pool.allocated("memory")) == (0, 10)
    assert (pool.index("deadlines"), pool.index("pinned")) == ({}, {"a": T0 + MINUTE})


def test_an_expired_allocation_whose_new_request_does_not_fit_is_gone(pool: Ledger) -> None:
    """It was reclaimed; the denial stands on its own."""
    pool.grant("a", {"cpu": 5})
    pool.grant("b", {"cpu": 5}, ttl=0)
    pool.now += MINUTE
    assert pool.allocate(pool.want("a", {"cpu": 6}))[0] == ["denied", "capacity_exceeded", "", "cpu", 6, 5, 10]
    assert (pool.record("a"), pool.index("deadlines")) == ({}, {})


@pytest.mark.parametrize("end", ["release", "reclaim", "undo", "expired"])
def test_a_copy_of_a_call_whose_allocation_has_ended_is_granted_nothing(pool: Ledger, end: str) -> None:
    """However it ended.  The copy is told when."""
    line = pool.want("a", {"cpu": 4})
    pool.allocate(line)
    pool.now += 2 * MINUTE
    if end == "release":
        pool.release("a")
    elif end == "reclaim":
        pool.reclaim()
    elif end == "undo":
        pool.undo((line.call, "a"))
    else:
        pool.grant("a", {"cpu": 1})
        pool.release("a")
    before = pool.dump()
    pool.now += 5
    assert pool.allocate(line) == [["ended", T0 + 2 * MINUTE]]
    pool.assert_untouched(before)


@pytest.mark.parametrize("owner", ["owner", "another"])
def test_a_copy_that_meets_a_newer_grant_of_its_id_changes_nothing(pool: Ledger, owner: str) -> None:
    """Even where owner and amounts are the same: it must not extend what it did not make."""
    line = pool.want("a", {"cpu": 4})
    pool.allocate(line)
    pool.release("a")
    pool.grant("a", {"cpu": 4}, owner=owner)
    pool.now += 5
    before = pool.dump()
    assert pool.allocate(line) == [["ended", T0]]
    pool.assert_untouched(before)


@pytest.mark.parametrize("repeated", [0, 1])
def test_a_denial_writes_nothing(pool: Ledger, repeated: int) -> None:
    """Where a copy may still travel, its client undoes it; then the copy meets an ended call."""
    pool.grant("full", {"cpu": 10})
    line = pool.want("a", {"cpu": 1}, repeated=repeated)
    before = pool.dump()
    assert pool.allocate(line)[0][0] == "denied"
    pool.assert_untouched(before)
    pool.undo((line.call, "a"))
    pool.release("full")
    assert pool.allocate(line)[0][0] == "ended"


def test_a_pinning_call_pins_a_live_lease(pool: Ledger) -> None:
    """No deadline is no earlier than any: the lease loses its own and moves to the other index."""
    fence = pool.grant("a", {"cpu": 1})
    pool.now += 7
    revision = pool.revision
    reply = pool.allocate(pool.want("a", {"cpu": 1}, ttl=0))[0]
    assert (reply[0], fields(reply[1:])["fence"]) == ("existing", fence)
    assert not fields(reply[1:]).keys() & {"ttl_ms", "deadline_ms"}
    assert not pool.record("a").keys() & {"ttl_ms", "deadline_ms"}
    assert (pool.index("deadlines"), pool.index("pinned")) == ({}, {"a": T0})
    assert pool.revision > revision, "a paged audit must see that it moved"


def test_a_pinned_allocation_stays_pinned_whatever_ttl_is_asked_for(pool: Ledger) -> None:
    """A deadline would be earlier than none."""
    pool.grant("a", {"cpu": 1}, ttl=0)
    before = pool.index("pinned")
    reply = pool.allocate(pool.want("a", {"cpu": 1}))[0]
    assert (reply[0], "deadline_ms" in fields(reply[1:])) == ("existing", False)
    assert (pool.index("pinned"), pool.index("deadlines")) == (before, {})
    assert not pool.record("a").keys() & {"ttl_ms", "deadline_ms"}


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
@pytest.mark.parametrize("apart", [True, False])
@pytest.mark.parametrize("ttl", [0, MINUTE])
def test_an_allocation_that_two_callers_know_of_ends_when_both_are_undone(
    pool: Ledger, order: tuple[int, int], apart: bool, ttl: int
) -> None:
    """As long as one of them was told that it has it, it lives."""
    lines = [pool.want("a", {"cpu": 4}, ttl=ttl), pool.want("a", {"cpu": 4}, ttl=ttl)]
    pool.allocate(lines[0])
    assert pool.allocate(lines[1])[0][0] == "existing"
    one, other = (lines[at] for at in order)
    if apart:
        assert pool.undo((one.call, "a")) == [["left"]]
        assert (pool.allocated(), pool.record("a")["call"]) == (4, other.call)
        assert pool.undo((other.call, "a")) == [["undone"]]
    else:
        assert pool.undo((one.call, "a"), (other.call, "a")) == [["left"], ["undone"]]
    assert (pool.allocated(), pool.record("a")) == (0, {})
    assert [reply[0] for reply in pool.allocate(*lines)] == ["ended", "ended"]


def test_the_first_of_two_callers_still_hears_of_its_allocation(pool: Ledger) -> None:
    """Its retry arrives after the second caller was told: existing, or a replay, with the same fence."""
    first = pool.want("a", {"cpu": 4})
    fence = pool.allocate(first)[0][1]
    pool.allocate(pool.want("a", {"cpu": 4}))
    reply = pool.allocate(first.again())[0]
    assert reply[0] in ("existing", "replayed")
    assert fields(reply[1:])["fence"] == fence


@pytest.mark.parametrize("caller", ["first", "second"])
def test_whoever_shared_a_grant_is_not_told_of_a_later_one(pool: Ledger, caller: str) -> None:
    """Its reply was lost; what it had has ended since, and the same request was granted anew to somebody else."""
    wants = {"first": pool.want("a", {"cpu": 4}), "second": pool.want("a", {"cpu": 4})}
    fence = pool.allocate(wants["first"])[0][1]
    assert pool.allocate(wants["second"].again())[0][0] == "existing"
    assert pool.allocate(wants[caller].again())[0][0] in ("existing", "replayed")
    pool.release("a")
    later = pool.grant("a", {"cpu": 4})
    before = pool.record("a")
    assert pool.allocate(wants[caller].again())[0][0] == "ended"
    assert (pool.record("a"), pool.allocated()) == (before, 4)
    assert later > fence


def test_a_resized_allocation_is_existing_for_its_present_amounts_only(pool: Ledger) -> None:
    """The comparison is with what the record has now."""
    pool.grant("a", {"cpu": 4})
    pool.resize("a", {"cpu": 2})
    assert pool.allocate(pool.want("a", {"cpu": 4}))[0][0] == "conflict"
    assert pool.allocate(pool.want("a", {"cpu": 2}))[0][0] == "existing"
