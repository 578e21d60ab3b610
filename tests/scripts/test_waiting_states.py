"""The line in a pool that recovers, is offline or is deleted, after a gap of the clock, and with damage; readings."""

from __future__ import annotations

import pytest

from allocator import settings
from tests.scripts.ledger import MINUTE, T0, Ledger, contract, fields
from tests.scripts.waiting import ask, hear, wait

HEARD = settings.WAITER_TTL_MS
GRACE = 30_000


@pytest.fixture
def full(pool: Ledger) -> Ledger:
    """A pool whose cpu is taken, by `full`."""
    pool.grant("full", {"cpu": 10}, ttl=0)
    return pool


@pytest.fixture
def graced(ledger: Ledger) -> Ledger:
    """A pool that recovers from a loss; its cpu is taken, by `full`, and `a` waits."""
    ledger.create({"cpu": 10, "memory": 100}, promises=f"recovery_grace_ms={GRACE}")
    ledger.grant("full", {"cpu": 10})
    return ledger


def _lose(pool: Ledger) -> None:
    """The pool learns of a fence that it does not know."""
    reply = pool.allocate(pool.want("x", {"memory": 1}), mark=("epoch-1", pool.revision + 5))[0]
    assert reply[0] == "recovering"


def test_in_a_recovery_requests_wait_and_nothing_is_granted(graced: Ledger) -> None:
    """Also what would fit; after it they are granted in their order."""
    waiter = wait(graced, "a", {"cpu": 4})
    _lose(graced)
    second = wait(graced, "b", {"memory": 1})
    assert (second.reply[2], second.reply[3][0]) == (GRACE, "recovering")
    assert graced.release("full")[0][0] == "released"
    assert hear(graced, waiter, second, by=10_000) == ["waiting", "waiting"]
    assert hear(graced, waiter, second, by=10_000) == ["waiting", "waiting"]
    assert hear(graced, second, waiter, by=10_000) == ["replayed", "replayed"]
    assert int(graced.record("a")["fence"]) < int(graced.record("b")["fence"])


def test_the_last_try_in_a_recovery_leaves_the_line(graced: Ledger) -> None:
    """The answer is the recovery; the call is over."""
    waiter = wait(graced, "a", {"cpu": 4})
    _lose(graced)
    assert ask(graced, waiter.without_wait())[0] == "recovering"
    assert (graced.waiting, ask(graced, waiter.line.again())) == ([], ["withdrawn"])


def test_who_could_not_ask_in_a_recovery_keeps_its_place(graced: Ledger) -> None:
    """It is heard again; another call for its id need not wait for it."""
    first, second = wait(graced, "a", {"cpu": 4}), wait(graced, "b", {"cpu": 4})
    _lose(graced)
    assert hear(graced, second, by=HEARD) == ["waiting"]
    assert hear(graced, first) == ["waiting"]
    assert graced.waiting == ["a", "b"]
    graced.now += HEARD - 1
    assert ask(graced, graced.want("a", {"cpu": 1}, wait=MINUTE))[0] == "conflict_waiting"


def test_an_adopted_id_does_not_wait(graced: Ledger) -> None:
    """Its holder had it before the loss; those behind it in line may go."""
    wait(graced, "a", {"cpu": 4})
    _lose(graced)
    line = graced.adopt_line("a", {"cpu": 4}, fence=graced.revision - 1, ttl=MINUTE)
    assert graced.adopt(line)[0][0] == "adopted"
    assert (graced.waiting, graced.waiter("a")) == ([], {})
    assert graced.events[-1]["kind"] == "adopted"
    graced.client.delete(graced.keys.record("full"))
    graced.client.zrem(graced.keys["deadlines"], "full")
    graced.client.hset(graced.keys["pool"], "cpu.allocated", 4)


def test_a_forced_adoption_lets_those_behind_go(full: Ledger) -> None:
    """They competed with the waiter that it ends."""
    full.resize("full", {"cpu": 6})
    wait(full, "a", {"cpu": 5})
    second = wait(full, "b", {"cpu": 2})
    assert full.adopt(full.adopt_line("a", {"cpu": 1}, fence=5), reason="by hand")[0][0] == "adopted"
    assert (full.waiting, hear(full, second)) == ([], ["replayed"])


def test_offline_grants_nothing_from_the_line(full: Ledger) -> None:
    """Who waits is told so; once it is online the next who asks is served."""
    waiter = wait(full, "a", {"cpu": 4})
    full.configure("offline")
    assert ask(full, waiter.line.again()) == ["offline"]
    assert full.release("full")[0][0] == "released"
    assert full.waiting == ["a"]
    full.configure("online")
    assert hear(full, waiter) == ["replayed"]


