"""Quantities: what Kubernetes writes is read exactly, what is unsafe is refused, and no text takes long."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from enum import StrEnum

import pytest

from allocator.errors import InvalidQuantity
from allocator.quantity import parse_capacity, parse_request, shown
from allocator.settings import AMOUNT_MAX, MEMORY_MIN, QUANTITY_LENGTH_MAX
from allocator.units import Unit, format_amount, format_cores, format_mebibytes, scale_of, unit_of

# What Kubernetes's own code makes of a text: (text, Value() rounded up, MilliValue() rounded up).
KUBERNETES = [
    ("0.1", 1, 100),
    ("100m", 1, 100),
    ("1500m", 2, 1500),
    ("1.5", 2, 1500),
    ("1.5m", 1, 2),
    ("0.0001", 1, 1),
    ("0.1m", 1, 1),
    ("0.1n", 1, 1),
    ("1e-30", 1, 1),
    ("0.3333333333333333333", 1, 334),
    ("1e3", 1000, 1_000_000),
    ("1E3", 1000, 1_000_000),
    ("12e6", 12_000_000, 12_000_000_000),
    ("1e+3", 1000, 1_000_000),
    ("1E+3", 1000, 1_000_000),
    ("1500e-3", 2, 1500),
    ("1.5e3", 1500, 1_500_000),
    ("1k", 1000, 1_000_000),
    ("2G", 2_000_000_000, 2_000_000_000_000),
    ("1.5Gi", 1_610_612_736, 1_610_612_736_000),
    ("0.5Gi", 536_870_912, 536_870_912_000),
    ("0.1Gi", 107_374_183, 107_374_182_400),
    ("1024Mi", 1_073_741_824, 1_073_741_824_000),
    ("1000Mi", 1_048_576_000, 1_048_576_000_000),
    ("1Ki", 1024, 1_024_000),
    ("7n", 1, 1),
    ("7u", 1, 1),
    (".5", 1, 500),
    ("5.", 5, 5000),
    ("1.k", 1000, 1_000_000),
    ("+1", 1, 1000),
    ("+.5k", 500, 500_000),
    ("0", 0, 0),
    ("00.00", 0, 0),
    ("0e999999999999999999999999999", 0, 0),
    ("0007", 7, 7000),
]

REFUSED_BY_KUBERNETES = [
    *("", " ", "1K", "1ki", "1mi", "1i", "1e", "1m5", "1B", "1GB", "1GiB", "1Zi", "1e1.5", "1_000", "1,5", " 1", "1 "),
    *("NaN", "nan", "inf", "Infinity", "0x10", "1 Gi", "1e3Mi", "1Mi3", "1Ee3", "1.2.3", "++1", "+-1", "1\n", "1Mi\n"),
    *("\n1", "1\x00", "\uff11", "\u0661", "1\u00b2", "\u0031\u0308", "1\u2009", "1\u041c", "\ud800"),
]

ZERO_IN_KUBERNETES = ["-", "+", ".", "-.", "+.", "Gi", "m", "E", ".Gi", ".e3", "e3", "E3", "+m"]


def refusal(call: Callable[[], object]) -> InvalidQuantity:
    with pytest.raises(InvalidQuantity) as caught:
        call()
    return caught.value


class TestUnits:
    @pytest.mark.parametrize(
        ("resource", "unit", "scale"),
        [
            ("cpu", Unit.MILLICORES, 1000),
            ("memory", Unit.BYTES, 1),
            ("storage", Unit.BYTES, 1),
            ("ephemeral-storage", Unit.BYTES, 1),
            ("hugepages-2Mi", Unit.BYTES, 1),
            ("hugepages", Unit.THOUSANDTHS, 1000),
            ("nvidia.com/gpu", Unit.THOUSANDTHS, 1000),
            ("example.com/memory", Unit.THOUSANDTHS, 1000),
            ("CPU", Unit.THOUSANDTHS, 1000),
        ],
    )
    def test_the_unit_follows_from_the_name_alone(self, resource: str, unit: Unit, scale: int) -> None:
        """Replicas that never spoke to each other must count alike."""
        assert (unit_of(resource), scale_of(resource)) == (unit, scale)


class TestGrammar:
    @pytest.mark.parametrize(("text", "value", "milli_value"), KUBERNETES)
    def test_what_kubernetes_reads_is_read_alike(self, text: str, value: int, milli_value: int) -> None:
        """The table was made by running Kubernetes's own code; requests round up, as its Value() does."""
        assert parse_request("storage", text) == value
        assert parse_request("cpu", text) == milli_value

    @pytest.mark.parametrize("text", REFUSED_BY_KUBERNETES)
    def test_what_kubernetes_refuses_is_refused(self, text: str) -> None:
        """Python's int, float and Decimal would take many of these: digits of other scripts, blanks, underscores."""
        for parse in (parse_request, parse_capacity):
            error = refusal(lambda parse=parse: parse("memory", text))
            assert error.field == "memory"
            assert "is not a quantity: write for instance '512Mi'" in str(error)

    @pytest.mark.parametrize("text", ZERO_IN_KUBERNETES)
    def test_a_bare_sign_point_or_suffix_is_not_zero(self, text: str) -> None:
        """Kubernetes takes them for zero, and a request for nothing would be granted."""
        assert "is not a quantity" in str(refusal(lambda: parse_request("cpu", text)))

    @pytest.mark.parametrize(
        "quantity", ["-1", "-0", "-1Gi", "-.5", "-1e-9", -1, -(10**5000), -0.5, -0.0, Decimal(-1)], ids=shown
    )
    def test_anything_negative_is_refused(self, quantity: object) -> None:
        """A negative request would be a way to make room that is not there."""
        assert "is negative" in str(refusal(lambda: parse_request("cpu", quantity)))

    def test_exa_and_exponent_are_told_apart(self) -> None:
        """`E` is a suffix when nothing follows, and an exponent when digits do."""
        assert parse_request("storage", "0.001E") == 10**15
        assert parse_request("storage", "12E3") == 12_000

    def test_a_quantity_in_another_family_is_not_mistaken(self) -> None:
        """`2G` and `2Gi` differ by seven percent: enough to over-allocate a node."""
        assert parse_request("memory", "2G") == 2_000_000_000
        assert parse_request("memory", "2Gi") == 2_147_483_648


