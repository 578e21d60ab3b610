"""Batches that wait as one where scopes have weights: their place, what counts for whom, and what is left of them."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from allocator import settings
from tests.scripts.gangs import Gang, gang
from tests.scripts.ledger import Ledger
from tests.scripts.test_audit import findings
from tests.scripts.waiting import wait


@pytest.fixture
def fair(pool: Ledger) -> Ledger:
    """Of 10 cpu all are taken: 5 by `a`, 1 by `b`, 4 by `other`; `a`, `b` and `c` have weights, `free` has none."""
    for scope in ("a", "b", "c"):
        assert pool.set_quota(scope, {}, weight=1)[0] == "quota"
    assert pool.set_quota("free", {"cpu": (10, 0, "-")})[0] == "quota"
    pool.grant("a-live", {"cpu": 5}, ttl=0, scope="a")
    pool.grant("b-live", {"cpu": 1}, ttl=0, scope="b")
    pool.grant("other", {"cpu": 4}, ttl=0, scope="free")
    return pool


def enter(pool: Ledger, wanted: Mapping[str, int]) -> Gang:
    """A batch that waits; each member is of the scope that its id begins with."""
    parts = [gang(pool, {name: {"cpu": cpu}}, scope=name[0]) for name, cpu in wanted.items()]
    one = Gang(pool, tuple(part.lines[0] for part in parts), tuple(part.last[0] for part in parts))
    assert one.hear() == ["waiting"] * len(wanted)
    return one


def live_share(pool: Ledger, scope: str) -> int:
    """What is stored of what it has."""
    return int(pool.client.hget(f"{pool.keys.base}quota:{scope}", "live_share") or 0)


def indexed(pool: Ledger) -> list[str]:
    """The members of the indexes of the line."""
    return [one for name in ("waiting_by_scope", "gangs") for one in pool.client.zrange(pool.keys.base + name, 0, -1)]


def test_a_gang_stands_at_the_place_of_its_first_member(fair: Ledger) -> None:
    """Also when its client asks again, and as that scope's share has changed; not as the others' has."""
    first_b = enter(fair, {"b1": 1, "a9": 1})
    first_a = enter(fair, {"a1": 1, "c9": 1})
    wait(fair, "c1", {"cpu": 1}, scope="c")
    assert fair.waiting == ["c1", "b1", "a1"]
    assert fair.client.hget(f"{fair.keys.base}waiter:b1", "share_of") == "b"
    assert (first_a.hear(by=1), first_b.hear(by=1), fair.waiting) == (
        ["waiting"] * 2,
        ["waiting"] * 2,
        ["c1", "b1", "a1"],
    )
    assert fair.resize("a-live", {"cpu": 1})[0] == "resized"
    assert (set(fair.live) >= {"c1", "b1", "a9"}, fair.waiting) == (True, ["a1"])
    assert not findings(fair.audit())


def test_each_member_counts_for_its_own_scope_and_places_the_next_of_it_in_the_same_walk(fair: Ledger) -> None:
    """5 are freed: the gang takes 4, and the last one is for `b`, not for `c`, which has got 3 by then."""
    fair.set_quota("d", {}, weight=1)
    enter(fair, {"d1": 1, "c9": 3})
    wait(fair, "c1", {"cpu": 1}, scope="c")
    wait(fair, "b2", {"cpu": 1}, scope="b")
    assert fair.waiting == ["d1", "c1", "b2"]
    fair.release("a-live")
    assert (sorted(fair.live), fair.waiting) == (["b-live", "b2", "c9", "d1", "other"], ["c1"])
    assert [live_share(fair, scope) for scope in "abcd"] == [0, 200_000, 300_000, 100_000]
    assert {name: fair.record(name)["share_of"] for name in ("d1", "c9")} == {"d1": "d", "c9": "c"}
    assert not findings(fair.audit())


@pytest.mark.parametrize("end", ["withdrawn", "undone", "given up", "silent", "lapsed", "undone grant"])
def test_nothing_is_left_of_a_gang_in_shares_and_indexes(fair: Ledger, end: str) -> None:
    """Neither of one that waited, nor of one that was granted."""
    before = [live_share(fair, scope) for scope in "abc"]
    waiting = enter(fair, {"b1": 2, "c9": 2})
    assert len(indexed(fair)) == 2
    if end == "withdrawn":
        assert fair.withdraw("c9")[0] == ["withdrawn"]
    elif end == "undone":
        waiting.undo()
    elif end == "given up":
        waiting.give_up()
    elif end == "silent":
        fair.now += settings.WAITER_TTL_MS
        fair.release("other")
    else:
        fair.release("other")
        assert set(fair.live) >= {"b1", "c9"}
        assert [live_share(fair, scope) for scope in "abc"] == [500_000, 300_000, 200_000]
        if end == "lapsed":
            fair.now += settings.GRANT_CLAIM_MS
            fair.reclaim()
        else:
            assert waiting.undo() == ["undone", "undone"]
    assert [live_share(fair, scope) for scope in "abc"] == before
    assert (fair.waiting, indexed(fair)) == ([], [])
    assert not findings(fair.audit())


def test_weights_that_come_later_place_a_gang_at_its_next_repeat(pool: Ledger) -> None:
    """And by its first member's scope, which its entry names from then on."""
    for scope in ("a", "b"):
        pool.set_quota(scope, {})
    pool.grant("a-live", {"cpu": 9}, ttl=0, scope="a")
    waiting = enter(pool, {"a1": 1, "b9": 1})
    wait(pool, "b1", {"cpu": 2}, scope="b")
    assert "share_of" not in pool.client.hgetall(f"{pool.keys.base}waiter:a1")
    for scope in ("a", "b"):
        pool.set_quota(scope, {}, weight=1)
    assert waiting.hear(by=1) == ["waiting", "waiting"]
    assert pool.client.hget(f"{pool.keys.base}waiter:a1", "share_of") == "a"
    assert "a " in indexed(pool)[0]
    assert not findings(pool.audit())


def test_a_live_member_without_a_scope_of_its_own_is_granted_anew_in_that_which_it_had(fair: Ledger) -> None:
    """Where the pool has a default scope."""
    fair.configure("change", promises="default_scope=free")
    fair.release("b-live")
    fair.grant("x", {"cpu": 1}, ttl=0)
    waiting = gang(fair, {"x": {"cpu": 1}, "y": {"cpu": 1}})
    assert waiting.hear() == ["waiting", "waiting"]
    fair.release("x")
    fair.release("other")
    assert {name: fair.record(name)["account.1"] for name in ("x", "y")} == {"x": "quota:free", "y": "quota:free"}
