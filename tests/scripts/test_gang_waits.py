"""Atomic batches that wait: one place in line, granted as a whole by whoever frees the room, or not at all."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from allocator import settings
from tests.scripts.gangs import enter, gang, words
from tests.scripts.ledger import MINUTE, Ledger, contract, fields
from tests.scripts.waiting import ask, hear, wait

HEARD = settings.WAITER_TTL_MS
CLAIM = settings.GRANT_CLAIM_MS
PAIR = {"a": {"cpu": 4}, "b": {"cpu": 4}}


@pytest.fixture
def full(pool: Ledger) -> Ledger:
    """A pool whose cpu is taken, by `left` and `right`."""
    pool.grant("left", {"cpu": 5}, ttl=0)
    pool.grant("right", {"cpu": 5}, ttl=0)
    return pool


def test_a_gang_waits_as_one_until_all_of_it_fits(full: Ledger) -> None:
    """Room for one of two is room for none; the release that makes the rest grants both."""
    waiting = enter(full, PAIR)
    assert (full.waiting, waiting.ask()[0][:2]) == (["a"], ["waiting", 1])
    full.release("left")
    assert (waiting.hear(), full.live) == (["waiting", "waiting"], ["right"])
    full.release("right")
    assert (full.waiting, full.live) == ([], ["a", "b"])
    assert (waiting.hear(), waiting.hear()) == (["replayed", "replayed"], ["replayed", "replayed"])
    assert int(full.record("a")["deadline_ms"]) == full.now + MINUTE
    assert not [name for name in full.account if name.startswith("waiting")]


def test_each_reply_says_where_it_stands_and_which_item_is_refused(full: Ledger) -> None:
    """The numbers are of the first member that is short with those before it."""
    wait(full, "first", {"memory": 101 - 1, "cpu": 9})
    full.release("left")
    replies = enter(full, {"a": {"cpu": 2}, "b": {"cpu": 4}}).ask()
    assert replies[0] == replies[1]
    assert (replies[0][:2], replies[0][4]) == (["waiting", 2], 2)
    assert replies[0][3][:4] == ["denied", "capacity_exceeded", "", "cpu"]
    assert replies[0][3][4:7] == [4, 7, 10], "what it asks for, what is charged with those before it, and what there is"


def _release(pool: Ledger) -> object:
    return pool.release("left", "right")


def _resize(pool: Ledger) -> object:
    return (pool.resize("left", {"cpu": 1}), pool.resize("right", {"cpu": 1}))


def _reclaim(pool: Ledger) -> object:
    return pool.reclaim(age=0)


def _withdraw(pool: Ledger) -> object:
    return (pool.release("left", "right"), pool.withdraw("first"))


@pytest.mark.parametrize("free", [_release, _resize, _reclaim, _withdraw])
def test_whatever_frees_the_room_grants_all_of_it(full: Ledger, free: Callable[[Ledger], object]) -> None:
    """In that call; its client asks afterwards, and has both."""
    if free is _withdraw:
        wait(full, "first", {"cpu": 9, "memory": 1})
        full.grant("memory", {"memory": 100}, ttl=0)
    waiting = enter(full, PAIR)
    free(full)
    assert {"a", "b"} <= set(full.live)
    assert waiting.hear() == ["replayed", "replayed"]


def test_a_raised_capacity_grants_all_of_it_to_who_asks_again(full: Ledger) -> None:
    """As for any waiter: that call wakes it."""
    waiting = enter(full, PAIR)
    full.configure("change", {"cpu": 18})
    assert waiting.hear() == ["replayed", "replayed"]


def test_a_grant_that_nobody_claims_lapses_whole(full: Ledger) -> None:
    """Its room goes to the next."""
    waiting = enter(full, PAIR)
    next_one = wait(full, "n", {"cpu": 9})
    full.release("left", "right")
    assert full.live == ["a", "b"]
    assert hear(full, next_one, by=HEARD - 1) == ["waiting"]
    assert hear(full, next_one, by=CLAIM - HEARD + 1) == ["replayed"]
    assert waiting.hear() == ["ended", "aborted"]


def test_a_gang_whose_client_is_silent_leaves(full: Ledger) -> None:
    """With its index of members; its ids may be asked for again."""
    enter(full, PAIR)
    full.now += HEARD
    full.release("left", "right")
    assert (full.waiting, full.live) == ([], [])
    assert full.grant("b", {"cpu": 1})


def test_the_last_try_leaves_the_line_and_a_late_copy_changes_nothing(full: Ledger) -> None:
    """The denial is that of the first that does not fit."""
    waiting = enter(full, PAIR)
    assert waiting.give_up() == ["denied", "aborted"]
    before = full.dump()
    assert waiting.hear() == ["withdrawn", "aborted"]
    full.assert_untouched(before)
    full.release("left", "right")
    assert full.live == []


def test_the_last_try_takes_what_is_there(full: Ledger) -> None:
    """Also where the room was freed by nobody's call."""
    waiting = enter(full, PAIR)
    full.release("left", "right")
    assert waiting.give_up() == ["replayed", "replayed"]


