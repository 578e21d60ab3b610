"""`queue list|withdraw`: the requests that wait in line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import click

from allocator.apps.cli import completion, serializers
from allocator.apps.cli.arguments import whole_number
from allocator.apps.cli.context import POOL, App, Command, Group, pass_app
from allocator.apps.cli.errors import ExitCode
from allocator.apps.cli.output import (
    View,
    age,
    columns,
    counted,
    document,
    duration,
    human,
    listing,
    printable,
    rfc3339,
    room,
    show,
    table,
)
from allocator.apps.cli.watch import WATCH, watched
from allocator.denials import Denial
from allocator.durations import exact
from allocator.models.queue import Waiter
from allocator.settings import PAGE_WAITERS_MAX, QUEUE_MAX

__all__ = ["queue", "short_of"]

OTHER_WORDS: Final = {
    "cancel": "withdraw",
    "delete": "withdraw",
    "get": "list",
    "ls": "list",
    "remove": "withdraw",
    "rm": "withdraw",
    "show": "list",
}
"""What other programs call a command of this group, and what it is called here."""


class _Queues(Group):
    """The group of the commands about the line."""

    other_words = OTHER_WORDS


@click.group(cls=_Queues, no_args_is_help=True)
def queue() -> None:
    """Show who waits in line for room, and take requests out of it.

    'allocate --wait' and 'run --wait' take a place: the higher priority first, then the smaller share
    where scopes have weights, then the earlier arrival.
    """


@queue.command(name="list")
@POOL
@click.option(
    "--limit",
    type=whole_number(1, QUEUE_MAX),
    default=PAGE_WAITERS_MAX,
    metavar="NUMBER",
    help=f"At most so many, from the first on [{PAGE_WAITERS_MAX}].",
)
@WATCH
@pass_app
def list_(app: App, *, limit: int, watch: float | None) -> None:
    r"""List the requests that wait in line, the first first.

    \b
    SHORT OF is what it lacks now, and of which scope; 'its turn': it fits, and must not
    pass those before it.  STARTS IN is the earliest start that known deadlines allow,
    without renewals and new requests; it is known for at most the first 32.
    MEMBERS: so many requests wait as one, to be granted together; '-o wide' has their ids.
    """
    client = app.client()

    def read() -> View:
        reading = client.pools.usage()
        waiters = client.queue.list(limit=limit)
        if not waiters and watch is None:
            app.note(f"nobody waits in pool {app.pool}")
        if len(waiters) == limit < reading.waiting:
            app.note(f"note: {counted(reading.waiting, 'request')} wait; --limit shows more of them")
        return View(
            listing("Waiter", (serializers.waiter(item) for item in waiters), pool=app.pool),
            lambda wide: _table(app, waiters, reading.read_ms, wide) if waiters else "",
            [item.id for item in waiters],
        )

    watched(app, watch, read)


def short_of(denial: Denial | None, wide: bool) -> str:
    """What a waiter does not get: the resources with their amounts, and the scope that is short of them."""
    if denial is None:
        return "scope"
    if denial.code == "queued":
        return "its turn"
    parts: list[str] = []
    for one in denial.shortages:
        where = "" if one.level == "pool" else f"@{one.name}"
        parts.append(f"{one.resource}={human(one.resource, one.short, up=True, wide=wide)}{where}")
    return ",".join(parts) or denial.code


def _starts_in(item: Waiter, now_ms: int) -> str:
    if item.start_ms is None:
        return ""
    return duration((item.start_ms - now_ms) / 1000)


def _members(item: Waiter, wide: bool) -> str:
    """How many requests wait as one; wide: for which ids."""
    if not item.members:
        return ""
    return ",".join(one.id for one in item.members) if wide else str(len(item.members))


def _table(app: App, waiters: Sequence[Waiter], now_ms: int, wide: bool) -> str:
    resources = columns(item.resources for item in waiters)
    scoped = any(item.scope is not None for item in waiters)
    gangs = any(item.members for item in waiters)
    headers = ["ID", *(["MEMBERS"] if gangs else []), "POSITION", "OWNER", *(["SCOPE"] if scoped else []), "PRIORITY"]
    headers += [*(name.upper() for name in resources), "WAITING", "SHORT OF", "STARTS IN"]
    shared = wide and any(item.share_of is not None for item in waiters)
    headers += ["TTL", "SINCE", "UNTIL", "START", *(["SHARE OF"] if shared else []), "METADATA"] if wide else []
    rows: list[list[str]] = []
    for item in waiters:
        row = [item.id, *([_members(item, wide)] if gangs else []), str(item.position), item.owner]
        row += [*([item.scope or ""] if scoped else []), str(item.priority)]
        row += [
            human(name, item.resources[name], up=True, wide=wide) if name in item.resources else ""
            for name in resources
        ]
        row += [age(item.since_ms, now_ms), short_of(item.denial, wide), _starts_in(item, now_ms)]
        if wide:
            row += [
                "" if item.ttl_ms is None else exact(item.ttl_ms),
                *(rfc3339(at_ms) or "" for at_ms in (item.since_ms, item.until_ms, item.start_ms)),
                *([item.share_of or ""] if shared else []),
                ",".join(f"{key}={text}" for key, text in sorted(item.metadata.items())),
            ]
        rows.append(row)
    return table(headers, rows, headed=not app.no_headers, width=room(app))


@queue.command(cls=Command)
@click.argument("ids", nargs=-1, required=True, metavar="ID...", shell_complete=completion.waiters)
@click.option("--ignore-not-found", is_flag=True, help="Exit with 0 if nobody waits for it any more.")
@pass_app
def withdraw(app: App, ids: tuple[str, ...], ignore_not_found: bool) -> ExitCode:
    """Take the requests for these ids out of the line; who waits for them is refused.

    The id of one of several requests that wait as one takes all of them out.  A live
    allocation of the id is not touched.  Exit code 4: nobody waits for it.
    """
    client = app.client()
    rows: list[tuple[dict[str, Any], str, str]] = []
    code = ExitCode.OK
    for name in ids:
        gone = client.queue.withdraw(name)
        if not gone and not ignore_not_found:
            click.echo(f"error: nobody waits for {printable(name)} in pool {app.pool}", err=True)
            code = ExitCode.NOT_FOUND
        outcome = "withdrawn" if gone else "absent"
        rows.append(({"id": name, "outcome": outcome}, name if gone else "", f"{name} withdrawn" if gone else ""))
    fields = [row[0] for row in rows]
    whole = document("Withdrawal", **fields[0]) if len(rows) == 1 else listing("Withdrawal", fields)
    names = [name for _, name, _ in rows if name]
    show(app, View(whole, lambda _: "\n".join(line for _, _, line in rows if line), names))
    return code
