"""The screen of `top`: it shows what a `Feed` knows."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from rich.text import Text
from textual import events
from textual.app import App, ComposeResult
from textual.widgets import Footer, Input, Static
from textual.worker import Worker

from allocator.apps.top import messages
from allocator.apps.top.bars import bars
from allocator.apps.top.feed import Feed
from allocator.apps.top.grid import Grid
from allocator.apps.top.header import TITLES, Tabs, title
from allocator.apps.top.reading import Reading
from allocator.apps.top.sheets import Order, Sheet, arranged
from allocator.apps.top.style import CSS as STYLE
from allocator.apps.top.tables import (
    allocations_sheet,
    events_sheet,
    scopes_sheet,
    waiters_sheet,
)

if TYPE_CHECKING:
    from allocator import AsyncAllocator

__all__ = ["Display"]

TICK_S: Final = 2.0
"""Seconds between two looks at the clock, for the history, the age of figures, and a banner."""

TAIL_FROM: Final = 34
"""Rows of a terminal from which the latest events stand below the tables."""

INTERRUPTED: Final = 130

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, *((signal.SIGHUP,) if hasattr(signal, "SIGHUP") else ()))


class Display(App[None]):
    """The screen of `top`: what it shows of a pool, and the state that this depends on."""

    CSS = STYLE
    ENABLE_COMMAND_PALETTE = False

    def __init__(
        self,
        connect: Callable[[], AsyncAllocator],
        pool: str,
        address: str,
        *,
        timeout_s: float,
        read_only: bool = False,
        clock_s: Callable[[], float] = time.monotonic,
        here_s: Callable[[], float] = time.time,
    ) -> None:
        """Prepare; nothing is connected.

        Args:
            connect: Makes the client, within the event loop.
            pool: The pool to show first.
            address: The server's URL without its password.
            timeout_s: Seconds for a call that changes something.
            read_only: Whether to refuse releases.
            clock_s: The monotonic clock.
            here_s: The time of this machine, to say how far it is from the server's.
        """
        super().__init__()
        self._connect = connect
        self.pool = pool
        self.address = address
        self.timeout_s = timeout_s
        self.read_only = read_only
        self._clock_s = clock_s
        self._here_s = here_s
        self._client: AsyncAllocator | None = None
        self._feed: Feed | None = None
        self._following: Worker[None] | None = None
        self.tab = 0
        self.orders = [Order("AGE"), *(Order() for _ in TITLES[1:])]
        self.patterns = ["" for _ in TITLES]
        self.marked: dict[str, int] = {}
        """The ids of marked allocations, with their fences."""
        self.all_bars = False
        self.drawn: dict[str, object] = {}

    @property
    def client(self) -> AsyncAllocator:
        """The client of the pool."""
        assert self._client is not None
        return self._client.options(pool=self.pool)

    @property
    def feed(self) -> Feed:
        """What is known of the pool."""
        assert self._feed is not None
        return self._feed

    def compose(self) -> ComposeResult:
        """The widgets, from the top."""
        yield Static(id="title", markup=False)
        yield Static(id="banner", markup=False)
        yield Static(id="bars", markup=False)
        yield Static(id="counts", markup=False)
        yield Tabs(id="tabs")
        yield Grid(id="grid", now_ms=self.now_ms)
        yield Static(id="note", markup=False)
        tail = Grid(id="tail", now_ms=self.now_ms)
        tail.can_focus = False
        tail.border_title = "latest events"
        yield tail
        yield Input(id="filter", placeholder="words that a row contains; Enter keeps, Esc removes")
        yield Footer(compact=True)

    async def on_mount(self) -> None:
        """Connect, and follow the pool."""
        if not self.is_headless:
            loop = asyncio.get_running_loop()
            for number in _SIGNALS:
                loop.add_signal_handler(number, self.action_end, 128 + number)
        self._client = self._connect()
        self.follow(self.pool)
        self.set_interval(TICK_S, self._tick)
        self.query_one("#grid", Grid).focus()

    async def on_unmount(self) -> None:
        """Close the client."""
        if self._client is not None:
            await self._client.close()

    def action_end(self, code: int) -> None:
        """End with this exit code."""
        self.exit(return_code=code)

    def now_ms(self) -> int:
        """The server's time, as far as it is known."""
        reading = self._feed.reading if self._feed else None
        return reading.now_ms(self._clock_s()) if reading else 0

    def follow(self, pool: str) -> None:
        """Show this pool from now on."""
        assert self._client is not None
        if self._following is not None:
            self._following.cancel()
        self.pool = pool
        self.marked.clear()
        self.patterns = ["" for _ in TITLES]
        self._feed = Feed(self._client, pool, self.redraw, self._clock_s)
        self._following = self.run_worker(self._feed.run(), name="feed")
        self.redraw()

    # -- what is shown -------------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        """Show how much time has passed; where nothing looks different, nothing is written."""
        if self.feed.trouble:
            self.redraw()
        else:
            self._show_head()

    def on_resize(self, event: events.Resize) -> None:
        """Use the new size."""
        if self._feed is not None:
            self.call_after_refresh(self.redraw)

    def redraw(self) -> None:
        """Show what is known now."""
        if not self.is_running or self._feed is None or len(self.screen_stack) == 0:
            return
        self._show_head()
        reading = self.feed.reading
        if reading is None:
            return
        live = {one.id: one.fence for one in reading.allocations}
        self.marked = {name: fence for name, fence in self.marked.items() if live.get(name) == fence}
        sheet = self.sheet(reading, self.tab)
        shown = arranged(sheet, self.orders[self.tab], self.patterns[self.tab])
        grid = self.main(Grid, "#grid")
        grid.marked = frozenset(self.marked) if self.tab == 0 else frozenset()
        grid.show(sheet, shown)
        marks = f"{len(self.marked)} marked" if self.marked else ""
        self._set("note", Text(", ".join(filter(None, (marks, shown.note)))), hide=True)
        tail = self.main(Grid, "#tail")
        has_tail = self.size.height >= TAIL_FROM and self.tab != len(TITLES) - 1
        tail.set_class(has_tail, "shown")
        if has_tail:
            latest = events_sheet(self.feed.events, self.feed.events_trouble)
            tail.show(latest, arranged(latest, Order(), ""))

    def _show_head(self) -> None:
        """The title, the banner, the bars and the counts."""
        now_s = self._clock_s()
        feed, reading = self.feed, self.feed.reading
        width = max(20, self.size.width - 2)
        said = messages.banner(feed.trouble, reading, now_s)
        ahead_s = 0.0 if reading is None else self._here_s() - self.now_ms() / 1000
        self._set("title", title(self.pool, self.address, reading, width, ahead_s, self._liveness(bool(said))))
        self._set("banner", Text(said), hide=True)
        if reading is None:
            self._set("counts", Text("reading the pool"))
            return
        rows = self.size.height - 12 if self.all_bars else self.size.height // 4
        self._set("bars", bars(reading, feed.history, now_s, width, max(2, rows)))
        self._set("counts", Text(messages.state(reading, self.now_ms()), no_wrap=True, overflow="ellipsis"))
        self.main(Tabs, "#tabs").show(self.tab, self._counts(reading))

    def _liveness(self, stale: bool) -> str:
        live = "not live" if stale or self.feed.reading is None else "live"
        return f"read-only  {live}" if self.read_only else live

    def _counts(self, reading: Reading) -> Sequence[int | None]:
        usage = reading.usage
        return usage.allocations, usage.waiting, usage.scopes, None

    def _set(self, id: str, text: Text, *, hide: bool = False) -> None:
        """Write a text, if it is another than before; where it is empty, the widget may be hidden."""
        if self.drawn.get(id) == text:
            return
        before = self.drawn.get(id)
        is_as_high = isinstance(before, Text) and before.plain.count("\n") == text.plain.count("\n") and not hide
        self.drawn[id] = text
        widget = self.main(Static, f"#{id}")
        widget.update(text, layout=not is_as_high)  # a new layout draws the whole screen
        if hide:
            widget.set_class(bool(text.plain), "shown")

    def main(self, kind: type[Any], selector: str) -> Any:
        """A widget of the main screen, also while another one is above it."""
        return self.screen_stack[0].query_one(selector, kind)

    def sheet(self, reading: Reading, tab: int) -> Sheet[Any]:
        """One of the tables."""
        match tab:
            case 0:
                return allocations_sheet(reading)
            case 1:
                return waiters_sheet(reading)
            case 2:
                return scopes_sheet(reading)
            case _:
                return events_sheet(self.feed.events, self.feed.events_trouble)