class Truth:
    """numpy's truth values are registered as nothing."""


class TestNumbers:
    @pytest.mark.parametrize(
        ("quantity", "amount"),
        [
            (2, 2000),
            (0, 0),
            (0.5, 500),
            (0.1, 100),
            (0.1 + 0.2, 300),
            (0.7 + 0.1, 800),
            (3 * 1.1, 3300),
            (29.999999999999996, 30_000),
            (0.3333333333333333, 334),
            (123456789012.3456, 123_456_789_012_346),
            (1e-5, 1),
            (1e3, 1_000_000),
            (Decimal("0.5"), 500),
            (Decimal("1E+3"), 1_000_000),
            (Decimal("1E-7"), 1),
            (Decimal(1) / 3, 334),
        ],
    )
    def test_a_number_is_read_as_its_text(self, quantity: object, amount: int) -> None:
        """0.1 is a tenth, not the binary fraction next to it; so is what a sum of floats misses it by."""
        assert parse_request("cpu", quantity) == amount

    @pytest.mark.parametrize(
        "quantity",
        [
            *(float("nan"), float("inf"), float("-inf"), Decimal("NaN"), Decimal("sNaN"), Decimal("Infinity")),
            *(True, False, None, b"1", [1], {}, (), 1j, Truth(), object(), 10**5000, Decimal("1E+999999")),
            *(Decimal(10) ** 40, Decimal("1" * 100_000), 1e300),
        ],
        ids=lambda quantity: type(quantity).__name__,
    )
    def test_what_is_no_finite_number_is_refused(self, quantity: object) -> None:
        """NaN compares as false with everything and would pass every check after this one; True would be one core."""
        for parse in (parse_request, parse_capacity):
            assert refusal(lambda parse=parse: parse("cpu", quantity)).field == "cpu"

    def test_a_whole_float_is_read_to_its_last_digit(self) -> None:
        """Of bytes there are more than fifteen digits; only what is behind a point is noise."""
        for amount in (AMOUNT_MAX, 2**52 + 1, 1_234_567_890_123_457):
            assert parse_request("memory", float(amount)) == amount
        assert parse_request("memory", 1_234_567_890_123_456.5) == 1_234_567_890_123_457

    def test_a_subclass_cannot_change_what_is_read(self) -> None:
        """Other libraries' floats print themselves with their type; their value counts."""

        class Loud(float):
            def __repr__(self) -> str:
                return f"Loud({float(self)})"

        class Size(StrEnum):
            SMALL = "500m"

        assert parse_request("cpu", Loud(0.5)) == 500
        assert parse_request("cpu", Size.SMALL) == 500


