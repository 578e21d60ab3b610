"""Who may look, and how: the token, stored markup, keys alone, themes, small screens, axe's rules."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

import pytest
from axe_playwright_python.base import AXE_SCRIPT

from allocator import Allocator, Limit
from tests.support.browsing import DashboardProcess
from tests.support.tools import needs
from tests.support.waiters import begun

pytestmark = [needs("chromium"), pytest.mark.slow]

SECTIONS: Final = ("", "/allocations", "/line", "/quotas", "/events", "/explain")

MARKUP: Final = '<img src=x onerror="document.title=1">'


@pytest.fixture
def expect() -> Any:
    """Playwright's assertions, which wait."""
    from playwright.sync_api import expect

    return expect


@pytest.fixture
def full(client: Allocator) -> Allocator:
    """Something of everything, but a line."""
    client.quotas.set("team-a", {"cpu": 6})
    client.quotas.set("team-a/alice", {"cpu": Limit(2, 3)})
    client.allocate({"cpu": 4, "memory": "4Gi"}, ttl=600, max_lifetime=900, owner="ada", scope="team-a/alice")
    client.allocate(
        {"nvidia.com/gpu": 4}, ttl=None, owner="grace/with/a/name/that/does/not/fit/on/a/telephone-in-one-line"
    )
    return client


def test_without_a_token_the_page_asks_for_it(
    client: Allocator, pool: str, dashboard: DashboardProcess, open_page: Callable[..., Any], expect: Any
) -> None:
    """A wrong one is said to be wrong; the right one opens the page, and nothing was shown before."""
    page = open_page(token=False, expected=("401",))
    field = page.get_by_label("Token of this dashboard")
    expect(field).to_be_focused()
    assert pool not in page.content()
    field.fill("x" * 40)
    field.press("Enter")
    expect(page.get_by_role("alert").filter(has_text="does not accept this token")).to_be_visible()
    field = page.get_by_label("Token of this dashboard")
    expect(field).to_have_attribute("aria-invalid", "true")
    field.fill(dashboard.token)
    field.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Pools")


def test_what_is_stored_is_text(client: Allocator, pool: str, open_page: Callable[..., Any], expect: Any) -> None:
    """Names cannot have markup; free text can: metadata, reasons, and what others have put into a store."""
    client.allocate({"cpu": 1}, ttl=600, owner="ada", id="marked", metadata={"note": MARKUP})
    client.release(client.allocate({"cpu": 1}, ttl=60, owner="grace", id="other"))
    page = open_page(expected=("400", "404"))
    page.route("**/allocations?*", _with_markup)
    page.evaluate("view => { location.hash = view }", f"#/pools/{pool}/allocations")
    row = page.locator("#allocations tbody tr")
    expect(row).to_contain_text(MARKUP)
    row.get_by_role("button").first.click()
    expect(page.locator(".story")).to_contain_text(MARKUP)
    page.evaluate("view => { location.hash = view }", "#/pools/" + MARKUP)
    expect(page.get_by_role("heading", level=1)).to_have_text(MARKUP)
    expect(page.locator("main img")).to_have_count(0)
    assert page.title() != "1"


def _with_markup(route: Any) -> None:
    """The real answer, with markup as owner and scope."""
    document = route.fetch().json()
    for one in document["items"]:
        one |= {"owner": MARKUP, "scope": MARKUP}
    route.fulfill(json=document)


