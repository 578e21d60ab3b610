"""Quantities, for any input: exact rounding, a way back from text, and no text that hurts."""

from __future__ import annotations

import time
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allocator.errors import InvalidQuantity
from allocator.quantity import parse_capacity, parse_request
from allocator.settings import AMOUNT_MAX, MEMORY_MIN, QUANTITY_LENGTH_MAX
from allocator.units import format_amount, format_cores, format_mebibytes, scale_of

EXAMPLES = settings(derandomize=True, deadline=None, max_examples=400, database=None)

RESOURCES = ("cpu", "memory", "storage", "ephemeral-storage", "hugepages-2Mi", "nvidia.com/gpu", "pods")
SUFFIXES = {
    "": Fraction(1),
    **{suffix: Fraction(1, 1000**power) for power, suffix in enumerate("mun", 1)},
    **{suffix: Fraction(1000) ** power for power, suffix in enumerate("kMGTPE", 1)},
    **{f"{suffix}i": Fraction(1024) ** power for power, suffix in enumerate("KMGTPE", 1)},
}


numbers = st.builds(
    "{}{}{}{}".format,
    st.sampled_from(["", "+"]),
    st.integers(0, 10**13),
    st.sampled_from(["", ".", ".0", ".00"]),
    st.one_of(st.just(""), st.integers(0, 10**6).map(str)),
)
suffixes = st.one_of(
    st.sampled_from(sorted(SUFFIXES)),
    st.builds("{}{}".format, st.sampled_from(["e", "E", "e+"]), st.integers(0, 40)),
    st.integers(-40, -1).map("e{}".format),
)


def cpu_time(call: Callable[[], object]) -> float:
    """Seconds of this thread's processor time, the best of three: other processes on the machine do not count."""

    def once() -> float:
        start = time.thread_time()
        call()
        return time.thread_time() - start

    return min(once() for _ in range(3))


def attempt(parse: Callable[[str, object], int], resource: str, quantity: object) -> int | InvalidQuantity:
    try:
        return parse(resource, quantity)
    except InvalidQuantity as error:
        return error


def exact(resource: str, number: str, suffix: str) -> Fraction:
    """The quantity in units, by rational arithmetic: an oracle that shares nothing with the parser."""
    factor = SUFFIXES[suffix] if suffix in SUFFIXES else Fraction(10) ** int(suffix[1:])
    return Fraction(number.removesuffix(".")) * factor * scale_of(resource)


