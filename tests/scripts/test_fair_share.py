"""Fair share in the line: who goes first, what counts for whom, weights that come and go, audit and repair."""

from __future__ import annotations

import pytest

from allocator import settings
from tests.scripts.ledger import MINUTE, T0, Ledger
from tests.scripts.test_audit import findings
from tests.scripts.waiting import ask, hear, wait

HALF_LIFE_MS = 60_000


@pytest.fixture
def fair(pool: Ledger) -> Ledger:
    """Of 10 cpu all are taken, 5 by `a`, 1 by `b`, 4 by `other`; `a` and `b` have weights, `free` has none."""
    assert pool.configure("change", promises=f"queue_half_life_ms={HALF_LIFE_MS}")[0] == "configured"
    for scope in ("a", "b"):
        assert pool.set_quota(scope, {}, weight=1)[0] == "quota"
    assert pool.set_quota("free", {"cpu": (10, 0, "-")})[0] == "quota"
    pool.grant("a-live", {"cpu": 5, "memory": 10}, ttl=0, scope="a")
    pool.grant("b-live", {"cpu": 1, "memory": 20}, ttl=0, scope="b")
    pool.grant("other", {"cpu": 4}, ttl=0, scope="free")
    return pool


def share(pool: Ledger, scope: str = "") -> tuple[int, float]:
    """What is stored: what it has, and what it has used."""
    key = f"{pool.keys.base}quota:{scope}" if scope else pool.keys["pool"]
    live, used = pool.client.hmget(key, "live_share", "used_share")
    return int(live or 0), float(used or 0)


def test_the_dominant_share_of_each_allocation_counts_for_its_scope(fair: Ledger) -> None:
    """The largest part of a resource; without a weight it counts for the pool."""
    assert share(fair, "a") == (500_000, 0)
    assert share(fair, "b") == (200_000, 0)
    assert share(fair) == (400_000, 0)
    assert fair.record("b-live")["share"] == "200000"
    assert "share_of" not in fair.record("other")
    fair.now += HALF_LIFE_MS
    fair.release("a-live")
    assert share(fair, "a") == (0, 250_000)


def test_the_smallest_share_goes_first_and_equals_by_arrival(fair: Ledger) -> None:
    """Of each scope its first request is compared; its others stand behind those of all scopes."""
    for name, scope in (("a1", "a"), ("a2", "a"), ("b1", "b"), ("b2", "b")):
        wait(fair, name, {"cpu": 1}, scope=scope)
    assert fair.waiting == ["b1", "a1", "a2", "b2"]
    fair.set_quota("c", {}, weight=1)
    fair.set_quota("d", {}, weight=1)
    wait(fair, "d1", {"cpu": 1}, scope="d")
    wait(fair, "c1", {"cpu": 1}, scope="c")
    assert fair.waiting == ["d1", "c1", "b1", "a1", "a2", "b2"]


def test_a_weight_divides_and_a_priority_comes_before_all_shares(fair: Ledger) -> None:
    """Five times the weight is less than two fifths of the share."""
    fair.set_quota("a", {}, weight=5)
    wait(fair, "b1", {"cpu": 1}, scope="b")
    wait(fair, "a1", {"cpu": 1}, scope="a")
    wait(fair, "high", {"cpu": 1}, scope="b", priority=1)
    assert fair.waiting == ["high", "a1", "b1"]


def test_the_penalty_of_a_grant_counts_for_the_next_one_of_the_same_call(fair: Ledger) -> None:
    """Of four that are freed at once `b` gets three: then both have half of the pool."""
    waiting = [wait(fair, f"{scope}{n}", {"cpu": 1}, scope=scope) for n in range(4) for scope in ("a", "b")]
    fair.release("other")
    assert sorted(one.line.id for one in waiting if fair.record(one.line.id)) == ["a0", "b0", "b1", "b2"]