def test_a_deleted_pool_has_no_line(full: Ledger) -> None:
    """A pool of the same name knows nothing of it; the call may be repeated there."""
    waiter = wait(full, "a", {"cpu": 4})
    wait(full, "b", {"cpu": 4})
    assert full.delete() == ["in_use", 1]
    full.release("full")
    hear(full, waiter)
    full.release("a", "b")
    wait(full, "c", {"cpu": 1}) if full.grant("all", {"cpu": 10}) else None
    assert full.delete(force=1)[0] == "deleted"
    assert not [key for key in full.client.scan_iter() if "wait" in key]
    full.epoch = ""
    full.create({"cpu": 10}, epoch="epoch-2")
    assert full.list_waiters()[2] == 0


def test_a_pool_where_somebody_only_waits_can_be_deleted(full: Ledger) -> None:
    """In pieces, if they are many."""
    for number in range(3):
        wait(full, f"w-{number}", {"cpu": 1})
    full.configure("offline")
    full.release("full")
    full.configure("online")
    assert full.delete()[0] in ("deleted", "deleting")
    assert not full.account or full.delete()[0] == "deleted"
    assert not [key for key in full.client.scan_iter() if "wait" in key]


def test_a_long_line_is_deleted_in_pieces(newest: Ledger) -> None:
    """Each call removes a bounded number."""
    newest.create({"cpu": 1})
    newest.grant("full", {"cpu": 1}, ttl=0)
    for start in range(0, 300, 100):
        newest.allocate(*(newest.want(f"w-{start + n}", {"cpu": 1}, wait=MINUTE) for n in range(100)))
    words = [newest.delete(force=1)]
    while words[-1][0] == "deleting":
        words.append(newest.delete(force=1))
    assert (len(words), words[-1][0]) == (2, "deleted")
    assert not [key for key in newest.client.scan_iter() if "wait" in key]


def test_a_grant_that_nobody_claimed_is_extended_by_a_gap_of_the_clock(full: Ledger) -> None:
    """As any lease is; who waits has to be heard."""
    waiter = wait(full, "a", {"cpu": 10})
    full.client.hset(full.keys["pool"], "clock_ms", full.now)
    full.release("full")
    record = full.record("a")
    assert record["deadline_ms"] == str(T0 + settings.GRANT_CLAIM_MS)
    full.now += 5000
    assert hear(full, waiter) == ["replayed"]


# -- readings ----------------------------------------------------------------------------------------------------------


def test_the_line_is_listed_in_order_with_what_each_is_short_of(full: Ledger) -> None:
    """In pages; the entries are as they are stored."""
    wait(full, "a", {"cpu": 3}, meta={"k": "v"})
    wait(full, "b", {"memory": 1, "cpu": 1}, priority=7)
    wait(full, "c", {"cpu": 2}, priority=-1)
    word, at, length, *rest = full.list_waiters(count=2)
    assert (word, at, length, rest[0], rest[6]) == ("line", full.now, 3, "b", "a")
    assert {name: str(value) for name, value in fields(rest[8]).items()} == full.waiter("a")
    assert rest[9] == ["denied", "capacity_exceeded", "", "cpu", 3, 10, 10]
    assert full.list_waiters(first=3)[3:10][0] == "c"
    assert full.list_waiters(first=4) == ["line", full.now, 3]


def test_the_starts_follow_from_the_deadlines_in_the_order_of_the_line(pool: Ledger) -> None:
    """Without renewals; what nothing ends is not foreseen, nor what is behind it."""
    pool.grant("one", {"cpu": 4}, ttl=10_000)
    pool.grant("two", {"cpu": 5}, ttl=20_000)
    pool.grant("pinned", {"cpu": 1}, ttl=0)
    for name, amount in (("a", 3), ("b", 2), ("c", 4), ("d", 1)):
        wait(pool, name, {"cpu": amount})
    reply = pool.list_waiters(starts=1)
    assert reply[7::6] == [T0 + 10_000, T0 + 20_000, T0 + 20_000, 0]


def test_a_page_is_bounded_and_begins_at_one(full: Ledger) -> None:
    """Nothing else is a page."""
    for first, count in ((0, 1), (1, 0), (1, settings.PAGE_WAITERS_MAX + 1), (settings.QUEUE_MAX + 1, 1)):
        with contract("first|count"):
            full.list_waiters(first, count)
    assert full.list_waiters()[2:] == [0]


# -- damage ------------------------------------------------------------------------------------------------------------

DAMAGES = ("missing_waiter", "broken_waiter", "wrong_type", "live_waiter", "wrong_place", "unknown_line")


