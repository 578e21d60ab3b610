"""What the page says while its server or the pool's is away, and that it comes back by itself."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from allocator import Allocator
from tests.support.browsing import DashboardProcess
from tests.support.servers import Server, free_port
from tests.support.tools import needs

pytestmark = [needs("chromium"), pytest.mark.slow]

AWAY = ("ERR_", "503", "502", "504", "Failed to load", "500")
"""What a browser logs of requests that were refused or cut off."""


@pytest.fixture
def expect() -> Any:
    """Playwright's assertions, which wait."""
    from playwright.sync_api import expect

    return expect


@pytest.fixture
def own() -> Iterator[Server]:
    """A server that a test may stop; it keeps what it has."""
    with Server(options={"appendonly": "yes", "appendfsync": "always"}) as started:
        yield started


def test_a_redis_that_goes_away_is_said_and_comes_back(own: Server, open_page: Callable[..., Any], expect: Any) -> None:
    """The figures stay, marked with their age; afterwards they are live again without a reload."""
    with Allocator.from_url(own.url, pool="lab") as client:
        client.pools.create("lab", {"cpu": 8})
        _look_while_it_is_away(own, client, open_page, expect)


def _look_while_it_is_away(own: Server, client: Allocator, open_page: Callable[..., Any], expect: Any) -> None:
    with DashboardProcess(own.url, "lab") as dashboard:
        client.allocate({"cpu": 2}, ttl=600, owner="ada")
        page = open_page("#/pools/lab", on=dashboard, expected=AWAY)
        cpu = page.get_by_role("meter", name="cpu, allocated")
        expect(cpu).to_have_attribute("aria-valuenow", "25")
        own.kill()
        banner = page.get_by_role("region", name="Connection")
        expect(banner).to_contain_text(re.compile(r"Figures of \d\d:\d\d:\d\d, \d+ s old"))
        expect(page.locator("#link-text")).to_have_text("Reconnecting")
        expect(cpu).to_have_attribute("aria-valuenow", "25")
        own.restart()
        expect(banner).to_be_hidden()
        client.allocate({"cpu": 2}, ttl=600, owner="grace")
        expect(cpu).to_have_attribute("aria-valuenow", "50")
        expect(page.locator("#newest")).to_contain_text("grace")
        expect(page.locator("#link-text")).to_have_text("Live")


def test_a_dashboard_that_is_started_anew_is_found_again(
    client: Allocator, pool: str, one_server: Server, tmp_path: Path, open_page: Callable[..., Any], expect: Any
) -> None:
    """With the same token; events that happened meanwhile are there afterwards."""
    secret, port = tmp_path / "token", free_port()
    secret.write_text("t" * 40, encoding="ascii")
    secret.chmod(0o600)
    options = ("--token-file", str(secret), "--port", str(port), pool)
    with DashboardProcess(one_server.url, *options, token="t" * 40) as first:
        page = open_page(f"#/pools/{pool}/events", on=first, expected=AWAY)
        client.allocate({"cpu": 1}, ttl=600, owner="before")
        expect(page.get_by_role("log")).to_contain_text("before")
    expect(page.locator("#link-text")).to_have_text("Reconnecting")
    expect(page.get_by_role("region", name="Connection")).to_contain_text("Next try in")
    client.allocate({"cpu": 1}, ttl=600, owner="meanwhile")
    with DashboardProcess(one_server.url, *options, token="t" * 40):
        expect(page.locator("#link-text")).to_have_text("Live")
        expect(page.get_by_role("log")).to_contain_text("meanwhile")
        expect(page.get_by_role("region", name="Connection")).to_be_hidden()


def test_a_dashboard_with_another_token_asks_for_it(
    client: Allocator, pool: str, one_server: Server, open_page: Callable[..., Any], expect: Any
) -> None:
    """A page does not try a refused token again and again."""
    port = free_port()
    with DashboardProcess(one_server.url, "--port", str(port), pool) as first:
        page = open_page(f"#/pools/{pool}", on=first, expected=(*AWAY, "401"))
        expect(page.get_by_role("meter").first).to_be_visible()
    with DashboardProcess(one_server.url, "--port", str(port), pool):
        expect(page.get_by_role("alert").filter(has_text="does not accept this token")).to_be_visible()


def test_a_pool_that_does_not_exist_is_said(open_page: Callable[..., Any], one_server: Server, expect: Any) -> None:
    """With a way back; once it is made, the page shows it by itself."""
    page = open_page("#/pools/nowhere", expected=("404",))
    expect(page.locator(".notice").first).to_contain_text("nowhere")
    expect(page.locator(".view-head .state")).to_have_text("not found")
    with Allocator.from_url(one_server.url) as client:
        client.pools.create("nowhere", {"cpu": 1})
    expect(page.get_by_role("meter")).to_have_count(1)
    expect(page.locator("#timeline")).to_be_visible()
    page.evaluate("location.hash = '#/pools/never'")
    expect(page.locator(".view-head .state")).to_have_text("not found")
    page.locator(".notice").first.get_by_role("link", name="All pools").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Pools")
