"""What stands over the tables: help, a description, the question before a release, the pools."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Button, Static

from allocator.apps.top.grid import Grid
from allocator.apps.top.messages import question
from allocator.apps.top.sheets import Column, Order, Sheet, arranged
from allocator.models.allocations import Allocation

__all__ = ["PoolRow", "PoolsScreen", "ReleaseScreen", "TextScreen"]


class TextScreen(ModalScreen[None]):
    """A text that may be longer than the screen."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,enter,question_mark", "close", "Close"),
        Binding("up,k", "scroll(-1)", show=False),
        Binding("down,j", "scroll(1)", show=False),
        Binding("pageup", "scroll(-10)", show=False),
        Binding("pagedown,space", "scroll(10)", show=False),
    ]

    def __init__(self, title: str, text: str) -> None:
        super().__init__()
        self._title = title
        self._text = text

    def compose(self) -> ComposeResult:
        """The text in a frame, with its title."""
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = _plain(self._title)
            dialog.border_subtitle = "Esc closes"
            with VerticalScroll(can_focus=False):
                yield Static(self._text, classes="text", markup=False)

    def action_close(self) -> None:
        """Close it."""
        self.dismiss(None)

    def action_scroll(self, rows: int) -> None:
        """Move the text."""
        self.query_one(VerticalScroll).scroll_relative(y=rows, animate=False)


class ReleaseScreen(ModalScreen[bool]):
    """Asks before a release, and names what it would end."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "Release"),
        Binding("n,escape,q", "answer(False)", "Cancel"),
        Binding("left,right", "app.focus_next", show=False),
    ]

    def __init__(
        self, items: Sequence[Allocation], pool: str, sheet: Sheet[Allocation], now_ms: Callable[[], int]
    ) -> None:
        """Prepare.

        Args:
            items: The grants that would be released, as they were shown.
            pool: Their pool.
            sheet: The table of exactly these.
            now_ms: The server's time.
        """
        super().__init__()
        self._items = items
        self._pool = pool
        self._sheet = sheet
        self._now_ms = now_ms

    def compose(self) -> ComposeResult:
        """The question, all that is named, and two buttons of which the harmless one has the focus."""
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = "Release"
            yield Static(question(self._items, self._pool), classes="text", markup=False)
            yield Grid(id="named", now_ms=self._now_ms)
            yield Static("Their holders are not asked: they learn of it at their next renewal.", classes="dim")
            with Horizontal():
                yield Button("Cancel (n)", id="cancel")
                yield Button("Release (y)", id="release", variant="error")

    def on_mount(self) -> None:
        """Show the table."""
        grid = self.query_one(Grid)
        grid.styles.height = min(10, len(self._items)) + 1
        grid.show(self._sheet, arranged(self._sheet, Order(), ""))
        self.query_one("#cancel", Button).focus()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """A button is an answer."""
        self.dismiss(event.button.id == "release")

    def action_answer(self, yes: bool) -> None:
        """Answer by a key."""
        self.dismiss(yes)


@dataclass(frozen=True, slots=True)
class PoolRow:
    """A pool to choose; `said` is how full it is, or why that is not known."""

    name: str
    said: str


POOLS: Final[Sequence[Column[PoolRow]]] = (
    Column("POOL", lambda one, _: one.name, lambda one: one.name),
    Column("USE", lambda one, _: one.said, give=8),
)


class PoolsScreen(ModalScreen[str | None]):
    """The pools, of which one may be chosen."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,p", "close", "Close")]

    def __init__(self, rows: Sequence[PoolRow]) -> None:
        super().__init__()
        self._rows = rows

    def compose(self) -> ComposeResult:
        """The table."""
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = "Pools"
            dialog.border_subtitle = "Enter shows one, Esc closes"
            yield Grid(id="pools")

    def on_mount(self) -> None:
        """Show the table."""
        sheet = Sheet(
            "pools", POOLS, self._rows, len(self._rows), lambda one: one.name, lambda one: one.name,
            lambda _, __: "", "there is no pool under this prefix",
        )  # fmt: skip
        grid = self.query_one(Grid)
        grid.styles.height = max(4, min(12, len(self._rows) + 1))
        grid.show(sheet, arranged(sheet, Order(), ""))
        grid.focus()

    def on_grid_chosen(self, event: Grid.Chosen) -> None:
        """A row is the answer."""
        event.stop()
        self.dismiss(event.item.name)

    def action_close(self) -> None:
        """Choose none."""
        self.dismiss(None)


def _plain(title: str) -> str:
    """A title without markup: frames read it."""
    return title.replace("[", r"\[")
