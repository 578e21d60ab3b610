"""What each view of the page shows, from the pools at a glance to the explanation of a request."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from allocator import Allocator, Limit
from tests.support.browsing import DashboardProcess
from tests.support.servers import Server
from tests.support.tools import needs
from tests.support.waiters import begun

pytestmark = [needs("chromium"), pytest.mark.slow]


@pytest.fixture
def expect() -> Any:
    """Playwright's assertions, which wait."""
    from playwright.sync_api import expect

    return expect


def test_a_pool_is_a_card_with_a_word_for_its_state(
    client: Allocator, pool: str, one_server: Server, open_page: Callable[..., Any], expect: Any
) -> None:
    """Colour alone says nothing to many."""
    client.allocate({"nvidia.com/gpu": 4}, ttl=60)
    with DashboardProcess(one_server.url, pool) as named:
        page = open_page(on=named)
        _look_at_cards(page, pool, expect)
        page.close()


def _look_at_cards(page: Any, pool: str, expect: Any) -> None:
    card = page.locator(".card", has_text=pool)
    expect(card).to_contain_text("100 %")
    expect(card.locator(".card-head .state")).to_have_text("full")
    page.get_by_label("Search pools by name").fill("no such pool")
    expect(card).to_have_count(0)
    page.get_by_label("Search pools by name").fill(pool)
    card.get_by_role("link").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(pool)
    expect(page).to_have_title(re.compile(pool))


def test_the_token_leaves_the_address(client: Allocator, pool: str, open_page: Callable[..., Any], expect: Any) -> None:
    """It would be in the history of the browser, and in a bookmark; a reload still has it."""
    page = open_page(f"#/pools/{pool}")
    expect(page.get_by_role("heading", level=1)).to_have_text(pool)
    assert "token" not in page.url
    page.reload()
    expect(page.get_by_role("heading", level=1)).to_have_text(pool)


def test_an_allocation_is_shown_within_a_second(
    client: Allocator, pool: str, open_page: Callable[..., Any], expect: Any
) -> None:
    """In the bars, in the numbers and among the events, without a reload."""
    page = open_page(f"#/pools/{pool}")
    expect(page.get_by_role("meter", name="cpu, allocated")).to_have_attribute("aria-valuenow", "0")
    expect(page.locator("#link-text")).to_have_text("Live")
    client.allocate({"cpu": 6}, ttl=60, owner="ada")
    expect(page.get_by_role("meter", name="cpu, allocated")).to_have_attribute("aria-valuenow", "75", timeout=1000)
    expect(page.locator("#newest")).to_contain_text("ada")
    expect(page.locator("#timeline")).to_contain_text("1 allocation.")


def test_allocations_are_filtered_and_grouped(
    client: Allocator, pool: str, open_page: Callable[..., Any], expect: Any
) -> None:
    """Who holds what, by owner, by scope, by any text of theirs."""
    client.quotas.set("team-a", {"cpu": 6})
    for number in range(3):
        client.allocate({"cpu": 1}, ttl=600, owner="ada", scope="team-a", id=f"ada-{number}")
    client.allocate({"memory": "1Gi"}, ttl=None, owner="grace", id="grace-0", metadata={"image": "trainer"})
    page = open_page(f"#/pools/{pool}/allocations")
    rows = page.locator("#allocations tbody tr:visible")
    expect(rows).to_have_count(4)
    page.locator("#filter-owner").fill("grace")
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text("none (pinned)")
    page.locator("#filter-owner").fill("")
    page.locator("#filter-scope").fill("team-a")
    expect(rows).to_have_count(3)
    page.locator("#filter-scope").fill("")
    page.locator("#filter-q").fill("trainer")
    expect(rows).to_have_count(1)
    page.locator("#filter-q").fill("nothing like it")
    expect(page.locator("#allocations")).to_contain_text("No allocation matches.")
    page.locator("#filter-q").fill("")
    page.get_by_label("Group", exact=True).select_option("owner")
    expect(rows).to_have_count(2)
    expect(rows.first).to_contain_text("cpu 3")
    page.get_by_role("button", name="ada", exact=True).click()
    expect(rows).to_have_count(3)
    rows.first.get_by_role("button", name="details of ada-0").click()
    story = page.get_by_role("region", name="Allocation ada-0")
    expect(story).to_contain_text("granted")
    expect(story.get_by_role("heading")).to_be_focused()
    page.keyboard.press("Escape")
    expect(story).to_have_count(0)


