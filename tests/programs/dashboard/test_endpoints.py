"""The endpoints that read: the documents of the command line, in pages with bounds, and problems with a field."""

from __future__ import annotations

import json
from typing import Final

import pytest

from allocator import Allocator
from allocator.apps.dashboard import bounds, pools
from tests.programs.dashboard.serving import ORIGIN, opened
from tests.support.servers import Server
from tests.support.waiting import wait_until_async

POOL = "/api/v1/pools/lab"


def fill(url: str) -> None:
    """A pool with two scopes, five allocations and a waiter's rights."""
    with Allocator.from_url(url, pool="lab") as client:
        client.pools.create("lab", {"cpu": 32, "memory": "128Gi"})
        client.quotas.set("team-a", {"cpu": 16})
        client.quotas.set("team-a/alice", {"cpu": 8})
        for number in range(4):
            client.allocate(
                {"cpu": 1}, ttl=60 + number, id=f"job/{number}", owner=f"team-a/o{number % 2}", scope="team-a"
            )
        client.allocate({"cpu": 2}, ttl=None, id="pinned", owner="bob", metadata={"note": "</script><script>alert(1)"})


async def test_documents_are_those_of_the_command_line(one_server: Server) -> None:
    """Each pool, its usage, an allocation with its story; no answer may be kept by a cache."""
    fill(one_server.url)
    async with opened(one_server.url) as page:
        about = await page.get("/api/v1")
        assert (about["kind"], about["pools"], about["allowChanges"]) == ("Dashboard", ["lab"], False)
        (listed,) = (await page.get("/api/v1/pools"))["items"]
        usage = await page.get(POOL)
        assert usage["kind"] == "Usage"
        assert listed["resources"] == usage["resources"]
        assert usage["resources"]["cpu"]["allocated"] == {"quantity": "6", "amount": 6000}
        one = await page.get(f"{POOL}/allocations/job%2F1")
        assert (one["kind"], one["id"], one["status"]) == ("Allocation", "job/1", "Live")
        assert [event["type"] for event in one["events"]] == ["granted"]
        answer = await page.http.get(POOL)
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert (await page.http.head(POOL)).status_code == 200


async def test_allocations_come_in_pages_that_a_filter_and_an_order_keep(one_server: Server) -> None:
    """A cursor goes on behind the last one; each is listed once; the numbers say how many there are."""
    fill(one_server.url)
    async with opened(one_server.url) as page:
        for sort, first in (("age", "job/0"), ("deadline", "job/0"), ("id", "job/0"), ("owner", "pinned")):
            found: list[str] = []
            cursor = ""
            while True:
                document = await page.get(f"{POOL}/allocations?limit=2&sort={sort}&cursor={cursor}")
                found += [item["id"] for item in document["items"]]
                assert (document["total"], document["matching"], document["leftOut"]) == (5, 5, 0)
                if not (cursor := document["cursor"]):
                    break
            assert (sorted(found), found[0]) == (["job/0", "job/1", "job/2", "job/3", "pinned"], first)
        for query, expected in (
            ("owner=bob", ["pinned"]),
            ("owner=team-a/*", ["job/0", "job/1", "job/2", "job/3"]),
            ("scope=team-a", ["job/0", "job/1", "job/2", "job/3"]),
            ("scope=team", []),
            ("q=JOB/3", ["job/3"]),
            ("q=alert(1)", ["pinned"]),
        ):
            document = await page.get(f"{POOL}/allocations?{query}")
            assert [item["id"] for item in document["items"]] == expected, query


async def test_the_timeline_counts_what_ends_when(one_server: Server) -> None:
    """Each allocation ends in one bucket, was due before, ends later, or is pinned."""
    fill(one_server.url)
    async with opened(one_server.url) as page:
        document = await page.get(f"{POOL}/timeline?rows=2")
        assert [item["id"] for item in document["items"]] == ["job/0", "job/1"]
        assert (document["total"], document["pinned"]) == (5, 1)
        assert len(document["buckets"]) == bounds.BUCKETS
        assert sum(bucket["ends"] for bucket in document["buckets"]) == 4
        assert sum(bucket["frees"].get("cpu", {"amount": 0})["amount"] for bucket in document["buckets"]) == 4000
        now = (await page.get(POOL))["readMs"]
        early = await page.get(f"{POOL}/timeline?from={now}&to={now + 30_000}")
        assert (early["later"]["ends"], early["later"]["frees"]["cpu"]["amount"]) == (4, 4000)
        late = await page.get(f"{POOL}/timeline?from={now + 3_600_000}&to={now + 7_200_000}&rows=0")
        assert (late["overdue"]["ends"], late["items"]) == (4, [])
        assert (await page.get(f"{POOL}/timeline?from=5&to=5", status=400))["field"] == "to"


