"""Broken data: a bystander never fails the caller, and the caller hears of its own."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.scripts.ledger import MINUTE, Ledger, broken

pytestmark = [pytest.mark.breaks_data, pytest.mark.one_store]

BREAKS: dict[str, Callable[[Ledger, str], object]] = {
    "wrong type": lambda pool, key: (pool.client.delete(key), pool.client.set(key, "rubbish")),
    "missing": lambda pool, key: pool.client.delete(key),
    "more than its counter": lambda pool, key: pool.client.hset(key, "cpu.allocated", 11),
    "a resource that is not counted": lambda pool, key: pool.client.hset(key, "disk.allocated", 1),
    "no number": lambda pool, key: pool.client.hset(key, "cpu.allocated", "many"),
    "nan": lambda pool, key: pool.client.hset(key, "cpu.allocated", "nan"),
    "negative": lambda pool, key: pool.client.hset(key, "cpu.allocated", -1),
    "a fraction": lambda pool, key: pool.client.hset(key, "cpu.allocated", "1.5"),
    "no fence": lambda pool, key: pool.client.hdel(key, "fence"),
    "no instant": lambda pool, key: pool.client.hset(key, "granted_ms", "today"),
}
"""How a record may be broken."""

BOTH = pytest.mark.parametrize("how", BREAKS)
NAMED = pytest.mark.parametrize("how", [how for how in BREAKS if how != "missing"])


@BOTH
@pytest.mark.parametrize("verb", ["allocate", "resize", "reclaim"])
def test_a_broken_bystander_leaves_the_index_with_an_event(pool: Ledger, how: str, verb: str) -> None:
    """The caller is served, the charge stays until the audit, the next call does not meet it again."""
    pool.grant("mine", {"cpu": 1}, ttl=0)
    pool.grant("broken", {"cpu": 3}, ttl=1000)
    pool.grant("whole", {"cpu": 6}, ttl=2000)
    pool.now += MINUTE
    BREAKS[how](pool, pool.keys.record("broken"))
    if verb == "allocate":
        assert pool.allocate(pool.want("a", {"cpu": 6}))[0][0] == "granted"
    elif verb == "resize":
        assert pool.resize("mine", {"cpu": 7})[0] == "resized"
    else:
        reply = pool.reclaim()
        assert reply[:2] == ["reclaimed", 0]
        assert "whole" in reply
    assert "broken" not in pool.index("deadlines")
    told = next(event for event in pool.events if event["kind"] == "broken")
    assert (told["id"], bool(told["reason"])) == ("broken", True)
    assert pool.allocated() >= 4, "what the broken record took stays charged"


@BOTH
def test_a_broken_pinned_record_is_taken_out_by_age(pool: Ledger, how: str) -> None:
    """The same in the other index."""
    pool.grant("broken", {"cpu": 3}, ttl=0)
    pool.grant("whole", {"cpu": 3}, ttl=0)
    BREAKS[how](pool, pool.keys.record("broken"))
    pool.now += 1000
    assert "whole" in pool.reclaim(age=1)
    assert pool.index("pinned") == {}
    assert (pool.allocated(), pool.kinds.count("broken")) == (3, 1)


@BOTH
def test_check_counts_nothing_of_a_broken_bystander(pool: Ledger, how: str) -> None:
    """As allocate does."""
    pool.grant("broken", {"cpu": 3}, ttl=1000)
    pool.grant("whole", {"cpu": 7}, ttl=2000)
    pool.now += MINUTE
    BREAKS[how](pool, pool.keys.record("broken"))
    assert pool.check({"cpu": 7}) == ["fits"]
    assert pool.check({"cpu": 8})[:2] == ["denied", "capacity_exceeded"]


@NAMED
@pytest.mark.parametrize("verb", ["release", "resize", "allocate"])
def test_whoever_names_broken_data_hears_of_it_and_changes_nothing(pool: Ledger, how: str, verb: str) -> None:
    """INVARIANT, with the key; also what stands beside it in a batch is left alone, and is repeated by the driver."""
    line = pool.want("broken", {"cpu": 3}, ttl=1000)
    pool.allocate(line, pool.want("whole", {"cpu": 3}))
    pool.now += MINUTE
    BREAKS[how](pool, pool.keys.record("broken"))
    before = pool.dump()
    with broken(r"allocation[: ]broken"):
        if verb == "release":
            pool.release("whole", "broken")
        elif verb == "resize":
            pool.resize("broken", {"cpu": 4})
        else:
            pool.allocate(pool.want("a", {"cpu": 1}), pool.want("broken", {"cpu": 3}))
    pool.assert_untouched(before)


@NAMED
def test_an_undone_call_of_a_broken_record_is_over_all_the_same(pool: Ledger, how: str) -> None:
    """Its copies do nothing; the record and its charge are the audit's."""
    line = pool.want("broken", {"cpu": 3})
    pool.allocate(line)
    BREAKS[how](pool, pool.keys.record("broken"))
    before = pool.dump()
    assert pool.undo((line.call, "broken")) == [["absent"]]
    pool.assert_untouched(before, but="ended")
    assert line.call in pool.index("ended")


