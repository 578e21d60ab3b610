"""Changes from the page: only where they are permitted, each asked for by name, each with what the page has seen."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from allocator import Allocator
from tests.support.browsing import DashboardProcess
from tests.support.tools import needs
from tests.support.waiters import begun
from tests.support.waiting import wait_until

pytestmark = [needs("chromium"), pytest.mark.slow]


@pytest.fixture
def expect() -> Any:
    """Playwright's assertions, which wait."""
    from playwright.sync_api import expect

    return expect


def test_a_page_that_only_reads_offers_no_change(
    client: Allocator, pool: str, open_page: Callable[..., Any], expect: Any
) -> None:
    """No button that the server would refuse."""
    client.quotas.set("team-a", {"cpu": 6})
    client.allocate({"cpu": 1}, ttl=600)
    page = open_page(f"#/pools/{pool}/allocations")
    expect(page.locator("#allocations tbody tr")).to_have_count(1)
    expect(page.get_by_role("button", name=re.compile("Release|Change|Withdraw"))).to_have_count(0)
    page.evaluate("view => { location.hash = view }", f"#/pools/{pool}/quotas")
    expect(page.locator("#quotas tbody tr")).to_have_count(1)
    expect(page.get_by_role("button", name=re.compile("Change"))).to_have_count(0)


def test_a_release_is_asked_for_and_named(
    client: Allocator, pool: str, changing: DashboardProcess, open_page: Callable[..., Any], expect: Any
) -> None:
    """Cancel has the focus and changes nothing; afterwards the focus is where it was."""
    client.allocate({"cpu": 1}, ttl=600, owner="ada", id="one")
    page = open_page(f"#/pools/{pool}/allocations", on=changing)
    button = page.get_by_role("button", name="Release one of ada")
    button.click()
    dialog = page.get_by_role("dialog", name="Release this allocation?")
    expect(dialog).to_contain_text(f"ada holds cpu 1 in pool {pool}.")
    expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
    page.keyboard.press("Enter")
    expect(dialog).to_have_count(0)
    expect(button).to_be_focused()
    assert client.get("one") is not None
    button.click()
    dialog.get_by_role("button", name="Release").click()
    expect(page.locator("#allocations")).to_contain_text("Nobody holds anything.")
    assert client.get("one") is None


def test_another_grant_is_not_released(
    client: Allocator, pool: str, changing: DashboardProcess, open_page: Callable[..., Any], expect: Any
) -> None:
    """The fence that the page shows is sent: what was granted since is somebody else's."""
    client.allocate({"cpu": 1}, ttl=600, owner="ada", id="one")
    page = open_page(f"#/pools/{pool}/allocations", on=changing, expected=("409",))
    page.get_by_role("button", name="Release one of ada").click()
    client.release("one")
    client.allocate({"cpu": 2}, ttl=600, owner="grace", id="one")
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Release").click()
    expect(dialog.get_by_role("alert")).to_contain_text("another grant")
    found = client.get("one")
    assert found is not None
    assert found.owner == "grace"


def test_a_request_in_line_is_withdrawn(
    client: Allocator, pool: str, changing: DashboardProcess, open_page: Callable[..., Any], expect: Any
) -> None:
    """By its place and owner."""
    client.allocate({"cpu": 8}, ttl=600)
    with begun(client, {"cpu": 4}, owner="grace", id="waits") as waiting:
        page = open_page(f"#/pools/{pool}/line", on=changing)
        page.get_by_role("button", name="Withdraw waits of grace").click()
        dialog = page.get_by_role("dialog")
        expect(dialog).to_contain_text(f"at place 1 of pool {pool}")
        dialog.get_by_role("button", name="Withdraw").click()
        expect(page.locator("#line")).to_contain_text("Nobody waits.")
        wait_until(waiting.done, message="its caller knows")
        assert waiting.exception() is not None


def test_the_capacity_is_changed_with_its_generation(
    client: Allocator, pool: str, changing: DashboardProcess, open_page: Callable[..., Any], expect: Any
) -> None:
    """What somebody else has configured meanwhile is not overwritten; a wrong quantity is said in the dialog."""
    page = open_page(f"#/pools/{pool}", on=changing, expected=("400", "409", "422"))
    page.get_by_role("button", name="Change capacity").click()
    dialog = page.get_by_role("dialog", name=f"Change the capacity of {pool}")
    field = dialog.get_by_label("cpu")
    expect(field).to_be_focused()
    field.fill("many")
    field.press("Enter")
    expect(dialog.get_by_role("alert")).to_contain_text("many")
    field.fill("16")
    field.press("Enter")
    expect(dialog).to_have_count(0)
    expect(page.locator(".meters")).to_contain_text("of 16 allocated")
    page.get_by_role("button", name="Change capacity").click()
    client.pools.update(pool, {"cpu": 12})
    dialog.get_by_label("cpu").fill("20")
    dialog.get_by_role("button", name="Change capacity").click()
    expect(dialog.get_by_role("alert")).not_to_be_empty()
    assert client.pools.get(pool).capacity["cpu"] == 12_000


def test_limits_of_a_scope_are_changed(
    client: Allocator, pool: str, changing: DashboardProcess, open_page: Callable[..., Any], expect: Any
) -> None:
    """One resource of one scope."""
    client.quotas.set("team-a/alice", {"cpu": 2})
    page = open_page(f"#/pools/{pool}/quotas", on=changing)
    page.get_by_role("button", name="Change the limits of team-a/alice").click()
    dialog = page.get_by_role("dialog", name="Change cpu of team-a/alice")
    dialog.get_by_label("Nominal").fill("3")
    dialog.get_by_role("button", name="Change limits").click()
    expect(page.locator("#quotas tbody tr [data-label=Nominal]").last).to_have_text("3")
    changed = client.quotas.get("team-a/alice")
    assert changed is not None
    assert changed.resources["cpu"].nominal == 3000


def test_a_page_of_another_site_changes_nothing(
    client: Allocator, pool: str, browser: Any, changing: DashboardProcess
) -> None:
    """Whatever its browser can send, also with a stolen token: Origin says where it comes from; no answer is read."""
    client.allocate({"cpu": 1}, ttl=600, owner="ada", id="one")
    target = f"{changing.address}/api/v1/pools/{pool}/allocations/one/release"
    context = browser.new_context()
    page = context.new_page()
    page.route("http://other.example/", lambda route: route.fulfill(body="<p>another site", content_type="text/html"))
    page.goto("http://other.example/")
    statuses: list[int] = []
    page.on("response", lambda response: statuses.append(response.status))
    send = (
        """async ([url, options]) => { try { await fetch(url, options); return 'read' } catch { return 'refused' } }"""
    )
    simple = {"method": "POST", "body": "{}", "headers": {"Content-Type": "text/plain"}}
    authorized = {
        "Authorization": f"Bearer {changing.token}",
        "X-Requested-With": "allocator",
        "Content-Type": "application/json",
    }
    assert page.evaluate(send, [target, simple]) == "refused"
    assert page.evaluate(send, [target, {"method": "POST", "body": "{}", "headers": authorized}]) == "refused"
    assert page.evaluate(send, [f"{changing.address}/api/v1/pools", {"headers": {}}]) == "refused"
    context.close()
    assert not [one for one in statuses if one < 400]
    assert client.get("one") is not None
