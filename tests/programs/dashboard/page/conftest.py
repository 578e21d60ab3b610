"""A browser for each module, a dashboard for each module, and a pool with a name of its own for each test."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest

from allocator import Allocator
from tests.support.browsing import DashboardProcess, chromium
from tests.support.servers import Server, SessionServers, engines

_NUMBERS: Final = itertools.count(1)

DEADLINE_MS: Final = 20_000
"""Milliseconds that a test waits for what the page shows: far more than it takes on a busy machine."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, without a window."""
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def store(servers: SessionServers) -> str:
    """The server of the pools."""
    return servers.get(engines()[0]).url


@pytest.fixture(scope="module")
def dashboard(store: str) -> Iterator[DashboardProcess]:
    """A dashboard that only reads."""
    with DashboardProcess(store) as started:
        yield started


@pytest.fixture(scope="module")
def changing(store: str) -> Iterator[DashboardProcess]:
    """A dashboard that may change pools."""
    with DashboardProcess(store, "--allow-changes") as started:
        yield started


@pytest.fixture
def pool() -> str:
    """A name that no other test has: what a dashboard remembers of one pool means nothing for another."""
    return f"lab-{next(_NUMBERS)}"


@pytest.fixture
def client(one_server: Server, pool: str) -> Iterator[Allocator]:
    """A client of that pool, which has 8 cores, 32 GiB and 4 GPUs."""
    with Allocator.from_url(one_server.url, pool=pool) as made:
        made.pools.create(pool, {"cpu": 8, "memory": "32Gi", "nvidia.com/gpu": 4})
        yield made


@pytest.fixture
def open_page(browser: Any, store: str, request: pytest.FixtureRequest) -> Iterator[Callable[..., Any]]:
    """Open a view of a dashboard in a new context; at the end nothing was asked of others, and no error was logged.

    `expected` are parts of messages that the test provokes; `on` is another dashboard than the one that only reads.
    """
    from playwright.sync_api import expect

    expect.set_options(timeout=DEADLINE_MS)
    opened: list[tuple[Any, list[str], list[str], DashboardProcess, tuple[str, ...]]] = []

    def open_view(
        view: str = "#/",
        *,
        on: DashboardProcess | None = None,
        token: bool = True,
        expected: tuple[str, ...] = ("404",),
        **options: Any,
    ) -> Any:
        shown = on or request.getfixturevalue("dashboard")
        context = browser.new_context(reduced_motion="reduce", **options)
        page = context.new_page()
        page.set_default_timeout(DEADLINE_MS)
        errors: list[str] = []
        asked: list[str] = []
        page.on("console", lambda message: _note(message, errors))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        opened.append((context, errors, asked, shown, expected))
        page.goto(shown.link if token else f"{shown.address}/")
        if token:
            page.locator(".view").wait_for()
            page.evaluate("view => { location.hash = view }", view)
        return page

    yield open_view
    for context, errors, asked, shown, expected in opened:
        context.close()
        assert [one for one in asked if not one.startswith((f"{shown.address}/", "data:"))] == []
        assert not [one for one in asked if shown.token in one], "the token is in an address"
        assert [one for one in errors if not any(part in one for part in expected)] == []


def _note(message: Any, errors: list[str]) -> None:
    """Keep an error or a warning with where it comes from."""
    if message.type in ("error", "warning"):
        errors.append(f"{message.text} {message.location['url']}")
