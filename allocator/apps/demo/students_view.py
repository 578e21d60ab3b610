"""How a run of the class is drawn: the tree of scopes, the line, events and totals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Final

from rich.console import Console, ConsoleOptions, RenderableType
from rich.table import Table
from rich.text import Text

from allocator import Quota, QuotaUsage
from allocator.apps.demo.screen import LiveView, PlainView, open_screen
from allocator.apps.demo.students import Frame
from allocator.apps.demo.students_plan import CLASS, GPU, STAFF
from allocator.apps.demo.students_report import percentile
from allocator.apps.demo.students_sight import Reading, kept_for
from allocator.apps.demo.view import shown
from allocator.models.queue import Waiter

__all__ = ["Picture", "bar", "open_class_view", "progress"]

WIDE: Final = 76
"""Columns from which on all columns are shown."""

BAR_MIN: Final = 10
BAR_MAX: Final = 36

LINE_ROWS: Final = (4, 12)
EVENT_ROWS: Final = (0, 6)
"""Rows for the line and for the events: at least, and at most."""

FIXED_ROWS: Final = 17
"""Rows of what always has as many: the title, the tree, the legend, the heads of the line, the totals, the last row."""

ROOMY: Final = 32
"""Rows of a terminal from which on there are gaps between the parts."""

NOTES: Final = (2, 4)
"""Rows for what happened last in the run: without and with gaps."""

USED: Final = ("█", "green")
BORROWED: Final = ("▓", "yellow")
LENT: Final = ("▒", "magenta")
KEPT: Final = ("░", "cyan")
FREE: Final = ("·", "dim")
SHARE: Final = ("│", "bold")
LEGEND: Final = (
    (USED, "used"),
    (BORROWED, "borrowed"),
    (LENT, "lent"),
    (KEPT, "kept"),
    (FREE, "available"),
    (SHARE, "share"),
)

ASKS_FOR: Final = 3
"""The column of the line that a narrow terminal has no room for."""

_KINDS: Final = {"granted": "green", "released": "blue", "withdrawn": "magenta", "waiting": "yellow"}


def open_class_view(stream: IO[str], title: str) -> LiveView[Frame] | PlainView[Frame]:
    """A picture if the stream is a capable terminal, else lines."""
    return open_screen(stream, progress, lambda frame, notes: Picture(title, frame, notes))


def progress(frame: Frame) -> str:
    """The state in one line."""
    told, reading = frame.told, frame.reading
    parts = [f"running {told.running}"]
    if reading:
        parts += [f"waiting {len(reading.line)}", f"cpu {reading.usage.resources['cpu'].utilization:.0f}%"]
        borrowed = sum(_cpu(quota).borrowed for quota in _teams(reading))
        parts.append(f"borrowed {borrowed / 1000:g}")
    return "  ".join([*parts, f"granted {told.granted}", f"gave up {told.gave_up}"])


class Picture:
    """The state as a picture, as wide and as high as the terminal allows."""

    def __init__(self, title: str, frame: Frame, notes: Sequence[str]) -> None:
        self._title = title
        self._frame = frame
        self._notes = notes

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        """The parts, from the top."""
        width, roomy = options.max_width, console.height >= ROOMY
        frame, reading = self._frame, self._frame.reading
        notes = self._notes[-NOTES[roomy] :]
        yield _head(self._title, frame, width)
        if reading is None:
            return
        gap = [Text()] * roomy
        spare = console.height - FIXED_ROWS - NOTES[roomy] - 5 * roomy
        events = _clamp(spare // 3 if roomy else 0, EVENT_ROWS)
        yield from gap
        yield _tree(reading, width)
        yield _legend()
        yield from gap
        yield from _line(reading, _clamp(spare - events, LINE_ROWS), width)
        yield from gap
        if events:
            yield _events(frame, events)
            yield from gap
        yield _totals(frame)
        yield from gap
        yield Text("\n".join([*notes, *[""] * (NOTES[roomy] - len(notes))]), "bold", no_wrap=True, overflow="ellipsis")


def _clamp(rows: int, bounds: tuple[int, int]) -> int:
    return max(bounds[0], min(rows, bounds[1]))


def _head(title: str, frame: Frame, width: int) -> Text:
    clock = f"{frame.elapsed_s:.1f} of {frame.plan.seconds:g} s"
    gap = " " * max(2, width - len(title) - len(clock))
    return Text.assemble((title, "bold"), gap, clock, no_wrap=True, overflow="ellipsis")


def _legend() -> Text:
    parts: list[tuple[str, str]] = []
    for (sign, style), name in LEGEND:
        parts += [(sign, style), (f" {name}  ", "dim")]
    return Text.assemble(*parts, no_wrap=True, overflow="ellipsis")


def _tree(reading: Reading, width: int) -> Table:
    """The pool and the scopes: their cores as bars and numbers, their GPUs, labs, and who waits."""
    wide = width >= WIDE
    names = (
        "used",
        "borrowed" if wide else "borr",
        "lent",
        "kept",
        "avail",
        "gpu",
        "labs",
        *(("wait",) if wide else ()),
    )
    bar_width = max(BAR_MIN, min(BAR_MAX, width - 9 - 1 - sum(len(name) + 1 for name in names)))
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("cpu", no_wrap=True, width=9)
    table.add_column("", no_wrap=True, width=bar_width)
    for name in names:
        table.add_column(name, justify="right", no_wrap=True, width=len(name))
    waiting = _waiting(reading.line)
    for cells in _rows(reading, waiting, bar_width):
        table.add_row(*cells[: len(names) + 2])
    return table


def _rows(reading: Reading, waiting: Counter[str], bar_width: int) -> Iterator[tuple[RenderableType, ...]]:
    """The cells of each row of the tree, of the widest table."""
    cpu, gpu = reading.usage.resources["cpu"], reading.usage.resources[GPU]
    free = cpu.available
    yield (
        Text("pool", "bold"),
        bar(bar_width, ((USED, cpu.allocated), (KEPT, cpu.kept), (FREE, free))),
        Text(_cores(cpu.allocated)),
        Text("-", "dim"),
        Text("-", "dim"),
        _number(cpu.kept, KEPT[1]),
        _number(free),
        Text(f"{gpu.allocated // 1000}/{gpu.capacity // 1000}"),
        Text(str(reading.usage.allocations)),
        Text(str(len(reading.line))),
    )
    quotas = [reading.tree[CLASS], *_teams(reading), reading.tree[STAFF]]
    for quota in quotas:
        row, gpus = _cpu(quota), quota.resources.get(GPU)
        has_share = row.nominal is not None and quota.scope != CLASS
        name = quota.scope.rpartition("/")[2]
        used_gpus = (gpus.allocated if gpus else 0) // 1000
        borrowed, lent, kept = (row.borrowed, row.lent, kept_for(row)) if has_share else (0, 0, 0)
        yield (
            Text(" " * (quota.depth + 1) + name[: 8 - quota.depth]),
            _team_bar(row, bar_width) if has_share else Text(),
            Text(_cores(row.allocated)),
            _number(borrowed, BORROWED[1]),
            _number(lent, LENT[1]),
            _number(kept, KEPT[1]),
            _number(max(0, row.available)),
            Text(str(used_gpus), "yellow" if gpus and gpus.borrowed else "" if used_gpus else "dim"),
            _number(quota.resources["allocations"].allocated),
            _number(1000 * waiting[quota.scope]),
        )


def _cpu(quota: Quota) -> QuotaUsage:
    return quota.resources.get("cpu", QuotaUsage(0, 0, 0))


def _teams(reading: Reading) -> list[Quota]:
    """The teams, in the order of their names."""
    return [quota for quota in reading.tree.values() if quota.parent == CLASS and quota.scope != STAFF]


def _waiting(line: Sequence[Waiter]) -> Counter[str]:
    """How many requests wait of each scope and of those below it, without the students' own."""
    counts: Counter[str] = Counter()
    for waiter in line:
        parts = (waiter.scope or "").split("/")
        counts.update("/".join(parts[:depth]) for depth in range(1, min(2, len(parts)) + 1))
    return counts


