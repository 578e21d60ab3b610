"""Output formats: tables, ages and quantities like kubectl's for people; versioned JSON and YAML for programs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import click

from allocator.apps.cli.context import App
from allocator.serialization import API_VERSION, rfc3339

__all__ = [
    "API_VERSION",
    "View",
    "age",
    "columns",
    "document",
    "duration",
    "exact",
    "fields",
    "listing",
    "printable",
    "render",
    "rfc3339",
    "show",
    "table",
]

GAP: Final = "  "
NONE: Final = "-"

_FIRST: Final = {"cpu": 0, "memory": 1}


@dataclass(frozen=True)
class View:
    """One result in all formats.  The argument of `text` is whether it is wide."""

    document: Mapping[str, Any]
    text: Callable[[bool], str]
    names: Sequence[str] = field(default=())


def render(app: App, view: View, *, line: bool = False) -> str:
    """The result in the format of the options, without the newline at its end.

    Args:
        app: the options.
        view: the result.
        line: JSON in one line, for a stream of results.
    """
    match app.format:
        case "json":
            return json.dumps(view.document, indent=None if line else 2, ensure_ascii=False)
        case "yaml":
            import yaml  # noqa: PLC0415 - few need it, and it is slow to import

            # The newest stubs of the library do not declare a type.
            dumped = yaml.safe_dump(dict(view.document), sort_keys=False)  # pyright: ignore[reportUnknownMemberType]
            return ("---\n" if line else "") + str(dumped).rstrip("\n")
        case "name":
            return "\n".join(view.names)
        case other:
            return view.text(other == "wide")


def show(app: App, view: View) -> None:
    """Print the result on stdout; nothing if it is empty."""
    text = render(app, view)
    if text:
        click.echo(text)


def document(kind: str, **fields: Any) -> dict[str, Any]:
    """A result for programs, with version and kind."""
    return {"apiVersion": API_VERSION, "kind": kind, **fields}


def listing(kind: str, items: Iterable[Mapping[str, Any]], **fields: Any) -> dict[str, Any]:
    """Several results of one kind for programs; the items do not repeat the version and the kind."""
    return document(f"{kind}List", **fields, items=list(items))


def duration(seconds: float) -> str:
    """A duration in at most two units; the smaller is omitted where it is insignificant: 90s, 5m12s, 3h12m, 2d3h.

    A negative one is 0s, as two clocks differ a little.
    """
    left = max(0, int(seconds))
    if left < 120:
        return f"{left}s"
    minutes, left = divmod(left, 60)
    if minutes < 10:
        return f"{minutes}m{left}s" if left else f"{minutes}m"
    if minutes < 180:
        return f"{minutes}m"
    hours, minutes = divmod(minutes, 60)
    if hours < 8:
        return f"{hours}h{minutes}m" if minutes else f"{hours}h"
    if hours < 48:
        return f"{hours}h"
    days, hours = divmod(hours, 24)
    return f"{days}d{hours}h" if hours and days < 8 else f"{days}d"


def exact(ms: int) -> str:
    """A duration in all its units, in the form of an argument: 90s is 1m30s, 3,600,000 ms are 1h."""
    left, rest = divmod(ms, 1000)
    parts: list[str] = []
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "m")):
        number, left = divmod(left, size)
        parts += [f"{number}{unit}"] if number else []
    if left or rest or not parts:
        parts.append(f"{left}{f'.{rest:03d}'.rstrip('0') if rest else ''}s")
    return "".join(parts)


def age(since_ms: int, now_ms: int) -> str:
    """The age, in the form of `duration`; both instants by the server's clock."""
    return duration((now_ms - since_ms) / 1000)


def printable(text: str) -> str:
    """The text without control characters, so that stored text cannot control the terminal."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)


def columns(rows: Iterable[Iterable[str]]) -> list[str]:
    """The resources that occur: `cpu`, `memory`, then the others by name."""
    return sorted({name for row in rows for name in row}, key=lambda name: (_FIRST.get(name, 2), name))


def table(headers: Sequence[str], rows: Iterable[Sequence[str]], *, headed: bool = True) -> str:
    """A table with minimal columns, two spaces between them, no borders, no blanks at the end of a line.

    An empty cell is a dash, so that every line has the same number of words (except free text, which comes last).
    """
    lines = [[printable(cell) or NONE for cell in row] for row in rows]
    if headed:
        lines.insert(0, list(headers))
    widths = [max((len(line[at]) for line in lines), default=0) for at in range(len(headers))]
    return "\n".join(
        GAP.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def fields(pairs: Iterable[tuple[str, str | Sequence[tuple[str, str]]]]) -> str:
    """The output of `describe`: `Name:  value` with aligned values, pairs indented, empty values omitted."""
    entries = [(name, value) for name, value in pairs if value]
    width = max(len(name) for name, _ in entries) + 1
    lines: list[str] = []
    for name, value in entries:
        if isinstance(value, str):
            lines.append(f"{name}:".ljust(width) + GAP + printable(value))
        else:
            lines.append(f"{name}:")
            inner = max(len(key) for key, _ in value)
            lines += [f"{GAP}{printable(key).ljust(inner)}{GAP}{printable(text)}" for key, text in value]
    return "\n".join(lines)
