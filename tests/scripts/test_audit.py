"""audit and repair: each kind of finding, and that mending it restores every invariant."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.scripts.invariants import check_pool
from tests.scripts.ledger import T0, Ledger, fields


def findings(reply: list[Any]) -> list[tuple[str, str]]:
    """(kind, subject) of an audit's or a repair's findings."""
    flat = reply[8] if reply[0] == "audit" else reply[3:]
    return list(zip(flat[::3], flat[1::3], strict=True))


def _hset(field: str, value: object) -> Callable[[Ledger], object]:
    return lambda pool: pool.client.hset(pool.keys.record("a"), field, value)


DAMAGE: dict[str, tuple[str, Callable[[Ledger], object]]] = {
    "expiring": ("expiring_record", lambda pool: pool.client.expire(pool.keys.record("a"), 1000)),
    "missing": ("missing_record", lambda pool: pool.client.delete(pool.keys.record("a"))),
    "rubbish": (
        "broken_record",
        lambda pool: (pool.client.delete(pool.keys.record("a")), pool.client.set(pool.keys.record("a"), "x")),
    ),
    "no number": ("broken_record", _hset("cpu.allocated", "many")),
    "no fence": ("broken_record", lambda pool: pool.client.hdel(pool.keys.record("a"), "fence")),
    "other instant": ("wrong_instant", lambda pool: pool.client.zadd(pool.keys["deadlines"], {"a": T0})),
    "other index": (
        "wrong_index",
        lambda pool: (pool.client.zrem(pool.keys["deadlines"], "a"), pool.client.zadd(pool.keys["pinned"], {"a": T0})),
    ),
    "both indexes": ("indexed_twice", lambda pool: pool.client.zadd(pool.keys["pinned"], {"a": T0})),
    "beyond its end": ("beyond_end", _hset("ends_ms", T0 + 30_000)),
    "end no number": ("broken_record", _hset("ends_ms", "soon")),
    "fence ahead": ("fence_ahead", _hset("fence", 2**53 - 2)),
    "same fence": ("fence_twice", lambda pool: _hset("fence", pool.record("b")["fence"])(pool)),
}
"""What may be wrong with a record: the finding's kind, and how to do it to the record `a`."""

MENDED = [how for how, (kind, _) in DAMAGE.items() if not kind.startswith("fence_")]


@pytest.fixture
def damaged(pool: Ledger) -> Ledger:
    """Two leases and a pinned allocation, about to be damaged."""
    pool.grant("a", {"cpu": 3, "memory": 10})
    pool.grant("b", {"cpu": 2})
    pool.grant("c", {"memory": 5}, ttl=0)
    return pool


@pytest.mark.breaks_data
@pytest.mark.parametrize("how", DAMAGE)
def test_each_kind_of_damage_is_found(damaged: Ledger, how: str) -> None:
    """By its name and its subject; nothing else is found, and nothing is changed."""
    kind, act = DAMAGE[how]
    act(damaged)
    before = damaged.dump()
    reply = damaged.audit()
    subjects = {"a", "b"} if kind == "fence_twice" else {"a"}
    assert {found for found, _ in findings(reply)} == {kind}
    assert {subject for _, subject in findings(reply)} <= subjects
    assert reply[4] == len(findings(reply)) == 1
    damaged.assert_untouched(before)


@pytest.mark.parametrize("how", MENDED)
def test_each_kind_of_damage_is_mended(damaged: Ledger, how: str) -> None:
    """Afterwards every invariant holds, what was whole is whole, and an event tells what was done."""
    kind, act = DAMAGE[how]
    act(damaged)
    reply = damaged.repair()
    assert (reply[0], reply[1]) == ("repaired", "0")
    assert (kind, "a") in findings(reply)
    check_pool(damaged.client, damaged.keys)
    assert damaged.audit()[4] == 0
    assert {"b", "c"} <= damaged.index("deadlines").keys() | damaged.index("pinned").keys()
    told = [event for event in damaged.events if event["kind"] == "repaired"]
    assert told[0]["reason"].startswith(f"{kind}: ")
    assert ("a" in damaged.index("deadlines")) == (kind not in ("missing_record", "broken_record"))


@pytest.mark.parametrize("counter", [0, 4, 99, 2**53 - 1])
def test_a_counter_that_drifted_is_set_to_the_sum_of_the_records(damaged: Ledger, counter: int) -> None:
    """In either direction."""
    damaged.client.hset(damaged.keys["pool"], "cpu.allocated", counter)
    reply = damaged.audit()
    assert fields(reply[5]) == {"cpu": 5, "memory": 15}
    assert fields(reply[6])["cpu.allocated"] == str(counter)
    repaired = damaged.repair()
    assert repaired[2:] == [1, "drift", "cpu", f"allocated {counter}, records 5"]
    assert damaged.allocated() == 5


def test_a_counter_that_is_no_number_is_set(damaged: Ledger) -> None:
    """Nothing else could."""
    damaged.client.hset(damaged.keys["pool"], "cpu.allocated", "many")
    assert findings(damaged.repair()) == [("drift", "cpu")]
    assert damaged.allocated() == 5


@pytest.mark.parametrize("ttl", [0, 60_000])
def test_a_whole_record_that_no_index_knows_is_indexed_again(pool: Ledger, ttl: int) -> None:
    """It is somebody's."""
    pool.grant("a", {"cpu": 3}, ttl=ttl)
    index = "deadlines" if ttl else "pinned"
    before = pool.index(index)
    pool.client.zrem(pool.keys[index], "a")
    assert pool.run("find_orphans", records=["a"]) == ["orphans", "a"]
    assert findings(pool.repair(orphans=["a"])) == [("orphan_record", "a")]
    assert (pool.index(index), pool.allocated()) == (before, 3)


