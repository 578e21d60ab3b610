"""usage, get, events, page, orphans: what is read, and that reading changes nothing."""

from __future__ import annotations

import pytest

from allocator import settings
from tests.scripts.ledger import AMOUNT_MAX, MINUTE, T0, Ledger, contract, fields
from tests.scripts.ordinary import SCOPE
from tests.scripts.waiting import wait


def test_usage_is_one_reading_of_account_and_indexes(pool: Ledger) -> None:
    """The instant, how many leases, pinned ones, leases that are due and waiters there are, and the account.

    Also the earliest deadline, the oldest pinned one, and how many scopes there are.
    """
    assert pool.run("read_pool")[1:10] == [T0, 0, 0, 0, 0, 0, 0, 0, []]
    pool.grant("b", {"cpu": 1}, ttl=2 * MINUTE)
    pool.grant("a", {"cpu": 1})
    pool.now += MINUTE
    for identity in ("c", "d"):
        pool.grant(identity, {"cpu": 1}, ttl=0)
        pool.now += 1
    pool.set_quota(SCOPE, {"cpu": (5, "-", "-")})
    reply = pool.run("read_pool")
    assert reply[:10] == ["usage", T0 + MINUTE + 2, 2, 2, 1, 0, T0 + MINUTE, T0 + MINUTE, 2, []]
    assert fields(reply[10:]) == pool.account


def test_usage_has_the_waiters_of_each_priority_and_since_when_the_first_waits(pool: Ledger) -> None:
    """The highest priority first, also the lowest and the highest that there are; a broken entry says no instant."""
    pool.grant("full", {"cpu": 10}, ttl=0)
    for name, priority in (("a", 0), ("low", -1000), ("b", 0), ("high", 1000), ("mid", 1), ("low2", -1000)):
        wait(pool, name, {"cpu": 1}, priority=priority, ms=10 * MINUTE)
        pool.now += 1
    line = [1000, 1, T0 + 3, 1, 1, T0 + 4, 0, 2, T0, -1000, 2, T0 + 1]
    assert pool.run("read_pool")[5:10:4] == [6, line]
    entry, since = f"{pool.keys['pool'].removesuffix('pool')}waiter:high", pool.waiter("high")["since_ms"]
    pool.client.hset(entry, "since_ms", "soon")
    assert pool.run("read_pool")[9][:3] == [1000, 1, 0]
    pool.client.hset(entry, "since_ms", since)


def test_usage_has_no_more_priorities_than_its_limit(pool: Ledger) -> None:
    """The highest of them."""
    pool.grant("full", {"cpu": 10}, ttl=0)
    many = settings.LINE_PRIORITIES_MAX + 3
    for priority in range(many):
        wait(pool, f"p{priority}", {"cpu": 1}, priority=priority)
    reply = pool.run("read_pool")
    assert (reply[5], reply[9][::3]) == (many, [*range(many - 1, 2, -1)])


def test_usage_is_exact_in_full_digits(ledger: Ledger) -> None:
    """What is stored is what is read."""
    ledger.create({"memory": AMOUNT_MAX})
    ledger.grant("a", {"memory": AMOUNT_MAX})
    assert fields(ledger.run("read_pool")[10:])["memory.allocated"] == "9007199254740991"


def test_get_gives_the_record_or_says_unknown(pool: Ledger) -> None:
    """As it lies there."""
    pool.grant("a", {"cpu": 1}, meta={"k": "v"})
    reply = pool.get("a")
    assert (reply[0], fields(reply[1:])) == ("record", {"epoch": "epoch-1", **pool.record("a")})
    assert pool.get("b") == ["unknown"]


def test_events_come_newest_first_and_no_more_than_asked(pool: Ledger) -> None:
    """With their ids."""
    pool.grant("a", {"cpu": 1})
    pool.release("a")
    reply = pool.read_events()
    assert [fields(entry)["kind"] for entry in reply[2::2]] == ["released", "granted"]
    assert reply[1] == pool.client.xrevrange(pool.keys["events"], count=1)[0][0]


