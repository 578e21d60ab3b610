"""Text <-> exact integer: the only place where a quantity is read or written.

The grammar is that of Kubernetes, to the letter (case matters, ASCII only, no blanks)::

    <quantity> ::= <sign>? <number> <suffix>?
    <sign>     ::= "+" | "-"
    <number>   ::= <digits> | <digits> "." | <digits> "." <digits> | "." <digits>
    <digits>   ::= <digit> | <digit> <digits>
    <digit>    ::= "0" | "1" | ... | "9"
    <suffix>   ::= <decimal> | <binary> | <exponent>
    <decimal>  ::= "n" | "u" | "m" | "k" | "M" | "G" | "T" | "P" | "E"       10^-9 ... 10^18
    <binary>   ::= "Ki" | "Mi" | "Gi" | "Ti" | "Pi" | "Ei"                   2^10 ... 2^60
    <exponent> ::= ("e" | "E") <sign>? <digits>                              10^exponent

so `12E` is twelve exa and `12E3` twelve thousand; `2G` is 2,000,000,000 bytes and `2Gi` is 2,147,483,648.

Stricter than Kubernetes where that is unsafe: anything negative is refused, and so is what Kubernetes silently reads as
zero (`-`, `.`, `Gi`), caps (`9Ei`) or wraps around (`9223372036854775808`).  The length is checked first and the
exponent is bounded before any arithmetic, so that no text takes long: `1e200000` costs microseconds.

An amount counts whole units, and the unit follows from the resource's name alone (`Unit`), so that two replicas never
disagree about it.  What a request asks for is rounded up to the unit and what a capacity offers is rounded down:
rounding never hands out what is not there.  All arithmetic is on integers; a float is read by its shortest text
(`repr`), never computed with.
"""

from __future__ import annotations

import enum
import re
import reprlib
from decimal import Decimal
from functools import lru_cache
from typing import Final, TypeAlias

from allocator.errors import InvalidQuantity
from allocator.settings import AMOUNT_MAX, MEMORY_MIN, QUANTITY_LENGTH_MAX

__all__ = [
    "Quantity",
    "Unit",
    "format_amount",
    "format_cores",
    "format_mebibytes",
    "parse_capacity",
    "parse_request",
    "scale_of",
    "shown",
    "unit_of",
]

Quantity: TypeAlias = str | int | float | Decimal
"""What a caller may write for a quantity.  A number is read as its text."""


class Unit(enum.Enum):
    """What one of a resource's amount stands for."""

    MILLICORES = "millicores"
    BYTES = "bytes"
    THOUSANDTHS = "thousandths"


_UNITS: Final = {
    "cpu": Unit.MILLICORES,
    "memory": Unit.BYTES,
    "storage": Unit.BYTES,
    "ephemeral-storage": Unit.BYTES,
}

_EXAMPLES: Final = {
    Unit.MILLICORES: "'2', '0.5' or '500m'",
    Unit.BYTES: "'512Mi', '1.5Gi' or '2G'",
    Unit.THOUSANDTHS: "'1', '2' or '500m'",
}

_QUANTITY: Final = re.compile(
    r"([+-]?)(?=\.?[0-9])([0-9]*)(?:\.([0-9]*))?(?:([numkMGTPE]|[KMGTPE]i)|[eE]([+-]?[0-9]+))?",
    re.ASCII,
)

