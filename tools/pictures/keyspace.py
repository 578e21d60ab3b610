"""The keys of a pool, by what they are about.  The keys are those of the table in docs/keyspace.md."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path
from typing import Final

from tools.pictures.canvas import Drawing
from tools.pictures.drawn import write

TITLE = "The keys of one pool"
PAGE: Final = Path(__file__).parents[2] / "docs" / "keyspace.md"

_ROW: Final = re.compile(r"^\| `([^`]+)` \| (hash|zset|stream|list|set|string) \| ", re.MULTILINE)

GROUPS: Final = {
    "The pool": ("pool", "quotas", "quota:<scope>"),
    "Allocations": ("allocation:<id>", "deadlines", "pinned", "priorities"),
    "Who waits": ("waiter:<id>", "waiting", "waiting_by_scope", "gangs"),
    "What happened": ("events", "ended"),
}
"""A key that stands in none of them is about what happened."""

MEANING: Final = {
    "The pool": ("capacity, counters, settings;", "the limits of each scope"),
    "Allocations": ("a record each, and indexes that", "find the due, pinned, lowest"),
    "Who waits": ("an entry each, and the line", "in its order"),
    "What happened": ("changes with their reasons;", "calls that were answered"),
}
WIDTH: Final = 215
ROW: Final = 26


def keys() -> dict[str, list[tuple[str, str]]]:
    """Group -> name and type of each key of the page."""
    found: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for name, kind in _ROW.findall(PAGE.read_text(encoding="utf-8").partition("\n\nAn audit")[0]):
        group = next((group for group, names in GROUPS.items() if name in names), "What happened")
        found[group].append((name, kind))
    assert set(found) == set(GROUPS), PAGE
    return found


def draw() -> str:
    """The picture."""
    found = keys()
    rows = max(map(len, found.values()))
    height = 160 + rows * ROW + 90
    described = "; ".join(f"{group}: {', '.join(name for name, _ in found[group])}" for group in GROUPS)
    picture = Drawing(40 + len(GROUPS) * (WIDTH + 15), height, TITLE, f"{described}.")
    picture.text(28, 40, "allocator:{labs}:", "code")
    picture.text(
        170, 40, "begins each key of the pool labs; the braces put all of them into one slot of a cluster", "small soft"
    )
    for at, group in enumerate(GROUPS):
        x = 28 + at * (WIDTH + 15)
        picture.box(x, 62, WIDTH, 98 + rows * ROW, ("blue", "green", "amber", "plain")[at])
        picture.text(x + 14, 88, group, "head")
        for line, text in enumerate(MEANING[group]):
            picture.text(x + 14, 108 + line * 16, text, "small soft")
        for row, (name, kind) in enumerate(found[group]):
            picture.text(x + 14, 152 + row * ROW, name, "code")
            picture.text(x + WIDTH - 14, 152 + row * ROW, kind, "small soft end")
    y = 62 + 98 + rows * ROW + 30
    picture.text(
        28,
        y,
        "One script reads and writes all of them in one step, so a record, its index and its counters always agree;",
        "small",
    )
    picture.text(28, y + 20, "an audit adds up the records and compares.", "small")
    return picture.svg()


def main() -> None:
    """Write it."""
    write("keyspace", draw())
