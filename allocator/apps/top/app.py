"""The program on the terminal: it does what keys and the mouse ask for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, Final

from textual.binding import Binding, BindingType
from textual.widgets import Input

from allocator.apps.cli.errors import hint
from allocator.apps.cli.output import printable
from allocator.apps.top import details, messages, pools
from allocator.apps.top.display import Display
from allocator.apps.top.grid import Grid
from allocator.apps.top.header import TITLES, Tabs
from allocator.apps.top.screens import PoolsScreen, ReleaseScreen, TextScreen
from allocator.apps.top.sheets import Order
from allocator.apps.top.tables import ScopeRow, named_sheet
from allocator.errors import AllocatorError
from allocator.models.allocations import Allocation
from allocator.models.events import Event
from allocator.models.queue import Waiter
from allocator.settings import MANY_ITEMS_MAX

__all__ = ["TopApp"]

INTERRUPTED: Final = 130


class TopApp(Display):
    """`resource-allocator top`."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("question_mark", "help", "Help", key_display="?"),
        Binding("slash", "filter", "Filter", key_display="/"),
        Binding("s", "sort(1)", "Sort"),
        Binding("S", "reverse", show=False),
        Binding("space", "mark", "Mark"),
        Binding("A", "mark_all", show=False),
        Binding("d,ctrl+d,delete", "release", "Release", key_display="d"),
        Binding("p", "pools", "Pools"),
        Binding("q", "end(0)", "Quit"),
        Binding("ctrl+c,ctrl+q", f"end({INTERRUPTED})", show=False, priority=True),
        Binding("escape", "reset", show=False),
        Binding("tab", "tab(1)", show=False, priority=False),
        Binding("shift+tab", "tab(-1)", show=False, priority=False),
        *(Binding(str(at + 1), f"show({at})", show=False) for at in range(len(TITLES))),
        Binding("b", "all_bars", show=False),
        Binding("r", "refresh_now", show=False),
        Binding("t", "theme", show=False),
        Binding("ctrl+z", "suspend_process", show=False),
    ]

    # -- keys and the mouse --------------------------------------------------------------------------------------------

    def action_help(self) -> None:
        """Show the keys."""
        self.push_screen(TextScreen("Help", messages.HELP))

    def action_show(self, tab: int) -> None:
        """Show another table."""
        if tab != self.tab:
            self.tab = tab
            self.main(Grid, "#grid").first()
        self._show_filter(bool(self.patterns[tab]), focus=False)
        self.main(Grid, "#grid").focus()
        self.redraw()

    def action_tab(self, steps: int) -> None:
        """Show the next table."""
        self.action_show((self.tab + steps) % len(TITLES))

    def on_tabs_chosen(self, event: Tabs.Chosen) -> None:
        """A click on the name of a table."""
        self.action_show(event.tab)

    def action_filter(self) -> None:
        """Ask for the words of a filter."""
        self._show_filter(True, focus=True)

    def _show_filter(self, shown: bool, *, focus: bool) -> None:
        field = self.main(Input, "#filter")
        field.set_class(shown, "shown")
        if field.value != self.patterns[self.tab]:
            field.value = self.patterns[self.tab]
        if focus:
            field.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Filter while it is typed."""
        if event.value != self.patterns[self.tab]:
            self.patterns[self.tab] = event.value
            self.redraw()

    def on_input_submitted(self) -> None:
        """Keep the filter, and go back to the rows."""
        self._show_filter(bool(self.patterns[self.tab]), focus=False)
        self.main(Grid, "#grid").focus()

    def action_reset(self) -> None:
        """Remove the filter, or else the marks."""
        if self.patterns[self.tab] or self.main(Input, "#filter").has_focus:
            self.patterns[self.tab] = ""
            self._show_filter(False, focus=False)
            self.main(Grid, "#grid").focus()
        else:
            self.marked.clear()
        self.redraw()

    def action_sort(self, steps: int) -> None:
        """Sort by the next column."""
        reading = self.feed.reading
        names = self.sheet(reading, self.tab).sortable() if reading else []
        if not names:
            self.notify(f"{TITLES[self.tab].lower()} have one order", timeout=3, markup=False)
            return
        order = self.orders[self.tab]
        at = names.index(order.by) if order.by in names else 0
        self.orders[self.tab] = Order(names[(at + steps) % len(names)])
        self.redraw()

    def action_reverse(self) -> None:
        """Sort the other way round."""
        order = self.orders[self.tab]
        self.orders[self.tab] = replace(order, reverse=not order.reverse)
        self.redraw()

    def on_grid_sorted(self, event: Grid.Sorted) -> None:
        """A click on a header: by this column, the second time the other way round."""
        order = self.orders[self.tab]
        grid = self.main(Grid, "#grid")
        is_same = event.name == (order.by or grid.sorted_by)
        self.orders[self.tab] = Order(event.name, not order.reverse if is_same else False)
        self.redraw()

    def action_mark(self) -> None:
        """Mark the allocation under the cursor, or take its mark, and go to the next one."""
        grid = self.main(Grid, "#grid")
        item = grid.item
        if not isinstance(item, Allocation):
            self.notify("only allocations can be marked", timeout=3, markup=False)
            return
        if self.marked.pop(item.id, None) is None:
            self.marked[item.id] = item.fence
        grid.action_move(1)
        self.redraw()

    def action_mark_all(self) -> None:
        """Mark all rows that are shown."""
        if self.tab == 0:
            self.marked.update({one.id: one.fence for one in self.main(Grid, "#grid").items})
            self.redraw()

    def action_all_bars(self) -> None:
        """Show all resources, or only as many as leave room for the tables."""
        self.all_bars = not self.all_bars
        self.redraw()

    def action_refresh_now(self) -> None:
        """Read again."""
        self.feed.refresh()

    def action_theme(self) -> None:
        """Dark on light, or light on dark."""
        self.theme = "textual-light" if self.theme == "textual-dark" else "textual-dark"
        self.drawn.clear()
        self.redraw()

    # -- what asks the server ------------------------------------------------------------------------------------------

    def on_grid_chosen(self, event: Grid.Chosen) -> None:
        """Describe a row; a scope shows its allocations."""
        match event.item:
            case Allocation() as item:
                self.run_worker(self._describe(item), name="describe", exclusive=True, group="describe")
            case Waiter() as item:
                self.push_screen(
                    TextScreen(f"Waiting {printable(item.id)[:60]}", details.of_waiter(item, self.now_ms()))
                )
            case ScopeRow() as item:
                self.patterns[0] = item.scope
                self.action_show(0)
            case Event() as item:
                self.push_screen(TextScreen("Event", details.of_event(item, self.now_ms())))
            case _:
                pass

    async def _describe(self, item: Allocation) -> None:
        try:
            text = await details.of_allocation(self.client, item)
        except AllocatorError as error:
            self._tell(error)
            return
        self.push_screen(TextScreen(f"Allocation {printable(item.id)[:60]}", text))

    def action_release(self) -> None:
        """Ask whether to release the marked allocations, or the one under the cursor."""
        reading = self.feed.reading
        if self.read_only:
            self.notify(messages.READ_ONLY, severity="warning", markup=False)
            return
        if reading is None or self.tab != 0:
            self.notify("only allocations can be released", timeout=3, markup=False)
            return
        found = [one for one in reading.allocations if self.marked.get(one.id) == one.fence]
        item = self.main(Grid, "#grid").item
        items = found or ([item] if isinstance(item, Allocation) else [])
        if len(items) > MANY_ITEMS_MAX:
            self.notify(f"refused: at most {MANY_ITEMS_MAX:,} at a time", severity="warning", markup=False)
            return
        if not items:
            return
        sheet = named_sheet(replace(reading, allocations=tuple(items), is_whole=True))

        def answered(yes: bool | None) -> None:
            if yes:
                self.run_worker(self._release(items), name="release", group="release")

        self.push_screen(ReleaseScreen(items, self.pool, sheet, self.now_ms), answered)

    async def _release(self, items: Sequence[Allocation]) -> None:
        """Release these grants: each by its fence, so that a later grant of its id is not touched."""
        try:
            done = await self.client.options(timeout=self.timeout_s).release_many(items)
        except AllocatorError as error:
            self._tell(error)
        else:
            severity = "information" if all(done) else "warning"
            self.notify(messages.released(done), severity=severity, markup=False)  # type: ignore[arg-type]
            for one in items:
                self.marked.pop(one.id, None)
        self.feed.refresh()

    def action_pools(self) -> None:
        """Choose another pool."""
        self.run_worker(self._choose_pool(), name="pools", exclusive=True, group="pools")

    async def _choose_pool(self) -> None:
        try:
            rows = await pools.rows(self.client)
        except AllocatorError as error:
            self._tell(error)
            return

        def chosen(name: str | None) -> None:
            if name is not None and name != self.pool:
                self.follow(name)
                self.action_show(self.tab)

        self.push_screen(PoolsScreen(rows), chosen)

    def _tell(self, error: AllocatorError) -> None:
        """Show the server's reason for a refusal, with advice where there is some."""
        advice = hint(error, self.address)
        text = printable(str(error)) + (f"\n{advice}" if advice else "")
        self.notify(
            text,
            title="refused" if error.code == "no_permission" else "error",
            severity="error",
            timeout=15,
            markup=False,
        )
