"""`usage` and `events`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import click

from allocator import settings
from allocator.apps.cli import documents
from allocator.apps.cli.arguments import whole_number
from allocator.apps.cli.context import App, Command, colored, pass_app
from allocator.apps.cli.output import View, columns, document, listing, table
from allocator.apps.cli.watch import NOTHING, WATCH, redraws, watched
from allocator.models.accounts import ResourceUsage
from allocator.models.events import Event
from allocator.models.pools import Usage
from allocator.resources import Resources
from allocator.units import format_amount

__all__ = ["events", "usage"]

BAR_WIDTH: Final = 20
"""Characters of a bar; each is five per cent."""

YELLOW_AT: Final = 70.0
RED_AT: Final = 90.0
"""The percentages from which a bar is yellow, and red."""

EVENTS_DEFAULT: Final = 50
EVENTS_MAX: Final = settings.PAGE_RECORDS_MAX
"""Entries that one call reads from the event stream."""


@click.command(cls=Command)
@WATCH
@pass_app
def usage(app: App, watch: float | None) -> None:
    """Show how full a pool is.

    One atomic reading: capacity, allocated and available of each resource, and how many allocations there are.
    """
    client = app.client()

    def read() -> View:
        reading = client.pools.usage()
        return View(
            document("Usage", **documents.usage(reading)), lambda _: _usage_text(app, reading), [reading.pool.name]
        )

    watched(app, watch, read)


@click.command(cls=Command)
@click.option(
    "--limit",
    type=whole_number(1, EVENTS_MAX),
    metavar="NUMBER",
    default=EVENTS_DEFAULT,
    help=f"At most so many, up to {EVENTS_MAX} [{EVENTS_DEFAULT}].",
)
@WATCH
@pass_app
def events(app: App, limit: int, watch: float | None) -> None:
    """Show what changed in a pool, and why; the newest comes last.

    A refused request changes nothing and is no event.  With --watch and without a terminal, each event is printed once.
    """
    client = app.client()
    append = watch is not None and not redraws(app)
    seen: set[str] = set()
    headed = not app.no_headers

    def read() -> View:
        nonlocal headed
        found = client.events.list(limit=limit)[::-1]
        fresh = [event for event in found if event.id not in seen] if append else found
        seen.clear()
        seen.update(event.id for event in found)
        with_headers, headed = headed, headed and not (append and fresh)
        if append and not fresh:
            return NOTHING
        return View(
            listing("Event", (documents.event(event) for event in fresh), pool=app.pool),
            lambda wide: _events_table(fresh, wide, headed=with_headers) if fresh else "",
            [event.id for event in fresh],
        )

    watched(app, watch, read)


def _usage_text(app: App, reading: Usage) -> str:
    names = columns([reading.resources])
    rows = [(name, reading.resources[name]) for name in names]
    text = table(
        ("RESOURCE", "ALLOCATED", "CAPACITY", "AVAILABLE", "USE"),
        [
            (
                name,
                format_amount(name, row.allocated),
                format_amount(name, row.capacity),
                format_amount(name, row.available),
                _share(row),
            )
            for name, row in rows
        ],
        headed=not app.no_headers,
    )
    if colored():
        text = _color(text, [row for _, row in rows])
    if app.no_headers:
        return text
    counts = f"{reading.allocations} allocations, {reading.pinned} pinned, {reading.due} due"
    return f"{text}\npool {reading.pool.name}: {counts}"


def _share(row: ResourceUsage) -> str:
    """A bar and a percentage, rounded down so that only a full pool is 100%.

    A share below 0, which only broken data can have, is shown as 0.
    """
    share = max(0.0, row.utilization)
    filled = min(BAR_WIDTH, int(BAR_WIDTH * share / 100 + 0.5))
    note = "  overcommitted" if row.overcommitted else ""
    return f"[{'|' * filled}{' ' * (BAR_WIDTH - filled)}] {int(share):3d}%{note}"


def _color(text: str, rows: Sequence[ResourceUsage]) -> str:
    """Colour the bars of a table, whose last lines are the rows; the percentages show the same without colour."""
    lines = text.split("\n")
    start = len(lines) - len(rows)
    for at, row in enumerate(rows, start):
        shade = "green" if row.utilization < YELLOW_AT else "yellow" if row.utilization < RED_AT else "red"
        before, bracket, bar = lines[at].partition("[")
        lines[at] = before + click.style(bracket + bar, fg=shade)
    return "\n".join(lines)


def _events_table(items: Sequence[Event], wide: bool, *, headed: bool) -> str:
    headers = ["TIME", "TYPE", "ID", "OWNER", "RESOURCES", "REASON"]
    if wide:
        headers += ["EVENT", "FENCE", "DETAILS"]
    rows: list[list[str]] = []
    for item in items:
        known = documents.event(item)
        row = [
            known["at"],
            item.kind,
            item.fields.get("id", ""),
            item.fields.get("owner", ""),
            str(Resources.of(documents.event_amounts(item.fields))),
            item.fields.get("reason", ""),
        ]
        if wide:
            details = ",".join(f"{name}={text}" for name, text in known["details"].items())
            row += [item.id, item.fields.get("fence", ""), details]
        rows.append(row)
    return table(headers, rows, headed=headed)
