"""The first row, and the row of the tables' names."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from rich.text import Text
from textual import events
from textual.message import Message
from textual.widgets import Static

from allocator.apps.cli.output import duration, printable, width_of
from allocator.apps.top.bars import clipped
from allocator.apps.top.reading import Reading

__all__ = ["TITLES", "Tabs", "title"]

TITLES: Final = ("Allocations", "Waiting", "Scopes", "Events")
"""The tables, by the keys 1 to 4."""

CLOCK_S: Final = 5.0
"""Seconds that this machine's clock may differ from the server's before that is said."""


def title(pool: str, address: str, reading: Reading | None, width: int, ahead_s: float, said: str) -> Text:
    """The pool, the server, its time, and whether the figures are live.

    Args:
        pool: The pool.
        address: The server's URL without its password.
        reading: The last reading.
        width: Columns there are.
        ahead_s: How far this machine's clock is ahead of the server's.
        said: `live` or not.
    """
    right = f"{_clock(reading, ahead_s)}{said}"
    room = max(0, width - width_of(right) - 2)
    left = clipped(f"pool {printable(pool)}  {printable(address)}", room)
    text = Text(no_wrap=True, overflow="crop", end="")
    text.append(left, "bold").append(" " * max(1, width - width_of(left) - width_of(right)))
    text.append(right, "bold")
    return text


def _clock(reading: Reading | None, ahead_s: float) -> str:
    """The server's time at the reading, and how far this machine's clock is from it, where it is far."""
    if reading is None:
        return ""
    here = (
        f"(here {duration(abs(ahead_s))} {'later' if ahead_s > 0 else 'earlier'})  " if abs(ahead_s) > CLOCK_S else ""
    )
    return f"{datetime.fromtimestamp(reading.usage.read_ms / 1000, UTC):%H:%M:%S}Z  {here}"


class Tabs(Static):
    """The names of the tables with their counts; a click shows one."""

    class Chosen(Message):
        """A click on a name."""

        def __init__(self, tab: int) -> None:
            super().__init__()
            self.tab = tab

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id, markup=False)
        self._ends: list[int] = []
        self._text: Text | None = None

    def show(self, tab: int, counts: Sequence[int | None]) -> None:
        """Show the names, with that of the present table between brackets."""
        text = Text(no_wrap=True, overflow="crop", end="")
        self._ends = []
        for at, (name, count) in enumerate(zip(TITLES, counts, strict=True)):
            said = f"{at + 1} {name}" + ("" if count is None else f" {count:,}")
            text.append(f"[{said}] " if at == tab else f" {said}  ", "bold reverse" if at == tab else "")
            self._ends.append(len(text.plain))
        if text != self._text:
            self._text = text
            self.update(text, layout=False)

    def on_click(self, event: events.Click) -> None:
        """Say which name was clicked."""
        for at, end in enumerate(self._ends):
            if event.x < end:
                self.post_message(self.Chosen(at))
                return
