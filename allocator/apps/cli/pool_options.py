"""The options of a pool beyond its capacity (recovery grace, longest ttl, durability), and their output."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from allocator.apps.cli.arguments import duration
from allocator.apps.cli.output import exact, rfc3339
from allocator.models.pools import Pool

__all__ = ["given", "options", "shown"]

F = TypeVar("F", bound=Callable[..., Any])
"""A function to which options are added."""

_NAMES = ("recovery_grace", "max_ttl", "durability")


def options(command: F) -> F:
    """Add the three options; 0s, or `memory`, removes one."""
    for option in (
        click.option(
            "--durability",
            metavar="LEVEL",
            help="memory, replicated:N, fsynced or fsynced+replicated:N, of each grant.",
        ),
        click.option(
            "--max-ttl", type=duration, metavar="DURATION", help="The longest time to live; --pin is refused."
        ),
        click.option(
            "--recovery-grace",
            type=duration,
            metavar="DURATION",
            help="How long to grant nothing after the server lost data.",
        ),
    ):
        command = option(command)
    return command


def given(values: dict[str, Any]) -> dict[str, Any]:
    """The given options, as arguments of the clients."""
    return {name: values[name] for name in _NAMES if values.get(name) is not None}


def shown(item: Pool) -> list[tuple[str, str]]:
    """The options of a pool, for people."""
    rows: list[tuple[str, str]] = []
    if item.recovery_grace_ms:
        rows.append(("Recovery grace", exact(item.recovery_grace_ms)))
    if item.max_ttl_ms:
        rows.append(("Longest ttl", exact(item.max_ttl_ms)))
    if item.durability != "memory":
        rows.append(("Durability", item.durability))
    if item.state == "recovering":
        rows.append(("Recovering", f"until {rfc3339(item.recovering_until_ms)}: {item.recovering_why}"))
    if item.clock_offset_ms:
        rows.append(("Clock", f"{exact(item.clock_offset_ms)} ahead of the server's, which was set back"))
    return rows
