"""Preemption where it meets the rest: shared and pinned victims, hard ends, the line, recoveries, repeats."""

from __future__ import annotations

import pytest

from tests.scripts.ledger import MINUTE, T0, Ledger, fields
from tests.scripts.preempting import GRACE, live, permit, preempted
from tests.scripts.waiting import Waiting, ask, hear, wait


@pytest.fixture
def open_pool(pool: Ledger) -> Ledger:
    """A pool of cpu 10 that permits preemption."""
    return permit(pool)


def rival(pool: Ledger, identity: str, cpu: int, *, priority: int = 1) -> Waiting:
    """A request that waits and preempts."""
    return wait(pool, identity, {"cpu": cpu}, priority=priority, preempt=1)


# -- victims -----------------------------------------------------------------------------------------------------------


def test_a_shared_victim_is_taken_from_all_its_calls(open_pool: Ledger) -> None:
    """None of them is returned it again, and the undo of one does not move its end."""
    pool = open_pool
    first, second = pool.want("a", {"cpu": 10}), pool.want("a", {"cpu": 10}, ttl=2 * MINUTE)
    assert [reply[0] for reply in pool.allocate(first, second)] == ["granted", "existing"]
    rival(pool, "new", 1)
    assert {"ttls", "told"} & pool.record("a").keys() == set()
    assert ask(pool, pool.want("a", {"cpu": 10}))[0] == "conflict"
    assert pool.undo((second.call, "a")) == [["left"]]
    assert pool.record("a")["deadline_ms"] == str(T0 + GRACE)
    again = ask(pool, first.again())
    assert again[0] == "replayed"
    assert fields(again[1:])["preempted_by"] == "new"
    assert pool.undo((first.call, "a")) == [["undone"]]
    assert live(pool) == {"new"}


def test_a_pinned_victim_gets_a_deadline(open_pool: Ledger) -> None:
    """It was without one: it moves to the other index."""
    open_pool.grant("a", {"cpu": 10}, ttl=0)
    rival(open_pool, "new", 1)
    assert (open_pool.index("pinned"), open_pool.index("deadlines")) == ({}, {"a": T0 + GRACE})


def test_a_hard_end_cuts_the_grace(open_pool: Ledger) -> None:
    """The grant said so."""
    open_pool.grant("a", {"cpu": 10}, lifetime=2000)
    rival(open_pool, "new", 1)
    assert open_pool.record("a")["deadline_ms"] == str(T0 + 2000)


def test_what_is_released_already_is_no_victim(open_pool: Ledger) -> None:
    """Nor what is taken by another."""
    open_pool.grant("a", {"cpu": 5})
    open_pool.grant("b", {"cpu": 5})
    open_pool.begin_release(open_pool.begin_release_line("a", MINUTE))
    rival(open_pool, "new", 1)
    assert preempted(open_pool) == {"b"}
    assert open_pool.check({"cpu": 6}, priority=5, preempt=1)[3] == []


def test_a_grant_from_the_line_is_no_victim_before_its_caller_knows(open_pool: Ledger) -> None:
    """It would hear of an allocation that it cannot use."""
    open_pool.grant("a", {"cpu": 10}, priority=5)
    waiting = wait(open_pool, "b", {"cpu": 10})
    open_pool.release("a")
    assert open_pool.check({"cpu": 1}, priority=1, preempt=1)[3] == []
    assert hear(open_pool, waiting) == ["replayed"]
    assert open_pool.check({"cpu": 1}, priority=1, preempt=1)[3] == ["b"]


def test_a_victim_may_be_resized_and_moved_meanwhile(open_pool: Ledger) -> None:
    """What it gives up is the waiter's."""
    open_pool.set_quota("team", {"cpu": (9, "-", "-")})
    open_pool.grant("a", {"cpu": 10})
    waiting = rival(open_pool, "new", 1)
    assert open_pool.resize("a", {"cpu": 8})[0] == "resized"
    assert hear(open_pool, waiting) == ["replayed"]
    assert open_pool.move("a", "team")[0] == "moved"
    assert open_pool.record("a")["preempted_by"] == "new"


