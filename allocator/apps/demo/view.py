"""The view of a run: a live picture on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import IO, Final, Self

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from allocator import Event, Resources
from allocator.apps.demo.cluster import Phase, Status
from allocator.apps.demo.fleet import Replica
from allocator.apps.demo.run import Frame

__all__ = ["LiveView", "PlainView", "open_view"]

LINE_S: Final = 1.0
"""Seconds between two lines of progress."""

EVENTS: Final = 8
NOTES: Final = 4
"""Lines of the picture for the last events of the pool, and for those of the run."""

PICTURES_PER_S: Final = 8

STYLES: Final = {
    Phase.PENDING: "yellow",
    Phase.PROVISIONING: "cyan",
    Phase.RUNNING: "blue",
    Phase.COMPLETED: "green",
    Phase.FAILED: "red",
}


class PlainView:
    """A line of progress every second, and one for each event of the run."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._next_s = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._stream.flush()

    def show(self, frame: Frame) -> None:
        """Write a line, if one is due."""
        if frame.elapsed_s >= self._next_s:
            self._next_s = frame.elapsed_s + LINE_S
            self.note(frame.elapsed_s, progress(frame))

    def note(self, elapsed_s: float, text: str) -> None:
        """Write a line now."""
        self.write(line(elapsed_s, text))

    def write(self, text: str) -> None:
        """Write a line unchanged."""
        print(text, file=self._stream, flush=True)


class LiveView:
    """The picture: bars, labs by phase, replicas, and the pool's last events."""

    def __init__(self, stream: IO[str], title: str) -> None:
        self._title = title
        self._notes: list[str] = []
        console = Console(file=stream)
        self._live = Live(
            console=console, auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False
        )
        self._plain = PlainView(stream)
        self._next_s = 0.0

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()
        for note in self._notes:
            self._plain.write(note)

    def show(self, frame: Frame) -> None:
        """Draw the picture."""
        if frame.elapsed_s >= self._next_s:
            self._next_s = frame.elapsed_s + 1 / PICTURES_PER_S
            self._live.update(picture(self._title, frame, self._notes[-NOTES:]), refresh=True)

    def note(self, elapsed_s: float, text: str) -> None:
        """Add a line to the picture; all lines are printed at the end."""
        self._notes.append(line(elapsed_s, text))


def open_view(stream: IO[str], title: str) -> LiveView | PlainView:
    """A picture if the stream is a capable terminal, else lines."""
    console = Console(file=stream)
    return LiveView(stream, title) if console.is_terminal and not console.is_dumb_terminal else PlainView(stream)


def line(elapsed_s: float, text: str) -> str:
    """A line with its time."""
    return f"{elapsed_s:6.1f} s  {text}"


def progress(frame: Frame) -> str:
    """The state in one line."""
    phases = frame.phases()
    parts = [f"to come {frame.to_come}"] if frame.to_come else []
    parts += [f"{phase.lower()} {phases[phase]}" for phase in Phase]
    if frame.seen.usage:
        parts += [f"{name} {item.utilization:.0f}%" for name, item in sorted(frame.seen.usage.resources.items())]
    parts.append(f"refusals {_refused(frame)}")
    parts.append(f"reclaimed {frame.seen.events['reclaimed']}")
    return "  ".join(parts)


def picture(title: str, frame: Frame, notes: Sequence[str]) -> Group:
    """The state as a picture."""
    head = Text.assemble((title, "bold"), f"   {frame.elapsed_s:.1f} s")
    parts: list[RenderableType] = [head, _bars(frame), _labs(frame), _replicas(frame), _events(frame.seen.last_events)]
    spaced: list[RenderableType] = [part for pair in zip(parts, [Text()] * len(parts), strict=True) for part in pair]
    return Group(*spaced, Text("\n".join(notes), style="bold"))


def _bars(frame: Frame) -> Table:
    grid = Table.grid(padding=(0, 1))
    if frame.seen.usage is None:
        return grid
    for name, item in sorted(frame.seen.usage.resources.items()):
        share = item.utilization
        style = "green" if share < 70 else "yellow" if share < 90 else "red"
        bar = ProgressBar(
            total=100.0, completed=min(share, 100.0), width=40, complete_style=style, finished_style=style
        )
        grid.add_row(name, bar, f"{share:5.1f} %", f"{_shown(name, item.allocated)} of {_shown(name, item.capacity)}")
    return grid


def _shown(resource: str, amount: int) -> str:
    """An amount for people: cores as a decimal number, others as canonical quantities."""
    return f"{amount / 1000:g}" if resource == "cpu" else Resources.of({resource: amount}).text()[resource]


def _labs(frame: Frame) -> Text:
    phases = frame.phases()
    parts: list[tuple[str, str] | str] = [(f"to come {frame.to_come}", "dim"), "   "]
    for phase in Phase:
        parts += [(f"{phase} {phases[phase]}", STYLES[phase]), "   "]
    seen = frame.seen
    parts.append(
        f"\nrefusals {_refused(frame)}   reclaimed {seen.events['reclaimed']}   "
        f"over-allocations {len(seen.over_allocations)} in {seen.readings} readings   audits {seen.audits}"
    )
    return Text.assemble(*parts)


def _replicas(frame: Frame) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column, justify in (("REPLICA", "left"), ("PROCESS", "right"), ("STATE", "left")):
        table.add_column(column, justify=justify, min_width=8)  # type: ignore[arg-type]
    for column in ("IN HAND", "GRANTED", "REFUSED", "NOT FIRST", "RENEWED"):
        table.add_column(column, justify="right")
    statuses = frame.cluster.snapshot()
    for replica in frame.replicas:
        counters = replica.counters
        table.add_row(
            replica.name,
            str(replica.pid),
            _state(replica),
            str(_in_hand(statuses, replica.name)),
            str(counters.granted),
            str(counters.refused),
            str(counters.conflicts),
            str(counters.renewed),
        )
    return table


def _state(replica: Replica) -> Text:
    if replica.killed:
        return Text("killed", "bold red")
    if replica.code is None:
        return Text("running", "green")
    return Text("ended" if replica.code == 0 else f"failed ({replica.code})", "red" if replica.code else "")


def _events(events: Sequence[Event]) -> Text:
    lines = [
        f"{event.at:%H:%M:%S} {event.kind:<10} {event.fields.get('id', ''):<32} {event.fields.get('owner', '')}"
        for event in list(events)[-EVENTS:]
    ]
    lines += [""] * (EVENTS - len(lines))
    return Text("\n".join(lines), style="dim", no_wrap=True, overflow="ellipsis")


def _refused(frame: Frame) -> int:
    return sum(replica.counters.refused for replica in frame.replicas)


def _in_hand(statuses: Sequence[Status], replica: str) -> int:
    return sum(status.replica == replica and status.phase.held for status in statuses)
