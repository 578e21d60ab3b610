"""`list` and `describe`."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import click

from allocator import Allocator, settings
from allocator.apps.cli import arguments, serializers
from allocator.apps.cli.arguments import closest, same_but_case
from allocator.apps.cli.completion import ids, scopes
from allocator.apps.cli.context import POOL, App, Command, pass_app
from allocator.apps.cli.output import (
    View,
    age,
    columns,
    document,
    duration,
    fields,
    human,
    listing,
    rfc3339,
    room,
    show,
    table,
)
from allocator.apps.cli.short_ids import identify, not_found
from allocator.apps.cli.watch import WATCH, watched
from allocator.durations import exact
from allocator.models.allocations import Allocation
from allocator.models.events import Event
from allocator.validation import owner_pattern

__all__ = ["EVENTS_SHOWN", "STORY_BEFORE_MS", "describe", "description", "is_within", "list_", "when"]

SORT_KEYS: Final = ("age", "deadline", "id", "owner")

STORY_BEFORE_MS: Final = 3_600_000
"""Milliseconds before the grant in which `describe` looks for events: the request may have waited in line."""

EVENTS_SHOWN: Final = 50
"""Events of an allocation that `describe` shows: the latest."""


@click.command("list", cls=Command)
@POOL
@click.option("--owner", metavar="NAME", help="Only what this owner holds; 'team-a/*' is every owner below team-a/.")
@click.option(
    "--scope",
    type=arguments.scope,
    metavar="SCOPE",
    shell_complete=scopes,
    help="Only what is in this scope or below it.",
)
@click.option("--older-than", type=arguments.age, metavar="DURATION", help="Only what was granted longer ago.")
@click.option("--sort-by", default="age", metavar="KEY", help="age, deadline, id, owner, or a resource [age].")
@click.option("--reverse", is_flag=True, help="The other way round.")
@WATCH
@pass_app
def list_(
    app: App,
    *,
    owner: str | None,
    scope: str | None,
    older_than: float | None,
    sort_by: str,
    reverse: bool,
    watch: float | None,
) -> None:
    r"""List the allocations of a pool.

    \b
    STATUS is Live, Pinned (no deadline), Releasing (begin-release), Preempted (its room is taken at the
    deadline), or Due: past the deadline and not yet taken back.
    Sorted by age the oldest come first, by deadline the next to end, by a resource the largest.
    """
    pattern = owner_pattern(owner) if owner is not None else ""
    begins = pattern.removesuffix("*") if pattern.endswith("*") else None
    client = app.client()

    def read() -> View:
        reading = client.pools.usage()
        if sort_by not in SORT_KEYS and sort_by not in reading.resources:
            keys = (*SORT_KEYS, *columns([reading.resources]))
            meant = same_but_case(sort_by, keys) or closest(sort_by, keys)
            raise click.UsageError(
                f"--sort-by: {sort_by[:64]!a} is none of {', '.join(keys)}{f': was {meant!r} meant?' if meant else ''}"
            )
        listed = client.list(owner=None if begins is not None else owner, older_than=older_than)
        found = {item.id: item for item in listed if item.owner.startswith(begins or "") and is_within(item, scope)}
        items = sorted(found.values(), key=lambda item: _rank(item, sort_by), reverse=reverse)
        if not items and watch is None:
            app.note(f"no allocations found in pool {app.pool}")
        return View(
            listing("Allocation", (serializers.allocation(item, reading.read_ms) for item in items), pool=app.pool),
            lambda wide: _table(app, items, reading.read_ms, wide) if items else "",
            [item.id for item in items],
        )

    watched(app, watch, read)


@click.command(cls=Command)
@click.argument("id_", metavar="ID", shell_complete=ids)
@pass_app
def describe(app: App, id_: str) -> None:
    """Show all there is to know about one allocation, with what happened to it."""
    client = app.client()
    name = identify(app, id_)
    item = client.get(name)
    if item is None:
        raise not_found(name, app.pool)
    now_ms = client.pools.usage().read_ms
    events = list(deque(_story(client, item), EVENTS_SHOWN))
    whole = document(
        "Allocation",
        **serializers.allocation(item, now_ms),
        events=[serializers.event(event) for event in events],
    )
    show(app, View(whole, lambda _: description(item, events, now_ms), [name]))


def _story(client: Allocator, item: Allocation) -> Iterator[Event]:
    """The stored events of an allocation, from when it began."""
    since: str | int = item.granted_ms - STORY_BEFORE_MS
    for _ in range(settings.EVENTS_MAX // settings.PAGE_RECORDS_MAX + 1):
        page = client.events.since(since)
        yield from (event for event in page if event.fields.get("id") == item.id)
        if len(page) < settings.PAGE_RECORDS_MAX:
            return
        since = page[-1].id


def is_within(item: Allocation, scope: str | None) -> bool:
    """Whether it is charged to the scope or one below it; None: any."""
    return scope is None or f"{item.scope or ''}/".startswith(f"{scope}/")


def _rank(item: Allocation, key: str) -> tuple[int | float | str, ...]:
    """The sort key: by `key`, then by id, so that the order is stable."""
    if key == "age":
        return item.granted_ms, item.fence, item.id
    if key == "deadline":
        return float("inf") if item.deadline_ms is None else item.deadline_ms, item.id
    if key == "id":
        return (item.id,)
    if key == "owner":
        return item.owner, item.id
    return -item.resources.get(key, 0), item.id


def _amount(name: str, held: Mapping[str, int], wide: bool) -> str:
    """What an allocation holds of a resource."""
    return human(name, held[name], up=True, wide=wide) if name in held else ""


def _until(at_ms: int | None, now_ms: int) -> str:
    """How long it is until an instant; "" if there is none."""
    return "" if at_ms is None else duration((at_ms - now_ms) / 1000)


def when(at_ms: int | None, now_ms: int) -> str:
    """An instant, and how far away it is; "" if there is none."""
    if at_ms is None:
        return ""
    away = duration(abs(at_ms - now_ms) / 1000)
    return f"{rfc3339(at_ms)} ({f'{away} ago' if at_ms <= now_ms else f'in {away}'})"


def _table(app: App, items: Sequence[Allocation], now_ms: int, wide: bool) -> str:
    resources = columns(item.resources for item in items)
    scoped = any(item.scope is not None for item in items)
    ending = any(item.ends_ms is not None for item in items)
    ranked = any(item.priority for item in items)
    preempted = any(item.preempted_by is not None for item in items)
    headers = [
        "ID",
        "OWNER",
        *(["SCOPE"] if scoped else []),
        *(["PRIORITY"] if ranked else []),
        "STATUS",
        *(["BY"] if preempted else []),
        *(name.upper() for name in resources),
        "AGE",
        "LEFT",
        *(["ENDS IN"] if ending else []),
    ]
    if wide:
        headers += ["TTL", "FENCE", "GRANTED", "DEADLINE", *(["ENDS"] if ending else []), "METADATA"]
    rows: list[list[str]] = []
    for item in items:
        row = [
            item.id,
            item.owner,
            *([item.scope or ""] if scoped else []),
            *([str(item.priority)] if ranked else []),
            serializers.status(item, now_ms),
            *([item.preempted_by or ""] if preempted else []),
            *(_amount(name, item.resources, wide) for name in resources),
            age(item.granted_ms, now_ms),
            _until(item.deadline_ms, now_ms),
            *([_until(item.ends_ms, now_ms)] if ending else []),
        ]
        if wide:
            row += [
                "" if item.ttl_ms is None else exact(item.ttl_ms),
                str(item.fence),
                rfc3339(item.granted_ms) or "",
                rfc3339(item.deadline_ms) or "",
                *([rfc3339(item.ends_ms) or ""] if ending else []),
                ",".join(f"{key}={text}" for key, text in sorted(item.metadata.items())),
            ]
        rows.append(row)
    return table(headers, rows, headed=not app.no_headers, width=room(app))


def _by(event: Event) -> str:
    """Who made the change, where that is not the owner."""
    return "" if event.actor == event.fields.get("owner") else f"by {event.actor}"


def description(item: Allocation, events: Sequence[Event], now_ms: int) -> str:
    history = [
        (
            f"{age(int(event.id.partition('-')[0]), now_ms)} ago",
            " ".join(filter(None, (event.kind, event.fields.get("reason"), _by(event)))),
        )
        for event in events
    ]
    return fields(
        (
            ("ID", item.id),
            ("Pool", item.pool),
            ("Owner", item.owner),
            ("Scope", item.scope or ""),
            ("Priority", str(item.priority) if item.priority else ""),
            ("Status", serializers.status(item, now_ms)),
            ("Preempted by", item.preempted_by or ""),
            ("Resources", list(item.resources.text().items())),
            ("Fence", str(item.fence)),
            ("Granted", f"{rfc3339(item.granted_ms)} ({age(item.granted_ms, now_ms)} ago)"),
            ("TTL", "" if item.ttl_ms is None else exact(item.ttl_ms)),
            ("Deadline", when(item.deadline_ms, now_ms)),
            ("Hard end", when(item.ends_ms, now_ms)),
            ("Metadata", sorted(item.metadata.items())),
            ("Events", history),
        )
    )