class TestCeiling:
    @pytest.mark.parametrize("parse", [parse_request, parse_capacity])
    def test_the_largest_exact_amount_is_taken_and_one_more_is_not(self, parse: Callable[[str, object], int]) -> None:
        """Lua's numbers are doubles: from 2^53 on, adding one may change nothing."""
        assert parse("memory", str(AMOUNT_MAX)) == parse("memory", AMOUNT_MAX) == AMOUNT_MAX
        assert parse("cpu", f"{AMOUNT_MAX}m") == AMOUNT_MAX
        over = AMOUNT_MAX + 1
        for resource, quantity in (("memory", str(over)), ("memory", over), ("cpu", f"{over}m"), ("cpu", AMOUNT_MAX)):
            error = refusal(lambda resource=resource, quantity=quantity: parse(resource, quantity))
            assert f"is over the ceiling of {AMOUNT_MAX}" in str(error)

    def test_rounding_up_does_not_pass_the_ceiling(self) -> None:
        """The check comes after the rounding; a capacity of the same text is rounded down to the ceiling."""
        assert "ceiling" in str(refusal(lambda: parse_request("memory", f"{AMOUNT_MAX}.5")))
        assert parse_capacity("memory", f"{AMOUNT_MAX}.5") == AMOUNT_MAX

    @pytest.mark.parametrize("text", ["9Ei", "8Ei", "9223372036854775808", "1e400", "9007199254740992"])
    def test_what_kubernetes_caps_or_wraps_is_refused(self, text: str) -> None:
        """Kubernetes answers 2^63-1, a negative number and 0 to these."""
        assert "ceiling" in str(refusal(lambda: parse_request("storage", text)))

    def test_the_longest_text_is_taken_and_a_longer_one_is_not(self) -> None:
        """The length is the first check: nothing is computed from a text that is too long."""
        longest = "0" * (QUANTITY_LENGTH_MAX - 1) + "1"
        assert parse_request("cpu", longest) == 1000
        assert "32 characters" in str(refusal(lambda: parse_request("cpu", "0" + longest)))


class TestBareMemory:
    @pytest.mark.parametrize(
        ("quantity", "meant"),
        [
            ("512", "512Mi"),
            (512, "512Mi"),
            ("0.5", "0.5Mi"),
            (4.0, "4.0Mi"),
            (Decimal(2), "2Mi"),
            ("1e3", "1000Mi"),
            (MEMORY_MIN - 1, f"{MEMORY_MIN - 1}Mi"),
        ],
    )
    def test_a_bare_number_below_one_mebibyte_is_answered_with_a_question(self, quantity: object, meant: str) -> None:
        """The in-memory sample counted bare numbers in MiB: taken for bytes in silence, they are next to nothing."""
        error = refusal(lambda: parse_request("memory", quantity))
        assert error.field == "memory"
        assert f"was '{meant}' meant?" in str(error)

    def test_one_mebibyte_in_bytes_is_taken(self) -> None:
        """From there on a bare number is most likely meant as bytes."""
        assert parse_request("memory", str(MEMORY_MIN)) == MEMORY_MIN

    def test_a_number_with_a_suffix_is_taken_at_its_word(self) -> None:
        """Whoever wrote a unit did not forget it."""
        assert parse_request("memory", "512Ki") == 524_288

    def test_zero_is_taken(self) -> None:
        """Zero asks for nothing, whatever its unit; callers drop it."""
        assert parse_request("memory", "0") == parse_request("memory", 0) == parse_request("memory", "0Mi") == 0

    def test_a_capacity_and_other_resources_are_not_asked_about(self) -> None:
        """Too small a capacity shows itself at the first request, and can overcharge nobody."""
        assert parse_capacity("memory", "512") == 512
        assert parse_request("storage", "512") == 512