@pytest.mark.parametrize("name", ["a", "b"])
def test_the_id_of_any_member_withdraws_all(full: Ledger, name: str) -> None:
    """Its client is told, and the next in line goes on."""
    waiting, behind = enter(full, PAIR), wait(full, "n", {"cpu": 5})
    full.release("left")
    assert hear(full, behind) == ["waiting"]
    assert full.withdraw(name) == [["withdrawn"]]
    assert (full.waiting, waiting.hear()) == ([], ["withdrawn", "aborted"])
    assert hear(full, behind) == ["replayed"]
    assert full.withdraw("a", "b") == [["absent"], ["absent"]]


@pytest.mark.parametrize("at", [0, 1])
def test_the_undo_of_any_member_ends_the_wait(full: Ledger, at: int) -> None:
    """And the undo of all forgets each call, so that no copy of the batch waits again."""
    waiting = enter(full, PAIR)
    line = waiting.lines[at]
    assert full.undo((line.call, line.id)) == [["absent"]]
    assert full.waiting == []
    assert waiting.hear()[at] == "ended"
    assert waiting.undo() == ["absent", "absent"]
    assert (waiting.hear(), full.waiting) == (["ended", "aborted"], [])


@pytest.mark.parametrize("at", [0, 1])
def test_an_undo_ends_the_wait_also_where_the_id_is_live_by_another_call(full: Ledger, at: int) -> None:
    """The gang counts on that allocation, and does not have it."""
    name = "ab"[at]
    full.resize("left", {"cpu": 1})
    full.grant(name, {"cpu": 4}, ttl=0)
    waiting = enter(full, PAIR)
    assert full.undo((waiting.lines[at].call, name)) == [["absent"]]
    assert (full.waiting, name in full.live) == ([], True)


def test_the_undo_of_a_granted_gang_takes_back_all(full: Ledger) -> None:
    """As of any batch."""
    waiting = enter(full, PAIR)
    full.release("left", "right")
    assert waiting.undo() == ["undone", "undone"]
    assert (full.live, waiting.hear()) == ([], ["ended", "aborted"])


# -- its ids ---------------------------------------------------------------------------------------------------------


def test_a_live_member_counts_as_granted_and_is_shared_at_the_grant(full: Ledger) -> None:
    """Nothing of it changes while the others wait."""
    full.resize("left", {"cpu": 1})
    fence = full.grant("a", {"cpu": 4}, ttl=MINUTE)
    before = full.record("a")
    waiting = enter(full, PAIR)
    assert (full.record("a"), full.waiter("a")["live"]) == (before, "a")
    full.release("right")
    assert waiting.hear() == ["existing", "replayed"]
    assert full.record("a")["fence"] == str(fence)
    assert len(full.record("a")["call"].split()) == 2


