"""The site: it builds without a warning, asks nobody for anything, and is searched from disk."""

from __future__ import annotations

import fcntl
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

import pytest

from tests.docs.blocks import ROOT, documents
from tests.support.tools import require
from tools.site import navigation

pytestmark = pytest.mark.slow

_RESOURCES: Final = {"link": "href", "script": "src", "img": "src", "iframe": "src", "object": "data", "source": "src"}
_OUTSIDE: Final = re.compile(r"""(?:@import|url\()\s*["']?(?:https?:)?//[^"')]+""")


class Page(HTMLParser):
    """What a page loads, and where it leads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: set[str] = set()
        self.leads: set[str] = set()
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the addresses of one tag."""
        of = dict(attrs)
        self.anchors.add(of.get("id") or "")
        if address := of.get(_RESOURCES.get(tag, "")):
            self.loads.add(address)
        if tag == "a" and of.get("href"):
            self.leads.add(of["href"] or "")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """Built once for all workers, by a process as `make site` starts it."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "site"
    folder.mkdir(exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "index.html").exists():
            build = [sys.executable, "-m", "tools.site", str(folder)]
            run = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
            assert run.returncode == 0, run.stderr
            assert run.stderr == ""
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    """Each page of the site."""
    return {path: Page(path.read_text(encoding="utf-8")) for path in sorted(site.rglob("*.html"))}


def test_every_document_is_a_page_of_the_site_and_in_its_navigation(pages: dict[Path, Page], site: Path) -> None:
    """A page that no list names is not found; the builder warns of it, and a warning is an error."""
    built = {path.relative_to(site).with_suffix("").as_posix() for path in pages}
    assert {path.relative_to(ROOT).with_suffix("").as_posix() for path in documents()} <= built
    listed = [
        one for _, names in navigation.sections((ROOT / "docs" / "README.md").read_text("utf-8")) for one in names
    ]
    assert len(listed) == len(set(listed))


def test_a_page_loads_nothing_from_outside(pages: dict[Path, Page], site: Path) -> None:
    """No fonts, no scripts, no pictures of other hosts: it works from disk, and tells nobody who reads it."""
    loaded = {(path.name, address) for path, page in pages.items() for address in page.loads}
    assert loaded
    assert {one for one in loaded if urlsplit(one[1]).netloc} == set()
    texts = {path: path.read_text(encoding="utf-8") for path in site.rglob("*.css")}
    assert {path.name: found for path, text in texts.items() if (found := _OUTSIDE.findall(text))} == {}


def test_every_link_of_the_site_resolves(pages: dict[Path, Page]) -> None:
    """Those to files of the repository too, which the site carries, and those to a heading."""
    broken = []
    for path, page in pages.items():
        for address in page.leads | page.loads:
            parts = urlsplit(address)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.is_file() or (target in pages and unquote(parts.fragment) not in pages[target].anchors):
                broken.append((path.name, address))
    assert broken == []


@pytest.mark.parametrize(
    ("word", "page"), [("starving", "howto"), ("preemption", "policies"), ("try_allocate", "client")]
)
def test_a_search_from_disk_finds_the_page(site: Path, tmp_path: Path, word: str, page: str) -> None:
    """A browser refuses most requests to a page on disk, so the index has to be a script."""
    require("chromium")
    address = f"{(site / 'search.html').as_uri()}?q={word}"
    profile = tmp_path / "profile"
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    command += [f"--user-data-dir={profile}", "--virtual-time-budget=20000", "--dump-dom", address]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    shutil.rmtree(profile, ignore_errors=True)
    found = re.findall(r'<li class="[^"]*kind[^"]*">.*?href="([^"]+)"', run.stdout, flags=re.DOTALL)
    assert any(f"/{page}.html" in one for one in found), (found, run.stderr[-2000:])
