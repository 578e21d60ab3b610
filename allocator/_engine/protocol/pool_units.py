"""The units of a pool's resources, as the option `units` of a pool has them (`lua/modules/units.lua`)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from allocator import settings
from allocator.errors import InvalidRequest, InvariantError
from allocator.models.resource_units import ResourceUnits, given_amount, given_permille
from allocator.quantity import shown
from allocator.resources import resource_name
from allocator.units import format_amount

__all__ = ["decode_units", "encode_units", "units_refused"]

_UNCHANGED: Final = "-"
_ENTRY: Final = re.compile(r"([^:,]+):([0-9]*):([0-9]*):([0-9]*):([0-9]*):([0-9]*)", re.ASCII)
_NOTHING: Final = ResourceUnits()
_FLAWS: Final = {
    "reserved": "reserved: more is reserved than the capacity has",
    "limit": f"overcommit_permille: more would be given out than {settings.AMOUNT_MAX}, the largest exact amount",
    "bounds": "min_unit: no amount is at least min_unit, at most max_unit and a multiple of step",
}


def encode_units(units: Mapping[str, ResourceUnits]) -> str:
    """The units that change, in the script's format; "" if none does.

    Raises:
        InvalidRequest: `field` is the path of what is wrong, such as `units.cpu.step`.
    """
    if not isinstance(units, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidRequest(f"units: {shown(units)} is not a mapping of names to ResourceUnits", field="units")
    if len(units) > settings.RESOURCES_MAX:
        text = f"units: {len(units)} resources, at most {settings.RESOURCES_MAX} are taken"
        raise InvalidRequest(text, field="units")
    entries: list[str] = []
    for given, one in units.items():
        name = resource_name(given)
        if not isinstance(one, ResourceUnits):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidRequest(f"units.{name}: {shown(one)} is no ResourceUnits", field=f"units.{name}")
        if one != _NOTHING:
            entries.append(_entry(name, one))
    return ",".join(entries)


def _entry(name: str, one: ResourceUnits) -> str:
    def part(attribute: str) -> str:
        quantity = getattr(one, attribute)
        return _UNCHANGED if quantity is None else _written(given_amount(name, attribute, quantity))

    permille = one.overcommit_permille
    overcommit = _UNCHANGED if permille is None else _written(given_permille(name, permille))
    return ":".join((name, part("reserved"), overcommit, part("min_unit"), part("max_unit"), part("step")))


def _written(number: int) -> str:
    return str(number) if number else ""


def decode_units(text: str, where: str) -> dict[str, ResourceUnits]:
    """The units of a pool, with quantities as canonical texts.

    Raises:
        InvariantError: The stored text is broken.
    """
    found: dict[str, ResourceUnits] = {}
    for entry in filter(None, text.split(",")):
        match = _ENTRY.fullmatch(entry)
        if match is None:
            raise InvariantError(f"{where} has broken units in options: {entry[:40]!r}")
        name, reserved, overcommit, *bounds = match.groups()
        kept, least, most, step = (format_amount(name, int(one)) if one else None for one in (reserved, *bounds))
        found[name] = ResourceUnits(kept, int(overcommit) if overcommit else None, least, most, step)
    return found


def units_refused(pool: str, resource: str, flaw: str) -> InvalidRequest:
    """The error for units that a pool refuses."""
    part, _, why = _FLAWS[flaw].partition(": ")
    path = f"units.{resource}.{part}"
    return InvalidRequest(f"{path}: pool {pool!r}: {why}", field=path)
