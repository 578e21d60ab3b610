"""`events`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Final

import click

from allocator import Allocator, settings
from allocator.apps.cli import serializers
from allocator.apps.cli.arguments import duration, whole_number
from allocator.apps.cli.context import POOL, App, Command, pass_app
from allocator.apps.cli.output import View, human, listing, rfc3339, room, table
from allocator.apps.cli.watch import NOTHING, WATCH, append, redraws, watched
from allocator.models.events import Event

__all__ = ["events"]

EVENTS_DEFAULT: Final = 50
EVENTS_MAX: Final = settings.PAGE_RECORDS_MAX
"""Entries that one call reads from the event stream."""

_LEAST: Final = (24, 8, 12, 8, 16)
"""The widths of the columns while events are followed: what comes next is not known."""

_EVENT: Final = re.compile(r"[0-9]{1,16}-[0-9]{1,16}", re.ASCII)


def _since(text: str) -> str | float | datetime:
    """Parse an event's id, a time with its zone, or how long ago."""
    if _EVENT.fullmatch(text):
        return text
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is not None and at.tzinfo is not None:
        return at
    try:
        return duration(text)
    except click.BadParameter:
        raise click.BadParameter(
            f"{text[:32]!a} is no event, time or duration: write for instance 1795451188527-0, "
            "2026-11-23T16:26:28Z or 10m"
        ) from None


@click.command(cls=Command)
@POOL
@click.option(
    "--limit",
    type=whole_number(1, EVENTS_MAX),
    metavar="NUMBER",
    default=None,
    help=f"At most so many, up to {EVENTS_MAX} [{EVENTS_DEFAULT}; with --since {EVENTS_MAX}].",
)
@click.option(
    "--since", type=_since, metavar="WHEN", help="Those after an EVENT (-o wide shows it), a time, or 10m ago."
)
@click.option("-f", "--follow", is_flag=True, help="Then print each event when it happens, until Ctrl-C.")
@WATCH
@pass_app
def events(
    app: App, limit: int | None, since: str | float | datetime | None, follow: bool, watch: float | None
) -> None:
    """Show what changed in a pool, and why; the newest comes last.

    A refused request changes nothing and is no event.  An event of the type `missed` says that others are missing: the
    history was trimmed, or lost in a failover.  With --watch and without a terminal, each event is printed once.
    """
    if follow and watch is not None:
        raise click.UsageError("--follow prints each event when it happens, --watch again and again: give one of them")
    client = app.client()
    start = _ago(client, since) if isinstance(since, (int, float)) else since
    if follow:
        for view in _followed(app, client, limit, start):
            append(app, view)
    elif start is not None:
        found = client.events.since(start, limit=limit or EVENTS_MAX)
        append(app, _view(app, found, headed=not app.no_headers), line=False)
    else:
        _watched(app, client, limit or EVENTS_DEFAULT, watch)


def _ago(client: Allocator, seconds: float) -> datetime:
    """An instant so long ago, by the server's clock."""
    return datetime.fromtimestamp(max(0, client.pools.usage().read_ms / 1000 - seconds), tz=UTC)  # not before 1970


def _followed(app: App, client: Allocator, limit: int | None, since: str | datetime | None) -> Iterator[View]:
    """The latest events or those since, and then each when it happens."""
    headed = not app.no_headers
    if since is None:
        found = client.events.list(limit=limit or EVENTS_DEFAULT)[::-1]
        yield _view(app, found, headed=headed, least=_LEAST)
        headed, since = headed and not found, found[-1].id if found else "0"
    for event in client.events.watch(since=since):
        yield _view(app, [event], headed=headed, least=_LEAST)
        headed = False


def _watched(app: App, client: Allocator, limit: int, watch: float | None) -> None:
    """The latest events, once or again and again."""
    appends = watch is not None and not redraws(app)
    seen: set[str] = set()
    headed = not app.no_headers

    def read() -> View:
        nonlocal headed
        found = client.events.list(limit=limit)[::-1]
        fresh = [event for event in found if event.id not in seen] if appends else found
        seen.clear()
        seen.update(event.id for event in found)
        with_headers, headed = headed, headed and not (appends and fresh)
        return NOTHING if appends and not fresh else _view(app, fresh, headed=with_headers)

    watched(app, watch, read)


def _view(app: App, found: Sequence[Event], *, headed: bool, least: Sequence[int] = ()) -> View:
    return View(
        listing("Event", (serializers.event(event) for event in found), pool=app.pool),
        lambda wide: _table(found, wide, headed=headed, width=room(app), least=least) if found else "",
        [event.id for event in found],
    )


def _table(items: Sequence[Event], wide: bool, *, headed: bool, width: int | None, least: Sequence[int]) -> str:
    headers = ["TIME", "TYPE", "ID", "OWNER", "RESOURCES", "REASON"]
    if wide:
        headers += ["BY", "EVENT", "FENCE", "DETAILS"]
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
            row += [item.actor or "", item.id, item.fields.get("fence", ""), details]
        rows.append(row)
    return table(headers, rows, headed=headed, width=width, least=least)


def _amounts(item: Event, wide: bool) -> str:
    """What was allocated or given back."""
    return ",".join(f"{name}={human(name, units, up=True, wide=wide)}" for name, units in sorted(item.amounts.items()))
