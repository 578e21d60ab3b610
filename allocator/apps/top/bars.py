"""Capacity bars and sparklines as styled text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rich.text import Text

from allocator.apps.cli.output import columns, human, printable, width_of
from allocator.apps.top.reading import History, Reading, level
from allocator.models.accounts import ResourceUsage

__all__ = ["BAR_MIN", "bars", "clipped", "shortened", "sparkline"]

NAME_MAX: Final = 20
"""Columns of a resource's name."""

BAR_MIN: Final = 8
SPARK_MIN: Final = 10
SPARK_MAX: Final = 30
"""Columns of a bar, and of a sparkline: two seconds a column where there is room."""

_LEVELS: Final = "▁▂▃▄▅▆▇█"
_UNKNOWN: Final = "·"
_FULL: Final = "■"
_EMPTY: Final = "·"


def clipped(text: str, width: int) -> str:
    """The text in at most so many columns, with an ellipsis where something is cut."""
    if width_of(text) <= width:
        return text
    kept = ""
    for char in text:
        if width_of(kept + char) > width - 1:
            break
        kept += char
    return f"{kept}…" if width > 0 else ""


def shortened(text: str, width: int) -> str:
    """The text in at most so many columns, with an ellipsis in its middle: ids differ at their ends."""
    if width_of(text) <= width:
        return text
    end = ""
    for char in reversed(text):
        if width_of(char + end) > (width - 1) // 2:
            break
        end = char + end
    return clipped(text, width - width_of(end)) + end


def sparkline(shares: Sequence[float | None]) -> str:
    """A column for each percentage, from 0 to 100 and above; a dot where it is not known."""
    top = len(_LEVELS) - 1
    return "".join(
        _UNKNOWN if share is None else _LEVELS[min(top, max(0, round(share / 100 * top)))] for share in shares
    )


def _bar(row: ResourceUsage, width: int) -> tuple[str, str]:
    """The full and the empty part; full only if nothing is left, empty only if nothing is allocated."""
    share = min(1.0, max(0.0, row.utilization / 100))
    filled = int(width * share + 0.5)
    if 0.0 < share < 1.0:
        filled = min(width - 1, max(1, filled))
    return _FULL * filled, _EMPTY * (width - filled)


def bars(reading: Reading, history: History, now_s: float, width: int, height: int) -> Text:
    """A row for each resource: name, bar, per cent and a word, allocated of the limit, available, the last minute.

    Args:
        reading: the figures.
        history: the last minute.
        now_s: monotonic seconds.
        width: columns there are.
        height: rows there are; where there are more resources, the last row says so, and names the fullest of them.
    """
    names = columns([reading.usage.resources])
    shown, hidden = (names, []) if len(names) <= height else (names[: height - 1], names[height - 1 :])
    rows = [_cells(name, reading.usage.resources[name]) for name in shown]
    widths = [max(map(width_of, column)) for column in zip(*rows, strict=True)] if rows else [0] * 5
    fixed = sum(widths) + 5
    room = width - fixed - 2
    if room < BAR_MIN + SPARK_MIN:  # too narrow: what is available goes first
        rows = [[*row[:4], ""] for row in rows]
        room += widths[4] + 1
        widths[4] = 0
    spark = min(SPARK_MAX, max(SPARK_MIN, room // 2))
    bar = max(BAR_MIN, room - spark)
    text = Text(no_wrap=True, overflow="crop", end="")
    for at, name in enumerate(shown):
        row = reading.usage.resources[name]
        cells = rows[at]
        _, color = level(row)
        full, empty = _bar(row, bar)
        text.append("\n" if at else "")
        text.append(_left(cells[0], widths[0]) + " ", "bold")
        text.append(full, color).append(empty, "dim")
        text.append(f" {cells[1]:>{widths[1]}} {_left(cells[2], widths[2])}", color)
        text.append(f" {_right(cells[3], widths[3])}")
        text.append(f" {_right(cells[4], widths[4])} " if widths[4] else " ")
        text.append(sparkline(history.shares(name, now_s, spark)), color)
    if hidden:
        text.append(("\n" if shown else "") + clipped(_hidden(reading, hidden), width), "dim")
    return text


def _hidden(reading: Reading, names: Sequence[str]) -> str:
    fullest = max(names, key=lambda name: reading.usage.resources[name].utilization)
    row = reading.usage.resources[fullest]
    word = level(row)[0]
    said = f"{int(row.utilization)}% {word}".rstrip()
    return f"and {len(names)} more, the fullest {printable(fullest)} {said} (b shows all)"


def _cells(name: str, row: ResourceUsage) -> list[str]:
    amounts = f"{human(name, row.allocated, up=True)}/{human(name, row.limit)}"
    per_cent = f"{int(max(0.0, row.utilization))}%"
    return [clipped(printable(name), NAME_MAX), per_cent, level(row)[0], amounts, f"{human(name, row.available)} avail"]


def _left(text: str, width: int) -> str:
    return text + " " * (width - width_of(text))


def _right(text: str, width: int) -> str:
    return " " * (width - width_of(text)) + text
