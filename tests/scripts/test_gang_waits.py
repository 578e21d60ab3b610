"""Atomic batches that wait: one place in line, granted as a whole by whoever frees the room, or not at all."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from allocator import settings
from tests.scripts.gangs import PAIR, enter, gang, words
from tests.scripts.ledger import MINUTE, Ledger, contract
from tests.scripts.waiting import ask, hear, wait

HEARD = settings.WAITER_TTL_MS
CLAIM = settings.GRANT_CLAIM_MS


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
    assert not [name for name in full.account if name.startswith("waiting") and name != "waiting_count"]


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
