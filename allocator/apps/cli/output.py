"""Output formats: tables, ages and quantities like kubectl's for people; versioned JSON and YAML for programs."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from itertools import zip_longest
from typing import Any, Final

import click

from allocator.apps.cli.context import App
from allocator.denials import Denial
from allocator.serialization import API_VERSION, rfc3339
from allocator.units import Unit, format_amount, unit_of

__all__ = [
    "API_VERSION",
    "View",
    "age",
    "columns",
    "counted",
    "document",
    "duration",
    "explained",
    "fields",
    "human",
    "listing",
    "printable",
    "render",
    "rfc3339",
    "room",
    "show",
    "table",
    "width_of",
]

GAP: Final = "  "
NONE: Final = "-"

_FIRST: Final = {"cpu": 0, "memory": 1}

_DIGITS_MAX: Final = 4
"""Digits of an amount of bytes that people read at a glance; a longer one is shown rounded."""

_HUNDREDTH: Final = Decimal("0.01")

_BINARY: Final = tuple((2 ** (10 * power), f"{letter}i") for power, letter in enumerate("KMGTPE", 1))[::-1]
"""(size, suffix), the largest first."""


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
            return _unprintable_escaped(json.dumps(view.document, indent=None if line else 2, ensure_ascii=False))
        case "yaml":
            return ("---\n" if line else "") + _yaml(view.document)
        case "name":
            return "\n".join(printable(name) for name in view.names)
        case other:
            return view.text(other == "wide")


def _yaml(document: Mapping[str, Any]) -> str:
    """The document as YAML, by the C library where there is one: it is several times faster."""
    import yaml  # noqa: PLC0415 - few need it, and it is slow to import

    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    # The newest stubs of the library do not declare a type.
    dumped = yaml.dump(dict(document), Dumper=dumper, sort_keys=False)  # pyright: ignore[reportUnknownMemberType]
    return str(dumped).rstrip("\n")


def _unprintable_escaped(text: str) -> str:
    """JSON in which every character that could control a terminal, or that stdout cannot encode, is an escape.

    `json` escapes those below a blank only; outside of texts, JSON has no others.
    """
    if text.isascii() and "\x7f" not in text:
        return text
    encoding = _encoding()
    return "".join(char if char == "\n" or _is_shown(char, encoding) else json.dumps(char)[1:-1] for char in text)


def show(app: App, view: View) -> None:
    """Print the result on stdout; nothing if it is empty."""
    text = render(app, view)
    app.end_silence()
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


def age(since_ms: int, now_ms: int) -> str:
    """The age, in the form of `duration`; both instants by the server's clock."""
    return duration((now_ms - since_ms) / 1000)


def counted(number: int, noun: str) -> str:
    """`1 allocation`, `2 allocations`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def human(resource: str, amount: int, *, up: bool = False, wide: bool = False) -> str:
    """An amount as people read it: exact where it is short, else the largest binary unit to two decimals, `101.5Gi`.

    Args:
        resource: the resource's name, which decides the unit.
        amount: units, 0 or more; a negative one is shown exactly.
        up: round up, as of what is allocated, instead of down, as of what is available.
        wide: exactly, as in the format `wide`.
    """
    text = format_amount(resource, amount)
    if wide or unit_of(resource) is not Unit.BYTES or amount < 0 or sum(map(str.isdigit, text)) <= _DIGITS_MAX:
        return text
    size, suffix = next(pair for pair in _BINARY if amount >= pair[0])
    number = (Decimal(amount) / size).quantize(_HUNDREDTH, ROUND_CEILING if up else ROUND_FLOOR)
    return f"{number:f}".rstrip("0").rstrip(".") + suffix


def printable(text: str) -> str:
    """The text without control characters, so that stored text cannot control the terminal.

    A character that the encoding of stdout does not have is escaped, too.
    """
    if text.isascii() and text.isprintable():
        return text
    encoding = _encoding()
    return "".join(
        char if _is_shown(char, encoding) else char.encode("unicode_escape").decode("ascii") for char in text
    )


def _encoding() -> str:
    """The encoding of stdout; UTF-8 if it has none."""
    return getattr(sys.stdout, "encoding", None) or "utf-8"


def _is_shown(char: str, encoding: str) -> bool:
    """Whether a character is printed as it is."""
    if not char.isprintable():
        return False
    try:
        char.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def width_of(text: str) -> int:
    """The columns of a terminal that the text takes: wide characters take two, combining ones none."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len  # noqa: PLC0415 - text that is not ASCII is rare

    return cell_len(text)


