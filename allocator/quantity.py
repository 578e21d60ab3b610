"""Parse quantities: from text to an exact integer.

The grammar is exactly that of Kubernetes (case matters, ASCII only, no blanks)::

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

It is stricter than Kubernetes where that is unsafe.  It refuses negative quantities, and those that Kubernetes silently
reads as zero (`-`, `.`, `Gi`), caps (`9Ei`) or wraps around (`9223372036854775808`).  The length is checked first and
the exponent is bounded before any arithmetic, so that no text takes long: `1e200000` costs microseconds.

An amount counts whole units, and the unit depends only on the resource's name (`Unit`), so that all replicas use the
same.  A request is rounded up to the unit and a capacity is rounded down, so that rounding never grants more than
there is.  All arithmetic is on integers.  A float is read by its text of 15 significant digits, as many as a double
keeps of any decimal number, so that 0.1 + 0.2 is 0.3; a whole one is read exactly.

`units` formats amounts, and names the two places of the command line with further rules for bytes.
"""

from __future__ import annotations

import re
import reprlib
from decimal import Decimal
from functools import lru_cache
from numbers import Integral, Rational, Real
from typing import Final, TypeAlias

from allocator.input_errors import InvalidQuantity
from allocator.settings import AMOUNT_MAX, FRACTION_BITS_MAX, MEMORY_MIN, QUANTITY_LENGTH_MAX
from allocator.units import FACTORS, Unit, scale_of, unit_of

__all__ = ["Quantity", "float_text", "kind_of", "parse_capacity", "parse_request", "shown"]

Quantity: TypeAlias = str | int | float | Decimal | Rational
"""The types of a quantity.  A fraction is read exactly, any other number as its text.

The numbers of other libraries are read like Python's, by what they are registered as in `numbers`: numpy's are.
"""


_EXAMPLES: Final = {
    Unit.MILLICORES: "'2', '0.5' or '500m'",
    Unit.BYTES: "'512Mi', '1.5Gi' or '2G'",
    Unit.THOUSANDTHS: "'1', '2' or '500m'",
}


_QUANTITY: Final = re.compile(
    r"([+-]?)(?=\.?[0-9])([0-9]*)(?:\.([0-9]*))?(?:([numkMGTPE]|[KMGTPE]i)|[eE]([+-]?[0-9]+))?",
    re.ASCII,
)


_EXPONENT_MAX: Final = 2 * QUANTITY_LENGTH_MAX
"""The largest exponent: beyond it a number of so few digits gives the same result, zero, too large or under a unit."""


_FLOAT_DIGITS: Final = 15
"""Decimal digits that a double keeps of any number (`sys.float_info.dig`); those behind them come of computing."""

_SHOWN_LENGTH: Final = 40


def kind_of(value: object) -> str:
    """The type of a refused value, with its article: `an int`."""
    name = type(value).__name__
    return f"{'an' if name.startswith(('a', 'e', 'i', 'o', 'u')) else 'a'} {name}"


def shown(value: object) -> str:
    """A refused value as an error message shows it: ASCII, quoted, cut to about 40 characters.

    It never raises and never takes long, whatever the value.
    """
    try:
        text = repr(value[: _SHOWN_LENGTH + 1]) if isinstance(value, str) else reprlib.repr(value)
    except Exception:  # noqa: BLE001 - a foreign __repr__ may raise anything; an int's raises above 4,300 digits
        text = f"<{type(value).__name__}>"
    text = text.encode("ascii", "backslashreplace").decode()
    return text if len(text) <= _SHOWN_LENGTH + 2 else f"{text[:_SHOWN_LENGTH]}..."