def test_the_timeline_says_what_frees_up_when(
    client: Allocator, pool: str, open_page: Callable[..., Any], expect: Any
) -> None:
    """Deadlines, hard ends, what has none, and where the first in line would start."""
    client.allocate({"cpu": 6}, ttl=600, max_lifetime=1200, owner="ada")
    client.allocate({"memory": "8Gi"}, ttl=None, owner="pinned-one")
    with begun(client, {"cpu": 4}, owner="grace"):
        page = open_page(f"#/pools/{pool}")
        timeline = page.locator("#timeline")
        expect(timeline.locator(".lease")).to_have_count(2)
        expect(timeline.locator(".lease-live .lease-late")).to_have_count(1)
        expect(timeline.locator(".lease-pinned .lease-arrow")).to_have_count(1)
        expect(timeline.locator(".chart-lead")).to_contain_text("1 allocation ends by")
        expect(timeline.locator(".chart-lead")).to_contain_text(
            re.compile(r"first in line \(grace, cpu 4\) can start at .*in (9|10) min")
        )
        expect(timeline.locator(".start")).to_have_count(1)
        timeline.get_by_text("As a table").click()
        expect(timeline.locator("tbody tr")).to_have_count(1)
        expect(timeline.locator("tbody tr td").nth(1)).to_have_text("8")
        timeline.get_by_label("How far ahead").select_option("900")
        expect(timeline.locator(".lease")).to_have_count(2)


def test_the_line_says_why_each_waits(client: Allocator, pool: str, open_page: Callable[..., Any], expect: Any) -> None:
    """Place, reason in numbers, and when it may start; and it empties by itself."""
    held = client.allocate({"cpu": 6}, ttl=600)
    with begun(client, {"cpu": 4}, owner="grace", priority=7):
        page = open_page(f"#/pools/{pool}/line")
        row = page.locator("#line tbody tr")
        expect(row).to_have_count(1)
        expect(row).to_contain_text("grace")
        expect(row).to_contain_text("pool short of cpu by 2")
        expect(row).to_contain_text(re.compile(r"in (9|10) min"))
        client.release(held)
        expect(page.locator("#line")).to_contain_text("Nobody waits.")


def test_quotas_are_a_tree_with_what_is_borrowed_and_lent(
    client: Allocator, pool: str, open_page: Callable[..., Any], expect: Any
) -> None:
    """Numbers of one resource at a time; a scope folds away those below it."""
    client.quotas.set("team-a", {"cpu": 8})
    client.quotas.set("team-a/alice", {"cpu": Limit(2, 4)})
    client.quotas.set("team-b", {"cpu": Limit(4, 0)})
    client.allocate({"cpu": 5}, ttl=600, scope="team-a/alice")
    page = open_page(f"#/pools/{pool}/quotas")
    rows = page.locator("#quotas tbody tr")
    expect(rows).to_have_count(3)
    alice = rows.nth(1)
    expect(alice.locator("[data-label=Borrowed]")).to_have_text("3")
    expect(alice.locator(".state")).to_have_text("borrows")
    expect(rows.nth(2).locator("[data-label=Lent]")).to_have_text("1")
    page.get_by_role("button", name="Close team-a").click()
    expect(rows).to_have_count(2)
    page.get_by_label("Search scopes").fill("alice")
    expect(rows).to_have_count(2)


def test_events_stand_still_while_paused(
    client: Allocator, pool: str, open_page: Callable[..., Any], expect: Any
) -> None:
    """So that they can be read; the page says how many have come since."""
    page = open_page(f"#/pools/{pool}/events")
    log = page.get_by_role("log")
    client.allocate({"cpu": 1}, ttl=60, owner="first")
    expect(log).to_contain_text("first")
    page.get_by_role("button", name="Pause").click()
    client.allocate({"cpu": 1}, ttl=60, owner="second")
    expect(page.locator("#events")).to_contain_text("1 event has come since.")
    expect(log).not_to_contain_text("second")
    page.get_by_role("button", name="Resume").click()
    expect(log).to_contain_text("second")
    page.get_by_label("Search events").fill("second")
    expect(log.locator("li")).to_have_count(1)