async def test_groups_scopes_and_the_line(one_server: Server) -> None:
    """What owners and scopes have; a scope's limits; nobody waits."""
    fill(one_server.url)
    async with opened(one_server.url) as page:
        owners = await page.get(f"{POOL}/groups?by=owner&limit=2")
        assert [(item["key"], item["allocations"]) for item in owners["items"]] == [("team-a/o0", 2), ("team-a/o1", 2)]
        assert (owners["total"], owners["groupsLeftOut"]) == (3, 1)
        by_scope = await page.get(f"{POOL}/groups?by=scope")
        assert [item["key"] for item in by_scope["items"]] == ["team-a", ""]
        quotas = await page.get(f"{POOL}/quotas")
        assert [item["scope"] for item in quotas["items"]] == ["team-a", "team-a/alice"]
        assert quotas["items"][0]["resources"]["cpu"]["used"]["amount"] == 4000
        assert (await page.get(f"{POOL}/queue"))["items"] == []


async def test_the_history_is_that_of_the_library(one_server: Server) -> None:
    """A point a minute of a day; fewer or more where the request says so."""
    fill(one_server.url)
    async with opened(one_server.url) as page:
        document = await page.get(f"{POOL}/history?since=3600&resolution=60")
        assert document["kind"] == "UsageHistory"
        assert document["points"][-1]["resources"]["cpu"]["allocated"]["amount"] == 6000
        assert document["points"][-1]["grants"] == 5
        assert (await page.get(f"{POOL}/history"))["pool"] == "lab"


async def test_events_go_on_from_a_cursor(one_server: Server) -> None:
    """Without one the latest come; from `0` on all; a cursor of another pool says that something is missing."""
    fill(one_server.url)
    with Allocator.from_url(one_server.url) as client:
        client.pools.create("other", {"cpu": 1})
    async with opened(one_server.url) as page:
        latest = await page.get(f"{POOL}/events?limit=2")
        assert [event["id"] for event in latest["items"]] == ["job/3", "pinned"]
        assert (await page.get(f"{POOL}/events?since={latest['cursor']}"))["items"] == []
        whole = await page.get(f"{POOL}/events?since=0")
        assert whole["cursor"] == latest["cursor"]
        foreign = await page.get(f"/api/v1/pools/other/events?since={latest['cursor']}")
        assert [event["type"] for event in foreign["items"]] == ["missed", "created"]


async def test_a_check_explains_in_numbers_and_changes_nothing(one_server: Server) -> None:
    """What is short, and by how much; without --allow-changes, too."""
    fill(one_server.url)
    async with opened(one_server.url) as page:
        before = (await page.get(POOL))["configuration"]["revision"]
        answer = await page.send("POST", f"{POOL}/check", {"resources": {"cpu": "30"}, "ttl": 60})
        assert (answer["kind"], answer["fits"]) == ("Check", False)
        assert answer["denial"]["shortages"][0]["short"]["quantity"] == "4"
        assert (await page.send("POST", f"{POOL}/check", {"resources": {"cpu": 1}, "scope": "team-a"}))["fits"]
        assert (await page.get(POOL))["configuration"]["revision"] == before


WRONG: Final = [
    ("/api/v1/pools/nope", 404, "unknown_pool", None),
    ("/api/v1/pools/a%20b", 400, "invalid_request", "pool"),
    (f"{POOL}/allocations/nope", 404, "unknown_allocation", None),
    (f"{POOL}/allocations?limit=0", 400, "invalid_request", "limit"),
    (f"{POOL}/allocations?limit=1001", 400, "invalid_request", "limit"),
    (f"{POOL}/allocations?limit=%D9%A1", 400, "invalid_request", "limit"),
    (f"{POOL}/allocations?sort=size", 400, "invalid_request", "sort"),
    (f"{POOL}/allocations?cursor=AAAA", 400, "invalid_request", "cursor"),
    (f"{POOL}/allocations?cursor=WyJvdGhlciIsICJhZ2UiLCAxLCAyXQ", 400, "invalid_request", "cursor"),
    (f"{POOL}/allocations?cursor=WyJsYWIiLCAiaWQiLCAieCJd", 400, "invalid_request", "cursor"),
    (f"{POOL}/allocations?ownr=x", 400, "invalid_request", "ownr"),
    (f"{POOL}/allocations?owner=x&owner=y", 400, "invalid_request", "owner"),
    (f"{POOL}/timeline?from=yesterday", 400, "invalid_request", "from"),
    (f"{POOL}/timeline?to=2026-01-01T00:00:00", 400, "invalid_request", "to"),
    (f"{POOL}/events?since=yesterday", 400, "invalid_request", "since"),
    (f"{POOL}/history?since=1", 400, "invalid_request", "since"),
    (f"{POOL}/history?resolution=61", 400, "invalid_request", "resolution"),
    (f"{POOL}/groups?by=colour", 400, "invalid_request", "by"),
    ("/api/v1/stream?pool=nope", 404, "unknown_pool", None),
    ("/api/v1/stream", 400, "invalid_request", "pool"),
    ("/api/v1/nothing", 404, "not_found", None),
    (f"{POOL}/", 404, "not_found", None),
]
"""Path, status, code, and the field that the problem names."""