def test_a_member_that_was_live_and_has_ended_waits_with_the_others(full: Ledger) -> None:
    """Its room is no more than anybody's."""
    full.resize("left", {"cpu": 1})
    full.grant("a", {"cpu": 4}, ttl=0)
    waiting = enter(full, PAIR)
    assert full.release("a")[0][0] == "released"
    assert (full.live, full.waiting) == (["left", "right"], ["a"])
    full.release("left")
    assert full.live == ["right"], "five of eight"
    full.release("right")
    assert waiting.hear() == ["replayed", "replayed"]


def test_a_member_that_is_live_otherwise_is_a_conflict(full: Ledger) -> None:
    """At once, or when it comes to be: then the wait is over."""
    full.resize("left", {"cpu": 1})
    full.grant("b", {"cpu": 1}, ttl=0)
    assert gang(full, PAIR).hear() == ["aborted", "conflict"]
    assert full.waiting == []
    full.release("b")
    full.grant("b", {"cpu": 4}, ttl=0)
    waiting = enter(full, PAIR)
    full.resize("b", {"cpu": 3})
    assert (waiting.hear(), full.waiting) == (["aborted", "conflict"], [])
    assert waiting.hear()[0] == "withdrawn"


@pytest.mark.parametrize("name", ["a", "b"])
def test_an_id_waits_once(full: Ledger, name: str) -> None:
    """Alone, in another gang, or as another place of one."""
    waiting = enter(full, PAIR)
    assert ask(full, full.want(name, {"cpu": 1}, wait=MINUTE, owner="you")) == ["conflict_waiting", "owner"]
    assert ask(full, full.want(name, {"memory": 1})) == ["conflict_waiting", "owner"]
    other = gang(full, {"x": {"cpu": 1}, name: {"cpu": 4}})
    assert other.hear() == ["aborted", "conflict_waiting"]
    assert full.waiting == ["a"]
    assert waiting.give_up() == ["denied", "aborted"]
    assert other.hear() == ["waiting", "waiting"]


def test_an_id_that_waits_alone_waits_in_no_gang(full: Ledger) -> None:
    """Until its client is silent."""
    wait(full, "b", {"cpu": 4})
    waiting = gang(full, PAIR)
    assert waiting.hear() == ["aborted", "conflict_waiting"]
    assert full.waiting == ["b"]
    assert waiting.hear(by=HEARD) == ["waiting", "waiting"]
    assert full.waiting == ["a"]


def test_one_id_twice_is_one_member(full: Ledger) -> None:
    """If it asks for the same; else it could not be granted whole."""
    line = full.want("a", {"cpu": 6}, wait=MINUTE)
    twice = full.want("a", {"cpu": 6}, wait=MINUTE)
    assert words(full.allocate(line, twice, atomic=1)) == ["waiting", "waiting"]
    assert full.waiter("a")["gang"] == "1"
    full.release("left", "right")
    assert words(full.allocate(line, twice, atomic=1)) == ["replayed", "existing"]
    with contract("under the id of another item"):
        full.allocate(full.want("c", {"cpu": 6}, wait=1), full.want("c", {"cpu": 5}, wait=1), atomic=1)


def test_what_is_partly_gone_when_it_is_claimed_is_told_as_lost(full: Ledger) -> None:
    """Its caller begins anew; what is left is undone by it."""
    waiting = enter(full, PAIR)
    full.release("left", "right")
    full.release("b")
    assert waiting.hear() == ["aborted", "ended"]
    assert full.record("a")["unclaimed_ttl_ms"] == str(MINUTE), "nothing of it is claimed"
    assert waiting.undo() == ["undone", "absent"]


def test_a_live_member_that_ends_before_the_claim_is_granted_anew_or_all_is_lost(full: Ledger) -> None:
    """Where there is no room for it the answer is not that of a new wait, which would hold what is granted."""
    full.resize("left", {"cpu": 1})
    full.grant("a", {"cpu": 4}, ttl=0)
    waiting = enter(full, PAIR)
    full.release("right")
    assert set(full.live) == {"a", "b", "left"}
    full.release("a")
    full.grant("x", {"cpu": 4}, ttl=0)
    assert waiting.hear() == ["ended", "aborted"]
    assert full.waiting == []
    full.release("x")
    assert waiting.hear() == ["granted", "replayed"]


