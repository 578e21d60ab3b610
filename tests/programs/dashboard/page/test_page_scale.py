"""A pool of 10,000 allocations: the page draws no more than it shows, and says when it was slow."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from allocator import Allocator, Request
from tests.support.tools import needs

pytestmark = [needs("chromium"), pytest.mark.slow, pytest.mark.long]

COUNT = 10_000
BATCH = 100


@pytest.fixture
def expect() -> Any:
    """Playwright's assertions, which wait."""
    from playwright.sync_api import expect

    return expect


def test_ten_thousand_allocations_are_as_quick_as_fifty(
    client: Allocator,
    pool: str,
    open_page: Callable[..., Any],
    expect: Any,
    record_property: Callable[[str, object], None],
) -> None:
    """Paged and summed up by the server: the numbers of elements are bounded, and an update takes a frame or three."""
    client.pools.update(pool, {"cpu": 2 * COUNT})
    for first in range(0, COUNT, BATCH):
        client.allocate_many(
            [
                Request({"cpu": 1}, 3600 + number, owner=f"owner-{number % 97}", id=f"one-{number}")
                for number in range(first, first + BATCH)
            ]
        )
    page = open_page(f"#/pools/{pool}")
    expect(page.locator(".lease")).to_have_count(24)
    expect(page.locator("#timeline")).to_contain_text("24 of 10,000 allocations are drawn")
    client.allocate({"cpu": 1}, ttl=60, owner="ada")
    expect(page.locator("#newest")).to_contain_text("ada")
    page.evaluate("view => { location.hash = view }", f"#/pools/{pool}/allocations")
    rows = page.locator("#allocations tbody tr:visible")
    expect(rows).to_have_count(50)
    page.get_by_role("button", name="Next").click()
    expect(page.locator("#allocations")).to_contain_text("51 to 100 of 10,0")
    page.locator("#filter-q").fill("one-9999")
    expect(rows).to_have_count(1)
    page.locator("#filter-q").fill("")
    page.get_by_label("Group", exact=True).select_option("owner")
    expect(rows.first).to_contain_text("104")
    assert page.evaluate("document.querySelectorAll('*').length") < 3000
    page.evaluate("view => { location.hash = view }", f"#/pools/{pool}/allocations")
    page.reload()
    expect(page.locator("#allocations tbody tr:visible")).to_have_count(50)
    client.allocate({"cpu": 1}, ttl=60, owner="grace")
    expect(page.get_by_text("10,002").first).to_be_visible()
    times = page.evaluate(
        "({...allocatorTimes, paint: performance.getEntriesByName('first-contentful-paint')[0].startTime})"
    )
    record_property("page_ms", json.dumps(times))
    print("; ".join(f"{name} {times[name]:.1f} ms" for name in ("paint", "ready", "update", "show")))
    assert times["update"] + times["show"] < 150, "milliseconds that the page itself takes for an update"
