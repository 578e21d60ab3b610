"""`events`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import click

from allocator import settings
from allocator.apps.cli import serializers
from allocator.apps.cli.arguments import whole_number
from allocator.apps.cli.context import POOL, App, Command, pass_app
from allocator.apps.cli.output import View, human, listing, rfc3339, room, table
from allocator.apps.cli.watch import NOTHING, WATCH, redraws, watched
from allocator.models.events import Event

__all__ = ["events"]

EVENTS_DEFAULT: Final = 50
EVENTS_MAX: Final = settings.PAGE_RECORDS_MAX
"""Entries that one call reads from the event stream."""


@click.command(cls=Command)
@POOL
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
            listing("Event", (serializers.event(event) for event in fresh), pool=app.pool),
            lambda wide: _events_table(fresh, wide, headed=with_headers, width=room(app)) if fresh else "",
            [event.id for event in fresh],
        )

    watched(app, watch, read)


def _events_table(items: Sequence[Event], wide: bool, *, headed: bool, width: int | None) -> str:
    headers = ["TIME", "TYPE", "ID", "OWNER", "RESOURCES", "REASON"]
    if wide:
        headers += ["EVENT", "FENCE", "DETAILS"]
    rows: list[list[str]] = []
    for item in items:
        row = [
            rfc3339(int(item.id.partition("-")[0])) or "",
            item.kind,
            item.fields.get("id", ""),
            item.fields.get("owner", ""),
            _amounts(item, wide),
            item.fields.get("reason", ""),
        ]
        if wide:
            details = ",".join(f"{name}={text}" for name, text in item.details.items())
            row += [item.id, item.fields.get("fence", ""), details]
        rows.append(row)
    return table(headers, rows, headed=headed, width=width)


def _amounts(item: Event, wide: bool) -> str:
    """What was allocated or given back."""
    return ",".join(f"{name}={human(name, units, up=True, wide=wide)}" for name, units in sorted(item.amounts.items()))