def test_what_has_expired_goes_first(open_pool: Ledger) -> None:
    """Also where it is more than one call reclaims: then nobody is taken in this call."""
    for number in range(4):
        open_pool.grant(f"a{number}", {"cpu": 1}, ttl=1000)
    open_pool.grant("b", {"cpu": 6}, ttl=0)
    waiting = wait(open_pool, "new", {"cpu": 4}, priority=1)
    open_pool.now += 1000
    line = open_pool.want("new", {"cpu": 4}, priority=1, preempt=1, wait=MINUTE, call=waiting.line.call, repeated=1)
    assert open_pool.allocate(line, bounds={"RECLAIM_INLINE_MAX": 2})[0][0] == "waiting"
    assert preempted(open_pool) == set()
    assert ask(open_pool, line)[0] == "replayed"
    assert preempted(open_pool) == set()


def test_more_than_the_bounds_are_not_taken(open_pool: Ledger) -> None:
    """Rather none than some that are not enough."""
    for number in range(5):
        open_pool.grant(f"a{number}", {"cpu": 2})
    asked = {"priority": 1, "preempt": 1}
    assert len(open_pool.check({"cpu": 10}, **asked)[3]) == 5
    for name, most in (("VICTIMS", 4), ("CANDIDATES", 4), ("LOOKED", 4), ("COUNTERS", 8)):
        bounds = {f"PREEMPT_{name}_MAX": most}
        assert open_pool.check({"cpu": 10}, **asked, bounds=bounds)[3] == []
        assert len(open_pool.check({"cpu": 8}, **asked, bounds=bounds)[3]) == 4


@pytest.mark.breaks_data
@pytest.mark.parametrize("field", ["cpu.allocated", "fence", "account.1"])
def test_a_broken_bystander_is_passed_over(open_pool: Ledger, field: str) -> None:
    """The caller does not hear of it."""
    open_pool.grant("broken", {"cpu": 5}, priority=-9)
    open_pool.grant("whole", {"cpu": 5})
    open_pool.set_quota("team", {})
    open_pool.client.hset(f"{open_pool.keys.base}quota:team", "cpu.allocated", "x")
    open_pool.client.hset(open_pool.keys.record("broken"), field, "quota:team" if "." in field[-2:] else "x")
    rival(open_pool, "new", 1)
    assert preempted(open_pool) == {"whole"}


@pytest.mark.breaks_data
def test_the_record_decides_not_the_index(open_pool: Ledger) -> None:
    """A wrong score does not make a higher priority a victim, and a repair corrects it."""
    open_pool.grant("high", {"cpu": 10}, priority=9)
    open_pool.client.zadd(f"{open_pool.keys.base}priorities", {"high": 1, "nobody": 2})
    rival(open_pool, "new", 1)
    assert preempted(open_pool) == set()
    found = open_pool.audit()[8]
    assert (set(found[::3]), set(found[1::3])) == ({"ranked_wrong", "ranked_ended"}, {"high", "nobody"})
    assert open_pool.repair()[2] == 2
    assert open_pool.audit()[4] == 0


@pytest.mark.breaks_data
def test_pages_of_an_audit_find_and_correct_ranks(open_pool: Ledger) -> None:
    """As the whole does."""
    open_pool.grant("leased", {"cpu": 1}, priority=3)
    open_pool.grant("pinned", {"cpu": 1}, ttl=0)
    index = f"{open_pool.keys.base}priorities"
    open_pool.client.zadd(index, {"nobody": 2, "leased": 5})
    open_pool.client.zrem(index, "pinned")
    for name, kind in (("deadlines", "ranked_wrong"), ("pinned", "unranked"), ("priorities", "ranked_ended")):
        assert open_pool.audit(name)[8][::3] == [kind]
        assert open_pool.repair(name)[3::3] == [kind]
    assert open_pool.audit()[4] == 0


@pytest.mark.breaks_data
def test_an_orphan_is_ranked_again(open_pool: Ledger) -> None:
    """With its index."""
    open_pool.grant("a", {"cpu": 1}, priority=3)
    for name in ("deadlines", "priorities"):
        open_pool.client.delete(f"{open_pool.keys.base}{name}")
    assert open_pool.repair(orphans=["a"])[0] == "repaired"
    assert open_pool.audit()[4] == 0