def _cores(amount: int) -> str:
    return f"{amount / 1000:g}"


def _number(amount: int, style: str = "") -> Text:
    return Text(_cores(amount), style if amount else "dim")


def bar(width: int, parts: Sequence[tuple[tuple[str, str], int]]) -> Text:
    """A bar of `width` columns: each part is as long as its share of the total."""
    total, text, done, at = sum(max(0, amount) for _, amount in parts) or 1, Text(no_wrap=True), 0, 0
    for (sign, style), amount in parts:
        done += max(0, amount)
        end = round(width * done / total)
        text.append(sign * (end - at), style)
        at = end
    return text


def _team_bar(row: QuotaUsage, width: int) -> Text:
    """A team's share and, behind a mark, what it may borrow."""
    share, limit = row.nominal or 0, row.borrowing_limit or 0
    before = round((width - 1) * share / ((share + limit) or 1))
    used, kept = min(row.used, share), kept_for(row)
    free = share - used - row.lent - kept
    ahead = min(limit - row.borrowed, max(0, row.available - max(0, share - row.used)))
    return Text.assemble(
        bar(before, ((USED, used), (KEPT, kept), (FREE, free), (LENT, row.lent))),
        SHARE,
        bar(width - 1 - before, ((BORROWED, row.borrowed), (FREE, ahead), ((" ", ""), limit - row.borrowed - ahead))),
    )


