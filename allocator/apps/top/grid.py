"""A table of any length: only the rows on the screen are written, and no cell is ever read as markup."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Final

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from allocator.apps.cli.output import printable, width_of
from allocator.apps.top.bars import clipped, shortened
from allocator.apps.top.sheets import Column, Sheet, Shown

__all__ = ["Grid"]

GAPS: Final = (2, 1)
"""Blanks between two columns, and where there is no room."""
WIDTH_MAX: Final = 60
"""Columns of a cell at most, as of an id that has 512 characters; `Enter` shows all of it."""

AGE_WIDTH: Final = 6
MARK: Final = "*"


class Grid(ScrollView, can_focus=True):
    """Shows a sheet: a header, rows, a cursor, marks."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"grid--header", "grid--cursor", "grid--marked", "grid--dim"}

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", show=False),
        Binding("down,j", "move(1)", show=False),
        Binding("pageup,ctrl+b", "page(-1)", show=False),
        Binding("pagedown,ctrl+f", "page(1)", show=False),
        Binding("home,g", "move(-1000000)", show=False),
        Binding("end,G", "move(1000000)", show=False),
        Binding("left", "shift(-8)", show=False),
        Binding("right", "shift(8)", show=False),
        Binding("enter", "choose", "Describe", key_display="⏎"),
    ]

    class Chosen(Message):
        """Enter, or two clicks, on a row."""

        def __init__(self, grid: Grid, item: Any) -> None:
            super().__init__()
            self.grid = grid
            self.item = item

    class Sorted(Message):
        """A click on a header."""

        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

    def __init__(self, *, id: str | None = None, now_ms: Callable[[], int] | None = None) -> None:
        """Prepare.

        Args:
            id: The widget's.
            now_ms: The server's time, for ages.
        """
        super().__init__(id=id)
        self.marked: frozenset[str] = frozenset()
        """The keys of the rows with a mark."""
        self._now_ms = now_ms or (lambda: time.time_ns() // 1_000_000)
        self._sheet: Sheet[Any] | None = None
        self._items: Sequence[Any] = ()
        self._sorted_by = ""
        self._reverse = False
        self._widths: list[int] = []
        self._fitted: list[int] = []
        self._gap = GAPS[0]
        self._row = 0
        self._drawn_for: tuple[object, ...] = ()

    @property
    def item(self) -> Any:
        """The item under the cursor; None where there is none."""
        return self._items[self._row] if self._row < len(self._items) else None

    @property
    def items(self) -> Sequence[Any]:
        """The rows."""
        return self._items

    @property
    def sorted_by(self) -> str:
        """The name of the column that sorts the rows."""
        return self._sorted_by

    def show(self, sheet: Sheet[Any], shown: Shown[Any]) -> None:
        """Show these rows; the cursor stays on its item, or on its row where the item is gone."""
        at = self._cursor_key()
        names = [column.name for column in sheet.columns]
        same = self._sheet is not None and names == [column.name for column in self._sheet.columns]
        is_new = not same or list(shown.items) != list(self._items)
        if is_new:
            self._sheet, self._items = sheet, shown.items
            self._widths = _widths(sheet.columns, shown.items, self._now_ms())
            self._row = self._find(at)
        self._sheet, self._items = sheet, shown.items
        drawn = (shown.order, self.marked, sheet.empty)
        if is_new or drawn != self._drawn_for or any(column.is_age for column in sheet.columns):
            self._drawn_for = drawn
            self._sorted_by, self._reverse = shown.order.by, shown.order.reverse
            self._fit()
            self.refresh()

    def _cursor_key(self) -> str | None:
        return self._sheet.key(self.item) if self._sheet is not None and self.item is not None else None

    def _find(self, key: str | None) -> int:
        if key is not None and self._sheet is not None:
            for at, item in enumerate(self._items):
                if self._sheet.key(item) == key:
                    return at
        return max(0, min(self._row, len(self._items) - 1))

    def first(self) -> None:
        """Move the cursor to the first row, as for another table."""
        self._row = 0
        self.scroll_to(0, 0, animate=False)

    def _fit(self) -> None:
        """Narrow the columns that give way, the widest first, and say how large the table is."""
        if self._sheet is None:
            return
        self._fitted = list(self._widths)
        room = self.scrollable_content_region.width - 1
        gaps = len(self._fitted) - 1
        self._gap = GAPS[0] if sum(self._fitted) + GAPS[0] * gaps <= room else GAPS[1]
        least = [column.give or WIDTH_MAX for column in self._sheet.columns]
        gives = [at for at, width in enumerate(self._fitted) if width > least[at]]
        excess = sum(self._fitted) + self._gap * gaps - room
        while excess > 0 and gives:
            widest = max(gives, key=lambda at: self._fitted[at])
            self._fitted[widest] -= 1
            excess -= 1
            if self._fitted[widest] == least[widest]:
                gives.remove(widest)
        width = sum(self._fitted) + self._gap * gaps + 1
        self.virtual_size = Size(width, len(self._items) + 1)

    def on_resize(self) -> None:
        """Use the new width."""
        self._fit()
        self._follow_cursor()

    def render_line(self, y: int) -> Strip:
        """One row of the screen."""
        width = self.size.width
        if self._sheet is None:
            return Strip.blank(width, self.rich_style)
        if y == 0:
            return self._header().crop_extend(self.scroll_offset.x, self.scroll_offset.x + width, self.rich_style)
        at = y - 1 + self.scroll_offset.y
        if at >= len(self._items):
            empty = self._sheet.empty if y == 1 and not self._items else ""
            return Strip([Segment(f" {empty}"[:width], self._style("grid--dim"))]).extend_cell_length(
                width, self.rich_style
            )
        item = self._items[at]
        style = self._row_style(at, item)
        strip = Strip([Segment(self._text(item), style)])
        return strip.crop_extend(self.scroll_offset.x, self.scroll_offset.x + width, style)

    def _style(self, name: str) -> Style:
        return self.get_component_rich_style(name)

    def _row_style(self, at: int, item: Any) -> Style:
        assert self._sheet is not None
        style = self.rich_style
        color = self._sheet.color(item, self._now_ms())
        if color:
            style += Style(color=color)
        if self._sheet.key(item) in self.marked:
            style += self._style("grid--marked")
        if at == self._row and self.has_focus:
            style += self._style("grid--cursor")
        return style

    def _header(self) -> Strip:
        assert self._sheet is not None
        cells: list[str] = []
        for column, width in zip(self._sheet.columns, self._fitted, strict=True):
            arrow = ("▲" if self._reverse else "▼") if column.name == self._sorted_by and column.rank else ""
            name = clipped(printable(column.name), width - len(arrow)) + arrow
            cells.append(_padded(name, width, column.right))
        return Strip([Segment(" " + (" " * self._gap).join(cells), self._style("grid--header"))])

    def _text(self, item: Any) -> str:
        assert self._sheet is not None
        now_ms = self._now_ms()
        cells = [
            _padded(_cut(column, printable(column.text(item, now_ms)), width), width, column.right)
            for column, width in zip(self._sheet.columns, self._fitted, strict=True)
        ]
        return (MARK if self._sheet.key(item) in self.marked else " ") + (" " * self._gap).join(cells)

    def action_move(self, rows: int) -> None:
        """Move the cursor."""
        self._row = max(0, min(self._row + rows, len(self._items) - 1))
        self._follow_cursor()
        self.refresh()

    def action_page(self, pages: int) -> None:
        """Move the cursor by a page."""
        self.action_move(pages * max(1, self._visible() - 1))

    def action_shift(self, cells: int) -> None:
        """Show the columns to the left or to the right."""
        self.scroll_relative(x=cells, animate=False)

    def action_choose(self) -> None:
        """Say that the row under the cursor is chosen."""
        if self.item is not None:
            self.post_message(self.Chosen(self, self.item))

    def _visible(self) -> int:
        return max(1, self.scrollable_content_region.height - 1)

    def _follow_cursor(self) -> None:
        top = int(self.scroll_offset.y)
        if self._row < top:
            self.scroll_to(y=self._row, animate=False)
        elif self._row >= top + self._visible():
            self.scroll_to(y=self._row - self._visible() + 1, animate=False)

    def on_click(self, event: events.Click) -> None:
        """A header sorts; a row takes the cursor, and two clicks choose it."""
        if self._sheet is None:
            return
        if event.y == 0:
            name = self._column_at(int(event.x) + int(self.scroll_offset.x))
            if name:
                self.post_message(self.Sorted(name))
            return
        at = int(event.y) - 1 + int(self.scroll_offset.y)
        if at < len(self._items):
            self._row = at
            self.refresh()
            if event.chain == 2:
                self.action_choose()

    def _column_at(self, x: int) -> str:
        assert self._sheet is not None
        begins = 1
        for column, width in zip(self._sheet.columns, self._fitted, strict=True):
            if begins <= x < begins + width + self._gap and column.rank is not None:
                return column.name
            begins += width + self._gap
        return ""


def _cut(column: Column[Any], text: str, width: int) -> str:
    return clipped(text, width) if column.cut_end else shortened(text, width)


def _padded(text: str, width: int, right: bool) -> str:
    blanks = " " * (width - width_of(text))
    return blanks + text if right else text + blanks


def _widths(sheet: Sequence[Column[Any]], items: Sequence[Any], now_ms: int) -> list[int]:
    """The width of each column: of its widest cell, and of its name with an arrow."""
    found: list[int] = []
    for column in sheet:
        least = len(column.name) + (1 if column.rank is not None else 0)
        if column.is_age:
            found.append(max(least, AGE_WIDTH, 9 if column.name == "STATUS" else 0))
            continue
        widest = max((width_of(printable(column.text(item, now_ms))) for item in items), default=0)
        found.append(min(WIDTH_MAX, max(least, widest)))
    return found