@pytest.mark.parametrize("how", ["rubbish", "not counted"])
def test_an_orphan_that_cannot_be_whole_is_removed(damaged: Ledger, how: str) -> None:
    """There is nothing to charge it to."""
    key = damaged.keys.record("lost")
    if how == "rubbish":
        damaged.client.set(key, "x")
    else:
        damaged.client.hset(key, mapping={**damaged.record("b"), "disk.allocated": 4, "call": "lost"})
    assert findings(damaged.repair(orphans=["lost"])) == [("orphan_record", "lost")]
    assert damaged.client.exists(key) == 0


def test_an_orphan_that_an_index_knows_by_now_is_none(damaged: Ledger) -> None:
    """It is looked at again in the script that writes."""
    before = damaged.dump()
    assert damaged.repair(orphans=["a", "never"]) == ["repaired", "0", 0]
    damaged.assert_untouched(before)


def test_a_clean_pool_has_no_findings_and_is_not_touched_by_a_repair(damaged: Ledger) -> None:
    """No event, no new revision."""
    reply = damaged.audit()
    assert reply[:5] == ["audit", damaged.revision, "0", 3, 0]
    assert (fields(reply[5]), fields(reply[6])) == ({"cpu": 5, "memory": 15}, damaged.account)
    assert (reply[7], reply[8]) == ([], [])
    before = damaged.dump()
    assert damaged.repair() == ["repaired", "0", 0]
    damaged.assert_untouched(before)


def test_pages_add_up_to_the_whole(ledger: Ledger) -> None:
    """Both indexes, page by page: the same sums and the same number of records, and each id once."""
    ledger.create({"cpu": 1000})
    for start in range(0, 600, 100):
        ledger.allocate(*(ledger.want(f"a{n}", {"cpu": 1}, ttl=n % 2 * 1000) for n in range(start, start + 100)))
    ids: list[str] = []
    total = records = 0
    for index in ("deadlines", "pinned"):
        cursor = ""
        while cursor != "0":
            _, _, cursor, count, _, sums, _, page, _ = ledger.audit(index, cursor or "0", count=50)
            records += count
            total += fields(sums).get("cpu", 0)
            ids += page
    assert (records, total, len(ids), len(set(ids))) == (600, 600, 600, 600)


def test_a_pool_that_is_too_large_for_one_call_says_so(pool: Ledger) -> None:
    """Here above two records."""
    for name in ("a", "b", "c"):
        pool.grant(name, {"cpu": 1})
    assert pool.audit(bounds={"AUDIT_RECORDS_MAX": 2}) == ["large", 3]
    assert pool.repair(bounds={"AUDIT_RECORDS_MAX": 2}) == ["large", 3]
    assert pool.audit(bounds={"AUDIT_RECORDS_MAX": 3})[0] == "audit"


@pytest.mark.parametrize("index", ["deadlines", "pinned"])
def test_a_page_of_an_index_is_mended_alone(damaged: Ledger, index: str) -> None:
    """Above the bound: records and indexes page by page, then the totals at one revision."""
    name = "a" if index == "deadlines" else "c"
    damaged.client.delete(damaged.keys.record(name))
    reply = damaged.repair(index)
    assert (reply[:2], findings(reply)) == (["repaired", "0"], [("missing_record", name)])
    sums = fields(damaged.audit()[5])
    assert damaged.repair("totals", revision=damaged.revision - 1, sums=sums) == ["moved"]
    assert damaged.repair("totals", revision=damaged.revision, sums=sums)[0] == "repaired"
    check_pool(damaged.client, damaged.keys)


def test_totals_of_a_resource_without_records_are_zero(damaged: Ledger) -> None:
    """A sum that is not named is none."""
    damaged.release("a", "b", "c")
    damaged.client.hset(damaged.keys["pool"], mapping={"cpu.allocated": 3})
    assert damaged.repair("totals", revision=damaged.revision)[2:] == [1, "drift", "cpu", "allocated 3, records 0"]
    assert damaged.allocated() == 0


def test_a_hundred_findings_are_listed_and_all_are_counted_and_mended(ledger: Ledger) -> None:
    """The list is bounded; the work is not left undone."""
    ledger.create({"cpu": 1000})
    for start in (0, 100):
        ledger.allocate(*(ledger.want(f"a{n}", {"cpu": 1}) for n in range(start, start + 100)))
    for n in range(150):
        ledger.client.delete(ledger.keys.record(f"a{n}"))
    reply = ledger.audit()
    assert (reply[4], len(findings(reply))) == (150, 100)
    repaired = ledger.repair()
    assert (repaired[2], len(findings(repaired)), ledger.allocated()) == (151, 100, 50)


def test_the_same_repair_is_done_once(damaged: Ledger) -> None:
    """A late copy mends nothing."""
    damaged.client.hset(damaged.keys["pool"], "cpu.allocated", 9)
    damaged.repair(call="r")
    damaged.client.hset(damaged.keys["pool"], "cpu.allocated", 9)
    assert damaged.repair(call="r") == ["repaired", "0", 0]
    damaged.client.hset(damaged.keys["pool"], "cpu.allocated", 5)
