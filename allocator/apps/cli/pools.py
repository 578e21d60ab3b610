"""`pool create|show|set|list|delete|upgrade`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from allocator.apps.cli import arguments, pool_options, pool_units, serializers
from allocator.apps.cli.arguments import GivenText, TextFile, named_capacity, whole_number
from allocator.apps.cli.context import POOL, App, Group, at_terminal, confirmed, pass_app
from allocator.apps.cli.errors import ExitCode, Failure
from allocator.apps.cli.output import (
    View,
    age,
    columns,
    document,
    fields,
    human,
    listing,
    printable,
    rfc3339,
    room,
    show,
    table,
)
from allocator.errors import AllocatorError, ContractError, InvariantError, PoolConflict, UnknownPool
from allocator.models.pools import Pool, Usage
from allocator.resources import Resources
from allocator.units import format_amount

if TYPE_CHECKING:
    from allocator import Allocator

__all__ = ["pool"]

_CAPACITY = "[POOL] RESOURCE=QUANTITY..."

OTHER_WORDS: Final = {
    "add": "create",
    "configure": "set",
    "describe": "show",
    "edit": "set",
    "get": "show",
    "ls": "list",
    "new": "create",
    "remove": "delete",
    "restore": "recover",
    "rm": "delete",
    "update": "set",
}
"""What other programs call a command of this group, and what it is called here."""

_BROKEN: Final = "broken"
"""The state in a list of a pool whose usage cannot be read."""


class _Pools(Group):
    """The group of the commands about pools."""

    other_words = OTHER_WORDS


@click.group(cls=_Pools, no_args_is_help=True)
def pool() -> None:
    """Make, show and change pools.

    A pool is one domain of capacity: every allocation comes out of exactly one.
    """


@pool.command()
@click.argument("words", nargs=-1, required=True, metavar=_CAPACITY)
@click.option(
    "--whole-units",
    multiple=True,
    type=arguments.resource,
    metavar="RESOURCE",
    help="Refuse fractions of it, such as half a GPU.",
)
@click.option(
    "--new", is_flag=True, help="No pool of this name existed before: grant at once, also with a recovery grace."
)
@pool_options.options
@pass_app
def create(app: App, /, words: tuple[str, ...], whole_units: tuple[str, ...], new: bool, **promised: Any) -> None:
    r"""Make a pool, unless it is there already.

    \b
    resource-allocator pool create cpu=32 memory=128Gi
    resource-allocator pool create gpu nvidia.com/gpu=8 --whole-units nvidia.com/gpu

    The same command may be repeated.  A pool of this name that counts otherwise is an error: 'pool set' changes it.
    """
    capacity = _capacity(app, words)
    if not capacity:
        raise click.UsageError("no capacity is given: write for instance cpu=32 memory=128Gi")
    given = pool_options.given(promised)
    made = app.client().pools.create(app.pool, capacity, whole_units=whole_units, new=new, **given)
    if not made.created:
        _same_as_asked(made, Resources.capacity(capacity), set(whole_units), given)
    _show_change(app, made, "created" if made.created else "unchanged")
    if made.created:
        pool_options.tell_misspelled(app, capacity, ())
        pool_options.tell_closed(app, made)
    if made.created or given:
        pool_options.tell_too_long(app, made)
    if new and not made.created:
        app.note(f"note: --new is ignored: pool {made.name} was there already")


def _capacity(app: App, words: tuple[str, ...]) -> dict[str, str]:
    """The capacity of `[POOL] RESOURCE=QUANTITY...`; the pool becomes that of the run."""
    name, capacity = named_capacity(words)
    if name is not None:
        app.name_pool(name)
    return capacity


def _same_as_asked(made: Pool, capacity: Resources, whole_units: set[str], given: dict[str, Any]) -> None:
    """Refuse a pool that exists and is another than the one that was asked for."""
    otherwise = pool_options.differing(made, given)
    if otherwise or (made.capacity, set(made.whole_units)) != (capacity, whole_units):
        whole = f", whole units of {', '.join(made.whole_units)}" if made.whole_units else ""
        has = f", {', '.join(otherwise)}" if otherwise else ""
        raise Failure(
            f"pool {made.name} exists as {made.capacity}{whole}{has}", hint=f"'pool set {made.name}' changes it"
        )


@pool.command(name="show")
@POOL
@pass_app
def show_(app: App) -> None:
    """Show one pool: its capacity, what is allocated of it, its generation."""
    _show_pool(app, app.client().pools.usage())


@pool.command(name="set")
@click.argument("words", nargs=-1, metavar="[POOL] [RESOURCE=QUANTITY]...")
@click.option("--remove", multiple=True, metavar="RESOURCE", help="Stop counting it; refused while it is in use.")
@click.option(
    "--whole-units",
    multiple=True,
    type=arguments.resource,
    metavar="RESOURCE",
    help="The resources of which fractions are refused.",
)
@click.option("--no-whole-units", is_flag=True, help="Allow fractions of every resource.")
@click.option("--strict", is_flag=True, help="Refuse a capacity below what is allocated.")
@click.option(
    "--generation",
    type=whole_number(1),
    metavar="NUMBER",
    help="Change it only if it still has this generation.",
)
@pool_options.options
@pass_app
def set_(
    app: App,
    /,
    *,
    words: tuple[str, ...],
    remove: tuple[str, ...],
    whole_units: tuple[str, ...],
    no_whole_units: bool,
    strict: bool,
    generation: int | None,
    **promised: Any,
) -> None:
    """Change the capacity of a pool, or what it promises.

    Resources that are not named stay as they are.  A capacity below what is allocated evicts nobody: the pool is
    overcommitted in that resource until enough is released, and grants no more of it.
    """
    capacity = _capacity(app, words)
    if whole_units and no_whole_units:
        raise click.UsageError("--whole-units and --no-whole-units exclude each other")
    wanted = pool_options.given(promised)
    if not (capacity or remove or whole_units or no_whole_units or wanted):
        raise click.UsageError(
            "nothing to change: write for instance cpu=64, --remove RESOURCE or --whole-units RESOURCE"
        )
    client = app.client()
    known = _refuse_another_case(client, [*capacity, *whole_units, *remove])
    changed = client.pools.update(
        app.pool,
        capacity or None,
        remove=remove,
        whole_units=whole_units if whole_units or no_whole_units else None,
        strict=strict,
        generation=generation,
        **wanted,
    )
    _show_change(app, changed, "configured")
    pool_options.tell_misspelled(app, capacity, known)
    if wanted:
        pool_options.tell_too_long(app, changed)
    for resource in changed.overcommitted:
        allocated = format_amount(resource, changed.allocated[resource])
        app.note(f"warning: pool {changed.name} is overcommitted in {resource}: {allocated} are allocated")


def _refuse_another_case(client: Allocator, names: Sequence[str]) -> Collection[str]:
    """Refuse a resource that differs from one of the pool by its case only: it would be counted beside it.

    Returns the resources of the pool; none where all names have a unit, as they cannot be misspelled.
    """
    asks = any(name not in arguments.KNOWN for name in names)
    known: Collection[str] = client.pools.usage().resources if asks else ()
    for name in names:
        meant = arguments.same_but_case(name, known)
        if meant and name not in known:
            raise click.UsageError(f"{name[:64]!a} differs from {meant!a} of the pool by its case only: write {meant}")
    return known


@pool.command(name="list")
@pass_app
def list_(app: App) -> ExitCode:
    """List the pools under the prefix, with what is allocated of each capacity.

    One that cannot be read has the state 'broken': stderr says why, and the exit code is 1.
    """
    client = app.client()
    names = client.pools.list()
    if app.format == "name":
        show(app, View({}, lambda _: "", names))
        return ExitCode.OK
    readings: dict[str, Usage | AllocatorError] = {}
    for name in names:
        try:
            readings[name] = client.pools.usage(name)
        except UnknownPool:
            continue  # deleted since it was listed
        except (ContractError, InvariantError) as error:
            readings[name] = error  # the others are shown nevertheless
    if not readings:
        app.note(f"no pools under the prefix {app.prefix}")
    show(
        app,
        View(
            listing("Pool", [_listed(name, reading) for name, reading in readings.items()]),
            lambda wide: _pools_table(app, readings, wide) if readings else "",
            names,
        ),
    )
    return _complain(app, readings)


@pool.command()
@POOL
@click.option("--force", is_flag=True, help="Delete it with the allocations that are live in it.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@pass_app
def delete(app: App, force: bool, yes: bool) -> ExitCode:
    """Delete a pool: its configuration, its events, and with --force whatever is allocated.

    The command line must name it, by POOL or --pool.  Asks at a terminal; without one, --yes is needed.
    """
    name = app.named_pool
    if name is None:
        raise click.UsageError("no pool is named: write POOL, or --pool POOL")
    if not yes:
        question = f"Delete pool {name}{' and every allocation in it' if force else ''}?"
        if not at_terminal():
            raise click.UsageError("there is no terminal to ask at: --yes is needed")
        if not confirmed(question):
            raise Failure("nothing was deleted")
    try:
        deleted = app.client().pools.delete(name, force=force)
    except PoolConflict as error:
        raise Failure(str(error), hint="--force deletes them with the pool") from error
    if not deleted:
        raise Failure(f"there is no pool {name!r}", ExitCode.NOT_FOUND, hint="'pool list' shows the pools there are")
    show(app, View(document("PoolDeletion", name=name, outcome="deleted"), lambda _: f"pool {name} deleted", [name]))
    return ExitCode.OK


@pool.command()
@POOL
@pass_app
def upgrade(app: App) -> None:
    """Let a pool be written in this version's schema.

    Older clients are refused from then on, so upgrade every replica first.
    """
    _show_change(app, app.client().pools.upgrade(), "upgraded")


@pool.command(name="end-recovery")
@POOL
@pass_app
def end_recovery(app: App) -> None:
    """Let a pool grant again at once: all holders are back, and have asserted what they have."""
    _show_change(app, app.client().pools.end_recovery(), "active")


@pool.command()
@click.argument("file", type=TextFile())
@pass_app
def recover(app: App, file: GivenText) -> None:
    r"""Make a pool again that an emptied store has lost, from what 'pool show -o json' printed.

    \b
    resource-allocator pool show -o json > pool.json      # beforehand; - reads from stdin
    resource-allocator pool recover pool.json

    It has the same epoch and begins recovering, so its holders can adopt what they have.
    """
    lost = pool_options.saved_pool(file)
    made = app.client().pools.recover(lost)
    _show_change(app, made, "recovering" if made.created else "unchanged")


def _show_change(app: App, item: Pool, outcome: str) -> None:
    show(
        app,
        View(
            document("Pool", **serializers.pool(item), outcome=outcome),
            lambda _: f"pool {item.name} {outcome}: {item.capacity} (generation {item.generation})",
            [item.name],
        ),
    )


def _show_pool(app: App, reading: Usage) -> None:
    item = reading.pool
    view = View(document("Pool", **serializers.pool(item)), lambda wide: _described(reading, wide), [item.name])
    show(app, view)


def _described(reading: Usage, wide: bool) -> str:
    item = reading.pool
    return fields(
        (
            ("Name", item.name),
            ("State", item.state),
            ("Allocated", [(name, _of(reading, name, wide)) for name in columns([reading.resources])]),
            ("Allocations", f"{reading.allocations} ({reading.pinned} pinned, {reading.due} due)"),
            ("Generation", str(item.generation)),
            ("Revision", str(item.revision)),
            ("Schema", str(item.schema)),
            ("Epoch", item.epoch),
            *pool_options.shown(item),
            ("Created", f"{rfc3339(item.created_ms)} ({age(item.created_ms, reading.read_ms)} ago)"),
        )
    )


def _of(reading: Usage, resource: str, wide: bool) -> str:
    row = reading.resources[resource]
    text = pool_units.allocated(resource, row, wide)
    text += f", {human(resource, row.kept, up=True, wide=wide)} kept for scopes" if row.kept else ""
    text += ", overcommitted" if row.overcommitted else ""
    return text + (", whole units" if resource in reading.pool.whole_units else "")


def _listed(name: str, reading: Usage | AllocatorError) -> dict[str, Any]:
    """A pool of the list for programs; a broken one has its name, its state and the error."""
    if isinstance(reading, AllocatorError):
        return {"name": name, "state": _BROKEN, "error": {"code": reading.code, "message": str(reading)}}
    return serializers.pool(reading.pool)


def _complain(app: App, readings: Mapping[str, Usage | AllocatorError]) -> ExitCode:
    """Report the broken pools with their errors."""
    code = ExitCode.OK
    for name, reading in readings.items():
        if isinstance(reading, AllocatorError):
            click.echo(f"error: pool {name} is broken: {printable(' '.join(str(reading).split()))}", err=True)
            code = ExitCode.ERROR
    if code:
        app.note("hint: 'audit --pool NAME' says more; 'audit --repair' mends counters and indexes")
    return code


def _pools_table(app: App, readings: Mapping[str, Usage | AllocatorError], wide: bool) -> str:
    resources = columns(reading.resources for reading in readings.values() if isinstance(reading, Usage))
    headers = ["NAME", "STATE", *(name.upper() for name in resources), "ALLOCATIONS", "AGE"]
    headers += ["GENERATION", "REVISION", "SCHEMA", "EPOCH"] if wide else []
    rows: list[list[str]] = []
    for name, reading in readings.items():
        if isinstance(reading, AllocatorError):
            rows.append([name, _BROKEN, *("" for _ in headers[2:])])
            continue
        one = reading.pool
        row = [one.name, one.state, *(_share(reading, resource, wide) for resource in resources)]
        row += [str(reading.allocations), age(one.created_ms, reading.read_ms)]
        row += [str(one.generation), str(one.revision), str(one.schema), one.epoch] if wide else []
        rows.append(row)
    return table(headers, rows, headed=not app.no_headers, width=room(app))


def _share(reading: Usage, resource: str, wide: bool) -> str:
    row = reading.resources.get(resource)
    if row is None:
        return ""
    return f"{human(resource, row.allocated, up=True, wide=wide)}/{human(resource, row.limit, wide=wide)}"
