"""Settings of Sphinx for the site.  The source is the whole repository, so that each link means what it means there."""

from __future__ import annotations

from importlib.metadata import version as installed
from typing import Any, Final

from sphinx.application import Sphinx

from tools.site import navigation

project: Final = "redis-resource-allocator"
version = release = installed(project)
extensions: Final = ["myst_parser"]
root_doc: Final = "docs/README"
include_patterns: Final = ["*.md", "docs/*.md", "docs/**/*.md", "examples/*.md", "lua/*.md"]
exclude_patterns: Final = [".*", "build", "dist", "bench", "tests", "allocator", "deploy", "**/node_modules"]
html_theme: Final = "furo"
html_title: Final = project
html_copy_source = False
html_show_copyright = False
html_show_search_summary = False
"""A summary would be fetched, which a browser refuses to pages on disk."""

html_theme_options: Final[dict[str, Any]] = {"navigation_with_keys": True}
highlight_language: Final = "none"
myst_heading_anchors: Final = 4
suppress_warnings: Final[list[str]] = []


def setup(app: Sphinx) -> dict[str, bool]:
    """The navigation follows the lists of links of the pages that have one."""
    app.connect("source-read", navigation.add)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
