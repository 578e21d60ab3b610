"""The page of the pictures that are taken of programs, so that each can be looked at: docs/pictures/README.md."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Final

from tools.pictures import DRAWN, FOLDER

__all__ = ["PAGE", "page"]

PAGE: Final = FOLDER / "README.md"

FIRST: Final = """# Pictures

What the programs look like. `make pictures` takes these pictures of the real programs. The documents show the
others, which are drawn.
"""

_SHOWN: Final = re.compile(r"!\[([^\]]+)\]\(pictures/([\w.-]+)\)")
"""A picture that a page of docs/ shows, and what it says of it."""


def page() -> str:
    """The page, program by program."""
    said = _said()
    places = {name: place for place, name in enumerate(said)}
    taken = sorted(path for path in FOLDER.iterdir() if path.suffix in (".svg", ".png") and path.stem not in DRAWN)
    parts = [FIRST]
    for program, paths in itertools.groupby(taken, lambda path: path.stem.partition("-")[0]):
        parts.append(f"\n## {program.capitalize()}\n")
        parts += [
            f"\n![{said.get(path.name) or _by_name(path)}]({path.name})\n"
            for path in sorted(paths, key=lambda path: places.get(path.name, len(places)))
        ]
    return "".join(parts)


def _said() -> dict[str, str]:
    """What the pages of docs/ say of the pictures that they show, in the order in which they do."""
    pages = sorted(FOLDER.parent.glob("*.md"))
    return {name: words for page in pages for words, name in _SHOWN.findall(page.read_text(encoding="utf-8"))}


def _by_name(path: Path) -> str:
    program, _, words = path.stem.partition("-")
    return f"A picture of the {program}: {words.replace('-', ', ')}"