async def test_bad_input_is_a_problem_that_names_the_field(one_server: Server) -> None:
    """As application/problem+json, with the library's code."""
    fill(one_server.url)
    async with opened(one_server.url) as page:
        for path, status, code, field in WRONG:
            answer = await page.http.get(path)
            assert answer.headers["content-type"] == "application/problem+json"
            document = answer.json()
            assert (answer.status_code, document["code"], document.get("field")) == (status, code, field), path
            assert document["status"] == status
            assert document["type"].startswith("urn:")


async def test_a_method_that_a_path_does_not_have(one_server: Server) -> None:
    """Its answer names those that it has; a request before a foreign script's is refused like any other."""
    fill(one_server.url)
    async with opened(one_server.url, allow_changes=True) as page:
        sent = {"Content-Type": "application/json", "Origin": ORIGIN, "X-Requested-With": "allocator"}
        answer = await page.http.delete(POOL, headers=sent)
        assert (answer.status_code, set(answer.headers["allow"].split(", "))) == (405, {"GET", "HEAD"})
        assert "access-control-allow-origin" not in answer.headers


async def test_named_pools_are_the_only_ones(one_server: Server) -> None:
    """Another one is not served, though it is there."""
    fill(one_server.url)
    with Allocator.from_url(one_server.url) as client:
        client.pools.create("other", {"cpu": 1})
    async with opened(one_server.url, "other") as page:
        assert (await page.get("/api/v1"))["pools"] == ["other"]
        assert (await page.get(POOL, status=404))["code"] == "unknown_pool"


async def test_a_new_pool_is_found_while_it_runs(one_server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Soon after a page has asked for the pools."""
    monkeypatch.setattr(pools, "RETRY_S", 0.05)
    async with opened(one_server.url) as page:
        assert (await page.get("/api/v1/pools"))["items"] == []
        fill(one_server.url)

        async def found() -> bool:
            return bool((await page.get("/api/v1/pools"))["items"])

        await wait_until_async(found, message="the new pool")


async def test_a_pool_that_cannot_be_read_does_not_hide_the_others(one_server: Server) -> None:
    """It is listed with its error."""
    fill(one_server.url)
    async with opened(one_server.url, "lab", "gone") as page:
        lab, gone = (await page.get("/api/v1/pools"))["items"]
        assert lab["pool"] == "lab"
        assert (gone["pool"], gone["error"]["code"]) == ("gone", "unknown_pool")


async def test_a_server_that_is_away_is_a_503_and_comes_back(one_server: Server) -> None:
    """Down is never reported as empty: with a code, a Retry-After, and no address or password."""
    with Server() as away:
        fill(away.url)
        async with opened(away.url, timeout_s=0.3) as page:
            assert await page.get("/healthz") == {"status": "ok"}
            away.kill()

            async def is_away() -> bool:
                return (await page.http.get(POOL)).status_code == 503

            await wait_until_async(is_away, message="503")
            answer = await page.http.get(POOL)
            assert answer.headers["retry-after"] == "1"
            assert answer.json()["code"] in ("unavailable", "timeout", "connection")
            healthy = await page.http.get("/healthz", headers={"Authorization": ""})
            assert (healthy.status_code, "sock" in healthy.text) == (503, False)
            away.start()
            fill(away.url)

            async def is_back() -> bool:
                return (await page.http.get(POOL)).status_code == 200

            await wait_until_async(is_back, message="200")


async def test_metrics_are_those_of_the_exporter(one_server: Server) -> None:
    """In the text format, with a token."""
    fill(one_server.url)
    async with opened(one_server.url) as page:
        await page.get("/api/v1")
        answer = await page.http.get("/metrics")
        assert answer.headers["content-type"].startswith("text/plain")
        assert 'allocator_resource_allocated{pool="lab",resource="cpu",unit="core"} 6.0' in answer.text
        assert (await page.http.get("/metrics", headers={"Authorization": "Bearer no"})).status_code == 401


async def test_the_page_and_its_parts(one_server: Server) -> None:
    """With an ETag, checked at each use; nothing outside of the folder."""
    async with opened(one_server.url) as page:
        for path in ("/", "/static/index.html"):
            answer = await page.http.get(path, headers={"Authorization": ""})
            assert answer.headers["content-type"] == "text/html; charset=utf-8"
            assert answer.headers["cache-control"] == "no-cache"
            again = await page.http.get(path, headers={"If-None-Match": answer.headers["etag"]})
            assert (again.status_code, again.content) == (304, b"")
        for path in (
            "../app.py",
            "%2e%2e/app.py",
            "..%2fapp.py",
            ".hidden.js",
            "a//b.js",
            "index.html%00",
            "%5c..%5capp.py",
        ):
            assert (await page.http.get(f"/static/{path}")).status_code == 404, path


async def test_stored_text_is_data(one_server: Server) -> None:
    """Whatever owners and metadata hold, an answer is JSON in ASCII, which no browser takes for a page."""
    fill(one_server.url)
    async with opened(one_server.url) as page:
        answer = await page.http.get(f"{POOL}/allocations/pinned")
        assert answer.content.isascii()
        assert json.loads(answer.content)["metadata"] == {"note": "</script><script>alert(1)"}
        assert "default-src 'none'" in answer.headers["content-security-policy"]
