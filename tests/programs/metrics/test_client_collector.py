"""The collector of clients: every metric of the table, exact counts, forks, and names by Prometheus' rules."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from typing import Any, Final

import pytest
import redis
from prometheus_client import CollectorRegistry, generate_latest

from allocator import Allocator, AsyncAllocator, OutcomeUnknown, access
from allocator.metrics import CLIENT_METRICS, SERVER_METRICS, ClientCollector, PoolCollector
from allocator.metrics.bounds import CODES
from allocator.testing import Clock, faults, memory_allocator, wait_undone
from tests.programs.metrics.scraping import Scrape
from tests.programs.metrics.test_deploy import promtool
from tests.support.servers import Server
from tests.support.tools import needs
from tests.support.waiters import begun
from tests.support.waiting import wait_until

PASSWORD: Final = "a-password"


def text_of(collector: Any) -> str:
    registry = CollectorRegistry()
    registry.register(collector)
    return generate_latest(registry).decode()


def whole() -> str:
    """A scrape in which each metric of a client has a sample."""
    clock = Clock()
    client = memory_allocator({"cpu": 4}, clock=clock)
    collector = ClientCollector(client)
    full = client.allocate({"cpu": 4}, ttl=60)
    with begun(client, {"cpu": 4}) as waiting:
        client.release(full)
        client.release(waiting.result(30))
    with faults(client).lost_reply("allocate"):
        client.release(client.allocate({"cpu": 1}, ttl=60))
    with faults(client).unknown("allocate"), pytest.raises(OutcomeUnknown):
        client.allocate({"cpu": 1}, ttl=60)
    assert wait_undone(client)
    client.release_many(["a", "b"])
    lost: list[object] = []
    hold = client.hold({"cpu": 1}, ttl=30, on_lost=lost.append)
    hold.__enter__()
    before = hold.deadline
    clock.advance(10)
    wait_until(lambda: hold.deadline != before, message="a renewal")
    clock.advance(60)
    wait_until(lambda: bool(lost), message="the loss")
    return text_of(collector)


def test_every_metric_of_the_table_has_samples_with_its_kind_and_labels() -> None:
    """And there is no other."""
    found: dict[str, tuple[str, set[str]]] = {}
    for family in Scrape(whole()).families:
        assert family.samples, family.name
        name = family.name + ("_total" if family.type == "counter" else "")
        found[name] = (family.type, {label for one in family.samples for label in one.labels} - {"le"})
    assert found == {one.name: (one.kind, set(one.labels)) for one in CLIENT_METRICS.values()}


@needs("promtool")
def test_the_names_of_the_client_follow_the_rules_of_prometheus() -> None:
    """It has nothing to say."""
    assert promtool("check", "metrics", text=whole()) == ""


def test_a_histogram_adds_up() -> None:
    """Its buckets are cumulative, and the last one has all."""
    client = memory_allocator({"cpu": 4})
    collector = ClientCollector(client)
    for _ in range(3):
        client.pools.get()
    seen = Scrape(text_of(collector))
    call = {"verb": "pools.get", "outcome": "ok"}
    assert seen.get("client_call_duration_seconds_count", **call) == 3
    buckets = [one for one in seen._samples.items() if one[0][0] == "allocator_client_call_duration_seconds_bucket"]
    values = [value for _, value in buckets]
    assert values == sorted(values)
    assert (values[-1], len(values)) == (3, len(CLIENT_METRICS["allocator_client_call_duration_seconds"].bounds) + 1)
    total = seen.get("client_call_duration_seconds_sum", **call)
    assert total is not None
    assert total > 0


async def test_one_collector_serves_several_clients_of_both_kinds() -> None:
    """It adds up; what was closed stays counted, and its gauges go."""
    url = "memory://both-collected"
    with Allocator.from_url(url, pool="lab") as blocking:
        collector = ClientCollector(blocking)
        blocking.pools.create("lab", {"cpu": 4})
        async with AsyncAllocator.from_url(url, pool="lab") as awaited:
            awaited.observe(collector)
            await awaited.pools.get()
            blocking.pools.get()
            seen = Scrape(text_of(collector))
            assert seen.get("client_connections", state="idle") == 2
    seen = Scrape(text_of(collector))
    assert seen.get("client_call_duration_seconds_count", verb="pools.get", outcome="ok") == 2
    assert seen.get("client_connections", state="idle") == 0


def test_codes_are_bounded() -> None:
    """Whoever invents them: beyond the bound they are one."""
    collector = ClientCollector()
    for number in range(CODES + 10):
        collector.lease_lost("lab", f"code-{number}")
    seen = Scrape(text_of(collector))
    assert seen.get("client_leases_lost_total", code="other") == 10
    assert len(seen.labels("client_leases_lost_total", "code")) == CODES + 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_begins_at_zero_and_counts_its_own() -> None:
    """Else the sum of both would have what the parent did twice."""
    client = memory_allocator({"cpu": 4})
    collector = ClientCollector(client)
    client.pools.get()
    with collector._changing, warnings.catch_warnings():  # as if another thread of the parent had it
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
        if child == 0:
            try:
                begins = Scrape(text_of(collector)).get(
                    "client_call_duration_seconds_count", verb="pools.get", outcome="ok"
                )
                os._exit(0 if begins is None else 1)
            finally:
                os._exit(99)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert Scrape(text_of(collector)).get("client_call_duration_seconds_count", verb="pools.get", outcome="ok") == 1


def test_without_its_package_the_metrics_say_which_extra_has_it() -> None:
    """Not that some module is missing."""
    code = "import sys; sys.modules['prometheus_client'] = None\nimport allocator.metrics"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "pip install 'redis-resource-allocator[metrics]'" in ran.stderr


# -- the server's own statistics ---------------------------------------------------------------------------------------


def test_the_time_of_scripts_is_read_from_the_server(one_server: Server) -> None:
    """By the rights of an inspector; a user without INFO is told so, and reads the pool as before."""
    with (
        Allocator.from_url(one_server.url, pool="lab") as client,
        redis.Redis.from_url(one_server.url, decode_responses=True) as admin,
    ):
        client.pools.create("lab", {"cpu": 4})
        client.release(client.allocate({"cpu": 1}, ttl=60))
        admin.execute_command(*access.user("inspector", password=PASSWORD).command())
        admin.execute_command(*access.user("inspector", name="blind", password=PASSWORD).command())
        admin.execute_command("ACL", "SETUSER", "blind", "-info")
        try:
            for name, shown in (("inspector", 1), ("blind", 0)):
                url = one_server.url.replace("unix://", f"unix://{name}:{PASSWORD}@")
                with Allocator.from_url(url, pool="lab", allow_eviction=True) as user:
                    text = text_of(PoolCollector(user, ["lab", "gone"], server=True))
                seen = Scrape(text)
                assert (seen.get("pool_up", pool="lab"), seen.get("server_statistics", pool="lab")) == (1, shown)
                calls = seen.get("server_script_calls_total", pool="lab", command="evalsha")
                seconds = seen.get("server_script_seconds_total", pool="lab", command="evalsha")
                assert (calls is not None and seconds is not None and calls >= 2 and seconds > 0) is bool(shown)
        finally:
            admin.execute_command("ACL", "DELUSER", "inspector", "blind")


def test_statistics_are_read_once_where_pools_have_one_server() -> None:
    """And not at all unless that is asked for; the store in this process has none."""
    client = memory_allocator({"cpu": 4})
    client.pools.create("other", {"cpu": 1})
    plain = Scrape(text_of(PoolCollector(client, ["other", "test"])))
    assert not any(name.startswith("allocator_server") for name in plain.names())
    seen = Scrape(text_of(PoolCollector(client, ["other", "test"], server=True)))
    assert seen.labels("server_statistics", "pool") == ["other"]


@needs("promtool")
def test_the_names_of_the_server_follow_the_rules_of_prometheus(one_server: Server) -> None:
    """Those of a scrape in which each of them has a sample."""
    with Allocator.from_url(one_server.url, pool="lab") as client:
        client.pools.create("lab", {"cpu": 4})
        client.release(client.allocate({"cpu": 1}, ttl=60))
        text = text_of(PoolCollector(client, server=True))
    assert {name for name in Scrape(text).names() if name.startswith("allocator_server")} == SERVER_METRICS.keys()
    assert promtool("check", "metrics", text=text) == ""
