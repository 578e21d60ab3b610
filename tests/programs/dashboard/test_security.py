"""Who is answered: the token, Host, Origin, and what a change needs; what is refused says nothing of a pool."""

from __future__ import annotations

import json
from typing import Final

import pytest
from starlette.datastructures import Headers

from allocator import Allocator
from allocator.apps.dashboard.problems import Problem
from allocator.apps.dashboard.security import Rules, is_loopback
from tests.programs.dashboard.serving import CHANGES, ORIGIN, TOKEN, opened
from tests.support.servers import Server

POOL = "/api/v1/pools/lab"


async def test_nothing_is_answered_without_the_token(one_server: Server) -> None:
    """It is a 401 with a problem, also on the stream and for a path that is none."""
    wrong = (
        "",
        "Bearer",
        "Bearer ",
        f"Basic {TOKEN}",
        f"Bearer {TOKEN[:-1]}",
        f"Bearer {TOKEN}x",
        TOKEN,
        "Bearer \xff",
    )
    async with opened(one_server.url) as page:
        for path in ("/api/v1", POOL, "/metrics", "/api/v1/stream?pool=lab", "/api/v1/nothing"):
            for given in wrong:
                answer = await page.http.get(path, headers=[(b"Authorization", given.encode("latin-1"))])
                assert (answer.status_code, answer.json()["code"]) == (401, "token"), (path, given)
                assert answer.headers["www-authenticate"].startswith("Bearer")
                assert TOKEN not in answer.text


async def test_the_token_is_not_taken_from_the_url(one_server: Server) -> None:
    """There it would be stored by histories and proxies."""
    async with opened(one_server.url) as page:
        answer = await page.http.get(f"/api/v1?token={TOKEN}", headers={"Authorization": ""})
        assert answer.status_code == 401
        assert TOKEN not in repr(page.dashboard)


async def test_a_foreign_host_is_refused(one_server: Server) -> None:
    """A site may let its own name mean this machine; the name with a dot at its end is this machine's."""
    async with opened(one_server.url) as page:
        for host in ("evil.example", "evil.example:9894", "127.0.0.1.evil.example", "", "a b", "localhost:x"):
            answer = await page.http.get("/", headers={"Host": host})
            assert (answer.status_code, answer.json()["code"]) == (421, "unknown_host"), host
        assert (await page.http.get("/", headers={"Host": "localhost."})).status_code != 421


async def test_a_foreign_origin_is_refused(one_server: Server) -> None:
    """Also another port of this machine, and whatever the request is."""
    foreign = ("http://evil.example", "null", "http://127.0.0.1:3000", "http://localhost:9894", "file://", "http://[")
    async with opened(one_server.url) as page:
        for origin in foreign:
            for method in ("GET", "POST", "OPTIONS"):
                answer = await page.http.request(method, "/api/v1", headers={"Origin": origin})
                assert (answer.status_code, answer.json()["code"]) == (403, "foreign_origin"), (origin, method)
                assert "access-control-allow-origin" not in answer.headers
        assert (await page.http.get("/api/v1", headers={"Origin": ORIGIN})).status_code == 200


async def test_a_page_of_another_site_is_refused(one_server: Server) -> None:
    """Browsers say where a request comes from; a link to the page itself may be anywhere."""
    async with opened(one_server.url) as page:
        for site in ("cross-site", "same-site"):
            assert (await page.http.get("/api/v1", headers={"Sec-Fetch-Site": site})).status_code == 403
            assert (await page.http.get("/healthz", headers={"Sec-Fetch-Site": site})).status_code == 200
        assert (await page.http.get("/api/v1", headers={"Sec-Fetch-Site": "same-origin"})).status_code == 200


def test_names_of_a_proxy_are_answered() -> None:
    """A name that was given is one in Host, and as an origin with any scheme and port: TLS is the proxy's."""
    rules = Rules(TOKEN, ["Dash.Example", "fe80::1"])
    allowed = {"authorization": f"Bearer {TOKEN}"}
    for host in ("dash.example", "DASH.example:443", "[fe80::1]:9894", "localhost:1"):
        rules.check("GET", "/api/v1", Headers({"host": host, **allowed}))
    rules.check("GET", "/api/v1", Headers({"host": "127.0.0.1:9894", "origin": "https://dash.example", **allowed}))
    with pytest.raises(Problem, match="another name"):
        rules.check("GET", "/api/v1", Headers({"host": "dash.example.evil", **allowed}))


