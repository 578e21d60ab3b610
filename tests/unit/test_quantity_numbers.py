"""Numbers of other libraries as quantities: numpy's are registered in `numbers`, and are neither int nor float."""

from __future__ import annotations

import numbers
from fractions import Fraction

import pytest

from allocator.quantity import parse_capacity, parse_request
from tests.unit.test_quantity import refusal


class Whole:
    """An integer as numpy's are: no int, but registered as one."""

    def __init__(self, number: int) -> None:
        self._number = number

    def __int__(self) -> int:
        return self._number


class Third:
    """A fraction of another library."""

    numerator, denominator = 1, 3


class Single:
    """A float of 32 bits as numpy's is, whose text is the shortest that reads back the same."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __str__(self) -> str:
        return self._text


numbers.Integral.register(Whole)
numbers.Rational.register(Third)
numbers.Real.register(Single)


@pytest.mark.parametrize(
    ("quantity", "request_amount", "capacity_amount"),
    [
        (Fraction(1, 2), 500, 500),
        (Fraction(1, 3), 334, 333),
        (Fraction(7), 7000, 7000),
        (Fraction(0.1), 101, 100),
        (Fraction(5e-324), 1, 0),
        (Whole(3), 3000, 3000),
        (Third(), 334, 333),
        (Single("0.1"), 100, 100),
    ],
    ids=lambda value: type(value).__name__,
)
def test_numbers_of_other_libraries_are_read_like_pythons(
    quantity: object, request_amount: int, capacity_amount: int
) -> None:
    """By what they are registered as in `numbers`: numpy's are neither int nor float."""
    assert (parse_request("cpu", quantity), parse_capacity("cpu", quantity)) == (request_amount, capacity_amount)


@pytest.mark.parametrize(
    ("quantity", "why"),
    [
        (Fraction(-1, 3), "is negative"),
        (Fraction(1, 2**2048), "has more than 2048 bits"),
        (Fraction(2**100), "ceiling"),
        (Whole(-1), "is negative"),
        (Whole(2**60), "ceiling"),
        (Single("nan"), "is not a quantity"),
        (Single("x" * 40), "32 characters"),
    ],
    ids=["negative", "long", "large", "negative integer", "large integer", "nan", "long text"],
)
def test_they_are_refused_like_pythons(quantity: object, why: str) -> None:
    """In the same words."""
    for parse in (parse_request, parse_capacity):
        assert why in str(refusal(lambda parse=parse: parse("cpu", quantity)))
