"""The usage of a pool over time: what a change in a later minute writes, what is kept of it, what a reading says."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from allocator import settings
from tests.scripts.history_checks import counts_of
from tests.scripts.ledger import MINUTE, T0, Ledger, contract

HOUR = 60 * MINUTE
FIRST = T0 - T0 % MINUTE
"""Where the minute begins in which the pools of these tests are created."""


@pytest.fixture
def pool(ledger: Ledger) -> Ledger:
    ledger.create({"cpu": 10, "gpu": 4})
    return ledger


def points(ledger: Ledger, stream: str = "usage_minutes") -> dict[int, dict[str, str]]:
    """The stored points, by the end of their interval."""
    found = ledger.client.xrange(f"{ledger.keys.base}{stream}")
    return {int(entry.partition("-")[0]): fields for entry, fields in found}


def test_the_first_minute_writes_no_point(pool: Ledger) -> None:
    """What the pool has is in the pool; its minute is not over."""
    pool.grant("a", {"cpu": 2})
    assert points(pool) == {}
    assert pool.account["history_ms"] == str(FIRST)


def test_a_change_in_a_later_minute_writes_what_the_pool_had_before_it(pool: Ledger) -> None:
    """At the end of the minute of the last change: from then on it had nothing else."""
    pool.grant("a", {"cpu": 2}, ttl=0)
    pool.now += 5 * MINUTE
    pool.grant("b", {"cpu": 3, "gpu": 1}, ttl=0)
    assert points(pool) == {
        FIRST + MINUTE: {
            "allocations": "1", "waiting": "0", "granted": "1", "denied": "0",
            "cpu.allocated": "2", "cpu.capacity": "10", "gpu.allocated": "0", "gpu.capacity": "4",
        }
    }  # fmt: skip
    assert pool.account["history_ms"] == str(FIRST + 5 * MINUTE)


def test_a_minute_has_one_point(pool: Ledger) -> None:
    """However many changes it has had."""
    for at in range(4):
        pool.grant(f"a{at}", {"cpu": 1}, ttl=0)
        pool.now += MINUTE // 3
    pool.now = T0 + 2 * MINUTE
    pool.release("a0")
    found = points(pool)
    assert list(found) == [FIRST + MINUTE, FIRST + 2 * MINUTE][: len(found)]
    assert [point["granted"] for point in found.values()][-1] == "4"


def test_a_denial_in_a_later_minute_writes_the_point_as_well(pool: Ledger) -> None:
    """It is a change of the counters."""
    pool.grant("a", {"cpu": 2}, ttl=0)
    pool.now += MINUTE
    assert pool.allocate(pool.want("b", {"cpu": 9}))[0][0] == "denied"
    assert list(points(pool)) == [FIRST + MINUTE]


def test_the_end_of_an_hour_writes_a_point_of_the_hour(pool: Ledger) -> None:
    """With what the pool had then, and once."""
    pool.grant("a", {"cpu": 2}, ttl=0)
    pool.now += HOUR
    pool.release("a")
    pool.now += MINUTE
    pool.grant("b", {"cpu": 1}, ttl=0)
    first = T0 - T0 % HOUR + HOUR
    assert {ms: point["cpu.allocated"] for ms, point in points(pool, "usage_hours").items()} == {first: "2"}


def test_a_clock_that_steps_back_writes_no_point_twice(pool: Ledger) -> None:
    """The minute that is under way goes on."""
    pool.now += 3 * MINUTE
    pool.grant("a", {"cpu": 2}, ttl=0)
    pool.now -= 2 * MINUTE
    pool.release("a")
    assert list(points(pool)) == [FIRST + MINUTE]
    pool.now += 4 * MINUTE
    pool.grant("b", {"cpu": 1}, ttl=0)
    assert list(points(pool)) == [FIRST + MINUTE, FIRST + 4 * MINUTE]


def test_no_more_points_are_kept_than_there_is_room_for(pool: Ledger) -> None:
    """The oldest ones go."""
    bounds = {"HISTORY_MINUTES_TEXT": "'5'", "HISTORY_HOURS_TEXT": "'3'"}
    for at in range(9):
        pool.now += HOUR
        pool.allocate(pool.want(f"a{at}", {"cpu": 1}, ttl=0), bounds=bounds)
    assert len(points(pool)) == 5
    assert len(points(pool, "usage_hours")) == 3
    assert min(points(pool)) == FIRST + 4 * HOUR + MINUTE


def test_counters_count_events_by_their_kind(pool: Ledger) -> None:
    """The check after each test compares them with the stream; this one names them."""
    pool.grant("a", {"cpu": 2})
    pool.grant("b", {"cpu": 2})
    pool.resize("b", {"cpu": 3})
    pool.release("a")
    pool.now += 2 * MINUTE
    pool.reclaim()
    assert counts_of(pool.account) == {"created": 1, "granted": 2, "resized": 1, "released": 1, "reclaimed": 1}


def test_a_repeat_of_a_grant_is_counted_once(pool: Ledger) -> None:
    """Its reply is the first one's."""
    line = pool.want("a", {"cpu": 2}, call="one")
    pool.allocate(line)
    assert pool.allocate(pool.want("a", {"cpu": 2}, call="one", repeated=1))[0][0] == "replayed"
    assert counts_of(pool.account)["granted"] == 1