def parse_request(resource: str, quantity: object) -> int:
    """The amount that a request for `quantity` charges: exact, rounded up to the unit.

    Zero is valid: it charges nothing of this resource.  A memory request without a unit is in bytes, as in Kubernetes,
    and below 1 MiB it is refused, as it is nearly always a forgotten suffix.

    Args:
        resource: the resource's name, which decides the unit; not checked here.
        quantity: a `Quantity`; any other type is refused like a wrong text.

    Returns:
        Units (millicores, bytes or thousandths), 0 to `AMOUNT_MAX`.

    Raises:
        InvalidQuantity: `field` is the resource's name, the message shows the given value.
    """
    amount, bare, text = _read(resource, quantity, up=True)
    if bare and resource == "memory" and 0 < amount < MEMORY_MIN:
        meant = f"{amount if 'e' in text.lower() else text}Mi"
        raise _refused(resource, quantity, f"is {amount} bytes, for it has no unit: was '{meant}' meant?")
    return amount


def parse_capacity(resource: str, quantity: object) -> int:
    """The amount that a capacity of `quantity` offers: exact, rounded down to the unit.

    Args, Returns, Raises: as `parse_request`; any number of bytes is valid, as a capacity charges nothing.
    """
    return _read(resource, quantity, up=False)[0]


def float_text(number: float) -> str:
    """The text as which a float is read: a whole one exactly, others to 15 significant digits.

    From 10^15 on there are no more than 15 digits before the point, and each is read.
    """
    if float.is_integer(number) or abs(number) >= 10**_FLOAT_DIGITS:
        return float.__repr__(number)
    return float.__format__(number, f".{_FLOAT_DIGITS}g")


def _read(resource: str, quantity: object, *, up: bool) -> tuple[int, bool, str]:
    """The amount, whether the quantity has no unit, and its text."""
    if isinstance(quantity, str | int | float | Decimal):
        text = _text(resource, quantity)
    elif isinstance(quantity, Integral | Rational | Real):
        try:
            if isinstance(quantity, Rational) and not isinstance(quantity, Integral):
                amount = _fraction(resource, quantity, int(quantity.numerator), int(quantity.denominator), up=up)
                return amount, True, str(amount)
            text = _text(resource, int(quantity) if isinstance(quantity, Integral) else str(quantity))
        except InvalidQuantity:
            raise
        except (ArithmeticError, AttributeError, TypeError, ValueError):
            raise _refused(resource, quantity, "cannot be read as a number") from None
    else:
        raise _refused(resource, quantity, f"is not a quantity but {kind_of(quantity)}")
    return *_parse(resource, text, up), text


def _text(resource: str, quantity: str | float | Decimal) -> str:
    """The text as which a quantity is read, of bounded length; a value without such a text is refused."""
    if isinstance(quantity, str):
        text = quantity
    elif isinstance(quantity, bool):
        raise _refused(resource, quantity, "is a truth value, not a quantity")
    elif isinstance(quantity, int):
        if abs(quantity) > AMOUNT_MAX:  # checked here because the text of a huge integer is expensive
            raise _too_large(resource, quantity) if quantity > 0 else _negative(resource, quantity)
        text = int.__repr__(quantity)
    elif isinstance(quantity, float):
        text = float_text(quantity)
    else:
        text = Decimal.__str__(quantity)
    if len(text) > QUANTITY_LENGTH_MAX:
        raise _refused(resource, quantity, f"has more than {QUANTITY_LENGTH_MAX} characters")
    return text


def _fraction(resource: str, quantity: object, numerator: int, denominator: int, *, up: bool) -> int:
    """The amount of a fraction."""
    if max(numerator.bit_length(), denominator.bit_length()) > FRACTION_BITS_MAX:
        raise _refused(resource, quantity, f"has more than {FRACTION_BITS_MAX} bits")
    amount, rest = divmod(numerator * scale_of(resource), denominator)
    if amount < 0:
        raise _negative(resource, quantity)
    amount += bool(up and rest)
    if amount > AMOUNT_MAX:
        raise _too_large(resource, quantity)
    return amount


@lru_cache(maxsize=4096)
def _parse(resource: str, text: str, up: bool) -> tuple[int, bool]:
    """The amount, and whether the text has no unit (an exponent is none).  Failures are not cached."""
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise _refused(resource, text, f"is not a quantity: write for instance {_EXAMPLES[unit_of(resource)]}")
    sign, whole, fraction, suffix, exponent = match.groups(default="")
    if sign == "-":
        raise _negative(resource, text)
    power, factor = FACTORS[suffix]
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
