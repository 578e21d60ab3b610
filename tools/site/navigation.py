"""The navigation of the site: each section of docs/README.md is a part of it, and its links are the pages."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from typing import Final

from sphinx.application import Sphinx

__all__ = ["LISTS", "add", "sections"]

LISTS: Final = ("docs/README", "docs/adr/README", "docs/reference/README")
"""The pages whose links are the navigation, the first of them that of the site."""

_HEADING: Final = re.compile(r"^## (.+)$", re.MULTILINE)
_PAGE: Final = re.compile(r"\]\(([\w./-]+)\.md\)")


def sections(text: str) -> Iterator[tuple[str, list[str]]]:
    """The heading of each section, and the pages that it links to, each once; the text before is the first section."""
    parts = _HEADING.split(text)
    for heading, body in zip(["", *parts[1::2]], parts[::2], strict=True):
        yield heading, list(dict.fromkeys(_PAGE.findall(body)))


def add(_app: Sphinx, page: str, source: list[str]) -> None:
    """Append the navigation to a page that lists pages, as a directive that a reader of the file does not see."""
    if page not in LISTS:
        return
    listed: set[str] = set()
    for heading, targets in sections(source[0]):
        entries = [one for one in targets if one not in listed and not _is_list(page, one)]
        listed.update(entries)
        if entries:
            caption = [f":caption: {heading}"] if page == LISTS[0] else []
            source[0] += "\n".join(["", "", "```{toctree}", ":hidden:", *caption, "", *entries, "```", ""])


def _is_list(page: str, target: str) -> bool:
    """Whether a link of another list leads back to the list of the site, which is above it."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(page), target)) == LISTS[0]
