"""`usage`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import click

from allocator.apps.cli import serializers
from allocator.apps.cli.context import App, Command, colored, pass_app
from allocator.apps.cli.output import View, columns, document, table
from allocator.apps.cli.watch import WATCH, watched
from allocator.models.accounts import ResourceUsage
from allocator.models.pools import Usage
from allocator.units import format_amount

__all__ = ["usage"]

BAR_WIDTH: Final = 20
"""Characters of a bar; each is five per cent."""

YELLOW_AT: Final = 70.0
RED_AT: Final = 90.0
"""The percentages from which a bar is yellow, and red."""


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
            document("Usage", **serializers.usage(reading)), lambda _: _usage_text(app, reading), [reading.pool.name]
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