# -- the line --------------------------------------------------------------------------------------------------------


def test_its_place_is_by_priority_and_then_by_arrival(full: Ledger) -> None:
    """Like that of a single request."""
    wait(full, "first", {"cpu": 1})
    enter(full, {"low": {"cpu": 1}, "low-2": {"cpu": 1}}, priority=-1)
    enter(full, PAIR, priority=7)
    wait(full, "last", {"cpu": 1})
    assert full.waiting == ["a", "first", "last", "low"]
    with contract("priority"):
        full.allocate(full.want("x", {"cpu": 1}, wait=1, priority=2), full.want("y", {"cpu": 1}, wait=1), atomic=1)


def test_nobody_passes_who_competes_for_what_a_gang_is_short_of(full: Ledger) -> None:
    """Its members together are, though each of them would fit."""
    full.release("left")
    waiting = enter(full, {"a": {"cpu": 3}, "b": {"cpu": 3}})
    assert ask(full, full.want("x", {"cpu": 1}))[:2] == ["denied", "queued"]
    assert ask(full, full.want("y", {"memory": 1}))[0] == "granted"
    full.resize("right", {"cpu": 4})
    assert waiting.hear() == ["replayed", "replayed"]


def test_what_a_gang_is_not_short_of_it_needs_in_sum(full: Ledger) -> None:
    """Whoever passes it leaves of that what all its members want."""
    enter(full, {"a": {"cpu": 4, "memory": 40}, "b": {"cpu": 4, "memory": 40}})
    assert ask(full, full.want("x", {"memory": 20}))[0] == "granted"
    first = ask(full, full.want("y", {"memory": 10}))
    assert first[0] == "granted", "it passes: the gang is short of cpu only"
    assert ask(full, full.want("z", {"memory": 10}))[:2] == ["denied", "queued"], "the gang is short of memory by now"


def test_a_gang_waits_behind_those_who_are_short_of_the_same(full: Ledger) -> None:
    """Although it fits."""
    wait(full, "first", {"cpu": 9})
    full.release("left")
    waiting = enter(full, {"a": {"memory": 1}, "b": {"cpu": 1}})
    assert waiting.ask()[0][3][:2] == ["denied", "queued"]
    assert full.live == ["right"]
    full.withdraw("first")
    assert waiting.hear() == ["replayed", "replayed"]


def test_what_never_fits_together_does_not_wait(full: Ledger) -> None:
    """Each of them would."""
    assert gang(full, {"a": {"cpu": 6}, "b": {"cpu": 5}}).ask()[1][:2] == ["denied", "never_fits"]
    waiting = enter(full, {"a": {"cpu": 5}, "b": {"cpu": 5}})
    full.configure("change", {"cpu": 9})
    assert waiting.hear() == ["aborted", "denied"]
    assert full.waiting == []
    full.configure("change", {"cpu": 10})


def test_members_of_several_scopes_are_charged_to_each(full: Ledger) -> None:
    """The sum of those of one scope is what that scope must have room for."""
    full.set_quota("one", {"cpu": (4, 0, "-")})
    full.set_quota("two", {"cpu": (9, 0, "-")})
    full.release("left", "right")
    lines = [full.want(name, {"cpu": 2}, wait=MINUTE, scope=scope) for name, scope in
             (("a", "one"), ("b", "two"), ("c", "one"))]  # fmt: skip
    held = full.want("held", {"cpu": 1}, scope="one")
    full.allocate(held)
    reply = full.allocate(*lines, atomic=1)[0]
    assert (reply[0], reply[3][:3], reply[4]) == ("waiting", ["denied", "capacity_exceeded", "quota:one"], 3)
    assert full.live == ["held"]
    full.release("held")
    assert words(full.allocate(*lines, atomic=1)) == ["replayed"] * 3
    assert full.record("c")["account.1"] == "quota:one"
    assert full.record("b")["account.1"] == "quota:two"


