"""The ids of a batch that waits, how it is shown, and what becomes of it where data is damaged or the pool deleted."""

from __future__ import annotations

import pytest

from allocator import settings
from tests.scripts.gangs import PAIR, enter, gang, words
from tests.scripts.ledger import MINUTE, Ledger, contract, fields
from tests.scripts.waiting import ask, hear, wait

HEARD = settings.WAITER_TTL_MS


@pytest.fixture
def full(pool: Ledger) -> Ledger:
    """A pool whose cpu is taken, by `left` and `right`."""
    pool.grant("left", {"cpu": 5}, ttl=0)
    pool.grant("right", {"cpu": 5}, ttl=0)
    return pool


def test_a_live_member_counts_as_granted_and_is_shared_at_the_grant(full: Ledger) -> None:
    """Nothing of it changes while the others wait."""
    full.resize("left", {"cpu": 1})
    fence = full.grant("a", {"cpu": 4}, ttl=MINUTE)
    before = full.record("a")
    waiting = enter(full, PAIR)
    assert waiting.hear(by=1) == ["waiting", "waiting"]
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


def test_a_gang_that_can_no_longer_fit_is_told_so_when_it_asks_again(full: Ledger) -> None:
    """Also in a strict line, of which a call looks at nobody but the first."""
    full.configure("change", promises="queue_policy=strict")
    first = wait(full, "first", {"cpu": 5})
    vain = enter(full, {"x": {"memory": 50}, "y": {"memory": 40}, "z": {"cpu": 9}})
    full.configure("change", {"memory": 80})
    assert hear(full, first, by=2000) == ["waiting"]
    assert [reply[0] for reply in vain.ask()] == ["aborted", "denied", "aborted"]
    assert full.waiting == ["first"]