def _damage(pool: Ledger, kind: str) -> None:
    """Plant it; `a` waits before `b`."""
    client, base = pool.client, pool.keys.base
    if kind == "missing_waiter":
        client.delete(f"{base}waiter:a")
    elif kind == "broken_waiter":
        client.hset(f"{base}waiter:a", "requested.cpu", "much")
    elif kind == "wrong_type":
        client.delete(f"{base}waiter:a")
        client.set(f"{base}waiter:a", "x")
    elif kind == "live_waiter":
        client.zadd(f"{base}waiting", {"full": client.zscore(f"{base}waiting", "a")})
        client.hset(f"{base}waiter:full", mapping={**pool.waiter("a"), "call": "of-full"})
        client.zrem(f"{base}waiting", "a")
        client.delete(f"{base}waiter:a")
    elif kind == "wrong_place":
        client.zadd(f"{base}waiting", {"a": 5})
    else:
        client.hdel(pool.keys["pool"], "options")


@pytest.mark.parametrize("kind", DAMAGES)
def test_an_audit_finds_damage_of_the_line_and_a_repair_mends_it(full: Ledger, kind: str) -> None:
    """Whoever is sound stays in line, and is granted."""
    wait(full, "a", {"cpu": 2})
    sound = wait(full, "b", {"cpu": 3})
    _damage(full, kind)
    found = {"wrong_type": "broken_waiter"}.get(kind, kind)
    assert found in str(full.audit())
    assert full.repair()[0] == "repaired"
    assert full.audit()[4] == 0
    assert full.waiting == (["a", "b"] if kind == "unknown_line" else ["b"])
    full.release("full")
    assert hear(full, sound) == ["replayed"]


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_repair_of_the_last_waiter_leaves_nothing_of_the_line(full: Ledger, kind: str) -> None:
    """No field of the pool says that somebody waits."""
    wait(full, "a", {"cpu": 2})
    _damage(full, kind)
    assert full.repair()[0] == "repaired"
    if kind == "unknown_line":
        full.withdraw("a")
    assert (full.waiting, full.audit()[4]) == ([], 0)
    assert not [name for name in full.account if name.startswith("waiting") and name != "waiting_count"]
    assert "waits=1" not in full.account.get("options", "")


@pytest.mark.parametrize("kind", ["missing_waiter", "broken_waiter", "wrong_type", "live_waiter", "wrong_place"])
@pytest.mark.parametrize("act", ["release", "ask", "again", "undo", "withdraw", "check"])
def test_damage_of_a_waiter_harms_nobody_else(full: Ledger, kind: str, act: str) -> None:
    """The call that meets it goes on; the sound one is granted; a new request of the id is decided as any other."""
    first, sound = wait(full, "a", {"cpu": 2}), wait(full, "b", {"cpu": 3})
    _damage(full, kind)
    match act:
        case "release":
            full.resize("full", {"cpu": 9})
        case "ask":
            assert ask(full, full.want("n", {"cpu": 1}, wait=MINUTE))[0] == "waiting"
        case "again":
            assert ask(full, first.line.again())[0] == "waiting"
        case "undo":
            assert full.undo((first.line.call, "a")) == [["absent"]]
        case "withdraw":
            assert full.withdraw("a")[0][0] in ("withdrawn", "absent")
        case _:
            assert full.check({"cpu": 1})[0] == "denied"
    full.release("full")
    assert hear(full, sound) == ["replayed"]
    full.repair()
    assert full.audit()[4] == 0


def test_an_entry_that_is_not_in_line_counts_as_none(full: Ledger) -> None:
    """Its id may wait anew; others are counted as before."""
    first, second = wait(full, "a", {"cpu": 2}), wait(full, "b", {"cpu": 2})
    full.client.zrem(f"{full.keys.base}waiting", "a")
    assert ask(full, first.line.again())[:2] == ["waiting", 2]
    assert full.waiting == ["b", "a"]
    assert full.undo((first.line.call, "a"), (second.line.call, "b")) == [["absent"], ["absent"]]
    assert "options" not in full.account


def test_a_place_without_an_entry_is_taken_by_the_next_request_of_the_id(full: Ledger) -> None:
    """It stands where it would as a new one."""
    first, second = wait(full, "a", {"cpu": 2}), wait(full, "b", {"cpu": 3})
    full.client.delete(f"{full.keys.base}waiter:a")
    assert ask(full, first.line.again())[:2] == ["waiting", 2]
    assert full.waiting == ["b", "a"]
    full.release("full")
    assert hear(full, second, first) == ["replayed", "replayed"]
