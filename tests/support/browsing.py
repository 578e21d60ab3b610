"""A dashboard of a test, in a process of its own, and the browser that looks at it."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, Final, Self

__all__ = ["CHROMIUM", "FLAGS", "DashboardProcess", "chromium"]

CHROMIUM: Final = "/usr/bin/chromium"

FLAGS: Final = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
"""Chromium sends nothing by itself, so that each request that is seen is the page's."""

_ADDRESS: Final = re.compile(r"(http://[^/\s]+)/(?:#token=(\S+))?")


class DashboardProcess:
    """`resource-allocator dashboard`, on a free port unless an option says which; `with` ends it."""

    def __init__(self, url: str, *options: str, token: str = "") -> None:
        """Start it.

        Args:
            url: The server of the pools.
            options: More options and names of pools.
            token: The token of the file that the options name; it is not printed then.
        """
        command = [sys.executable, "-m", "allocator", "dashboard", "--port", "0", "--url", url, *options]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        found = _ADDRESS.search(self._process.stdout.readline())
        if found is None:
            self._process.kill()
            raise AssertionError(self._process.communicate(timeout=20)[1])
        self.address, self.token = found[1], found[2] or token

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.communicate(timeout=20)

    @property
    def link(self) -> str:
        """The address with the token."""
        return f"{self.address}/#token={self.token}"


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
    """A browser.  Within the block no other event loop can run in this thread, so a module of tests has one each."""
    from playwright.sync_api import sync_playwright  # an extra of development

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()