# -- the preemptor -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["undo", "withdraw", "last"])
def test_a_preemptor_that_goes_leaves_the_room_to_the_next(open_pool: Ledger, way: str) -> None:
    """Its victims were told, and end; nothing of it is left."""
    open_pool.grant("a", {"cpu": 10})
    waiting = rival(open_pool, "new", 10)
    other = wait(open_pool, "other", {"cpu": 3})
    if way == "undo":
        open_pool.undo((waiting.line.call, "new"))
    elif way == "withdraw":
        open_pool.withdraw("new")
    else:
        last = open_pool.want("new", {"cpu": 10}, priority=10, call=waiting.line.call, repeated=1)
        assert ask(open_pool, last)[0] == "denied"
    open_pool.now += GRACE
    open_pool.reclaim()
    assert hear(open_pool, other) == ["replayed"]
    assert open_pool.waiting == []
    assert "a" not in live(open_pool)


def test_two_preemptors_take_different_victims_and_both_are_granted(open_pool: Ledger) -> None:
    """The second does not wait until the first has its room."""
    for number in range(5):
        open_pool.grant(f"a{number}", {"cpu": 2})
        open_pool.now += 1
    first = rival(open_pool, "x", 4)
    assert preempted(open_pool) == {"a4", "a3"}
    second = rival(open_pool, "y", 3)
    assert preempted(open_pool) == {"a4", "a3", "a2", "a1"} or hear(open_pool, second) == ["waiting"]
    assert preempted(open_pool) == {"a4", "a3", "a2", "a1"}
    open_pool.now += GRACE
    assert hear(open_pool, first, second) == ["replayed", "replayed"]
    assert live(open_pool) == {"x", "y", "a0"}


def test_one_behind_another_that_is_short_takes_nothing_for_it(open_pool: Ledger) -> None:
    """What it would take, the other would get; where they do not compete, it takes."""
    open_pool.grant("a", {"cpu": 10, "memory": 100}, priority=-1)
    first = wait(open_pool, "first", {"cpu": 5}, priority=5)
    second = rival(open_pool, "second", 1)
    assert hear(open_pool, second) == ["waiting"]
    assert preempted(open_pool) == set()
    open_pool.undo((first.line.call, "first"))
    hear(open_pool, second)
    assert preempted(open_pool) == {"a"}


def test_a_higher_priority_that_comes_later_goes_first_and_the_preemptor_takes_more(open_pool: Ledger) -> None:
    """Its place in line is as its priority says."""
    for name in ("a", "b"):
        open_pool.grant(name, {"cpu": 5})
        open_pool.now += 1
    waiting = rival(open_pool, "new", 4)
    assert preempted(open_pool) == {"b"}
    higher = wait(open_pool, "higher", {"cpu": 5}, priority=5)
    open_pool.now += 1000
    open_pool.release("b")
    assert hear(open_pool, higher) == ["replayed"]
    assert hear(open_pool, waiting) == ["waiting"]
    assert preempted(open_pool) == {"a"}


def test_asking_again_takes_nobody_else(open_pool: Ledger) -> None:
    """Within the grace, at its end, and late copies after the grant."""
    for name in ("a", "b"):
        open_pool.grant(name, {"cpu": 5})
        open_pool.now += 1
    waiting = rival(open_pool, "new", 4)
    assert hear(open_pool, waiting, waiting, waiting, by=1000) == ["waiting"] * 3
    assert preempted(open_pool) == {"b"}
    open_pool.now += GRACE
    assert hear(open_pool, waiting, waiting) == ["replayed"] * 2
    assert preempted(open_pool) == set()
    open_pool.release("new")
    assert hear(open_pool, waiting) == ["ended"]
    assert live(open_pool) == {"a"}


def test_requests_of_one_call_take_in_order(open_pool: Ledger) -> None:
    """Each after those before it; what one has taken is nobody else's."""
    for number in range(5):
        open_pool.grant(f"a{number}", {"cpu": 2})
        open_pool.now += 1
    lines = [
        open_pool.want(name, {"cpu": 2}, priority=priority, preempt=1, wait=MINUTE)
        for name, priority in (("x", 1), ("y", 2))
    ]
    assert [reply[0] for reply in open_pool.allocate(*lines)] == ["waiting", "waiting"]
    for _ in range(2):
        open_pool.allocate(*(line.again() for line in lines))
    assert preempted(open_pool) == {"a4", "a3"}


