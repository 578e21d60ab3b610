"""The collector: exact numbers, bounds with what they leave out, and no zeros where a pool was not read."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from allocator import Allocator, AsyncAllocator, InvalidRequest, Limit, Request, access
from allocator.metrics import METRICS, PoolCollector
from allocator.metrics.bounds import POOLS_MAX
from allocator.testing import Clock, MemoryStore, faults, memory_allocator
from tests.programs.metrics.scraping import Scrape, scrape, text_of
from tests.support.servers import Server
from tests.support.waiters import begun

CORE = {"resource": "cpu", "unit": "core"}
BYTE = {"resource": "memory", "unit": "byte"}
COUNTERS = {"allocator_events", "allocator_denials"}
PASSWORD = secrets.token_hex(8)


@pytest.fixture(params=["memory", "server"])
def client(request: pytest.FixtureRequest, audit_all: Callable[[str], None]) -> Iterator[Allocator]:
    """A client of the in-process store, and of a server."""
    url = f"memory://metrics-{secrets.token_hex(4)}"
    if request.param == "server":
        url = request.getfixturevalue("one_server").url
    with Allocator.from_url(url, pool="lab") as made:
        made.pools.create("lab", {"cpu": 4, "memory": "8Gi", "nvidia.com/gpu": 2})
        yield made
    audit_all(url)


def test_a_scrape_has_the_numbers_of_the_pool(client: Allocator) -> None:
    """In cores, bytes and whole units."""
    client.allocate({"cpu": "1500m", "memory": "1Gi"}, ttl=60)
    client.allocate({"nvidia.com/gpu": 1}, ttl=None)
    usage = client.pools.usage()
    assert usage.deadline_ms is not None
    seen = scrape(client)
    assert (seen.get("up"), seen.get("pool_up", pool="lab"), seen.get("pools")) == (1, 1, 1)
    assert seen.get("resource_capacity", pool="lab", **CORE) == 4
    assert seen.get("resource_allocated", pool="lab", **CORE) == 1.5
    assert seen.get("resource_available", pool="lab", **BYTE) == 7 * 2**30
    assert seen.get("resource_allocated", pool="lab", resource="nvidia.com/gpu", unit="unit") == 1
    assert [seen.get("allocations", pool="lab", kind=kind) for kind in ("leased", "pinned")] == [1, 1]
    assert seen.get("earliest_deadline_timestamp_seconds", pool="lab") == usage.deadline_ms / 1000
    assert (seen.get("allocations_due", pool="lab"), seen.get("waiting", pool="lab")) == (0, 0)
    assert seen.get("pool_state", pool="lab", state="active") == 1
    assert seen.get("pool_revision", pool="lab") == usage.pool.revision
    assert seen.get("pool_error", pool="lab", code="unavailable") is None


def test_what_does_not_exist_is_absent(client: Allocator) -> None:
    """No deadline is no instant, no audit no clean one."""
    seen = scrape(client)
    absent = {"earliest_deadline_timestamp_seconds", "oldest_pinned_age_seconds", "audit_findings", "pool_error"}
    assert seen.names().isdisjoint(f"allocator_{name}" for name in absent)
    assert seen.get("deadline_overdue_seconds", pool="lab") == 0


def test_what_is_due_overcommitted_and_recovering_is_seen() -> None:
    """By the pool's clock."""
    clock = Clock()
    client = memory_allocator({"cpu": 4}, clock=clock, recovery_grace=60, max_ttl=60)
    client.pools.end_recovery()
    client.allocate({"cpu": 4}, ttl=10)
    client.pools.update(None, {"cpu": 3})
    clock.advance(40)
    seen = scrape(client)
    assert seen.get("allocations_due", pool="test") == 1
    assert seen.get("deadline_overdue_seconds", pool="test") == 30
    assert seen.get("resource_overcommitted", pool="test", **CORE) == 1
    with faults(client).recovering():
        seen = scrape(client)
    assert [seen.get("pool_state", pool="test", state=state) for state in ("active", "recovering")] == [0, 1]
    assert seen.get("pool_recovery_remaining_seconds", pool="test") == 60


def test_who_waits_is_counted_by_priority(client: Allocator) -> None:
    """And how long the first of each has."""
    full = client.allocate({"cpu": 4}, ttl=None)
    with begun(client, {"cpu": 1}), begun(client, {"cpu": 1}, priority=-5), begun(client, {"cpu": 1}, priority=-5):
        seen = scrape(client)
        (first, *_) = client.queue.list()
        assert seen.get("waiting", pool="lab") == 3
        assert [seen.get("waiting_by_priority", pool="lab", priority=one) for one in ("0", "-5")] == [1, 2]
        waited = seen.get("oldest_wait_seconds", pool="lab", priority="0")
        assert waited is not None
        assert 0 <= waited <= (client.pools.usage().read_ms - first.since_ms) / 1000
        assert seen.get("waiting_left_out", pool="lab") == 0
    client.release(full)