def test_a_scope_that_goes_while_a_gang_waits_ends_the_wait(full: Ledger) -> None:
    """Its client is told which."""
    full.set_quota("one", {"cpu": (4, 0, "-")})
    lines = [full.want("a", {"cpu": 2}, wait=MINUTE), full.want("b", {"cpu": 2}, wait=MINUTE, scope="one")]
    assert words(full.allocate(*lines, atomic=1)) == ["waiting", "waiting"]
    full.delete_quota("one")
    assert full.list_waiters()[6] == ["unknown_scope", "one"]
    assert full.allocate(*lines, atomic=1) == [["aborted", 2], ["unknown_scope", "one"]]
    assert full.waiting == []


def test_a_gang_is_heard_in_a_recovery_and_granted_after_it(ledger: Ledger) -> None:
    """In its turn."""
    ledger.create({"cpu": 10, "memory": 100}, promises="recovery_grace_ms=30000")
    ledger.grant("held", {"cpu": 10})
    first = enter(ledger, PAIR)
    ledger.allocate(ledger.want("x", {"memory": 1}), mark=("epoch-1", ledger.revision + 5))
    second = enter(ledger, {"c": {"cpu": 1}, "d": {"memory": 1}})
    assert second.ask()[0][3][0] == "recovering"
    ledger.release("held")
    assert first.hear(by=10_000) == second.hear(by=1) == ["waiting", "waiting"]
    assert first.hear(by=10_000) == second.hear(by=1) == ["waiting", "waiting"]
    assert second.hear(by=10_000) == first.hear() == ["replayed", "replayed"]
    assert int(ledger.record("b")["fence"]) < int(ledger.record("c")["fence"])


def test_a_line_of_gangs_is_looked_at_by_their_members(pool: Ledger) -> None:
    """One call looks at no more requests than of a line of single ones; the next ones go on behind them."""
    pool.configure("change", {"cpu": 1000})
    pool.grant("full", {"cpu": 1000, "memory": 99}, ttl=0)
    size = settings.GANG_MAX // 2
    gangs = [enter(pool, {f"g{at}-{n}": {"cpu": 1} for n in range(size)}) for at in range(4)]
    small = gang(pool, {"y": {"memory": 1}})
    assert small.hear() == ["waiting"], "it may compete with those that the call has not looked at"
    assert small.hear(by=settings.LOOK_AGAIN_MS) == ["waiting"]
    assert gangs[0].hear(by=settings.LOOK_AGAIN_MS)[0] == "waiting"
    assert small.hear() == ["replayed"]


@pytest.mark.parametrize("count", [settings.GANG_MAX, settings.GANG_MAX + 1])
def test_a_gang_that_waits_has_a_greatest_size(full: Ledger, count: int) -> None:
    """More are refused with nothing changed."""
    wanted = {f"g{at:02}": {"memory": 1, "cpu": 1} if at == 0 else {"memory": 1} for at in range(count)}
    before = full.dump()
    if count > settings.GANG_MAX:
        with contract("more than may wait as one"):
            gang(full, wanted).ask()
        full.assert_untouched(before)
        return
    waiting = enter(full, wanted)
    full.release("left")
    assert waiting.hear() == ["replayed"] * count


def test_a_batch_that_waits_waits_for_the_same_time_and_preempts_nobody(full: Ledger) -> None:
    """Nothing is changed by what does not."""
    before = full.dump()
    for other in (full.want("b", {"cpu": 1}), full.want("b", {"cpu": 1}, wait=MINUTE + 1)):
        with contract("wait"):
            full.allocate(full.want("a", {"cpu": 1}, wait=MINUTE), other, atomic=1)
    with contract("preempt"):
        full.allocate(full.want("a", {"cpu": 1}, wait=MINUTE, preempt=1), atomic=1)
    full.assert_untouched(before)