def room(app: App) -> int | None:
    """The columns of the terminal that stdout is; None if it is none, where a table may be as wide as it is."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() and app.format in ("table", "wide") else None


def columns(rows: Iterable[Iterable[str]]) -> list[str]:
    """The resources that occur: `cpu`, `memory`, then the others by name."""
    return sorted({name for row in rows for name in row}, key=lambda name: (_FIRST.get(name, 2), name))


def table(
    headers: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    headed: bool = True,
    width: int | None = None,
    least: Sequence[int] = (),
) -> str:
    """A table with minimal columns, two spaces between them, no borders, no blanks at the end of a line.

    An empty cell is a dash, so that every line has the same number of words (except free text, which comes last).

    Args:
        headers: the names of the columns.
        rows: their cells.
        headed: whether to print the names.
        width: the columns of the terminal; a wider table is printed row by row, its first cell and then name and cell.
        least: the widths of the first columns at least, where more rows come later.
    """
    lines = [[printable(cell) or NONE for cell in row] for row in rows]
    shown = [list(headers), *lines] if headed else lines
    widths = [max((width_of(line[at]) for line in shown), default=0) for at in range(len(headers))]
    widths = [max(pair) for pair in zip_longest(widths, least, fillvalue=0)]
    if width is not None and sum(widths) + len(GAP) * (len(widths) - 1) > width and lines:
        return "\n".join(_folded(headers, line, width) for line in lines)
    return "\n".join(GAP.join(map(_padded, line, widths)).rstrip() for line in shown)


def _folded(headers: Sequence[str], line: Sequence[str], width: int) -> str:
    """A row that is too wide for its table: the first cell, below it the others with their names; no dashes."""
    folded = [line[0]]
    started = False
    for name, cell in zip(headers[1:], line[1:], strict=True):
        if cell == NONE:
            continue
        piece = f"{name} {cell}"
        if started and width_of(folded[-1]) + len(GAP) + width_of(piece) <= width:
            folded[-1] += GAP + piece
        else:
            folded.append(GAP + piece)
        started = True
    return "\n".join(folded)


def _padded(text: str, width: int) -> str:
    """The text and blanks up to this width."""
    return text + " " * (width - width_of(text))


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
            keys = [printable(key) for key, _ in value]
            inner = max(map(width_of, keys))
            lines += [
                f"{GAP}{_padded(key, inner)}{GAP}{printable(text)}" for key, (_, text) in zip(keys, value, strict=True)
            ]
    return "\n".join(lines)


def explained(app: App, denial: Denial) -> str:
    """A table of what is short, and at which level."""
    rows: list[list[str]] = []
    for one in denial.shortages:
        numbers = (one.requested, one.allocated, one.kept, one.capacity, one.short)
        level = f"{one.level} {one.name or denial.pool}"
        rows.append([level, one.resource, *(format_amount(one.resource, number) for number in numbers)])
    headers = ("LEVEL", "RESOURCE", "REQUESTED", "ALLOCATED", "KEPT", "LIMIT", "SHORT")
    return table(headers, rows, headed=not app.no_headers, width=room(app))


def turn(denial: Denial) -> str:
    """The place in line that a request would take, and its start there."""
    place = f"would wait in position {denial.position}"
    if denial.start_ms is None:
        return f"{place}; no known deadline lets it start"
    return f"{place}, and start at {rfc3339(denial.start_ms)} at the earliest that known deadlines allow"