def test_one_call_grants_no_more_than_it_looks_at(pool: Ledger) -> None:
    """Each grant brings the next one of its scope; what is left goes to them as they ask again."""
    pool.configure("change", {"cpu": 80})
    pool.set_quota("a", {}, weight=1)
    pool.grant("all", {"cpu": 80}, ttl=0)
    waiting = [wait(pool, f"a{n:02}", {"cpu": 1 + n % 2}, scope="a") for n in range(40)]
    pool.release("all")
    assert len(pool.waiting) == 40 - settings.WAITERS_LOOKED_MAX
    for _ in range(2):
        hear(pool, *waiting, by=settings.LOOK_AGAIN_MS)
    assert (pool.waiting, len(pool.live)) == ([], 40)


def test_what_was_used_decays_and_is_compared_as_of_now(fair: Ledger) -> None:
    """`a` had much and has nothing any more, `b` keeps a little: after two half-lives `a` goes before `b`."""
    fair.now += HALF_LIFE_MS
    fair.release("a-live")
    fair.grant("keeps", {"cpu": 5}, ttl=0, scope="free")
    waiting = [wait(fair, name, {"cpu": 1}, scope=name[0], ms=10 * MINUTE) for name in ("b1", "a1")]
    assert fair.waiting == ["b1", "a1"]
    for _ in range(24):
        fair.now += HALF_LIFE_MS // 12
        hear(fair, waiting[0], waiting[1])
    assert fair.waiting == ["a1", "b1"]
    fair.now += 3 * HALF_LIFE_MS // 12
    place = fair.client.zscore(f"{fair.keys.base}waiting", "a1")
    hear(fair, waiting[1])
    assert fair.client.zscore(f"{fair.keys.base}waiting", "a1") == pytest.approx(place, abs=1), (
        "it moves while it decays"
    )


def test_a_request_that_does_not_wait_is_decided_at_the_place_of_its_scope(fair: Ledger) -> None:
    """A scope that has used nothing does not wait for one that has; one that has more does."""
    wait(fair, "b1", {"cpu": 3}, scope="b")
    assert fair.resize("other", {"cpu": 2})[0] == "resized"
    assert ask(fair, fair.want("a2", {"cpu": 1}, scope="a"))[:2] == ["denied", "queued"]
    fair.set_quota("c", {}, weight=1)
    assert ask(fair, fair.want("c1", {"cpu": 1}, scope="c"))[0] == "granted"
    assert fair.check({"cpu": 1}, scope="a")[:2] == ["denied", "queued"]
    fair.set_quota("d", {}, weight=1)
    assert fair.check({"cpu": 1}, scope="d")[0] == "fits"


def test_a_resize_and_a_move_are_counted(fair: Ledger) -> None:
    """A batch that is not granted as a whole counts for nobody."""
    assert fair.resize("a-live", {"cpu": 2})[0] == "resized"
    assert share(fair, "a") == (200_000, 0)
    assert fair.move("a-live", "b")[0] == "moved"
    assert (share(fair, "a")[0], share(fair, "b")[0], fair.record("a-live")["share_of"]) == (0, 400_000, "b")
    assert fair.move("a-live", "")[0] == "moved"
    assert (share(fair)[0], fair.record("a-live").get("share_of")) == (600_000, None)
    before = fair.dump()
    replies = fair.allocate(fair.want("x", {"cpu": 1}, scope="a"), fair.want("y", {"cpu": 9}, scope="a"), atomic=1)
    assert replies[1][0] == "denied"
    assert share(fair, "a")[0] == 0
    fair.assert_untouched(before)


def test_what_was_granted_before_there_was_a_weight_counts_from_its_next_renewal(pool: Ledger) -> None:
    """Or its next resize; and what was counted is given back without weights, too."""
    pool.set_quota("a", {"cpu": (10, 0, "-")})
    for name in ("one", "two"):
        pool.grant(name, {"cpu": 2}, scope="a")
    assert "options" not in pool.account or "weights=" not in pool.account["options"]
    pool.set_quota("a", {}, weight=3)
    assert "weights=1" in pool.account["options"]
    pool.renew("one")
    assert (share(pool, "a")[0], pool.record("one")["share_of"]) == (200_000, "a")
    pool.resize("two", {"cpu": 3})
    assert share(pool, "a")[0] == 500_000
    pool.set_quota("a", {}, weight="-")
    assert "weights=" not in pool.account.get("options", "")
    pool.release("one", "two")
    assert share(pool, "a")[0] == 0