def test_keys_alone_are_enough(full: Allocator, pool: str, open_page: Callable[..., Any], expect: Any) -> None:
    """Skip the head, follow links, filter, open details, close them; focus is always seen."""
    page = open_page(f"#/pools/{pool}/allocations")
    expect(page.locator("#allocations tbody tr")).to_have_count(2)
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()
    seen: list[str] = []
    while not any("details of" in one for one in seen):
        page.keyboard.press("Tab")
        seen.append(
            page.evaluate("document.activeElement.getAttribute('aria-label') ?? document.activeElement.textContent")
        )
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline == "solid", seen
        assert len(seen) < 30, seen
    assert "Search" in seen
    page.keyboard.press("Enter")
    expect(page.locator(".story h3")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator(".story")).to_have_count(0)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_rules_of_axe_hold(full: Allocator, pool: str, scheme: str, open_page: Callable[..., Any], expect: Any) -> None:
    """In each section, and in high contrast as well."""
    with begun(full, {"cpu": 6}, owner="linus"):
        page = open_page(color_scheme=scheme)
        page.evaluate(AXE_SCRIPT)
        for section in SECTIONS:
            page.evaluate("view => { location.hash = view }", f"#/pools/{pool}{section}")
            expect(page.locator(".section > *").first).to_be_visible()
            expect(page.get_by_role("meter").first).to_be_visible()
            if section == "/explain":
                page.get_by_role("textbox", name="Request").fill("cpu=7")
                page.get_by_role("button", name="Explain").click()
                expect(page.locator(".verdict")).to_be_visible()
            assert _violations(page) == [], section
        page.get_by_label("Theme").select_option("contrast")
        assert _violations(page) == []
        page.evaluate("location.hash = '#/'")
        expect(page.get_by_role("heading", level=1)).to_have_text("Pools")
        assert _violations(page) == []


def _violations(page: Any) -> list[str]:
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{one['id']}: {node['html'][:200]} {node['failureSummary'][:300]}"
        for one in found["violations"]
        for node in one["nodes"]
    ]


def test_the_theme_follows_the_system_or_the_switch(
    client: Allocator, pool: str, open_page: Callable[..., Any], expect: Any
) -> None:
    """And the choice is kept over a reload."""
    page = open_page(f"#/pools/{pool}", color_scheme="dark")
    ground = "getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(ground) == "rgb(14, 19, 24)"
    page.get_by_label("Theme").select_option("light")
    assert page.evaluate(ground) == "rgb(244, 246, 248)"
    page.get_by_label("Theme").select_option("contrast")
    page.reload()
    expect(page.get_by_label("Theme")).to_have_value("contrast")
    assert page.evaluate(ground) == "rgb(0, 0, 0)"


@pytest.mark.parametrize("options", [{"contrast": "more"}, {"forced_colors": "active"}], ids=["contrast", "forced"])
def test_a_system_of_high_contrast_is_followed(
    full: Allocator, pool: str, options: dict[str, Any], open_page: Callable[..., Any], expect: Any
) -> None:
    """Edges are drawn with the strongest colour there is."""
    page = open_page(f"#/pools/{pool}", **options)
    panel = page.locator(".panel").first
    expect(panel).to_have_css("border-top-color", "rgb(0, 0, 0)")
    expect(page.get_by_role("meter").first).to_be_visible()


def test_nothing_is_wider_than_a_telephone(
    full: Allocator, pool: str, open_page: Callable[..., Any], expect: Any
) -> None:
    """At 390 pixels a table is cards, and no view scrolls sideways."""
    with begun(full, {"cpu": 6}, owner="linus"):
        page = open_page(viewport={"width": 390, "height": 844})
        for section in SECTIONS:
            page.evaluate("view => { location.hash = view }", f"#/pools/{pool}{section}")
            expect(page.locator(".section .panel").first).to_be_visible()
            expect(page.get_by_role("meter").first).to_be_visible()
            assert page.evaluate("document.documentElement.scrollWidth") <= 390, section
        expect(page.get_by_role("link", name="Explain")).to_be_visible()


def test_live_figures_are_not_read_aloud_all_the_time(
    client: Allocator, pool: str, open_page: Callable[..., Any], expect: Any
) -> None:
    """Each event as an announcement would drown what the person reads."""
    page = open_page(f"#/pools/{pool}/events")
    expect(page.get_by_role("log")).to_have_attribute("aria-live", "off")
    before = page.locator("#said").text_content()
    client.allocate({"cpu": 1}, ttl=60, owner="ada")
    expect(page.get_by_role("log")).to_contain_text("ada")
    assert page.locator("#said").text_content() == before
    assert re.search("Live", page.locator("#link").text_content() or "")
