"""The description of the API, against the answers themselves; and requests of nonsense, which are never a 500."""

from __future__ import annotations

import json
import random
import re
from typing import Any, Final

import jsonschema
import pytest

from allocator import Allocator
from allocator.apps.dashboard.openapi import openapi
from tests.programs.dashboard.serving import CHANGES, Page, opened
from tests.support.servers import Server

POOL = "/api/v1/pools/lab"

REQUESTS: Final = 300
"""Requests of nonsense, about 2 ms each."""


def strict(schema: Any) -> Any:
    """The schema in which an object has no other fields than those that are described."""
    if isinstance(schema, list):
        return [strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {"additionalProperties": False} if "properties" in schema and "additionalProperties" not in schema else {}
    return {**{name: strict(one) for name, one in schema.items()}, **closed}


def check(document: Any, path: str, method: str = "get", status: str = "200") -> None:
    """Compare an answer with what the description says of it."""
    whole = strict(openapi())
    (content,) = whole["paths"][path][method]["responses"][status]["content"].values()
    schema = {**content["schema"], "components": whole["components"]}
    jsonschema.Draft202012Validator(schema).validate(document)


def fill(client: Allocator) -> None:
    """A pool with something of everything."""
    client.pools.create("lab", {"cpu": 8, "memory": "8Gi"})
    client.quotas.set("team", {"cpu": 4}, weight=2)
    client.quotas.set("team/alice", {"cpu": 2, "allocations": 3})
    client.allocate({"cpu": 2}, ttl=60, id="a/1", owner="o", metadata={"k": "v"}, scope="team/alice", max_lifetime=600)
    client.allocate({"memory": "1Gi"}, ttl=None, id="pinned")


@pytest.fixture
def filled(one_server: Server) -> Server:
    """A server with such a pool."""
    with Allocator.from_url(one_server.url, pool="lab") as client:
        fill(client)
    return one_server


async def test_each_answer_is_what_the_description_says(filled: Server) -> None:
    """With all fields that it names, and no others."""
    of_pool = "/api/v1/pools/{pool}"
    async with opened(filled.url, allow_changes=True) as page:
        for path in ("/api/v1", "/api/v1/pools", "/healthz"):
            check(await page.get(path), path)
        for part in ("", "/history", "/allocations", "/timeline", "/queue", "/quotas", "/groups", "/events"):
            check(await page.get(POOL + part), of_pool + part)
        check(await page.get(f"{POOL}/allocations?limit=1"), f"{of_pool}/allocations")
        check(await page.get(f"{POOL}/allocations/a%2F1"), f"{of_pool}/allocations/{{id}}")
        for amount in ("1", "7", "100"):
            answer = await page.send("POST", f"{POOL}/check", {"resources": {"cpu": amount}, "scope": "team/alice"})
            check(answer, f"{of_pool}/check", "post")
        problem = await page.get("/api/v1/pools/nope", status=404)
        check(problem, of_pool, status="default")
        changed = await page.send("PATCH", POOL, {"capacity": {"cpu": "9"}, "generation": 1})
        check(changed, of_pool, "patch")
        conflict = await page.send("PATCH", POOL, {"capacity": {"cpu": "9"}, "generation": 1}, status=409)
        check(conflict, of_pool, "patch", status="default")
        quota = await page.send("PUT", f"{POOL}/quotas/team/bob", {"limits": {"cpu": "1"}})
        check(quota, f"{of_pool}/quotas/{{scope}}", "put")
        released = await page.send("POST", f"{POOL}/allocations/a%2F1/release")
        check(released, f"{of_pool}/allocations/{{id}}/release", "post")


async def test_each_path_is_described_and_each_description_has_a_path(filled: Server) -> None:
    """Those of the page's files apart."""
    async with opened(filled.url) as page:
        routes = page.app._app.routes  # type: ignore[attr-defined]
    served = {(route.path.replace(":path", ""), method.lower()) for route in routes for method in route.methods}
    described = {(path, method) for path, methods in openapi()["paths"].items() for method in methods}
    files = {"/", "/favicon.ico", "/static/{path}"}
    assert {one for one in served if one[0] not in files and one[1] != "head"} == described


def test_the_description_is_openapi() -> None:
    """Its version, and schemas that are some; each reference leads to one."""
    whole = openapi()
    assert whole["openapi"] == "3.1.0"
    schemas = whole["components"]["schemas"]
    for schema in schemas.values():
        jsonschema.Draft202012Validator.check_schema(schema)
    named = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(whole)))
    assert named <= set(schemas)


ODD: Final = [
    "", "0", "-1", "1", "9" * 30, "lab", "a/b", "../..", "%00", "\u202e", "'\"><script>", "null", "true", "1e9", "cpu",
    "x" * 300, "team/alice", "1795451188527-0", "2026-11-27T16:00:00Z", "ä", "\ud800", " ", "{}", "[]", "NaN",
]  # fmt: skip


def nonsense(random_: random.Random, depth: int = 0) -> Any:
    """Any JSON value, mostly small."""
    kinds: list[Any] = [None, True, -1, 0, 2**70, 1.5, random_.choice(ODD)]
    if depth < 3:
        kinds.append([nonsense(random_, depth + 1) for _ in range(random_.randrange(3))])
        names = [*ODD, "resources", "capacity", "generation", "limits", "fence", "scope", "priority", "weight"]
        kinds.append({random_.choice(names): nonsense(random_, depth + 1) for _ in range(random_.randrange(3))})
    return random_.choice(kinds)


async def asked(page: Page, random_: random.Random) -> tuple[str, int]:
    """Send one request of nonsense to a path that is, or nearly is."""
    from urllib.parse import quote

    path = random_.choice([one for one in openapi()["paths"] if "stream" not in one])
    method = random_.choice(["GET", "POST", "PATCH", "PUT", "DELETE"])
    for name in ("pool", "id", "scope"):
        found = "lab" if name == "pool" and random_.random() < 0.7 else random_.choice(ODD)
        path = path.replace(f"{{{name}}}", quote(found, safe="", errors="replace"))
    names = ["limit", "sort", "cursor", "since", "from", "to", "rows", "by", "q", "owner", "scope", "x"]
    pairs = [(random_.choice(names), random_.choice(ODD)) for _ in range(random_.randrange(3))]
    query = "&".join(f"{name}={quote(text, errors='replace')}" for name, text in pairs)
    body = json.dumps(nonsense(random_)) if method != "GET" else None
    headers = {"Content-Type": "application/json", **CHANGES}
    answer = await page.http.request(method, f"{path}?{query}", content=body, headers=headers)
    if answer.status_code >= 400:
        assert answer.headers["content-type"] == "application/problem+json"
        jsonschema.validate(
            answer.json(),
            {
                **strict(openapi()["components"]["schemas"]["Problem"]),
                "additionalProperties": True,
                "components": openapi()["components"],
            },
        )
    return f"{method} {path}?{query} {body}", answer.status_code


@pytest.mark.parametrize("seed", [1, 2])
async def test_no_nonsense_is_a_bug(filled: Server, seed: int) -> None:
    """Each request is answered, or refused with a problem; the pool's audit is clean afterwards."""
    random_ = random.Random(seed)
    async with opened(filled.url, allow_changes=True) as page:
        for _ in range(REQUESTS):
            request, status = await asked(page, random_)
            assert status < 500, (status, request)
