"""How pools are shown: one in full, and a list of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import click

from allocator.apps.cli import pool_options, pool_units, serializers
from allocator.apps.cli.context import App
from allocator.apps.cli.errors import ExitCode
from allocator.apps.cli.output import (
    View,
    age,
    columns,
    document,
    fields,
    human,
    printable,
    rfc3339,
    room,
    show,
    table,
)
from allocator.errors import AllocatorError
from allocator.models.pools import Pool, Usage

__all__ = ["complain", "listed", "pools_table", "show_change", "show_pool"]

_BROKEN: Final = "broken"
"""The state in a list of a pool whose usage cannot be read."""


def show_change(app: App, item: Pool, outcome: str) -> None:
    """Print a pool that a command has changed, and what became of it."""
    show(
        app,
        View(
            document("Pool", **serializers.pool(item), outcome=outcome),
            lambda _: f"pool {item.name} {outcome}: {item.capacity} (generation {item.generation})",
            [item.name],
        ),
    )


def show_pool(app: App, reading: Usage) -> None:
    """Print one pool in full."""
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
            ("Waiting", str(reading.waiting) if reading.waiting else ""),
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


def listed(name: str, reading: Usage | AllocatorError) -> dict[str, Any]:
    """A pool of the list for programs; a broken one has its name, its state and the error."""
    if isinstance(reading, AllocatorError):
        return {"name": name, "state": _BROKEN, "error": {"code": reading.code, "message": str(reading)}}
    return serializers.pool(reading.pool)


def complain(app: App, readings: Mapping[str, Usage | AllocatorError]) -> ExitCode:
    """Report the broken pools with their errors."""
    code = ExitCode.OK
    for name, reading in readings.items():
        if isinstance(reading, AllocatorError):
            click.echo(f"error: pool {name} is broken: {printable(' '.join(str(reading).split()))}", err=True)
            code = ExitCode.ERROR
    if code:
        app.note("hint: 'audit --pool NAME' says more; 'audit --repair' mends counters and indexes")
    return code


def pools_table(app: App, readings: Mapping[str, Usage | AllocatorError], wide: bool) -> str:
    """The list for people, a column for each resource of any pool."""
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
