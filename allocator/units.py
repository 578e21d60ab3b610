"""Units of resources, and formatting: from an exact integer to text.

The name alone decides the unit.  The command line has two more rules for bytes: `apps/cli/output.human` shows a long
amount rounded, and `apps/cli/arguments` refuses a quantity that is probably a forgotten suffix.  A new unit concerns
both.
"""

from __future__ import annotations

import enum
from typing import Final

__all__ = ["Unit", "format_amount", "format_cores", "format_mebibytes", "scale_of", "unit_of"]


class Unit(enum.Enum):
    """The unit of a resource's amounts."""

    MILLICORES = "millicores"
    BYTES = "bytes"
    THOUSANDTHS = "thousandths"


_UNITS: Final = {
    "cpu": Unit.MILLICORES,
    "memory": Unit.BYTES,
    "storage": Unit.BYTES,
    "ephemeral-storage": Unit.BYTES,
}


FACTORS: Final = {
    "": (0, 1),
    "n": (-9, 1),
    "u": (-6, 1),
    "m": (-3, 1),
    "k": (3, 1),
    "M": (6, 1),
    "G": (9, 1),
    "T": (12, 1),
    "P": (15, 1),
    "E": (18, 1),
    "Ki": (0, 2**10),
    "Mi": (0, 2**20),
    "Gi": (0, 2**30),
    "Ti": (0, 2**40),
    "Pi": (0, 2**50),
    "Ei": (0, 2**60),
}
"""Suffix -> (power of ten, factor)."""


_DECIMAL_SIZES: Final = tuple((10**power, suffix) for suffix, (power, _) in reversed(FACTORS.items()) if power > 0)


_BYTE_SIZES: Final = tuple(
    sorted(((10**power * factor, suffix) for suffix, (power, factor) in FACTORS.items() if power > 0 or factor > 1))
)[::-1]
"""(size, suffix), the largest first."""


_MEBIBYTE: Final = 2**20


def unit_of(resource: str) -> Unit:
    """The unit in which a resource of this name is counted; it never changes."""
    unit = _UNITS.get(resource)
    if unit is not None:
        return unit
    return Unit.BYTES if resource.startswith("hugepages-") else Unit.THOUSANDTHS


def scale_of(resource: str) -> int:
    """How many units make one: 1000 for thousandths (as of `cpu`), 1 for bytes."""
    return 1 if unit_of(resource) is Unit.BYTES else 1000


def format_amount(resource: str, amount: int) -> str:
    """The canonical Kubernetes text of an amount: the largest suffix that leaves a whole number.

    `1500` of `cpu` is `1500m`, `2000` is `2`; 1,610,612,736 bytes are `1536Mi`, 2,000,000,000 bytes `2G`.
    `parse_capacity` reads back the same amount, and so does `parse_request`, except for memory under 1 MiB that no
    suffix divides.

    Args:
        resource: the resource's name, which decides the unit.
        amount: units; negative where it is a difference, such as what is available of an overcommitted account.
    """
    if amount < 0:
        return f"-{format_amount(resource, -amount)}"
    if amount == 0:
        return "0"
    if scale_of(resource) == 1:
        return _with_suffix(amount, _BYTE_SIZES)
    whole, rest = divmod(amount, 1000)
    return f"{amount}m" if rest else _with_suffix(whole, _DECIMAL_SIZES)


def format_cores(millicores: int) -> str:
    """Cores as a plain decimal number: `2`, `0.5`, `2.5`."""
    sign = "-" if millicores < 0 else ""
    whole, rest = divmod(abs(millicores), 1000)
    return f"{sign}{whole}.{rest:03d}".rstrip("0").rstrip(".")


def format_mebibytes(amount: int) -> str:
    """Bytes as whole mebibytes (`4096Mi`), or the exact canonical text if they are not whole."""
    whole, rest = divmod(amount, _MEBIBYTE)
    return format_amount("memory", amount) if rest else f"{whole}Mi"


def _with_suffix(number: int, sizes: tuple[tuple[int, str], ...]) -> str:
    for size, suffix in sizes:
        if number % size == 0:
            return f"{number // size}{suffix}"
    return str(number)