def test_scopes_have_metrics_up_to_a_limit_by_name(client: Allocator) -> None:
    """A gauge counts the others; 0 asks for none."""
    client.quotas.set("b", {"cpu": 3})
    client.quotas.set("b/x", {"cpu": Limit(2, 1, 0)})
    client.quotas.set("a", {"cpu": 1, "allocations": 7})
    client.allocate({"cpu": "500m"}, ttl=60, scope="b/x")
    seen = scrape(client)
    assert {*seen.labels("quota_allocated", "scope")} == {"a", "b", "b/x"}
    quota = {"pool": "lab", "scope": "b/x", **CORE}
    found = [seen.get(f"quota_{name}", **quota) for name in ("allocated", "nominal", "maximum", "available")]
    assert found == [0.5, 2, 3, 2.5]
    assert seen.get("quota_nominal", pool="lab", scope="b", resource="allocations", unit="unit") is None
    assert seen.get("quota_kept", pool="lab", scope="b", **CORE) == 1.5
    assert seen.get("quota_available", pool="lab", scope="b", resource="allocations", unit="unit") is None
    assert seen.get("quota_maximum", pool="lab", scope="a", resource="allocations", unit="unit") == 7
    for most, left_out in ((2, 1), (0, 3)):
        seen = scrape(client, scopes=most)
        assert (seen.get("quota_scopes", pool="lab"), seen.get("quota_scopes_left_out", pool="lab")) == (3, left_out)
        assert {*seen.labels("quota_allocated", "scope")} == {*["a", "b"][:most]}


def test_an_audit_that_is_recorded_is_shown(client: Allocator) -> None:
    """Its result, and when it was made."""
    collector = PoolCollector(client)
    collector.record_audit(client.maintenance.audit())
    seen = Scrape(text_of(collector))
    assert [seen.get("audit_status", pool="lab", status=one) for one in ("clean", "drift")] == [1, 0]
    assert seen.get("audit_findings", pool="lab") == 0
    assert seen.get("audit_timestamp_seconds", pool="lab") is not None


def test_a_store_that_is_down_is_told_as_down_and_comes_back(caplog: pytest.LogCaptureFixture) -> None:
    """Never as zero, nor as it was before; each change is logged once."""
    client = memory_allocator({"cpu": 4})
    collector = PoolCollector(client, timeout=0.5)
    caplog.set_level(logging.WARNING, "allocator.metrics")
    with faults(client).down():
        for _ in range(2):
            seen = Scrape(text_of(collector))
            assert (seen.get("up"), seen.get("pool_up", pool="test")) == (0, 0)
            assert seen.labels("pool_error", "code") == ["unavailable"]
            assert seen.labels("resource_allocated", "pool") == []
    assert Scrape(text_of(collector)).get("up") == 1
    text_of(collector)
    assert [record.getMessage().partition(" read")[0] for record in caplog.records] == [
        "pool test is not",
        "pool test is",
    ]


def test_one_pool_that_cannot_be_read_does_not_hide_the_others(client: Allocator) -> None:
    """It says why; whoever watches only `allocator_up` is told, too."""
    seen = scrape(client, ["lab", "gone"])
    assert (seen.get("up"), seen.get("pool_up", pool="lab"), seen.get("pool_up", pool="gone")) == (0, 1, 0)
    assert seen.get("pool_error", pool="gone", code="unknown_pool") == 1
    assert seen.get("resource_capacity", pool="lab", **CORE) == 4
    assert {*seen.labels("resource_capacity", "pool")} == {"lab"}


def test_pools_beyond_the_limit_are_counted() -> None:
    """The first by name are read."""
    client = memory_allocator({"cpu": 4})
    collector = PoolCollector(client)
    names = [f"p{number:03}" for number in range(POOLS_MAX + 3)]
    collector.read_pools(names)
    seen = Scrape(text_of(collector))
    assert (seen.get("pools"), seen.get("pools_left_out")) == (POOLS_MAX, 3)
    assert seen.labels("pool_up", "pool") == names[:POOLS_MAX]


