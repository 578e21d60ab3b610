"""What an accident leaves behind must not hold back, or reach into, what comes after it."""

from __future__ import annotations

import pytest
import redis

from allocator import Allocator, Recovering
from tests.support.servers import Server

BASE = "allocator:{default}:"


def test_a_pool_that_is_made_again_finds_no_record_of_the_one_before(one_server: Server) -> None:
    """A record that no index knew is ended with its pool: it would be `existing` in the next one, and not charged."""
    with (
        Allocator.from_url(one_server.url) as allocator,
        redis.Redis.from_url(one_server.url, decode_responses=True) as by_hand,
    ):
        allocator.pools.create("default", {"cpu": 2})
        allocator.allocate({"cpu": 1}, ttl=None, id="lost")
        by_hand.zrem(BASE + "pinned", "lost")
        assert allocator.pools.delete("default", force=True)
        assert by_hand.keys(BASE + "allocation:*") == []
        allocator.pools.create("default", {"cpu": 2})
        assert allocator.allocate({"cpu": 1}, ttl=None, id="lost").created


def test_a_repair_that_died_holds_back_grants_for_two_minutes_at_most(one_server: Server) -> None:
    """The pool says until when; past that it grants again although nobody has brought it back."""
    with (
        Allocator.from_url(one_server.url) as allocator,
        redis.Redis.from_url(one_server.url, decode_responses=True) as by_hand,
    ):
        allocator.pools.create("default", {"cpu": 2})
        now_ms = allocator.pools.usage().read_ms
        by_hand.hset(BASE + "pool", mapping={"state": "offline", "offline_until_ms": now_ms + 120_000})
        with pytest.raises(Recovering):
            allocator.allocate({"cpu": 1}, ttl=60)
        by_hand.hset(BASE + "pool", "offline_until_ms", now_ms)
        assert allocator.pools.get().state == "active"
        assert allocator.allocate({"cpu": 1}, ttl=60)


def test_an_offline_repair_of_a_clean_pool_brings_it_back(one_server: Server) -> None:
    """Its predecessor was killed: whoever repairs again must not be left with a pool that grants nothing."""
    with (
        Allocator.from_url(one_server.url) as allocator,
        redis.Redis.from_url(one_server.url, decode_responses=True) as by_hand,
    ):
        allocator.pools.create("default", {"cpu": 2})
        by_hand.hset(BASE + "pool", "state", "offline")
        assert allocator.maintenance.audit(repair=True, offline=True).status == "clean"
        assert allocator.pools.get().state == "active"
        assert allocator.allocate({"cpu": 1}, ttl=60)
