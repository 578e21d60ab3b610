"""The units of a pool's resources: options of `pool create` and `pool set`, and how they are shown."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar

import click

from allocator import ResourceUnits
from allocator.apps.cli import arguments
from allocator.apps.cli.arguments import assignment, assignments
from allocator.apps.cli.output import human
from allocator.models.accounts import ResourceUsage
from allocator.models.pools import Pool
from allocator.settings import OVERCOMMIT_PERMILLE_MAX
from allocator.units import format_amount

__all__ = ["allocated", "differing", "given", "options", "shown"]

F = TypeVar("F", bound=Callable[..., Any])
"""A function to which options are added."""

_QUANTITIES: Final = {
    "reserved": ("--reserved", "Never give out this much of it; 0 removes it."),
    "min_unit": ("--min", "The least that one allocation may have of it; 0 removes it."),
    "max_unit": ("--max", "The most that one allocation may have of it; 0 removes it."),
    "step": ("--step", "Every amount of it is a multiple of this; 0 removes it."),
}
"""Attribute of `ResourceUnits` -> option and help."""


def _permille(text: str) -> tuple[str, str]:
    """Parse `RESOURCE=PERMILLE`."""
    name, equals, number = text.partition("=")
    if not equals or not name or not (number.isascii() and number.isdigit()) or len(number) > len("15000"):
        raise click.BadParameter(f"{text[:64]!a} is not of the form RESOURCE=PERMILLE, such as cpu=500")
    if int(number) > OVERCOMMIT_PERMILLE_MAX:
        raise click.BadParameter(f"{text[:64]!a}: at most {OVERCOMMIT_PERMILLE_MAX} permille are given out beyond")
    return arguments.resource(name), number


def options(command: F) -> F:
    """Add the options; each may be repeated, once for a resource."""
    overcommit = click.option(
        "--overcommit",
        "overcommit_permille",
        multiple=True,
        type=_permille,
        metavar="RESOURCE=PERMILLE",
        help="Give out so many thousandths more than what is not reserved: 500 is half as much again; 0 removes it.",
    )
    for attribute, (option, text) in reversed(_QUANTITIES.items()):
        if attribute == "min_unit":
            command = overcommit(command)
        command = click.option(
            option, attribute, multiple=True, type=assignment, metavar="RESOURCE=QUANTITY", help=text
        )(command)
    return command


def given(values: dict[str, Any]) -> dict[str, ResourceUnits]:
    """The units that the options give, by resource."""
    parts: dict[str, dict[str, Any]] = {}
    for attribute in (*_QUANTITIES, "overcommit_permille"):
        for name, text in assignments(values.get(attribute) or ()).items():
            parts.setdefault(name, {})[attribute] = int(text) if attribute == "overcommit_permille" else text
    return {name: ResourceUnits(**part) for name, part in parts.items()}


def differing(item: Pool, units: dict[str, ResourceUnits]) -> list[str]:
    """The given units that an existing pool has otherwise, as options: what it has."""
    has: list[str] = []
    for name, one in units.items():
        known = item.units.get(name, ResourceUnits())
        stored, wanted = known.amounts(name), one.amounts(name)
        for attribute, (option, _) in _QUANTITIES.items():
            if getattr(one, attribute) is not None and stored[attribute] != wanted[attribute]:
                has.append(f"{option} {name}={format_amount(name, stored[attribute])}")
        permille = known.overcommit_permille or 0
        if one.overcommit_permille not in (None, permille):
            has.append(f"--overcommit {name}={permille}")
    return has


def shown(item: Pool) -> list[tuple[str, list[tuple[str, str]]]]:
    """The units of a pool, for people."""
    rows = [(name, ", ".join(_words(one))) for name, one in item.units.items()]
    return [("Units", rows)] if rows else []


def allocated(resource: str, row: ResourceUsage, wide: bool) -> str:
    """What is allocated of a resource and what is given out, for people; the capacity, where it is another."""
    text = f"{human(resource, row.allocated, up=True, wide=wide)} of {human(resource, row.limit, wide=wide)}"
    return text + (f" (capacity {human(resource, row.capacity, wide=wide)})" if row.limit != row.capacity else "")


def _words(one: ResourceUnits) -> Iterable[str]:
    if one.reserved is not None:
        yield f"{one.reserved} reserved"
    if one.overcommit_permille is not None:
        yield f"{one.overcommit_permille} permille overcommit"
    for word, quantity in (("at least", one.min_unit), ("at most", one.max_unit), ("in steps of", one.step)):
        if quantity is not None:
            yield f"{word} {quantity}"