def test_in_a_recovery_nobody_is_taken(ledger: Ledger) -> None:
    """It waits, and takes when the recovery is over."""
    ledger.create({"cpu": 10}, promises=f"recovery_grace_ms=20000 max_ttl_ms={MINUTE}")
    permit(ledger)
    ledger.grant("a", {"cpu": 10})
    ledger.renew(ledger.renew_line("gone", fence=1, epoch="epoch-1", known=ledger.now + MINUTE))
    assert "recovering_until_ms" in ledger.account
    line = ledger.want("new", {"cpu": 1}, priority=1, preempt=1, wait=MINUTE)
    assert ask(ledger, line)[3][0] == "recovering"
    assert preempted(ledger) == set()
    ledger.now += 20_000
    assert ask(ledger, line.again())[0] == "waiting"
    assert preempted(ledger) == {"a"}


def test_a_gap_of_the_clock_lengthens_the_grace(open_pool: Ledger) -> None:
    """Its holder was cut off, too."""
    open_pool.grant("a", {"cpu": 10})
    waiting = rival(open_pool, "new", 1)
    mapping = {"gap_from_ms": T0 + 1000, "gap_to_ms": T0 + 1000 + MINUTE}
    open_pool.client.hset(open_pool.key("pool"), mapping=mapping)
    open_pool.now += MINUTE + 1000
    open_pool.reclaim()
    assert open_pool.index("deadlines")["a"] == T0 + GRACE + MINUTE
    open_pool.now = T0 + GRACE + MINUTE
    assert hear(open_pool, waiting) == ["granted"]
    assert "a" not in live(open_pool)


def test_where_everybody_may_pass_nobody_takes_what_victims_leave(open_pool: Ledger) -> None:
    """And only as long as they have it: then whatever fits passes again."""
    permit(open_pool, more="queue_policy=best_effort")
    open_pool.grant("a", {"cpu": 3})
    open_pool.grant("high", {"cpu": 7}, priority=9)
    waiting = rival(open_pool, "new", 3)
    assert preempted(open_pool) == {"a"}
    open_pool.resize("a", {"cpu": 1})
    assert ask(open_pool, open_pool.want("small", {"cpu": 1}))[0] == "denied"
    assert open_pool.release("high")[0][0] == "released"
    assert hear(open_pool, waiting) == ["replayed"]
    assert ask(open_pool, open_pool.want("small", {"cpu": 1}))[0] == "granted"


def test_a_victim_list_that_is_over_does_not_hold_others_back(open_pool: Ledger) -> None:
    """With the policy that lets everybody pass: its victims' room went to a higher priority."""
    permit(open_pool, more="queue_policy=best_effort")
    open_pool.grant("a", {"cpu": 5})
    open_pool.grant("high", {"cpu": 5}, priority=9)
    waiting = rival(open_pool, "new", 4)
    higher = wait(open_pool, "higher", {"cpu": 3}, priority=8)
    open_pool.release("a")
    assert hear(open_pool, higher) == ["replayed"]
    assert hear(open_pool, waiting) == ["waiting"]
    assert open_pool.waiter("new")["victims"] == ""
    assert ask(open_pool, open_pool.want("small", {"cpu": 2}))[0] == "granted"


def test_an_adopted_allocation_has_its_priority_and_its_rank(open_pool: Ledger) -> None:
    """So it is no easier taken than before."""
    line = open_pool.adopt_line("a", {"cpu": 10}, fence=T0, priority=5)
    assert open_pool.adopt(line, reason="by hand")[0][0] == "adopted"
    assert open_pool.record("a")["priority"] == "5"
    assert open_pool.check({"cpu": 1}, priority=5, preempt=1)[3] == []
    assert open_pool.check({"cpu": 1}, priority=6, preempt=1)[3] == ["a"]


def test_a_deleted_pool_leaves_no_ranks(open_pool: Ledger) -> None:
    """Nor waiters, nor victims."""
    open_pool.grant("a", {"cpu": 10})
    rival(open_pool, "new", 1)
    assert open_pool.delete(force=1)[0] == "deleted"
    assert open_pool.client.exists(f"{open_pool.keys.base}priorities") == 0
