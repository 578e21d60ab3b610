"""`usage`, `check`: what there is, and whether a request would be granted."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from typing import Any, Final

import click

from allocator.apps.cli import arguments, completion, quotas, serializers
from allocator.apps.cli.arguments import PRIORITY, assignment, duration, quantities
from allocator.apps.cli.context import POOL, App, Command, colored, pass_app
from allocator.apps.cli.errors import ExitCode, advise
from allocator.apps.cli.output import (
    View,
    columns,
    counted,
    document,
    explained,
    human,
    printable,
    rfc3339,
    room,
    show,
    table,
    turn,
    width_of,
)
from allocator.apps.cli.output import duration as duration_text
from allocator.apps.cli.watch import WATCH, watched
from allocator.models.accounts import ResourceUsage
from allocator.models.pools import Usage
from allocator.models.quotas import Quota
from allocator.models.usage_history import UsageHistory, UsagePoint

__all__ = ["check", "usage"]

BAR_WIDTH: Final = 20
"""Characters of a bar; each is five per cent."""

NARROW_BAR_WIDTH: Final = 5
"""Characters of a bar where the terminal has no room for more."""

_BAR: Final = re.compile(r"\[[| ]*\] +[0-9]+%.*")

YELLOW_AT: Final = 70.0
RED_AT: Final = 90.0
"""The percentages from which a bar is yellow, and red."""


HISTORY_WIDTH: Final = 40
"""Characters of a history; each has the most of its part of the time."""

SINCE_DEFAULT_S: Final = 3600.0
"""How long ago a history begins."""

_BLOCKS: Final = "▁▂▃▄▅▆▇█"


@click.command(cls=Command)
@POOL
@click.option("--by", type=click.Choice(("scope",)), help="scope: also what each scope has.")
@click.option("--history", is_flag=True, help="How full it was over time, and what it granted and denied.")
@click.option("--since", type=duration, metavar="DURATION", help="How long ago the history begins, up to 31d [1h].")
@WATCH
@pass_app
def usage(app: App, by: str | None, history: bool, since: float | None, watch: float | None) -> None:
    """Show how full a pool is.

    One atomic reading: capacity, allocated and available of each resource, and how many allocations there are.
    With '--by scope' one row for each scope and resource as well, in the columns of 'quota list'.
    With '--history' how full each resource was, in per cent: now, at its peak and in the mean.  A pool keeps a point a
    minute for a day, and one an hour for 31 days.
    """
    if since is not None and not history:
        raise click.UsageError("--since is the beginning of a history: give --history too")
    if history and by is not None:
        raise click.UsageError("--by shows what scopes have now, and no history of them is kept")
    client = app.client()

    def read() -> View:
        if history:
            found = client.pools.usage_history(since=SINCE_DEFAULT_S if since is None else since)
            return View(document("UsageHistory", **_plain(found)), lambda _: _history_text(app, found), [found.pool])
        reading = client.pools.usage()
        if by is not None:
            return _by_scope(app, reading, client.quotas.list())
        return View(
            document("Usage", **serializers.usage(reading)),
            lambda wide: _usage_text(app, reading, wide),
            [reading.pool.name],
        )

    watched(app, watch, read)


def _plain(found: UsageHistory) -> dict[str, Any]:
    return {name: value for name, value in found.to_dict().items() if name not in ("apiVersion", "kind")}


def _history_text(app: App, found: UsageHistory) -> str:
    """A row for each resource, with its shares in per cent, and for each number."""
    points = found.points
    draws = _draws()
    rows: list[tuple[str, ...]] = []
    for name in columns([point.resources for point in points]):
        shares = [_utilization(point, name) for point in points]
        cells = (f"{int(share)}%" for share in (shares[-1], max(shares), sum(shares) / len(shares)))
        rows.append((name, _drawn(shares, 100.0, draws=draws), *cells))
    for name, numbers in _numbers(points):
        most = max(numbers)
        mean = f"{sum(numbers) / len(numbers):.1f}".removesuffix(".0")
        rows.append(
            (name, _drawn([float(one) for one in numbers], float(most), draws=draws), str(numbers[-1]), str(most), mean)
        )
    text = table(("USE", "HISTORY", "NOW", "PEAK", "MEAN"), rows, headed=not app.no_headers)
    if app.no_headers:
        return text
    granted, denied = sum(point.grants for point in points), sum(point.denials for point in points)
    since = rfc3339(round(found.since.timestamp() * 1000))
    each = duration_text(points[0].seconds)
    return f"{text}\npool {found.pool} since {since}, every {each}: {granted} granted, {denied} denied"


def _numbers(points: Sequence[UsagePoint]) -> list[tuple[str, list[int]]]:
    return [
        ("allocations", [point.allocations for point in points]),
        ("waiting", [point.waiting for point in points]),
        ("grants", [point.grants for point in points]),
        ("denials", [point.denials for point in points]),
    ]


def _utilization(point: UsagePoint, resource: str) -> float:
    row = point.resources.get(resource)
    return 0.0 if row is None else row.utilization


def _draws() -> bool:
    """Whether stdout is a terminal that has the blocks."""
    if not sys.stdout.isatty():
        return False
    try:
        _BLOCKS.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def _drawn(values: Sequence[float], most: float, *, draws: bool) -> str:
    """The most of each part of the time: as blocks, or as whole numbers."""
    width = min(HISTORY_WIDTH, len(values))
    parts = [max(values[at * len(values) // width : (at + 1) * len(values) // width]) for at in range(width)]
    if not draws:
        return ",".join(str(int(part)) for part in parts)
    return "".join(
        _BLOCKS[min(len(_BLOCKS) - 1, int(len(_BLOCKS) * part / most))] if most else _BLOCKS[0] for part in parts
    )


def _by_scope(app: App, reading: Usage, scopes: Sequence[Quota]) -> View:
    def text(wide: bool) -> str:
        whole = _usage_text(app, reading, wide)
        return f"{whole}\n\n{quotas.quota_table(app, scopes, wide)}" if scopes else whole

    found = [serializers.quota(item) for item in scopes]
    names = [item.scope for item in scopes]
    return View(document("Usage", **serializers.usage(reading), scopes=found), text, names)


def _usage_text(app: App, reading: Usage, wide: bool) -> str:
    names = columns([reading.resources])
    rows = [(name, reading.resources[name]) for name in names]
    width = room(app)
    text = _usage_table(rows, BAR_WIDTH, wide, headed=not app.no_headers)
    if width is not None and max(map(width_of, text.split("\n"))) > width:
        text = _usage_table(rows, NARROW_BAR_WIDTH, wide, headed=not app.no_headers, width=width)
    if colored():
        text = _color(text, [row for _, row in rows])
    if app.no_headers:
        return text
    counts = f"{counted(reading.allocations, 'allocation')}, {reading.pinned} pinned, {reading.due} due"
    counts += f", {reading.waiting} waiting" if reading.waiting else ""
    return f"{text}\npool {reading.pool.name}: {counts}"


def _usage_table(
    rows: Sequence[tuple[str, ResourceUsage]], bar: int, wide: bool, *, headed: bool, width: int | None = None
) -> str:
    limited = any(row.limit != row.capacity or row.reserved for _, row in rows)
    cells = [
        (
            name,
            human(name, row.allocated, up=True, wide=wide),
            human(name, row.capacity, wide=wide),
            *((human(name, row.reserved, wide=wide), human(name, row.limit, wide=wide)) if limited else ()),
            human(name, row.available, wide=wide),
            _share(row, bar),
        )
        for name, row in rows
    ]
    limits = ("RESERVED", "LIMIT") if limited else ()
    headers = ("RESOURCE", "ALLOCATED", "CAPACITY", *limits, "AVAILABLE", "USE")
    return table(headers, cells, headed=headed, width=width)


def _share(row: ResourceUsage, width: int = BAR_WIDTH) -> str:
    """A bar and a percentage, rounded down so that only a full pool is 100%.

    A share below 0, which only broken data can have, is shown as 0.
    """
    share = max(0.0, row.utilization)
    filled = min(width, int(width * share / 100 + 0.5))
    note = "  overcommitted" if row.overcommitted else ""
    return f"[{'|' * filled}{' ' * (width - filled)}] {int(share):3d}%{note}"


def _color(text: str, rows: Sequence[ResourceUsage]) -> str:
    """Colour the bars, one for each row in their order; the percentages show the same without colour."""
    left = iter(rows)

    def color(bar: re.Match[str]) -> str:
        share = next(left).utilization
        return click.style(bar[0], fg="green" if share < YELLOW_AT else "yellow" if share < RED_AT else "red")

    return _BAR.sub(color, text)


@click.command(cls=Command)
@click.argument("resources", nargs=-1, required=True, type=assignment, metavar="RESOURCE=QUANTITY...")
@click.option("--explain", is_flag=True, help="Show the numbers of the level that is short, and when it could start.")
@click.option(
    "--scope",
    type=arguments.scope,
    metavar="SCOPE",
    shell_complete=completion.scopes,
    help="The scope to charge too [the pool's default scope].",
)
@PRIORITY
@click.option("--preempt", is_flag=True, help="Name from whom a request of this --priority would take room now.")
@click.option(
    "--max-lifetime", type=arguments.lifetime, metavar="DURATION", help="Its hard end, with which backfill may help it."
)
@pass_app
def check(
    app: App, /, *, resources: tuple[tuple[str, str], ...], explain: bool, preempt: bool, **asked: Any
) -> ExitCode:
    """Say whether a request would be granted now: 'yes' and exit code 0, or 'no', why, and 3.

    Nothing is reserved by it.
    """
    answer = app.client().check(quantities(resources), explain=explain, preempt=preempt, **asked)
    if answer.denial is None:
        text = "yes"
    else:
        text = f"no: {answer.denial}"
        text += f"\n{explained(app, answer.denial)}" if explain else ""
        if answer.fits_ms is not None:
            text += f"\nfits at {rfc3339(answer.fits_ms)} at the latest, unless others come first or renew"
        elif explain and answer.denial.code == "capacity_exceeded":
            text += "\nno known deadline makes it fit"
        if (answer.denial.position or 0) > 1:
            text += f"\n{turn(answer.denial)}"
        if preempt:
            text += f"\nwould preempt {', '.join(map(printable, answer.victims)) or 'nobody'}"
    show(app, View(document("Check", **serializers.check(answer)), lambda _: text))
    if answer.denial is not None and (answer.denial.never or not explain):
        advise(app, answer.denial)
    return ExitCode.OK if answer else ExitCode.DENIED
