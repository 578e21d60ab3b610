"""How many Redis commands each verb sends on its ordinary way, counted by the server.

Inside a script every command costs two to three microseconds, whatever it does: that is most of what a call costs.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any, Final

import pytest

from allocator import settings
from tests.scripts.ledger import MINUTE, Ledger
from tests.scripts.ordinary import OF_FOUR, OF_SCOPE, OTHER_WAYS, SCOPE, TEAM, WAYS, Way, prepare, set_revision

SECOND: Final = 1000

READS: Final = frozenset({"EXISTS", "HGET", "HGETALL", "HMGET", "PTTL", "TIME", "ZCARD", "ZCOUNT", "ZRANGE",
    "ZRANGEBYLEX", "ZRANGEBYSCORE", "ZSCAN", "ZSCORE", "XRANGE", "XREVRANGE"})  # fmt: skip

NO_PART: Final = frozenset({"EVAL", "INFO"})
"""What the count itself sends."""

BUDGET: Final = {
    "allocate": 8, "release": 8, "renew": 6, "denied": 6, "existing": 7, "resize": 8,
    "read_pool": 8, "get_allocation": 3, "check": 3,
}  # fmt: skip
"""The most that a call may send to stay as fast as it is."""

ONE_ACCOUNT: Final = {
    "allocate": "TIME HMGET HGETALL ZSCORE XADD ZADD HSET HSET",
    "denied": "TIME HMGET HGETALL ZSCORE ZRANGEBYSCORE HINCRBY",
    "existing": "TIME HMGET HGETALL ZSCORE ZADD HSET",
    "release": "TIME HMGET HGETALL XADD ZADD HSET UNLINK ZREM",
    "renew": "TIME HMGET HGETALL ZADD HSET",
    "resize": "TIME HMGET HGETALL ZSCORE XADD ZADD HSET HSET",
    "check": "TIME HMGET",
    "read_pool": "TIME HGETALL ZCARD ZCARD ZCARD ZCOUNT ZRANGE ZRANGE",
    "get_allocation": "HGET HGETALL",
}
"""All commands of a call that charges the pool alone: more of them are too many, fewer belong into this table."""

OF_FOUR_ACCOUNTS: Final = {
    "allocate": "HMGET HMGET HMGET HSET HSET HSET",
    "release": "HMGET HMGET HMGET HSET HSET HSET",
    "renew": "",
    "resize": "HMGET HMGET HMGET HSET HSET HSET",
}
"""What three accounts beyond the pool add to that."""


@dataclass
class CountingLedger(Ledger):
    """Lets the server say what time it is, and counts what a script sends."""

    by_server: bool = False
    sent: Counter[str] | None = None

    def send(self, text: str, keys: Any, words: Any, *, client: Any = None) -> Any:
        if not self.by_server:
            return super().send(text, keys, words, client=client)
        before = self._calls()
        reply = super().send(text, keys, [0, *words[1:]], client=client)
        self.sent = self._calls() - before
        return reply

    def _calls(self) -> Counter[str]:
        stats: dict[str, dict[str, int]] = self.client.info("commandstats")
        calls = {name.removeprefix("cmdstat_").upper(): entry["calls"] for name, entry in stats.items()}
        return Counter({name: count for name, count in calls.items() if name not in NO_PART})

    def server_ms(self) -> int:
        seconds, micros = self.client.time()
        return int(seconds) * SECOND + int(micros) // SECOND


def _count(
    real: Ledger, way: Way, *, seen_ago: int = 0, age: int = SECOND, place: int = 1, minutes_ago: int = 0
) -> Counter[str]:
    """Go a way, and what it sent.

    Args:
        real: Whose server is used.
        way: The way.
        seen_ago: When the pool was last written to, in milliseconds before.
        age: When what is there was granted, in milliseconds before.
        place: The revision, counted from one at which old marks are looked for.
        minutes_ago: How long the minute is over whose point is not written.
    """
    ledger = CountingLedger(real.client)
    ledger.now = ledger.server_ms() - age
    prepare(ledger)
    way.before(ledger)
    set_revision(ledger, place)
    ledger.client.hset(ledger.keys["pool"], "clock_ms", ledger.server_ms() - seen_ago)
    # Its minute is not over, unless that is what is counted.
    ledger.client.hset(ledger.keys["pool"], "history_ms", _minute(ledger.server_ms()) + MINUTE - minutes_ago * MINUTE)
    ledger.by_server = True
    assert way.act(ledger)[0] == way.word
    ledger.by_server = False
    assert ledger.sent is not None
    return ledger.sent


def _minute(ms: int) -> int:
    return ms - ms % MINUTE


def _way(name: str) -> Way:
    others = {way.word: way for ways in OTHER_WAYS.values() for way in ways}
    return (WAYS | others)[name]


@pytest.mark.parametrize("name", BUDGET)
def test_a_call_sends_these_commands_and_no_others(real: Ledger, name: str) -> None:
    """A command more is a tenth of the server's time; one that is saved is to be noticed as well."""
    sent = _count(real, _way(name))
    assert sent == Counter(ONE_ACCOUNT[name].split())
    assert sent.total() <= BUDGET[name]