def test_loopback_is_what_only_this_machine_reaches() -> None:
    """Other addresses need a word of their own on the command line."""
    addresses = ("127.0.0.1", "127.9.9.9", "::1", "localhost", "0.0.0.0", "::", "10.0.0.1", "x")
    assert [one for one in addresses if is_loopback(one)] == ["127.0.0.1", "127.9.9.9", "::1", "localhost"]


CHANGE: Final = [
    ("POST", f"{POOL}/allocations/a/release", {}),
    ("POST", f"{POOL}/queue/a/withdraw", {}),
    ("PATCH", POOL, {"capacity": {"cpu": "1"}, "generation": 1}),
    ("PATCH", "/api/v1/pools/check", {"capacity": {"cpu": "1"}, "generation": 1}),
    ("PUT", f"{POOL}/quotas/team/check", {"limits": {"cpu": "1"}}),
]


async def test_a_change_needs_the_option_and_what_only_the_page_sends(one_server: Server) -> None:
    """Read-only refuses it whatever is sent; else the header, the origin and the type of the body are needed."""
    typed = {"Content-Type": "application/json"}
    refused = (
        ({**typed, "Origin": ORIGIN}, 403, "no_page"),
        ({**typed, "X-Requested-With": "allocator"}, 403, "no_origin"),
        ({**typed, **CHANGES, "Origin": "http://evil.example"}, 403, "foreign_origin"),
        ({**typed, **CHANGES, "Authorization": "Bearer x"}, 401, "token"),
        ({**CHANGES, "Content-Type": "text/plain"}, 415, "no_json"),
    )
    with Allocator.from_url(one_server.url) as client:
        for name in ("lab", "check"):
            client.pools.create(name, {"cpu": 4})
        before = [client.pools.get(name).revision for name in ("lab", "check")]
        for method, path, body in CHANGE:
            async with opened(one_server.url) as page:
                assert (await page.send(method, path, body, status=403))["code"] == "read_only"
            async with opened(one_server.url, allow_changes=True) as page:
                for headers, status, code in refused:
                    answer = await page.http.request(method, path, content=json.dumps(body), headers=headers)
                    assert (answer.status_code, answer.json()["code"]) == (status, code), (path, headers)
        assert [client.pools.get(name).revision for name in ("lab", "check")] == before


NONSENSE: Final = [
    (b"", 400), (b"{", 400), (b"[]", 400), (b"null", 400), (b"\xff\xfe", 400), (b'{"resources": NaN}', 400),
    (b'{"resources": {"cpu": 1}, "resources": {"cpu": 2}}', 400), (b"[" * 60_000, 400), (b"9" * 60_000, 400),
    (b'{"resources": {"cpu": "1"}, "x": 1}', 400), (b'{"resources": {"cpu": [1]}}', 400),
    (b'{"resources": []}', 400), (b'{"resources": {"cpu": 1.5}}', 400), (b'{"resources": {}}', 400),
    (b'{"resources": {"cpu": 1}, "priority": "high"}', 400), (b'{"resources": {"cpu": 1}, "scope": "\\ud800"}', 400),
    (b'{"resources": {"\\ud800": 1}}', 400), (b'{"resources": {"cpu": 1}, "maxLifetime": "x"}', 400),
    (b'{"resources": {"cpu": 1}, "preempt": 3}', 400), (b'{"resources": {"cpu": 1}, "ttl": -1}', 400),
    (b'{"resources": {"cpu": "' + b"1" * 70_000 + b'"}}', 413),
]  # fmt: skip
"""Bodies, and the status that each gets."""


async def test_a_body_of_nonsense_is_a_problem(one_server: Server) -> None:
    """No JSON, another shape, too large: each is told, and nothing is sent to the server."""
    with Allocator.from_url(one_server.url) as client:
        client.pools.create("lab", {"cpu": 4})
    async with opened(one_server.url) as page:
        for content, status in NONSENSE:
            answer = await page.http.post(
                f"{POOL}/check", content=content, headers={"Content-Type": "application/json"}
            )
            assert answer.status_code == status, content[:80]
            assert answer.headers["content-type"] == "application/problem+json"
            assert "Traceback" not in answer.text


async def test_a_bug_says_nothing_to_its_caller(
    one_server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The log has it; the answer is a problem without its text."""
    async with opened(one_server.url) as page:

        async def broken(_: str) -> None:
            raise RuntimeError("the secret inside")

        monkeypatch.setattr(page.dashboard.readings, "usage", broken)
        answer = await page.http.get(POOL)
        assert (answer.status_code, answer.json()["code"]) == (500, "internal")
        assert "secret" not in answer.text
    assert "the secret inside" in caplog.text