def test_a_denial_counts_and_changes_nothing_else(pool: Ledger) -> None:
    """Neither a revision nor an event: a repeat of it counts again, as it is decided again."""
    pool.grant("a", {"cpu": 9})
    before, events = pool.account, pool.events
    for _ in range(2):
        assert pool.allocate(pool.want("b", {"cpu": 2}))[0][1] == "capacity_exceeded"
    pool.allocate(pool.want("b", {"cpu": 11}))
    pool.allocate(pool.want("b", {"tape": 1}))
    after = pool.account
    counted = {field: after.pop(field) for field in after.copy() if field.startswith("denied.")}
    assert (after, pool.events) == (before, events)
    assert counted == {
        "denied.capacity_exceeded_count": "2", "denied.never_fits_count": "1", "denied.unknown_resource_count": "1",
    }  # fmt: skip


def test_a_reading_has_the_point_before_its_beginning_and_what_the_pool_has(pool: Ledger) -> None:
    """So that it is known what the pool had when it begins."""
    for at in range(4):
        pool.grant(f"a{at}", {"cpu": 1}, ttl=0)
        pool.now += 2 * MINUTE
    reply = pool.read_history(ago=3 * MINUTE)
    now = FIRST + 8 * MINUTE
    assert reply[:10] == [
        "history", pool.now, "epoch-1", MINUTE, now - 3 * MINUTE, now - 2 * MINUTE, FIRST + MINUTE, 0, 4, 0,
    ]  # fmt: skip
    assert reply[11::2] == [FIRST + 5 * MINUTE]


def test_a_long_reading_comes_in_pages(pool: Ledger) -> None:
    """Each goes on after the last point of the one before it."""
    for at in range(7):
        pool.grant(f"a{at}", {"cpu": 1}, ttl=0)
        pool.now += MINUTE
    found: list[int] = []
    while True:
        reply: Any = pool.read_history(ago=0 if found else HOUR, count=2, after=found[-1] if found else 0)
        found += reply[11::2]
        if not reply[7]:
            break
    assert found == list(points(pool))
    assert len(found) == 6


def test_a_pool_that_is_older_than_its_history_begins_one(pool: Ledger) -> None:
    """A version before this one has written it: what is not known is not made up."""
    pool.client.hdel(pool.keys["pool"], "history_ms", "granted_count", "created_count")
    pool.client.xadd(f"{pool.keys.base}usage_minutes", {"left": "over"})
    assert pool.read_history(ago=HOUR)[5] == 0
    pool.now += 3 * MINUTE
    pool.grant("a", {"cpu": 1})
    assert points(pool) == {}
    assert pool.account["history_ms"] == str(FIRST + 3 * MINUTE)
    pool.client.xtrim(pool.keys["events"], maxlen=0)


def test_a_deleted_pool_leaves_no_history(pool: Ledger) -> None:
    """Nor does one that is created again begin with another one's."""
    pool.grant("a", {"cpu": 1}, ttl=0)
    pool.now += 2 * HOUR
    pool.release("a")
    assert points(pool)
    assert pool.delete()[0] == "deleted"
    assert points(pool) == points(pool, "usage_hours") == {}


def test_a_point_that_cannot_be_written_fails_no_call(pool: Ledger) -> None:
    """Nothing depends on it."""
    pool.client.set(f"{pool.keys.base}usage_minutes", "no stream")
    pool.now += MINUTE
    assert pool.allocate(pool.want("a", {"cpu": 1}))[0][0] == "granted"
    pool.client.delete(f"{pool.keys.base}usage_minutes")


@pytest.mark.parametrize("text", ["", "x", "-1", "1.5", "1e400"])
def test_a_broken_counter_begins_anew(pool: Ledger, text: str) -> None:
    """And no call fails for it."""
    pool.client.hset(pool.keys["pool"], mapping={"granted_count": text, "history_ms": text})
    pool.grant("a", {"cpu": 1})
    assert counts_of(pool.account)["granted"] == 1
    pool.client.xtrim(pool.keys["events"], maxlen=0)


@pytest.mark.breaks_data
def test_a_broken_counter_of_denials_stays_and_fails_no_call(pool: Ledger) -> None:
    """It is added to unread; nothing depends on it."""
    pool.client.hset(pool.keys["pool"], "denied.never_fits_count", "x")
    assert pool.allocate(pool.want("b", {"cpu": 11}))[0][1] == "never_fits"
    assert pool.account["denied.never_fits_count"] == "x"


def test_who_may_not_count_is_denied_all_the_same(real: Ledger) -> None:
    """A user with the rights of an older version lacks HINCRBY: it may work, and its denials are not counted."""
    real.create({"cpu": 10})
    real.client.execute_command("ACL", "SETUSER", "old", "reset", "on", ">x", "~*", "&*", "+@all", "-hincrby")
    path = real.client.connection_pool.connection_kwargs["path"]
    known = real.client
    real.client = redis.Redis(unix_socket_path=path, username="old", password="x", decode_responses=True)
    try:
        assert real.run("check_access") == ["ready"]
        assert real.allocate(real.want("b", {"cpu": 11}))[0][1] == "never_fits"
        assert "denied.never_fits_count" not in real.account
    finally:
        real.client.close()
        real.client = known
        real.client.execute_command("ACL", "DELUSER", "old")


def test_a_reading_refuses_other_intervals(pool: Ledger) -> None:
    """There are two."""
    with contract("interval_ms"):
        pool.read_history(interval=1000)
    with contract("count"):
        pool.read_history(count=settings.HISTORY_PAGE_MAX + 1)