def test_pools_that_are_not_known_are_a_fault() -> None:
    """No pool is not the same as no list of pools."""
    collector = PoolCollector(memory_allocator({"cpu": 4}), [])
    assert Scrape(text_of(collector)).get("up") == 1
    collector.report_fault("unavailable")
    seen = Scrape(text_of(collector))
    assert (seen.get("up"), seen.get("pool_error", pool="", code="unavailable")) == (0, 1)
    collector.read_pools([])
    assert Scrape(text_of(collector)).get("up") == 1


def test_a_scrape_sends_two_commands_for_any_number_of_allocations(one_server: Server) -> None:
    """One where there are no scopes; registering sends none."""
    with Allocator.from_url(one_server.url, pool="lab") as client, redis.Redis.from_url(one_server.url) as looking:

        def sent() -> int:
            stats: dict[str, Any] = looking.info("commandstats")
            return sum(stats.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in ("eval_ro", "evalsha_ro"))

        client.pools.create("lab", {"cpu": 1000})
        collector = PoolCollector(client)
        counts: list[int] = []
        for held in (0, 300):
            client.allocate_many([Request({"cpu": 1}, ttl=None) for _ in range(held)])
            text_of(collector)  # the connection, and the scripts
            before = sent()
            text_of(collector)
            counts.append(sent() - before)
        client.quotas.set("a", {"cpu": 1})
        text_of(collector)
        before = sent()
        text_of(collector)
        assert (counts, sent() - before) == ([1, 1], 2)


def test_the_rights_of_an_inspector_are_enough_and_less_is_told(one_server: Server) -> None:
    """A user without rights is a code, not a crash."""
    with (
        Allocator.from_url(one_server.url, pool="lab") as client,
        redis.Redis.from_url(one_server.url, decode_responses=True) as admin,
    ):
        client.pools.create("lab", {"cpu": 4})
        client.quotas.set("a", {"cpu": 1})
        admin.execute_command(*access.user("inspector", password=PASSWORD).command())
        admin.execute_command("ACL", "SETUSER", "nobody", "on", f">{PASSWORD}", "+ping", "+hello", "+info", "+role")
        try:
            for name, up in (("inspector", 1), ("nobody", 0)):
                url = one_server.url.replace("unix://", f"unix://{name}:{PASSWORD}@")
                with Allocator.from_url(url, pool="lab") as user:
                    text = text_of(PoolCollector(user))
                    assert Scrape(text).get("up") == up
                    assert PASSWORD not in text
            assert Scrape(text).labels("pool_error", "code") == ["no_permission"]
        finally:
            admin.execute_command("ACL", "DELUSER", "inspector", "nobody")


@pytest.mark.parametrize(
    ("field", "options"),
    [
        ("pools", {"pools": ["no pool"]}),
        ("pools", {"pools": "lab"}),
        ("pools", {"pools": ["a"] * 101}),
        ("scopes", {"scopes": 501}),
        ("scopes", {"scopes": True}),
        ("timeout", {"timeout": 0}),
    ],
)
def test_wrong_arguments_are_refused_by_name(field: str, options: dict[str, Any]) -> None:
    """Before anything is sent."""
    with pytest.raises(InvalidRequest) as refused:
        PoolCollector(Allocator.from_url("memory://"), **options)
    assert refused.value.field in (field, "pool")


def test_an_awaited_client_is_refused() -> None:
    """A scrape comes in a thread of its own."""
    client: Any = AsyncAllocator.from_url("memory://")
    with pytest.raises(InvalidRequest, match="AsyncAllocator is no Allocator"):
        PoolCollector(client)


def whole(store: MemoryStore | None = None) -> str:
    """A scrape in which each metric has a sample."""
    client = memory_allocator({"cpu": 4, "memory": "8Gi"}, store=store)
    client.quotas.set("team-a", {"cpu": Limit(2, 1, 0)})
    client.allocate({"cpu": 1}, ttl=60)
    client.allocate({"cpu": 1}, ttl=None)
    collector = PoolCollector(client, ["gone", "test"])
    collector.record_audit(client.maintenance.audit())
    with begun(client, {"cpu": 1}):
        return text_of(collector)


def test_every_metric_of_the_table_has_samples_with_its_labels() -> None:
    """And there is no other."""
    found: dict[str, set[str]] = {}
    for family in Scrape(whole()).families:
        assert family.samples, family.name
        assert family.type == ("counter" if family.name in COUNTERS else "gauge")
        found[family.name] = {label for one in family.samples for label in one.labels}
    assert found == {one.name.removesuffix("_total"): set(one.labels) for one in METRICS.values()}