class TestProperties:
    @EXAMPLES
    @given(resource=st.sampled_from(RESOURCES), number=numbers, suffix=suffixes)
    def test_a_request_is_the_exact_quantity_rounded_up_and_a_capacity_rounded_down(
        self, resource: str, number: str, suffix: str
    ) -> None:
        """No digit is lost and no rounding hands out what is not there."""
        units, text = exact(resource, number, suffix), number + suffix
        for parse, amount in ((parse_request, -(-units // 1)), (parse_capacity, units // 1)):
            bare = resource == "memory" and (suffix == "" or suffix not in SUFFIXES)
            refused = parse is parse_request and bare and 0 < amount < MEMORY_MIN
            if amount > AMOUNT_MAX or refused or len(text) > QUANTITY_LENGTH_MAX:
                assert isinstance(attempt(parse, resource, text), InvalidQuantity)
            else:
                assert parse(resource, text) == amount

    @EXAMPLES
    @given(resource=st.sampled_from(RESOURCES), amount=st.integers(0, AMOUNT_MAX))
    def test_reading_what_was_written_gives_the_amount_back(self, resource: str, amount: int) -> None:
        """Canonical text is a way to carry an amount: through the command line, a status, a file."""
        text = format_amount(resource, amount)
        assert parse_capacity(resource, text) == amount
        if resource != "memory" or amount >= MEMORY_MIN or amount == 0 or not text.isdigit():
            assert parse_request(resource, text) == amount

    @EXAMPLES
    @given(number=st.integers(1, 2**13 - 1), suffix=st.sampled_from(sorted(SUFFIXES)))
    def test_canonical_text_is_its_own_canonical_text(self, number: int, suffix: str) -> None:
        """Whatever was written, writing it twice changes nothing."""
        try:
            amount = parse_capacity("storage", f"{number}{suffix}")
        except InvalidQuantity:
            assert number * SUFFIXES[suffix] > AMOUNT_MAX
            return
        text = format_amount("storage", amount)
        assert format_amount("storage", parse_capacity("storage", text)) == text

    @EXAMPLES
    @given(
        resource=st.sampled_from(RESOURCES),
        pair=st.tuples(*2 * [st.decimals(2**20, 10**12, allow_nan=False, places=6)]),
    )
    def test_rounding_is_monotone(self, resource: str, pair: tuple[Decimal, Decimal]) -> None:
        """Who asks for more is never charged less, and a request of all that a capacity names is never below it."""
        low, high = sorted(pair)
        for parse in (parse_request, parse_capacity):
            assert parse(resource, low) <= parse(resource, high)
        assert 0 <= parse_request(resource, low) - parse_capacity(resource, low) <= 1

    @EXAMPLES
    @given(millicores=st.integers(0, AMOUNT_MAX), amount=st.integers(0, AMOUNT_MAX))
    def test_the_texts_of_the_original_dict_are_exact(self, millicores: int, amount: int) -> None:
        """They may have been stored as JSON and come back on another replica."""
        assert parse_capacity("cpu", format_cores(millicores)) == millicores
        assert parse_capacity("memory", format_mebibytes(amount)) == amount


class TestFloats:
    @EXAMPLES
    @given(
        millicores=st.lists(st.integers(0, 10**7), min_size=1, max_size=8),
        resource=st.sampled_from(["cpu", "nvidia.com/gpu"]),
    )
    def test_a_sum_of_floats_is_the_sum_of_what_was_meant(self, millicores: list[int], resource: str) -> None:
        """0.1 + 0.2 cores are 300 millicores, and a total of 0.7 + 0.1 has room for 0.8."""
        total = sum(one / 1000 for one in millicores)
        assert parse_request(resource, total) == parse_capacity(resource, total) == sum(millicores)

    @EXAMPLES
    @given(number=st.fractions(0, 10**9, max_denominator=10**6))
    def test_a_fraction_is_read_exactly(self, number: Fraction) -> None:
        """It is not made a float on the way."""
        assert parse_request("cpu", number) == -(-number * 1000 // 1)
        assert parse_capacity("cpu", number) == number * 1000 // 1


class TestHostileText:
    """Only one kind of error comes out, and soon."""

    @EXAMPLES
    @given(
        resource=st.sampled_from(RESOURCES),
        text=st.one_of(
            st.text(st.characters(), max_size=60),
            st.text("0123456789.eE+-numkKMGTPi \n\uff11_", max_size=40),
        ),
    )
    def test_any_text_is_an_amount_or_a_refusal(self, resource: str, text: str) -> None:
        """Whatever Unicode holds: the answer is an integer in range or an InvalidQuantity that names the resource."""
        for parse in (parse_request, parse_capacity):
            answer = attempt(parse, resource, text)
            if isinstance(answer, InvalidQuantity):
                assert answer.field == resource
                assert str(answer).isascii()
                assert len(str(answer)) < 200
            else:
                assert type(answer) is int
                assert 0 <= answer <= AMOUNT_MAX
                assert text.isascii()

    @pytest.mark.parametrize(
        "text",
        [
            *("1e200000", "1e3000000", "1e-3000000", f"1e{'9' * 30}", f"1e-{'9' * 29}", f"0e{'9' * 30}", "9" * 32),
            *(
                "9" * 10_000_000,
                "1e" + "9" * 1_000_000,
                "\uff11" * 1_000_000,
                "." * 32,
                "0." + "0" * 30,
                "+" * 1_000_000,
            ),
        ],
        ids=lambda text: f"{text[:8]}...{len(text)}",
    )
    def test_no_text_takes_ten_milliseconds(self, text: str) -> None:
        """`int(Decimal("1e200000"))` takes a second: a quantity in a request must not be a way to stop a controller."""
        for parse in (parse_request, parse_capacity):
            assert cpu_time(lambda parse=parse: attempt(parse, "cpu", text)) < 0.010

    def test_no_number_takes_ten_milliseconds(self) -> None:
        """Numbers come in by JSON, too, and may be as long as texts."""
        for quantity in (10**100_000, -(10**100_000), Decimal("1E+999999"), Decimal("1" * 100_000)):
            assert cpu_time(lambda quantity=quantity: attempt(parse_request, "cpu", quantity)) < 0.010