def test_who_waits_when_weights_come_and_go_keeps_waiting(pool: Ledger) -> None:
    """The order follows once its client asks again: within a heartbeat."""
    pool.set_quota("a", {"cpu": (10, 0, "-")})
    pool.set_quota("b", {"cpu": (10, 0, "-")})
    pool.grant("a-live", {"cpu": 10}, ttl=0, scope="a")
    waiting = [wait(pool, name, {"cpu": 1}, scope=name[0]) for name in ("a1", "a2", "b1")]
    pool.set_quota("a", {}, weight=1)
    pool.set_quota("b", {}, weight=1)
    pool.resize("a-live", {"cpu": 9, "memory": 1})
    assert hear(pool, *waiting[1:]) == ["waiting"] * 2
    assert pool.waiting == ["b1", "a2"]
    for scope in ("a", "b"):
        pool.set_quota(scope, {}, weight="-")
    assert hear(pool, *waiting[1:]) == ["waiting"] * 2
    assert pool.waiting == ["a2", "b1"]


@pytest.mark.parametrize("weight", [0, -1, 1001, "nan", "1.5", "2e3"])
def test_a_weight_out_of_its_bounds_changes_nothing(pool: Ledger, weight: int | str) -> None:
    """Whoever sends it."""
    before = pool.dump()
    with pytest.raises(Exception, match="weight"):
        pool.set_quota("a", {}, weight=weight)
    pool.assert_untouched(before)


def test_a_dry_run_tells_a_weight_and_changes_nothing(pool: Ledger) -> None:
    """A scope with a weight may be deleted, and the pool knows."""
    pool.set_quota("a", {}, weight=2)
    before = pool.dump()
    told = pool.set_quota("a", {}, weight=7, dry_run=1)[-1]
    assert told[told.index("weight") + 1] in {"7", 7}
    pool.assert_untouched(before)
    assert pool.delete_quota("a")[0] == "deleted"
    assert "weights=" not in pool.account.get("options", "")


@pytest.mark.breaks_data
@pytest.mark.parametrize(("field", "value", "finding"), [
    ("live_share", "7", "share_drift"), ("live_share", "", "share_drift"), ("weight", "", "weights_drift"),
])  # fmt: skip
def test_the_audit_finds_shares_that_are_wrong_and_the_repair_corrects_them(
    fair: Ledger, field: str, value: str, finding: str
) -> None:
    """The sums over the records, and the number of scopes with a weight."""
    key = f"{fair.keys.base}quota:a"
    if value:
        fair.client.hset(key, field, value)
    else:
        fair.client.hdel(key, field)
    assert [kind for kind, _ in findings(fair.audit())] == [finding]
    fair.repair()
    assert fair.audit()[4] == 0
    assert share(fair, "a")[0] == 500_000


@pytest.mark.breaks_data
def test_the_audit_finds_a_wrong_index_of_the_line_and_the_repair_corrects_it(fair: Ledger) -> None:
    """One that is missing there, and one that is not in line."""
    wait(fair, "a1", {"cpu": 1}, scope="a")
    index = f"{fair.keys.base}waiting_by_scope"
    right = fair.client.zrange(index, 0, -1)
    fair.client.delete(index)
    fair.client.zadd(index, {"a 1000 0000000000009 gone": 0})
    assert [kind for kind, _ in findings(fair.audit())] == ["unsorted_waiter", "sorted_stranger"]
    fair.repair()
    assert fair.client.zrange(index, 0, -1) == right
    assert fair.audit()[4] == 0


def test_a_pool_without_weights_stores_nothing_of_shares(pool: Ledger) -> None:
    """And its line is by arrival."""
    pool.set_quota("a", {"cpu": (10, 0, "-")})
    pool.grant("live", {"cpu": 10}, scope="a")
    wait(pool, "a1", {"cpu": 1}, scope="a")
    wait(pool, "b1", {"cpu": 1})
    assert pool.waiting == ["a1", "b1"]
    stored = {
        **pool.account,
        **pool.record("live"),
        **pool.waiter("a1"),
        **pool.client.hgetall(f"{pool.keys.base}quota:a"),
    }
    assert not [name for name in stored if "share" in name or name == "number"]
    assert not pool.client.exists(f"{pool.keys.base}waiting_by_scope")