_FACTORS: Final = {
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

_EXPONENT_MAX: Final = 2 * QUANTITY_LENGTH_MAX
"""Beyond it a number of so few digits is zero, over the ceiling or under one unit: the answer is the same as at it."""

_DECIMAL_SIZES: Final = tuple((10**power, suffix) for suffix, (power, _) in reversed(_FACTORS.items()) if power > 0)
_BYTE_SIZES: Final = tuple(
    sorted(((10**power * factor, suffix) for suffix, (power, factor) in _FACTORS.items() if power > 0 or factor > 1))
)[::-1]
"""(size, suffix), the largest first."""

_MEBIBYTE: Final = 2**20
_SHOWN_LENGTH: Final = 40


def shown(value: object) -> str:
    """The offending value as an error message shows it: ASCII, quoted, cut to about 40 characters.

    Never raises and never takes long, whatever the value: it is called on what has just been refused.
    """
    try:
        text = repr(value[: _SHOWN_LENGTH + 1]) if isinstance(value, str) else reprlib.repr(value)
    except Exception:  # noqa: BLE001 - a foreign __repr__ raises what it likes; an int's, above 4,300 digits
        text = f"<{type(value).__name__}>"
    text = text.encode("ascii", "backslashreplace").decode()
    return text if len(text) <= _SHOWN_LENGTH + 2 else f"{text[:_SHOWN_LENGTH]}..."


def unit_of(resource: str) -> Unit:
    """The unit in which a resource of this name is counted, for ever."""
    unit = _UNITS.get(resource)
    if unit is not None:
        return unit
    return Unit.BYTES if resource.startswith("hugepages-") else Unit.THOUSANDTHS


def scale_of(resource: str) -> int:
    """How many units make one: 1000 where thousandths are counted (`cpu` among them), 1 where bytes are."""
    return 1 if unit_of(resource) is Unit.BYTES else 1000


def parse_request(resource: str, quantity: object) -> int:
    """The amount that a request for `quantity` charges: exact, rounded up to the unit.

    Zero is an answer: "do not charge this resource".  A memory request without a unit is bytes, as in Kubernetes, and
    below 1 MiB is refused: it is nearly always a forgotten suffix.

    Args:
        resource: the resource's name, which decides the unit; not checked here.
        quantity: a `Quantity`; anything else is refused like a wrong text.

    Returns:
        Units (millicores, bytes or thousandths), 0 to `AMOUNT_MAX`.

    Raises:
        InvalidQuantity: `field` is the resource's name, the message shows what was given.
    """
    text = _text(resource, quantity)
    amount, bare = _parse(resource, text, True)
    if bare and resource == "memory" and 0 < amount < MEMORY_MIN:
        meant = f"{amount if 'e' in text.lower() else text}Mi"
        raise _refused(resource, quantity, f"is {amount} bytes, for it has no unit: was '{meant}' meant?")
    return amount


def parse_capacity(resource: str, quantity: object) -> int:
    """The amount that a capacity of `quantity` offers: exact, rounded down to the unit.

    Args, Returns, Raises: as `parse_request`; any number of bytes is taken, for nothing can be overcharged by it.
    """
    return _parse(resource, _text(resource, quantity), False)[0]


def format_amount(resource: str, amount: int) -> str:
    """The canonical Kubernetes text of an amount: the largest suffix that leaves a whole number.

    `1500` of `cpu` is `1500m`, `2000` is `2`; 1,610,612,736 bytes are `1536Mi`, 2,000,000,000 bytes `2G`.
    `parse_capacity` reads back the same amount, and so does `parse_request`, but for memory under 1 MiB that no suffix
    divides.

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
    """Bytes as whole mebibytes (`4096Mi`), or the exact canonical text where they are not whole."""
    whole, rest = divmod(amount, _MEBIBYTE)
    return format_amount("memory", amount) if rest else f"{whole}Mi"


def _with_suffix(number: int, sizes: tuple[tuple[int, str], ...]) -> str:
    for size, suffix in sizes:
        if number % size == 0:
            return f"{number // size}{suffix}"
    return str(number)


def _text(resource: str, quantity: object) -> str:
    """The text that a quantity is read as, of bounded length; what has no such text is refused."""
    if isinstance(quantity, str):
        text = quantity
    elif isinstance(quantity, bool):
        raise _refused(resource, quantity, "is a truth value, not a quantity")
    elif isinstance(quantity, int):
        if abs(quantity) > AMOUNT_MAX:  # checked here because the text of a huge integer is expensive
            raise _too_large(resource, quantity) if quantity > 0 else _negative(resource, quantity)
        text = int.__repr__(quantity)
    elif isinstance(quantity, float):
        text = float.__repr__(quantity)
    elif isinstance(quantity, Decimal):
        text = Decimal.__str__(quantity)
    else:
        raise _refused(resource, quantity, f"is not a quantity but a {type(quantity).__name__}")
    if len(text) > QUANTITY_LENGTH_MAX:
        raise _refused(resource, quantity, f"has more than {QUANTITY_LENGTH_MAX} characters")
    return text


@lru_cache(maxsize=4096)
def _parse(resource: str, text: str, up: bool) -> tuple[int, bool]:
    """The amount, and whether the text is bare: without a unit (an exponent is none).  Failures are not remembered."""
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise _refused(resource, text, f"is not a quantity: write for instance {_EXAMPLES[unit_of(resource)]}")
    sign, whole, fraction, suffix, exponent = match.groups(default="")
    if sign == "-":
        raise _negative(resource, text)
    power, factor = _FACTORS[suffix]
    if exponent:
        power = max(-_EXPONENT_MAX, min(int(exponent), _EXPONENT_MAX))
    power -= len(fraction)
    amount = int(whole + fraction) * factor * scale_of(resource)
    if power >= 0:
        amount *= 10**power
    else:
        amount, rest = divmod(amount, 10**-power)
        if up and rest:
            amount += 1
    if amount > AMOUNT_MAX:
        raise _too_large(resource, text)
    return amount, not suffix


def _refused(resource: str, quantity: object, why: str) -> InvalidQuantity:
    return InvalidQuantity(f"{resource}: {shown(quantity)} {why}", field=resource)


def _negative(resource: str, quantity: object) -> InvalidQuantity:
    return _refused(resource, quantity, "is negative")


def _too_large(resource: str, quantity: object) -> InvalidQuantity:
    return _refused(resource, quantity, f"is over the ceiling of {AMOUNT_MAX} {unit_of(resource).value}")