def _line(reading: Reading, rows: int, width: int) -> Iterator[RenderableType]:
    """The first of those who wait, and how many follow."""
    waiters, wide = reading.line, width >= WIDE
    more = f"{len(waiters) - rows} more behind these" if len(waiters) > rows else ""
    yield Text.assemble(("line", "bold"), f"  {len(waiters)} wait", (f"  {more}", "dim"))
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for name, justify in (("#", "right"), ("prio", "right"), ("who", "left")):
        table.add_column(name, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    if wide:
        table.add_column("asks for", no_wrap=True, width=17)
    table.add_column("short of", no_wrap=True, width=13, overflow="ellipsis")
    table.add_column("waits", justify="right", no_wrap=True, width=5)
    table.add_column("starts", justify="right", no_wrap=True, width=6)
    for waiter in waiters[:rows]:
        cells = _waiter(waiter, reading.usage.read_ms)
        table.add_row(
            *(cell for at, cell in enumerate(cells) if wide or at != 3), style="bold red" if waiter.priority else ""
        )
    for _ in range(rows - len(waiters[:rows])):
        table.add_row("")
    yield table


def _waiter(waiter: Waiter, now_ms: int) -> tuple[str, ...]:
    starts = "" if waiter.start_ms is None else f"< {max(0, waiter.start_ms - now_ms) // 1000 + 1} s"
    return (
        str(waiter.position),
        str(waiter.priority or ""),
        (waiter.scope or waiter.owner).removeprefix(f"{CLASS}/"),
        _amounts(waiter.resources),
        _short_of(waiter),
        f"{max(0, now_ms - waiter.since_ms) / 1000:.1f} s",
        starts,
    )


def _amounts(resources: Mapping[str, int]) -> str:
    """Amounts in few columns: `2 cpu 8Gi 1 gpu`."""
    parts = [shown(name, amount) + {"cpu": " cpu", GPU: " gpu"}.get(name, "") for name, amount in resources.items()]
    return " ".join(parts)


def _short_of(waiter: Waiter) -> str:
    """The level that is short, and of what."""
    if waiter.denial is None:
        return "?"
    if waiter.denial.code == "queued":
        return "others first"
    shortage = waiter.denial.shortages[0]
    what = {GPU: "gpu", "allocations": "labs"}.get(shortage.resource, shortage.resource)
    level = shortage.name.rpartition("/")[2] or "pool"
    return f"{'own' if level.startswith('student') else level} {what}"


def _events(frame: Frame, rows: int) -> Text:
    """The last events of the pool."""
    lines: list[Text] = []
    for event in list(frame.seen.last_events)[-rows:]:
        waited = "  from the line" if event.fields.get("reason") == "waited" else ""
        lines.append(
            Text.assemble(
                (f"{event.at:%H:%M:%S} ", "dim"),
                (f"{event.kind:<10}", _KINDS.get(event.kind, "dim")),
                f" {event.fields.get('id', '')}",
                (waited, "dim"),
            )
        )
    lines += [Text()] * (rows - len(lines))
    return Text("\n", no_wrap=True, overflow="ellipsis").join(lines)


def _totals(frame: Frame) -> Text:
    told, sight, seen = frame.told, frame.sight, frame.seen
    waits = sorted([wait for one, wait in list(told.waits_s.items()) if one in seen.from_line])
    wrong = len(sight.wrong) + len(seen.over_allocations) + len(told.over)
    return Text.assemble(
        ("granted ", "dim"), (str(told.granted), "green"),
        ("  waited ", "dim"), f"{len(waits)}",
        ("  p50 ", "dim"), f"{percentile(waits, 50):.1f} s",
        ("  p95 ", "dim"), f"{percentile(waits, 95):.1f} s",
        ("  gave up ", "dim"), str(told.gave_up),
        ("\nover a limit ", "dim"), (str(wrong), "bold red" if wrong else "green"),
        ("  left in line ", "dim"), (str(len(sight.idle)), "bold red" if sight.idle else "green"),
        (f"  in {sight.readings} readings, {seen.audits} audits", "dim"),
        no_wrap=True, overflow="ellipsis",
    )  # fmt: skip
