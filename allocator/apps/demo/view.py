"""How a run of the replicas is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import IO, Final

from rich import box
from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from allocator import Event, Resources
from allocator.apps.demo.cluster import Phase, Status
from allocator.apps.demo.fleet import Replica
from allocator.apps.demo.run import Frame
from allocator.apps.demo.screen import LiveView, PlainView, open_screen

__all__ = ["open_view", "picture", "progress", "shown"]

EVENTS: Final = 8
"""Lines of the picture for the last events of the pool."""

STYLES: Final = {
    Phase.PENDING: "yellow",
    Phase.PROVISIONING: "cyan",
    Phase.RUNNING: "blue",
    Phase.COMPLETED: "green",
    Phase.FAILED: "red",
}


def open_view(stream: IO[str], title: str) -> LiveView[Frame] | PlainView[Frame]:
    """A picture if the stream is a capable terminal, else lines."""
    return open_screen(stream, progress, lambda frame, notes: picture(title, frame, notes))


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
        grid.add_row(name, bar, f"{share:5.1f} %", f"{shown(name, item.allocated)} of {shown(name, item.capacity)}")
    return grid


def shown(resource: str, amount: int) -> str:
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