def test_events_after_one_come_oldest_first_and_say_what_is_missing(pool: Ledger) -> None:
    """Trimmed, or not of this stream; whoever has had the entry before the first one misses nothing."""
    for identity in ("a", "b", "c"):
        pool.grant(identity, {"cpu": 1})
    stream = pool.keys["events"]
    ids = [entry for entry, _ in pool.client.xrange(stream)]
    assert pool.read_events(ids[0], count=2)[1::2] == ids[1:3]
    assert pool.read_events(ids[-1]) == ["events"]
    assert pool.read_events(ids[0].partition("-")[0], count=9)[1::2] == ids
    pool.client.xtrim(stream, minid=ids[2], approximate=False)
    assert [pool.read_events(since, count=9)[:2] for since in (ids[0], "0")] == [["trimmed", ids[0]], ["trimmed", "0"]]
    assert pool.read_events(ids[2], count=9)[1::2] == ids[3:]
    assert pool.read_events("99999999999999-1") == ["lost", ids[-1]]
    pool.client.delete(stream)
    assert (pool.read_events("1-1"), pool.read_events("1")) == (["lost", "0"], ["events"])


@pytest.mark.parametrize("since", ["x", "-", "+", "1-2-3", "-1"])
def test_a_malformed_entry_id_is_refused(pool: Ledger, since: str) -> None:
    """By name."""
    with contract("since"):
        pool.read_events(since)


def test_reading_changes_nothing(pool: Ledger) -> None:
    """A newer schema may be read, too."""
    pool.grant("a", {"cpu": 1})
    pool.client.hset(pool.keys["pool"], "schema", 2)
    before = pool.dump()
    assert pool.run("read_pool")[0] == "usage"
    assert pool.get("a")[0] == "record"
    assert pool.read_events()[0] == "events"
    assert pool.page("deadlines")[0] == "page"
    assert pool.run("find_orphans", records=["a"]) == ["orphans"]
    assert pool.audit()[0] == "audit"
    pool.assert_untouched(before)


def test_a_page_has_the_records_of_one_index(pool: Ledger) -> None:
    """Each with its fields, as get gives them."""
    pool.grant("a", {"cpu": 1}, meta={"k": "v"})
    pool.grant("b", {"cpu": 1}, ttl=0)
    word, cursor, read_ms, _, *entries = pool.page("deadlines")
    assert (word, cursor, read_ms, entries[0]) == ("page", "0", T0, "a")
    assert {name: str(value) for name, value in fields(entries[1]).items()} == pool.record("a")
    assert pool.page("pinned")[4::2] == ["b"]


def test_a_listing_of_a_large_pool_is_complete_while_deadlines_move(ledger: Ledger) -> None:
    """A thousand leases in pages of about fifty, every one of them renewed between any two pages."""
    ledger.create({"cpu": 1000})
    ids = [f"a{n}" for n in range(1000)]
    for start in range(0, 1000, 100):
        ledger.allocate(*(ledger.want(identity, {"cpu": 1}) for identity in ids[start : start + 100]))
    seen: list[str] = []
    cursor, pages = "0", 0
    while pages == 0 or cursor != "0":
        _, cursor, _, _, *entries = ledger.page("deadlines", cursor, count=50)
        seen += entries[::2]
        pages += 1
        ledger.now += 10
        for start in range(0, 1000, 100):
            ledger.renew(*ids[start : start + 100])
    assert set(seen) == set(ids)
    assert pages > 1 or ledger.memory


def test_orphans_are_records_that_no_index_knows(pool: Ledger) -> None:
    """Of those that are asked about; what is not there is none."""
    pool.grant("leased", {"cpu": 1})
    pool.grant("pinned", {"cpu": 1}, ttl=0)
    pool.client.hset(pool.keys.record("lost"), "owner", "x")
    assert pool.run("find_orphans", records=["leased", "lost", "pinned", "never"]) == ["orphans", "lost"]
    pool.client.delete(pool.keys.record("lost"))
