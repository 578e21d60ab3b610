"""A docstring as Markdown: sections become lists, indented texts become blocks, documents become links."""

from __future__ import annotations

import ast
import itertools
import re
import textwrap
from collections.abc import Iterator
from typing import Final

__all__ = ["cell", "code", "markdown"]

SECTIONS: Final = ("Args", "Returns", "Raises", "Yields")

_TICKED: Final = re.compile(r"(`[^`]*`)")
_DOCUMENT: Final = re.compile(r"\bdocs/([\w/-]+\.md)\b")
_COMMENT: Final = re.compile(r" {2,}# ")
"""Comments that stand below each other, which a formatter does not leave so."""

_ENTRY: Final = re.compile(r"^([*\w][\w, *.]*): ?(.*)$")


def _inline(text: str) -> str:
    """Text outside of ticks: nothing is taken for HTML, and documents are links."""
    parts = _TICKED.split(text)
    parts[::2] = [_DOCUMENT.sub(r"[\1](../\1)", one.replace("<", "&lt;")) for one in parts[::2]]
    return "".join(parts).replace(".  ", ". ")


def cell(text: str) -> str:
    """A docstring in a cell of a table."""
    return _inline(" ".join(text.split()).replace("|", "\\|"))


def code(text: str, language: str = "py") -> list[str]:
    """A block that is shown."""
    return [f"```{language}", *text.splitlines(), "```", ""]


def _is_block(part: str) -> bool:
    return all(not line or line.startswith("    ") for line in part.splitlines())


def _paragraphs(text: str) -> Iterator[str]:
    """Paragraphs; an indented block with blank lines in it is one."""
    for block, parts in itertools.groupby(re.split(r"\n\s*\n", text.strip("\n")), _is_block):
        found = list(parts)
        yield from ["\n\n".join(found)] if block else found


def markdown(text: str) -> list[str]:
    """The lines of a docstring, which `inspect.cleandoc` has cleaned."""
    found: list[str] = []
    for part in _paragraphs(text):
        head, _, rest = part.partition("\n")
        if head.rstrip(":") in SECTIONS and head.endswith(":"):
            found += _section(head.rstrip(":"), textwrap.dedent(rest))
        elif _is_block(part):
            shown = _COMMENT.sub("  # ", textwrap.dedent(part))
            found += code(shown, "py" if _is_python(shown) else "text")
        elif part.strip() != "::":
            found += [*map(_inline, re.sub(r":{2}$", ":", part).splitlines()), ""]
    return found


def _is_python(text: str) -> bool:
    try:
        ast.parse(text)
    except SyntaxError:
        return False
    return True


def _section(name: str, text: str) -> list[str]:
    """A section: a list of names with what they mean, or a text."""
    if name in ("Returns", "Yields"):
        return [f"{name}: {_inline(' '.join(text.split()))}", ""]
    items: list[str] = []
    for line in text.splitlines():
        entry = _ENTRY.match(line)
        if entry:
            names = ", ".join(f"`{one.strip()}`" for one in entry[1].split(","))
            items.append(f"- {names}: {_inline(entry[2])}".rstrip())
        else:
            items.append(f"  {_inline(line.strip())}")
    return [f"{name}:", "", *items, ""]
