"""The README as the distribution carries it, where links to files of the repository would lead nowhere.

Hatchling runs this when it builds.  The address of the repository is `Source` of `[project.urls]` in pyproject.toml and
stands nowhere else.  A link to a file becomes its address there, at the version's tag; without an address it becomes
the text alone, and a picture is left out.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

from hatchling.metadata.plugin.interface import MetadataHookInterface

_PICTURE: Final = re.compile(r"!\[([^\]\n]*)\]\((?![a-z]+:)([^)\s]+)\)\n*")
"""A picture of the repository, with the blank lines behind it."""

_LINK: Final = re.compile(r"(?<!!)\[([^\]\n]+)\]\((?![a-z]+:|#)([^)\s]+)\)")
"""A link to a file: neither with a scheme nor within the page."""


def published(readme: str, source: str | None, version: str) -> str:
    """The README with links that work anywhere."""
    if source is None:
        return _LINK.sub(r"\1", _PICTURE.sub("", readme))
    there = source.rstrip("/")
    readme = _PICTURE.sub(rf"![\1]({there}/raw/v{version}/\2)\n\n", readme)
    return _LINK.sub(rf"[\1]({there}/blob/v{version}/\2)", readme)


class Readme(MetadataHookInterface):
    """Sets the field `readme`."""

    def update(self, metadata: dict[str, Any]) -> None:
        """As hatchling asks for it, once for each build."""
        readme = Path(self.root, "README.md").read_text(encoding="utf-8")
        text = published(readme, metadata.get("urls", {}).get("Source"), metadata["version"])
        metadata["readme"] = {"content-type": "text/markdown", "text": text}
