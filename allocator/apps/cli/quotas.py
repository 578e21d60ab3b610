"""`quota set|list|tree|delete` and `move`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import click

from allocator.apps.cli import arguments, completion, serializers
from allocator.apps.cli.arguments import assignment, assignments, quantities, whole_number
from allocator.apps.cli.context import App, Command, Group, pass_app
from allocator.apps.cli.errors import ExitCode, Failure
from allocator.apps.cli.output import View, columns, document, human, listing, room, show, table, width_of
from allocator.apps.cli.short_ids import identify
from allocator.errors import PoolConflict
from allocator.models.accounts import ResourceUsage
from allocator.models.pools import Usage
from allocator.models.quotas import Limit, Quota, QuotaUsage
from allocator.settings import AMOUNT_MAX, WEIGHT_MAX
from allocator.units import format_amount

__all__ = ["move", "quota", "quota_table"]

OTHER_WORDS: Final = {
    "add": "set",
    "create": "set",
    "get": "list",
    "ls": "list",
    "new": "set",
    "remove": "delete",
    "rm": "delete",
    "show": "tree",
    "update": "set",
}
"""What other programs call a command of this group, and what it is called here."""

ANY: Final = "any"
"""The quantity of `--borrow` without a limit."""

NO_LIMIT: Final = "none"
"""The quantity that removes the limits of a resource."""

_HEADERS: Final = ("NOMINAL", "USED", "BORROWED", "LENT", "KEPT", "AVAILABLE")
_WIDE: Final = ("ALLOCATED", "BORROWING", "LENDING")


_HEADERS_OF_SHARES: Final = ("WEIGHT", "SHARE")


def _weight(text: str) -> int | str:
    """Parse the weight of a scope, or what removes it."""
    return text if text == NO_LIMIT else whole_number(1, WEIGHT_MAX)(text)


class _Quotas(Group):
    """The group of the commands about quotas."""

    other_words = OTHER_WORDS


@click.group(cls=_Quotas, no_args_is_help=True)
def quota() -> None:
    """Limit what teams and people may have of a pool.

    A scope is a path such as team-a/alice.  What it has counts for every scope above it, too.
    """


@quota.command(name="set")
@click.argument("scope", type=arguments.scope, metavar="SCOPE", shell_complete=completion.scopes)
@click.argument("limits", nargs=-1, type=assignment, metavar="[RESOURCE=QUANTITY...]")
@click.option(
    "--borrow",
    multiple=True,
    type=assignment,
    metavar="RESOURCE=QUANTITY",
    help=f"How far above its quantity it may go while others leave room; '{ANY}': as far as there is room [0].",
)
@click.option(
    "--lend",
    multiple=True,
    type=assignment,
    metavar="RESOURCE=QUANTITY",
    help="How much of its quantity others may have while it is unused; the rest is guaranteed [all of it].",
)
@click.option(
    "--weight",
    type=_weight,
    metavar="NUMBER",
    help=f"Its weight in fair share, 1 to {WEIGHT_MAX}: the least use over weight goes first; '{NO_LIMIT}' removes it.",
)
@click.option(
    "--generation", type=whole_number(1), metavar="NUMBER", help="Change it only if it still has this generation."
)
@click.option("--dry-run", is_flag=True, help="Show what would be, and change nothing.")
@pass_app
def set_(
    app: App,
    *,
    scope: str,
    limits: tuple[tuple[str, str], ...],
    borrow: tuple[tuple[str, str], ...],
    lend: tuple[tuple[str, str], ...],
    weight: int | str | None,
    generation: int | None,
    dry_run: bool,
) -> None:
    r"""Make a scope, or change its weight, or its limits of the named resources.

    \b
    resource-allocator quota set team-a cpu=16 memory=64Gi             at most that
    resource-allocator quota set team-a cpu=16 --borrow cpu=8          16, and up to 8 more if there is room
    resource-allocator quota set team-a cpu=16 --borrow cpu=any --lend cpu=4
                                                                       12 of its 16 are always there for it
    resource-allocator quota set team-a/alice allocations=5            at most 5 allocations at a time
    resource-allocator quota set team-a memory=none                    no limit of memory any more
    resource-allocator quota set team-a --weight 2                     twice as much as who has the weight 1

    A resource is set as a whole: without --borrow its quantity is the most that the scope may have.
    Lowering a limit ends no allocation.
    """
    if not limits and weight is None:
        raise click.UsageError("give RESOURCE=QUANTITY, or --weight")
    own: dict[str, Any] = {} if weight is None else {"weight": None if weight == NO_LIMIT else weight}
    made = app.client().quotas.set(
        scope, _limits(limits, borrow, lend) or None, generation=generation, dry_run=dry_run, **own
    )
    outcome = "unchanged, as --dry-run only shows" if dry_run else "set"
    whole = document("Quota", **serializers.quota(made), outcome="dry-run" if dry_run else "set")
    show(app, View(whole, lambda wide: _outcome(app, made, outcome, wide), [made.scope]))
    for name, above in made.over.items():
        level = f"scope {name}" if name else f"pool {made.pool}"
        verb = "would be" if dry_run else "is"
        app.note(f"warning: {level} {verb} above its limit by {above}: nothing is evicted, nothing more is granted")


def _limits(
    given: Iterable[tuple[str, str]], borrow: Iterable[tuple[str, str]], lend: Iterable[tuple[str, str]]
) -> dict[str, Limit]:
    """The limits of `RESOURCE=QUANTITY... --borrow RESOURCE=QUANTITY --lend RESOURCE=QUANTITY`."""
    shares, borrowing, lending = quantities(given, zeros=True), assignments(borrow), assignments(lend)
    for option, named in (("--borrow", borrowing), ("--lend", lending)):
        for name in named:
            if shares.get(name, NO_LIMIT) == NO_LIMIT:
                raise click.UsageError(
                    f"{option} {name[:64]}: it has no quantity here: write {name[:64]}=QUANTITY, too"
                )
    limits: dict[str, Limit] = {}
    for name, share in shares.items():
        above = borrowing.get(name, "0")
        limit = Limit(share, None if above == ANY else above, lending.get(name))
        limits[name] = Limit() if share == NO_LIMIT else limit
    return limits


def _outcome(app: App, item: Quota, outcome: str, wide: bool) -> str:
    head = f"scope {item.scope} {outcome} (generation {item.generation})"
    return f"{head}\n{quota_table(app, [item], wide)}"


@quota.command(name="list")
@click.argument("scope", type=arguments.scope, metavar="[SCOPE]", required=False, shell_complete=completion.scopes)
@pass_app
def list_(app: App, scope: str | None) -> None:
    """List the scopes of a pool with their limits, or one scope and those below it.

    USED is what is allocated and what is kept for scopes below; 'quota tree' shows the same as a tree.
    """
    found = app.client().quotas.list(scope)
    _note_none(app, found, scope)
    show(
        app,
        View(
            listing("Quota", map(serializers.quota, found), pool=app.pool),
            lambda wide: quota_table(app, found, wide) if found else "",
            [item.scope for item in found],
        ),
    )


@quota.command()
@click.argument("scope", type=arguments.scope, metavar="[SCOPE]", required=False, shell_complete=completion.scopes)
@pass_app
def tree(app: App, scope: str | None) -> None:
    r"""Show who may have what, and who has it, as a tree below the pool.

    \b
    NOMINAL    its share, or what the pool gives out
    USED       what is allocated in it and below it, and what it keeps
    BORROWED   what it has above its share
    LENT       what it lacks of its share now, as others have it
    KEPT       what is guaranteed to scopes below it and not used
    AVAILABLE  what a request of this scope may have now
    SHARE      where scopes have weights: what it has used of the pool of late
    """
    client = app.client()
    found = sorted(client.quotas.list(scope), key=lambda item: item.scope.split("/"))
    _note_none(app, found, scope)
    reading = client.pools.usage()
    show(
        app,
        View(
            document("QuotaTree", pool=serializers.usage(reading), scopes=_nested(found)),
            lambda wide: _tree(app, reading, found, wide),
            [item.scope for item in found],
        ),
    )


def _nested(items: Sequence[Quota]) -> list[dict[str, Any]]:
    """Each scope with a list of those below it."""
    top: list[dict[str, Any]] = []
    below = {"": top}
    for item in items:
        children: list[dict[str, Any]] = []
        below.get(item.parent, top).append({**serializers.quota(item), "scopes": children})
        below[item.scope] = children
    return top


def _tree(app: App, reading: Usage, items: Sequence[Quota], wide: bool) -> str:
    rows = [_pool_row(reading.pool.name, name, row, wide) for name, row in _ordered(reading.resources)]
    least = items[0].depth if items else 0
    rows = [[*row, *("" for _ in _headers_of_shares(items))] for row in rows]
    return _table(app, [*rows, *_rows(items, wide=wide, depth=1 - least)], wide, _headers_of_shares(items))


def _ordered(resources: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [(name, resources[name]) for name in columns([resources])]


def _pool_row(pool: str, name: str, row: ResourceUsage, wide: bool) -> list[str]:
    used = row.allocated + row.kept
    cells = [
        f"pool {pool}", name, human(name, row.limit), human(name, used, up=True), "", "",
        human(name, row.kept, up=True), human(name, row.available),
    ]  # fmt: skip
    return [*cells, human(name, row.allocated, up=True), "", ""] if wide else cells


def quota_table(app: App, items: Sequence[Quota], wide: bool) -> str:
    """The table of `quota list`."""
    return _table(app, _rows(items, wide=wide, indented=False), wide, _headers_of_shares(items))


def _headers_of_shares(items: Iterable[Quota]) -> Sequence[str]:
    return _HEADERS_OF_SHARES if any(item.share for item in items) else ()


def _share(item: Quota) -> list[str]:
    """Its weight, and what it has used of the pool."""
    share = item.share
    return ["", ""] if share is None else [str(share.weight or ""), f"{share.used / 10_000:.1f}%"]


def _rows(items: Sequence[Quota], *, wide: bool, indented: bool = True, depth: int = 0) -> list[list[str]]:
    """A row for each scope and resource.

    Args:
        items: the scopes.
        wide: with exact amounts, and the columns of the wide format.
        indented: the last name of each scope, indented as in a tree; else the whole scope.
        depth: added to the indentation.
    """
    rows: list[list[str]] = []
    shares = bool(_headers_of_shares(items))
    for item in items:
        own = _share(item) if shares else []
        shown = "  " * (item.depth + depth) + item.scope.rpartition("/")[2] if indented else item.scope
        for name, row in _ordered(item.resources):
            rows.append([shown, name, *_cells(name, row, wide), *own])
        if not item.resources:
            rows.append([shown, *("" for _ in range(1 + len(_HEADERS) + (len(_WIDE) if wide else 0))), *own])
    return rows


def _cells(name: str, row: QuotaUsage, wide: bool) -> list[str]:
    write: Callable[[str, int], str] = format_amount if wide else human

    def cell(amount: int | None) -> str:
        return "" if amount is None else write(name, amount)

    available = None if row.available >= AMOUNT_MAX else max(0, row.available)
    used = format_amount(name, row.used) if wide else human(name, row.used, up=True)
    cells = [cell(row.nominal), used, cell(row.borrowed), cell(row.lent), cell(row.kept), cell(available)]
    return [*cells, cell(row.allocated), cell(row.borrowing_limit), cell(row.lending_limit)] if wide else cells


def _table(app: App, rows: Sequence[Sequence[str]], wide: bool, more: Sequence[str] = ()) -> str:
    """The table; the scope stands in the first of its rows only, unless the terminal is too narrow for a table."""
    headers = ("SCOPE", "RESOURCE", *_HEADERS, *(_WIDE if wide else ()), *more)
    once: list[Sequence[str]] = []
    for at, row in enumerate(rows):
        again = at > 0 and rows[at - 1][0] == row[0] and app.format == "table"
        once.append([" ", *row[1:]] if again and not app.no_headers else row)
    text = table(headers, once, headed=not app.no_headers)
    width = room(app)
    if width is not None and max(map(width_of, text.split("\n"))) > width:
        named = [[f"{row[0]} {row[1]}".rstrip(), *row[2:]] for row in rows]
        return table(("SCOPE", *headers[2:]), named, headed=not app.no_headers, width=width)
    return text


def _note_none(app: App, found: Sequence[Quota], scope: str | None) -> None:
    if not found:
        below = "" if scope is None else f" at or below {scope[:128]!a}"
        app.note(f"no scopes in pool {app.pool}{below}; 'quota set SCOPE cpu=4' makes one")


@quota.command()
@click.argument("scope", type=arguments.scope, metavar="SCOPE", shell_complete=completion.scopes)
@click.option("--ignore-not-found", is_flag=True, help="Exit with 0 if there is no such scope.")
@pass_app
def delete(app: App, scope: str, ignore_not_found: bool) -> ExitCode:
    """Delete a scope; refused while anything is allocated in it, or scopes are below it."""
    try:
        deleted = app.client().quotas.delete(scope)
    except PoolConflict as error:
        advice = f"'list --scope {scope}' shows what is allocated in it, 'quota tree {scope}' the scopes below it"
        raise Failure(str(error), hint=advice) from error
    if not deleted and not ignore_not_found:
        advice = "'quota tree' shows the scopes there are"
        raise Failure(f"pool {app.pool} has no scope {scope}", ExitCode.NOT_FOUND, hint=advice)
    outcome = "deleted" if deleted else "absent"
    whole = document("QuotaDeletion", scope=scope, pool=app.pool, outcome=outcome)
    show(app, View(whole, lambda _: f"scope {scope} {outcome}", [scope] if deleted else []))
    return ExitCode.OK


@click.command(cls=Command)
@click.argument("id_", metavar="ID", shell_complete=completion.ids)
@click.argument("scope", type=arguments.scope, metavar="[SCOPE]", required=False, shell_complete=completion.scopes)
@click.option("--no-scope", is_flag=True, help="Charge it to the pool alone.")
@click.option(
    "--fence", type=arguments.whole_number(1), metavar="NUMBER", help="Only if it still is the grant of this fence."
)
@pass_app
def move(app: App, id_: str, scope: str | None, no_scope: bool, fence: int | None) -> ExitCode:
    """Charge an allocation to another scope.

    Its amounts stay, and its holder goes on.  Exit code 3: it does not fit there, and it stays where it is.
    """
    if (scope is None) == (not no_scope):
        raise click.UsageError("give either SCOPE, or --no-scope for the pool alone")
    moved = app.client().move(identify(app, id_, verb="move"), scope, fence=fence)
    whole = document("Allocation", **serializers.allocation(moved, moved.granted_ms), outcome="moved")
    place = "to the pool alone" if moved.scope is None else f"to scope {moved.scope}"
    show(app, View(whole, lambda _: f"{moved.id} moved {place}", [moved.id]))
    return ExitCode.OK
