"""The page of the pictures that are taken of programs, so that each can be looked at: docs/pictures/README.md."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tools.pictures import DRAWN, FOLDER

__all__ = ["PAGE", "page"]

PAGE: Final = FOLDER / "README.md"

FIRST: Final = """# Pictures

What the programs look like. `make pictures` takes these pictures of the real programs. The documents show the
others, which are drawn.
"""

_SAID: Final = re.compile(r"<desc[^>]*>([^<]+)</desc>")


def page() -> str:
    """The page, program by program."""
    taken = sorted(path for path in FOLDER.iterdir() if path.suffix in (".svg", ".png") and path.stem not in DRAWN)
    parts = [FIRST]
    for program, paths in itertools.groupby(taken, lambda path: path.stem.partition("-")[0]):
        parts.append(f"\n## {program.capitalize()}\n")
        parts += [f"\n![{said}]({path.name})\n" for path, said in _described(paths)]
    return "".join(parts)


def _described(paths: Iterator[Path]) -> Iterator[tuple[Path, str]]:
    """Each picture with what it says of itself, or with what its name says."""
    for path in paths:
        program, _, words = path.stem.partition("-")
        found = _SAID.search(path.read_text(encoding="utf-8")) if path.suffix == ".svg" else None
        yield path, found[1] if found else f"A picture of the {program}: {words.replace('-', ', ')}"