def test_a_full_line_refuses_a_gang(full: Ledger) -> None:
    """It counts as one."""
    full.configure("change", promises="queue_length_max=1")
    waiting = enter(full, PAIR)
    assert gang(full, {"c": {"cpu": 1}, "d": {"cpu": 1}}).ask() == [["queue_full", 1], ["aborted", 1]]
    assert waiting.hear() == ["waiting", "waiting"]


# -- readings, damage ------------------------------------------------------------------------------------------------


def test_the_line_shows_a_gang_as_one_entry_with_its_members(full: Ledger) -> None:
    """What the gang is short of, by which member, and when all of it fits."""
    full.release("left")
    full.grant("lease", {"cpu": 5})
    full.grant("live", {"memory": 1}, ttl=0)
    enter(full, {"a": {"cpu": 1}, "b": {"cpu": 3}, "live": {"memory": 1}})
    full.resize("right", {"cpu": 3})
    word, _, length, name, _place, flat, refusal, start_ms, item = full.list_waiters(starts=1)
    entry = fields(flat)
    assert (word, length, name, str(entry["gang"]), entry["live"]) == ("line", 1, "a", "3", "live")
    assert (entry["member.2.id"], entry["member.2.requested.cpu"]) == ("b", "3")
    assert (refusal[:2], item) == (["denied", "capacity_exceeded"], 2)
    assert start_ms == int(full.record("lease")["deadline_ms"])


@pytest.mark.parametrize(
    "kind", ["missing_waiter", "broken_waiter", "missing_member", "stale_member", "live_waiter", "gap"]
)
@pytest.mark.parametrize("mends", [True, False])
def test_damage_of_a_gang_is_found_mended_and_harms_nobody_else(full: Ledger, kind: str, *, mends: bool) -> None:
    """Another gang goes on, with a repair and without one."""
    client, base = full.client, full.keys.base
    enter(full, {"a": {"cpu": 4}, "b": {"cpu": 1}, "c": {"cpu": 1}})
    sound = enter(full, {"x": {"cpu": 4}, "y": {"cpu": 4}})
    if kind == "missing_waiter":
        client.delete(f"{base}waiter:a")
    elif kind == "broken_waiter":
        client.hdel(f"{base}waiter:a", "member.1.ttl_ms")
    elif kind == "gap":
        client.hdel(f"{base}waiter:a", *(name for name in full.waiter("a") if name.startswith("member.2.")))
    elif kind == "missing_member":
        client.zrem(f"{base}gangs", "b a")
    elif kind == "stale_member":
        client.zadd(f"{base}gangs", {"z a": 0, "y nobody": 0, "nothing": 0})
    else:
        client.hset(f"{base}waiter:a", mapping={"member.2.id": "left"})
    found = {"gap": "broken_waiter"}.get(kind, kind)
    assert found in str(full.audit())
    if mends:
        assert full.repair()[0] == "repaired"
    else:
        full.release("left")
        assert ask(full, full.want("z", {"memory": 1}))[0] == "granted"
    full.withdraw("a")
    full.release("left", "right")
    assert sound.hear() == ["replayed", "replayed"]
    full.repair()
    assert full.audit()[4] == 0


def test_a_pool_that_is_deleted_leaves_nothing_of_its_gangs(full: Ledger) -> None:
    """Neither an entry nor the index of members."""
    waiting = enter(full, PAIR)
    assert full.delete(force=1)[0] == "deleted"
    assert waiting.hear() == ["unknown_pool", "unknown_pool"]
    assert full.client.keys(f"{full.keys.base}*") == [full.keys["ended"]]
    full.create({"cpu": 10, "memory": 100}, epoch="epoch-2")
    assert full.grant("b", {"cpu": 1})


def test_the_index_of_members_is_checked_before_anything_is_written(full: Ledger) -> None:
    """Of the wrong type it is an error, and nothing is changed."""
    full.client.set(f"{full.keys.base}gangs", "x")
    before = full.dump()
    with pytest.raises(Exception, match="WRONGTYPE"):
        gang(full, PAIR).ask()
    full.assert_untouched(before)
    full.client.delete(f"{full.keys.base}gangs")