class TestErrors:
    def test_the_message_names_the_resource_and_shows_the_text(self) -> None:
        """It is read in a log, far from the code that wrote the text."""
        error = refusal(lambda: parse_request("nvidia.com/gpu", "two"))
        assert (error.code, error.field) == ("invalid_quantity", "nvidia.com/gpu")
        assert str(error).startswith("nvidia.com/gpu: 'two' is not a quantity: write for instance '1'")

    def test_a_failure_is_told_the_same_way_each_time(self) -> None:
        """Failures are not cached: two callers never share one exception and its traceback."""
        first, second = (refusal(lambda: parse_request("cpu", "x")) for _ in range(2))
        assert first is not second
        assert str(first) == str(second)

    @pytest.mark.parametrize(
        ("value", "text"),
        [
            ("abc", "'abc'"),
            ("\uff11\n", r"'\uff11\n'"),
            ("\ud800", r"'\ud800'"),
            ("it's", '"it\'s"'),
            ("x" * 40, "'" + "x" * 40 + "'"),
            ("x" * 41, "'" + "x" * 39 + "..."),
            ("x" * 10_000_000, "'" + "x" * 39 + "..."),
            (None, "None"),
            (10**5000, "<int>"),
            ([1, "\u00e9"], r"[1, '\xe9']"),
        ],
        ids=shown,
    )
    def test_an_offending_value_is_shown_in_ascii_and_cut(self, value: object, text: str) -> None:
        """Terminals, logs and reading eyes are spared: no control characters, no look-alikes, no megabytes."""
        assert shown(value) == text

    def test_showing_a_value_survives_a_broken_repr(self) -> None:
        """The refusal must not fail while it explains itself."""

        class Broken(str):
            __slots__ = ()

            def __getitem__(self, key: object) -> str:
                raise RuntimeError

        assert shown(Broken("x")) == "<Broken>"


class TestFormat:
    @pytest.mark.parametrize(
        ("resource", "amount", "text"),
        [
            ("cpu", 1500, "1500m"),
            ("cpu", 2000, "2"),
            ("cpu", 2_000_000, "2k"),
            ("cpu", 1_500_000, "1500"),
            ("cpu", 0, "0"),
            ("cpu", -500, "-500m"),
            ("cpu", AMOUNT_MAX, f"{AMOUNT_MAX}m"),
            ("memory", 0, "0"),
            ("memory", 1_610_612_736, "1536Mi"),
            ("memory", 1_073_741_824, "1Gi"),
            ("memory", 1_048_576_000, "1000Mi"),
            ("memory", 2_000_000_000, "2G"),
            ("memory", 1_024_000, "1000Ki"),
            ("memory", 1000, "1k"),
            ("memory", 1001, "1001"),
            ("memory", -(2**30), "-1Gi"),
            ("memory", 2**52, "4Pi"),
            ("hugepages-1Gi", 2**31, "2Gi"),
            ("nvidia.com/gpu", 2000, "2"),
            ("nvidia.com/gpu", 500, "500m"),
        ],
    )
    def test_the_text_is_the_largest_suffix_that_leaves_a_whole_number(
        self, resource: str, amount: int, text: str
    ) -> None:
        """Two people who look at the same amount see the same text, and it is what kubectl would show."""
        assert format_amount(resource, amount) == text

    @pytest.mark.parametrize(
        ("millicores", "text"),
        [(2000, "2"), (500, "0.5"), (2500, "2.5"), (1, "0.001"), (0, "0"), (10_000, "10"), (-1050, "-1.05")],
    )
    def test_cores_are_a_plain_decimal_number(self, millicores: int, text: str) -> None:
        """The original API's dict has cores as `2.5`, not as `2500m`."""
        assert format_cores(millicores) == text

    @pytest.mark.parametrize(
        ("amount", "text"),
        [(2**32, "4096Mi"), (0, "0Mi"), (2_000_000_000, "2G"), (2**20 + 2**10, "1025Ki"), (2**20 + 1, "1048577")],
    )
    def test_mebibytes_are_whole_or_the_text_is_exact(self, amount: int, text: str) -> None:
        """The original API's dict has memory as `4096Mi`; a rounded figure in its place would leak on the way back."""
        assert format_mebibytes(amount) == text