def test_places_are_right_sixteen_years_on(fair: Ledger) -> None:
    """Half-lives are counted from an instant; at the shortest half-life a place has room for so many."""
    fair.now = T0 + 15 * 366 * 86_400_000
    wait(fair, "a1", {"cpu": 1}, scope="a")
    wait(fair, "b1", {"cpu": 1}, scope="b")
    assert fair.waiting == ["b1", "a1"]


def permit(pool: Ledger) -> None:
    """Backfill, in a pool whose cpu are `a`'s for 10 s, `b`'s for 4 s, and 3 free; `b1` stands before `a1`."""
    assert pool.configure("change", promises=f"queue_half_life_ms={HALF_LIFE_MS} queue_backfill=1")[0] == "configured"
    for scope in ("a", "b"):
        assert pool.set_quota(scope, {}, weight=1)[0] == "quota"
    pool.grant("a-live", {"cpu": 5}, ttl=10_000, scope="a")
    pool.grant("b-live", {"cpu": 2}, ttl=4_000, scope="b")
    wait(pool, "a1", {"cpu": 10}, ttl=0, scope="a")
    wait(pool, "b1", {"cpu": 5}, ttl=0, scope="b")
    assert pool.waiting == ["b1", "a1"]


def test_backfill_ends_before_who_is_first_by_share_could_start(pool: Ledger) -> None:
    """Not before the first that arrived: `b1` can start after four seconds, `a1` after ten."""
    permit(pool)
    late, soon = (
        pool.want(name, {"cpu": 1}, scope="a", lifetime=ms) for name, ms in (("late", 4_001), ("soon", 4_000))
    )
    assert ask(pool, late)[1] == "queued"
    assert ask(pool, soon)[0] == "granted"
    assert share(pool, "a") == (600_000, 0)
    assert pool.waiting == ["b1", "a1"]


def test_a_waiter_that_is_backfilled_counts_and_moves_the_others_of_its_scope(pool: Ledger) -> None:
    """`c2` stands behind all; what it gets places `c1`, the first of its scope, behind `b1`, not `a1`."""
    permit(pool)
    pool.set_quota("c", {}, weight=1)
    waiting = [wait(pool, "c1", {"cpu": 4}, ttl=0, scope="c")]
    pool.configure("change", promises="queue_backfill=")
    waiting += [wait(pool, name, {"cpu": 1}, ttl=0, scope="c", lifetime=3_000) for name in ("c2", "c3", "c4")]
    assert pool.waiting == ["c1", "b1", "a1", "c2", "c3", "c4"]
    pool.configure("change", promises="queue_backfill=1")
    pool.now += 1_000
    assert hear(pool, waiting[2])[0] == "replayed"
    assert [one["id"] for one in pool.events if one.get("reason") == "backfilled"] == ["c2", "c3", "c4"]
    assert share(pool, "c")[0] == 300_000
    assert pool.waiting == ["b1", "c1", "a1"]


def test_an_estimate_is_of_the_place_by_share(pool: Ledger) -> None:
    """`c` has nothing, and would be the first; `a` waits already, and would be the last."""
    permit(pool)
    pool.set_quota("c", {}, weight=1)
    for scope, place, start in (("c", 1, 4_000), ("a", 3, 0)):
        reply = ask(pool, pool.want("new", {"cpu": 5}, scope=scope, estimate=1))
        assert reply[:3] == ["estimated", place, T0 + start if start else 0]
        assert pool.check({"cpu": 5}, scope=scope, explain=1)[4:6] == reply[1:3]


def test_a_quota_that_has_only_a_weight_is_plain(pool: Ledger) -> None:
    """And stays so with a limit, until it lends."""
    for limits, plain in (({}, "1"), ({"cpu": (4, 0, "-")}, "1"), ({"cpu": (4, 0, 2)}, "0")):
        pool.set_quota("w", limits, weight=2)
        assert pool.client.hmget(f"{pool.keys.base}quota:w", "plain", "weight") == [plain, "2"]
