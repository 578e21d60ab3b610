"""`ResourceUnits`: how much of a resource a pool gives out, and in which amounts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Final

from allocator.input_errors import InvalidRequest
from allocator.models.read_only import ReadOnlyMapping, read_only
from allocator.quantity import Quantity, parse_capacity, shown
from allocator.resources import resource_name
from allocator.serialization import OPTIONAL_INTEGER, QUANTITY, Codec, Value, field, read_mapping, wrong
from allocator.settings import OVERCOMMIT_PERMILLE_MAX

__all__ = ["NO_UNITS", "QUANTITIES", "UNITS", "ResourceUnits", "given_amount", "given_permille", "limit_of"]

QUANTITIES: Final = ("reserved", "min_unit", "max_unit", "step")
"""The attributes that are quantities of the resource."""


@dataclass(frozen=True, slots=True)
class ResourceUnits(Value):
    """How much of a resource a pool gives out, and in which amounts: the rule of OpenStack Placement, in integers.

    The pool gives out (capacity - reserved) * (1000 + overcommit_permille) / 1000, rounded down.  What one allocation
    has of the resource is 0, or at least `min_unit`, at most `max_unit`, and a multiple of `step`.

    Where it is an argument, None leaves a part as it is, and 0 removes it.  Where a pool has it, None is none, and a
    quantity is its canonical text, so that it can be given again.

    Attributes:
        reserved: What is never given out.
        overcommit_permille: How many thousandths more than what is not reserved may be given out, at most 15,000.
        min_unit: The least that an allocation may have of it.
        max_unit: The most that an allocation may have of it.
        step: What every amount is a multiple of.
    """

    FORMAT: ClassVar = (
        field("reserved", "reserved", QUANTITY),
        field("overcommit_permille", "overcommitPermille", OPTIONAL_INTEGER),
        field("min_unit", "minUnit", QUANTITY),
        field("max_unit", "maxUnit", QUANTITY),
        field("step", "step", QUANTITY),
    )

    reserved: Quantity | None = None
    overcommit_permille: int | None = None
    min_unit: Quantity | None = None
    max_unit: Quantity | None = None
    step: Quantity | None = None

    def amounts(self, resource: str) -> dict[str, int]:
        """Each quantity as the exact amount of this resource, rounded down to its unit; 0 where there is none."""
        given = {name: getattr(self, name) for name in QUANTITIES}
        return {name: given_amount(resource, name, one or 0) for name, one in given.items()}


def limit_of(capacity: int, reserved: int, overcommit_permille: int) -> int:
    """What is given out of a capacity."""
    return (capacity - reserved) * (1000 + overcommit_permille) // 1000


def given_amount(resource: str, name: str, quantity: object) -> int:
    """The amount of one quantity; the error's `field` is its path, such as `units.cpu.min_unit`."""
    try:
        return parse_capacity(resource, quantity)
    except InvalidRequest as error:
        path = f"units.{resource}.{name}"
        raise InvalidRequest(f"{path}: {error}", field=path, code=error.code) from None


def given_permille(resource: str, value: object) -> int:
    """The thousandths of an overcommit; the error's `field` is their path."""
    if type(value) is not int or not 0 <= value <= OVERCOMMIT_PERMILLE_MAX:
        path = f"units.{resource}.overcommit_permille"
        text = f"{path}: {shown(value)} is not an integer from 0 to {OVERCOMMIT_PERMILLE_MAX}"
        raise InvalidRequest(text, field=path)
    return value


NO_UNITS: Final[Mapping[str, ResourceUnits]] = ReadOnlyMapping({})


def _read_units(found: object, path: str) -> Mapping[str, ResourceUnits]:
    units: dict[str, ResourceUnits] = {}
    for name, row in read_mapping(found, path).items():
        try:
            resource_name(name)
        except InvalidRequest:
            raise wrong(path, name, "is not a resource's name") from None
        units[name] = ResourceUnits.from_fields(row, f"{path}.{name}")
        _check(name, units[name], f"{path}.{name}")
    return read_only(units)


def _check(resource: str, one: ResourceUnits, path: str) -> None:
    """Refuse what is no quantity of the resource: its name is known only here."""
    for part in ResourceUnits.FORMAT:
        given = getattr(one, part.attribute)
        if part.attribute == "overcommit_permille":
            if given is not None and given > OVERCOMMIT_PERMILLE_MAX:
                raise wrong(f"{path}.{part.name}", given, f"is not an integer from 0 to {OVERCOMMIT_PERMILLE_MAX}")
            continue
        try:
            parse_capacity(resource, given or 0)
        except InvalidRequest:
            raise wrong(f"{path}.{part.name}", given, f"is no quantity of {resource}") from None


UNITS: Final = Codec(lambda units: {name: one.to_fields() for name, one in units.items()}, _read_units)
"""A field of a value's dict that has the units of resources."""