RENEW_BREAKS: dict[str, Callable[[Ledger, str], object]] = {
    "wrong type": BREAKS["wrong type"],
    "no fence": BREAKS["no fence"],
    "a fence that is no number": lambda pool, key: pool.client.hset(key, "fence", "first"),
    "a deadline that is no number": lambda pool, key: pool.client.hset(key, "deadline_ms", "tomorrow"),
    "a ttl that is no number": lambda pool, key: pool.client.hset(key, "ttl_ms", "long"),
    "a deadline without a ttl": lambda pool, key: pool.client.hdel(key, "ttl_ms"),
}


@pytest.mark.parametrize("how", RENEW_BREAKS)
@pytest.mark.parametrize("ttl", [0, 5 * MINUTE])
def test_a_renewal_of_broken_data_changes_nothing(pool: Ledger, how: str, ttl: int) -> None:
    """It must not write half of a batch before it fails."""
    pool.grant("whole", {"cpu": 3})
    pool.grant("broken", {"cpu": 3})
    RENEW_BREAKS[how](pool, pool.keys.record("broken"))
    pool.now += 1000
    before = pool.dump()
    with broken("allocation:broken"):
        pool.renew("whole", pool.renew_line("broken", ttl=ttl))
    pool.assert_untouched(before)


@pytest.mark.parametrize("how", BREAKS)
def test_a_listing_passes_over_broken_records(pool: Ledger, how: str) -> None:
    """They are for the audit; what is only larger than its counter can be read, and is listed."""
    pool.grant("broken", {"cpu": 3})
    pool.grant("whole", {"cpu": 3})
    BREAKS[how](pool, pool.keys.record("broken"))
    listed = set(pool.page("deadlines")[4::2])
    assert listed - {"broken"} == {"whole"}
    readable = ("more than its counter", "a resource that is not counted")
    assert ("broken" in listed) == (how in readable)


@pytest.mark.parametrize("field", ["revision", "cpu.allocated", "cpu.capacity"])
@pytest.mark.parametrize("value", ["x", "-1", "1.5", "nan", "inf", ""])
def test_a_broken_account_fails_whoever_needs_it_and_nothing_is_written(pool: Ledger, field: str, value: str) -> None:
    """INVARIANT; a release has no need of the capacity."""
    pool.grant("a", {"cpu": 1})
    pool.client.hset(pool.keys["pool"], field, value)
    before = pool.dump()
    with broken(""):
        pool.allocate(pool.want("b", {"cpu": 1}))
    with broken(""):
        pool.resize("a", {"cpu": 2})
    if field != "cpu.capacity":
        with broken(""):
            pool.release("a")
    pool.assert_untouched(before)


@pytest.mark.parametrize("value", ["x", "-", "nan", ""])
def test_a_schema_that_cannot_be_read_is_not_ours_to_write(pool: Ledger, value: str) -> None:
    """Whoever wrote it knows more."""
    pool.grant("a", {"cpu": 1})
    pool.client.hset(pool.keys["pool"], "schema", value)
    before = pool.dump()
    assert pool.allocate(pool.want("b", {"cpu": 1})) == pool.release("a") == [["schema"]]
    pool.assert_untouched(before)