def test_a_request_is_explained_in_numbers(
    client: Allocator, pool: str, open_page: Callable[..., Any], expect: Any
) -> None:
    """Whether it fits, what is short by how much, and when it may start; a mistake is said at its field."""
    client.allocate({"cpu": 6}, ttl=600)
    page = open_page(f"#/pools/{pool}/explain")
    request, ask = page.get_by_role("textbox", name="Request"), page.get_by_role("button", name="Explain")
    verdict = page.locator(".verdict")
    request.fill("cpu=2 memory=4Gi")
    request.press("Enter")
    expect(verdict).to_contain_text("It fits.")
    request.fill("cpu=4")
    ask.click()
    expect(verdict).to_contain_text("It does not fit.")
    short = page.locator(".short")
    expect(short).to_contain_text(re.compile(r"Requested\s*4\s*Available\s*2\s*Short by\s*2"))
    expect(page.locator(".answer")).to_contain_text(re.compile(r"Earliest start there\d\d:\d\d, in (9|10) min"))
    request.fill("cpu=64")
    ask.click()
    expect(verdict).to_contain_text("More than the whole capacity")
    request.fill("two cores")
    ask.click()
    expect(page.locator("#explain-request-error")).to_contain_text("not written as name=quantity")
    expect(request).to_be_focused()


def test_a_refused_quantity_is_said_at_its_field(
    client: Allocator, pool: str, open_page: Callable[..., Any], expect: Any
) -> None:
    """The server's words, where the mistake stands."""
    page = open_page(f"#/pools/{pool}/explain", expected=("400 (Bad Request)", "422"))
    page.get_by_role("textbox", name="Request").fill("cpu=2Q")
    page.get_by_role("button", name="Explain").click()
    expect(page.locator("#explain-request-error")).to_contain_text("2Q")
    expect(page.get_by_role("textbox", name="Request")).to_have_attribute("aria-invalid", "true")


def test_utilisation_has_a_line_a_slider_and_a_table(
    client: Allocator, pool: str, open_page: Callable[..., Any], expect: Any
) -> None:
    """The same values for eyes, keys and screen readers."""
    page = open_page()
    page.route("**/history?*", lambda route: route.fulfill(json=_history(pool)))
    page.evaluate("view => { location.hash = view }", f"#/pools/{pool}")
    chart = page.locator("#utilisation")
    expect(chart.locator("path.series")).to_have_count(2)
    expect(chart.get_by_role("img")).to_have_attribute("aria-label", re.compile("cpu now 50 percent, at most 100"))
    slider = chart.get_by_role("slider", name="Point in time")
    slider.focus()
    page.keyboard.press("ArrowLeft")
    expect(slider).to_have_attribute("aria-valuetext", re.compile("cpu 100 percent"))
    expect(chart.locator(".chart-values")).to_contain_text("100 %")
    expect(chart.locator(".marker")).to_have_attribute("visibility", "visible")
    chart.get_by_text("As a table").click()
    expect(chart.locator("tbody tr")).to_have_count(3)


def _history(pool: str) -> dict[str, Any]:
    """Three minutes, in the second of which cpu was full."""

    def row(allocated: int, capacity: int) -> dict[str, Any]:
        return {"allocated": {"quantity": "", "amount": allocated}, "capacity": {"quantity": "", "amount": capacity}}

    points = [
        {
            "at": f"2026-11-27T20:0{minute}:00Z",
            "seconds": 60,
            "resources": {"cpu": row(cpu, 8000), "memory": row(0, 2**30)},
            "allocations": 1,
            "waiting": minute,
            "grants": 1,
            "denials": 0,
        }
        for minute, cpu in enumerate((2000, 8000, 4000))
    ]
    return {"kind": "UsageHistory", "pool": pool, "since": points[0]["at"], "points": points}