@pytest.mark.parametrize("name", OF_FOUR)
def test_an_account_more_costs_one_reading_and_one_writing(real: Ledger, name: str) -> None:
    """And a renewal looks at none: it charges nothing."""
    sent = _count(real, OF_FOUR[name])
    assert sent == Counter(f"{ONE_ACCOUNT[name]} {OF_FOUR_ACCOUNTS[name]}".split())
    beyond = sent - Counter(ONE_ACCOUNT[name].split())
    reads = sum(count for command, count in beyond.items() if command in READS)
    assert reads <= len(TEAM)
    assert beyond.total() - reads <= len(TEAM)


@pytest.mark.parametrize("name", OF_SCOPE)
def test_a_level_of_a_scope_costs_one_reading_and_one_writing(real: Ledger, name: str) -> None:
    """With its limits; what the pool keeps costs nothing where nothing is guaranteed."""
    sent = _count(real, OF_SCOPE[name])
    levels = 0 if name == "renew" else SCOPE.count("/") + 1
    assert sent == Counter([*ONE_ACCOUNT[name].split(), *["HMGET", "HSET"] * levels])


@pytest.mark.parametrize("name", ["allocate", "denied", "release", "renew", "resize", "check"])
def test_the_units_of_a_pool_cost_no_command(real: Ledger, name: str) -> None:
    """They come with the state of the pool, and what is given out is its capacity."""

    def before(ledger: Ledger) -> None:
        rules = "units=cpu:::100:9007199254740991:100,memory:1024:500:1024::1024"
        assert ledger.configure("change", promises=rules)[0] == "configured"
        way.before(ledger)

    way = _way(name)
    sent = _count(real, replace(way, before=before))
    assert sent == Counter(ONE_ACCOUNT[name].split())


def test_a_renewal_in_a_quiet_pool_writes_down_what_time_it_is(real: Ledger) -> None:
    """Otherwise a pool that is only renewed in would look like one that nobody used."""
    sent = _count(real, _way("renew"), seen_ago=10 * SECOND)
    assert sent == Counter(f"{ONE_ACCOUNT['renew']} HSET".split())
    assert sent.total() <= BUDGET["renew"]


@pytest.mark.parametrize("name", ["allocate", "release"])
def test_old_marks_are_looked_for_at_every_32nd_revision_only(real: Ledger, name: str) -> None:
    """Two commands then; an old pool has thousands of marks, and a call pays for few of them."""
    sent = _count(real, _way(name), place=settings.TRIM_EVERY - 1)
    assert sent == Counter(f"{ONE_ACCOUNT[name]} ZRANGE ZCARD".split())


@pytest.mark.parametrize("name", ["allocate", "release", "denied"])
def test_the_points_of_a_minute_and_an_hour_cost_six_commands(real: Ledger, name: str) -> None:
    """Once a minute, whoever comes first, and once an hour; any other call pays nothing for them.

    A denial that comes first sets the pool's `history_ms` as well, by an HSET that other calls send anyway.
    """
    sent = _count(real, _way(name), minutes_ago=63)
    points = Counter(["EXISTS", "HGETALL", "ZCARD", "ZCARD", "XADD", "XADD"])
    assert sent - Counter(ONE_ACCOUNT[name].split()) == points + Counter(["HSET"] * (name == "denied"))


@pytest.mark.parametrize("items", [2, 10])
def test_a_batch_reads_the_pool_once_and_writes_each_account_once(real: Ledger, items: int) -> None:
    """What an item of a batch adds is its own record."""

    def allocate(ledger: Ledger) -> Any:
        return ledger.allocate(*(ledger.want(f"a{at}", {"cpu": 1000}, accounts=TEAM) for at in range(items)))[0]

    sent = _count(real, Way(allocate, "granted"))
    once = Counter(f"TIME HMGET HSET ZADD {OF_FOUR_ACCOUNTS['allocate']}".split())
    own = Counter(dict.fromkeys(("HGETALL", "ZSCORE", "XADD", "HSET"), items))
    assert sent == once + own


@pytest.mark.parametrize("name", ["reclaim", "undo", "begin_release", "adopt", "list_allocations", "read_events"])
def test_other_verbs_send_no_more_than_sixteen_commands(real: Ledger, name: str) -> None:
    """They are rare and not worth a table, but nothing in them is to grow unseen."""
    sent = _count(real, _way(name), age=3 * MINUTE if name == "reclaim" else SECOND)
    assert sent.total() <= 16, sent
