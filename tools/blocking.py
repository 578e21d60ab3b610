"""The blocking surface, out of the awaited one: `allocator/_async/*.py` becomes `allocator/_sync/*.py`.

Token by token: `await` and `async` go, names are exchanged, a line that ends with `# only awaited` is dropped, and so
is a line of a docstring that says "Only awaited:".  A rule that nothing uses is an error, for it hides a mistake.
"""

from __future__ import annotations

import io
import itertools
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import Final

NAMES: Final = {
    "AsyncAllocator": "Allocator",
    "AsyncDriver": "Driver",
    "AsyncEvents": "Events",
    "AsyncGenerator": "Generator",
    "AsyncHold": "Hold",
    "AsyncIterator": "Iterator",
    "AsyncMaintenance": "Maintenance",
    "AsyncNamespace": "Namespace",
    "AsyncNamespaces": "Namespaces",
    "AsyncPools": "Pools",
    "AsyncQueue": "Queue",
    "AsyncQuotas": "Quotas",
    "__aenter__": "__enter__",
    "__aexit__": "__exit__",
    "_async": "_sync",
    "driver_async": "driver",
    "event_follow_async": "event_follow",
}
"""A name of the awaited surface, and the blocking one's."""

TEXTS: Final = {"redis.asyncio": "redis", "for event loops, written by hand": "that blocks, GENERATED, never edited"}
"""Texts that are no names."""

_DROPPED: Final = re.compile(r"^.*(?:# only awaited|\bOnly awaited: .*)\n", re.MULTILINE)
_MADE: Final = "; `tools/generate.py` makes `allocator._sync` of it"


def blocking(root: Path) -> dict[Path, str]:
    """The text of each generated file."""
    used: set[str] = set()
    made = {
        root / "allocator" / "_sync" / path.name: _formatted(root, _exchanged(path.read_text(encoding="utf-8"), used))
        for path in sorted((root / "allocator" / "_async").glob("*.py"))
    }
    unused = {*NAMES, *TEXTS} - used
    if unused:
        raise LookupError(f"rules that nothing uses: {', '.join(sorted(unused))}")
    return made


def _exchanged(text: str, used: set[str]) -> str:
    text = _DROPPED.sub("", text).replace(_MADE, "")
    for old, new in TEXTS.items():
        if old in text:
            used.add(old)
            text = text.replace(old, new)
    lines = text.splitlines(keepends=True)
    starts = [0, *itertools.accumulate(len(line) for line in lines)]
    for (row, column), (end_row, end_column), word in reversed(list(_edits(text, used))):
        text = text[: starts[row - 1] + column] + word + text[starts[end_row - 1] + end_column :]
    return text


def _edits(text: str, used: set[str]) -> Iterator[tuple[tuple[int, int], tuple[int, int], str]]:
    """What is exchanged: from where, to where, for what."""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        word = token.string
        if token.type == tokenize.NAME and word in ("async", "await"):
            row, column = token.end
            yield token.start, (row, column + 1), ""
        elif token.type == tokenize.NAME and word in NAMES:
            used.add(word)
            yield token.start, token.end, NAMES[word]
        elif token.type in (tokenize.STRING, tokenize.COMMENT):
            exchanged = re.sub(r"\w+", lambda match: NAMES.get(match[0], match[0]), word)
            if exchanged != word:
                yield token.start, token.end, exchanged


def _formatted(root: Path, text: str) -> str:
    ruff = [str(Path(sys.executable).with_name("ruff"))]
    for command in (["check", "--fix", "--quiet", "--select", "I,UP028", "--unsafe-fixes"], ["format", "--quiet"]):
        done = subprocess.run(
            [*ruff, *command, "--stdin-filename", "allocator/_sync/any.py", "-"],
            input=text, capture_output=True, text=True, check=True, cwd=root,
        )  # fmt: skip
        text = done.stdout
    return text
